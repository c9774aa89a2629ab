"""What differs between two locks: one way of counting, for `lock`, `diff` and the history of names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cli.lock_text import changes_of
from envlock.lockfile.changes import (
    ArchChanges,
    FoldedChange,
    PackageChange,
    compare,
    compared,
    counts,
    fold,
    removed,
)
from envlock.model.arch import LINUX_64, LINUX_AARCH64, OSX_ARM64, Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython, Source
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.workflow.locking.jobs import Locked
from tests.support import conda_requirements


def package(
    name: str, version: str, kind: str = "pypi", sha256: str = "", build: str = "", source: Source | None = None
) -> LockedPackage:
    return LockedPackage(name, version, "", "", sha256 or f"{kind}{version}", kind=kind, build=build, source=source)


def lock(*packages: LockedPackage, python: str = "3.12.0", arch: Arch = LINUX_64) -> Lock:
    return Lock(arch, Requirements(), LockedPython("machine", python), packages)


def told(before: Lock | None, after: Lock) -> list[str]:
    """What `lock` tells, which is what every other command counts."""
    locked = Locked(("demo",), after, Path("pylock.toml"), LINUX_64, "locked", before)
    found = [str(each) for each in changes_of(locked)]
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
    assert [change.verb for change in compare(before, after).changes] == ["upgraded", "rebuilt"]


def test_whatever_full_id_counts_is_a_change() -> None:
    whole = package("rich", "13.0", build="0")
    for changed in (replace(whole, version="13.1"), replace(whole, filename="x"), replace(whole, build="1")):
        assert lock(whole).full_id != lock(changed).full_id
        assert len(compare(lock(whole), lock(changed)).changes) == 1


def test_without_a_lock_before_everything_is_new() -> None:
    assert told(None, lock(package("rich", "13.0"))) == ["+rich 13.0"]
    assert [str(change) for change in removed(lock(package("rich", "13.0"))).changes] == ["-rich 13.0"]


@pytest.mark.parametrize(
    ("kind", "older", "newer"),
    [
        ("pypi", "1.9", "1.10"),
        ("pypi", "2.0rc1", "2.0"),
        ("pypi", "1.0", "1.0.post1"),
        ("pypi", "3.0", "1!0.1"),
        ("pypi", "1.0", "1.0+local.1"),
        ("conda", "2024a", "2024b"),
        ("conda", "1.1.1w", "1.1.1"),
        ("conda", "9.9", "1!0.1"),
        ("conda", "1.0dev", "1.0a"),
        ("conda", "1.9", "1.10"),
    ],
)
def test_versions_are_ordered_by_the_rules_of_their_kind(kind: str, older: str, newer: str) -> None:
    one, other = lock(package("x", older, kind)), lock(package("x", newer, kind))
    assert compared(kind, older, newer) == -1
    assert [each.verb for each in compare(one, other).changes] == ["upgraded"]
    assert [each.verb for each in compare(other, one).changes] == ["downgraded"]


def test_a_version_that_pypi_would_not_take_is_ordered_all_the_same() -> None:
    assert compared("pypi", "not-a-version", "1.0") == 1


def test_another_build_of_conda_and_another_spelling_of_a_version_are_rebuilt() -> None:
    before = lock(package("zlib", "1.3", "conda", "a" * 64, "h1_0"), package("tool", "1.0"))
    after = lock(package("zlib", "1.3", "conda", "b" * 64, "h1_1"), package("tool", "1.0.0"))
    assert [(each.verb, str(each)) for each in compare(before, after).changes] == [
        ("rebuilt", "tool 1.0 -> 1.0.0"),
        ("rebuilt", "zlib 1.3 (h1_0) -> 1.3 (h1_1)"),
    ]


def test_what_is_built_from_git_shows_its_commits() -> None:
    one, other = (Source("git", url="https://code.example/tool", commit=each * 40) for each in "ab")
    before = lock(package("tool", "1.0", sha256="1", source=one))
    after = lock(package("tool", "1.1", sha256="2", source=other))
    assert told(before, after) == [f"tool 1.0 ({'a' * 12}) -> 1.1 ({'b' * 12})"]


def test_what_is_required_by_name_is_direct() -> None:
    required = Requirements(
        pypi=(parse_requirement("Typing.Extensions>=4"),), conda=conda_requirements("conda-forge::zlib >=1")
    )
    packages = [
        package("typing-extensions", "4.0"),
        package("idna", "3.0"),
        package("zlib", "1.3", "conda"),
        package("bzip2", "1.0", "conda"),
    ]
    changes = compare(None, replace(lock(*packages), requirements=required)).changes
    assert {each.name: each.direct for each in changes} == {
        "typing-extensions": True,
        "idna": False,
        "zlib": True,
        "bzip2": False,
    }


def test_changes_that_archs_share_are_folded() -> None:
    def arch(name: Arch, rebuilt: str, *others: PackageChange) -> ArchChanges:
        numpy = PackageChange("pypi", "numpy", "rebuilt", "1.0", "1.0", "a" * 12, rebuilt)
        return ArchChanges(name, (*others, numpy), 1)

    python = PackageChange("python", "Python", "upgraded", "3.11", "3.12")
    rich = PackageChange("pypi", "rich", "added", "", "14.0")
    folded = fold(
        [arch(LINUX_64, "b" * 12, python, rich), arch(LINUX_AARCH64, "c" * 12, rich), arch(OSX_ARM64, "d" * 12)]
    )
    assert folded == (
        FoldedChange(python, (LINUX_64,)),
        FoldedChange(
            PackageChange("pypi", "numpy", "rebuilt", "1.0", "1.0"), (LINUX_64, LINUX_AARCH64, OSX_ARM64)
        ),  # each arch has a file of its own
        FoldedChange(rich, (LINUX_64, LINUX_AARCH64)),
    )
    assert counts(change for change, _ in folded) == {"added": 1, "upgraded": 1, "rebuilt": 1}
