"""What differs between two locks: one way of counting, for `lock` and for the history of names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envlock.cli.lock import differences_of
from envlock.model.arch import LINUX_64
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements
from envlock.named.diff import compare
from envlock.workflow.locking.jobs import Locked


def package(name: str, version: str, kind: str = "pypi", sha256: str = "") -> LockedPackage:
    return LockedPackage(name, version, "", "", sha256 or f"{kind}{version}", kind=kind)


def lock(*packages: LockedPackage, python: str = "3.12.0") -> Lock:
    return Lock(LINUX_64, Requirements(), LockedPython("machine", python), packages)


def told(before: Lock | None, after: Lock) -> list[str]:
    """What `lock` tells, which is what the history of a name counts."""
    found = differences_of(Locked(("demo",), after, Path("pylock.toml"), LINUX_64, "locked", before))
    assert found == [str(each) for each in compare(before, after).changes]
    return found


def test_a_package_of_conda_is_another_than_pypis_of_that_name() -> None:
    both = lock(package("ninja", "1.11", "conda"), package("ninja", "1.11"), package("rich", "13.0"))
    newer = lock(package("ninja", "1.13", "conda"), package("ninja", "1.11"), package("rich", "14.0"))
    assert told(both, newer) == ["ninja 1.11 -> 1.13 (conda)", "rich 13.0 -> 14.0"]
    assert compare(both, newer).same == 1
    moved = lock(package("ninja", "1.11"), package("rich", "13.0"))
    assert told(both, moved) == ["-ninja 1.11 (conda)"]
    assert told(lock(package("ninja", "1.11", "conda")), moved) == [
        "-ninja 1.11 (conda)",
        "+ninja 1.11 (PyPI)",
        "+rich 13.0",
    ]


def test_another_file_of_a_version_and_another_python_are_changes() -> None:
    before = lock(package("rich", "13.0", sha256="a" * 64))
    after = replace(lock(package("rich", "13.0", sha256="b" * 64)), python=LockedPython("machine", "3.13.0"))
    assert told(before, after) == ["Python 3.12 -> 3.13", f"rich 13.0 ({'a' * 12}) -> 13.0 ({'b' * 12})"]


def test_without_a_lock_before_everything_is_new() -> None:
    assert told(None, lock(package("rich", "13.0"))) == ["+rich 13.0"]
