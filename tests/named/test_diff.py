"""What differs between two locks: one way of counting, for `lock` and for the history of names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.layout import move_path
from envlock.cli.lock import differences_of
from envlock.config.project import Project
from envlock.errors import EnvlockError
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements
from envlock.named.alias import Alias
from envlock.named.diff import compare, difference, log
from envlock.named.errors import (
    AliasNotFound,
    BrokenAliasChain,
)
from envlock.named.give import give
from envlock.named.lookup import Lookup, NamedEnvironment
from envlock.workflow.locking.jobs import Locked
from tests.index import Index
from tests.named.projects import (
    LATEST,
    TWO,
    V1,
    environment_of,
    two_environments,
    without_locks,
)


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


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return two_environments(tmp_path, index)


@pytest.fixture
def lookup(project: Project) -> Lookup:
    return Lookup(project)


class TestEnvironments:
    def test_a_log_shows_what_changed(self, lookup: Lookup) -> None:
        for name in ("one", "two", "one"):
            give(lookup, LATEST, environment_of(lookup.project, name), why=f"for {name}")
        first, second, third = log(lookup, LATEST)
        assert (first.changes, first.came) == ((), tuple(sorted(TWO)))
        assert [each.arch for each in second.changes] == sorted(TWO)
        assert [str(change) for change in second.changes[0].changes] == ["alpha 1.0 -> 1.1", "-beta 1.5", "+lam 1.0"]
        assert [str(change) for change in third.changes[1].changes] == ["alpha 1.1 -> 1.0", "+beta 1.5", "-lam 1.0"]
        assert third.move.why == "for one"

    def test_a_log_of_what_is_gone(self, lookup: Lookup, project: Project) -> None:
        for name in ("one", "two"):
            give(lookup, LATEST, environment_of(lookup.project, name))
        for entry in list(lookup.store.entries("envs/osx-arm64")):
            lookup.store.delete(entry.path)
        _, second = log(without_locks(project), LATEST)
        assert not second.is_complete
        assert [each.arch for each in second.changes] == [LINUX_64]

    def test_a_log_of_nothing(self, lookup: Lookup) -> None:
        give(lookup, V1, environment_of(lookup.project, "one"))
        with pytest.raises(AliasNotFound) as caught:
            log(lookup, Alias("team/bas", "v1"))
        assert "did you mean `team/base:v1`?" in caught.value.render()

    def test_the_difference_of_two(self, lookup: Lookup) -> None:
        give(lookup, V1, environment_of(lookup.project, "one"))
        for name in ("one", "two"):
            give(lookup, LATEST, environment_of(lookup.project, name))
        compared = difference(lookup, lookup.reference("team/base:v1"), lookup.reference("team/base"))
        assert not compared.is_same
        assert [each.same for each in compared.changes] == [0, 0]
        assert difference(lookup, lookup.reference("team/base:v1"), lookup.reference("team/base:latest@1")).is_same
        part = NamedEnvironment("part", compared.after.req_id, compared.after.full_ids[:1])
        assert difference(lookup, compared.before, part).went == (OSX_ARM64,)

    def test_every_name(self, lookup: Lookup) -> None:
        for alias in (V1, LATEST, Alias("other/base")):
            give(lookup, alias, environment_of(lookup.project, "one"))
        assert [alias for alias, _ in lookup.aliases.all_newest()] == sorted([V1, LATEST, Alias("other/base")])
        lookup.store.put(move_path(V1, 1), b"damaged")
        (_, good), (_, bad) = lookup.aliases.all_newest("team/")
        assert isinstance(bad, BrokenAliasChain)
        assert not isinstance(good, EnvlockError)
