"""What each move of a tag changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.cache.layout import move_path
from envlock.config.project import Project
from envlock.errors import EnvlockError
from envlock.model.arch import LINUX_64
from envlock.named.alias import Alias
from envlock.named.diff import log
from envlock.named.errors import (
    AliasNotFound,
    BrokenAliasChain,
)
from envlock.named.give import give
from envlock.named.lookup import Lookup
from tests.index import Index
from tests.named.projects import (
    LATEST,
    TWO,
    V1,
    environment_of,
    two_environments,
    without_locks,
)


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

    def test_every_name(self, lookup: Lookup) -> None:
        for alias in (V1, LATEST, Alias("other/base")):
            give(lookup, alias, environment_of(lookup.project, "one"))
        assert [alias for alias, _ in lookup.aliases.all_newest()] == sorted([V1, LATEST, Alias("other/base")])
        lookup.store.put(move_path(V1, 1), b"damaged")
        (_, good), (_, bad) = lookup.aliases.all_newest("team/")
        assert isinstance(bad, BrokenAliasChain)
        assert not isinstance(good, EnvlockError)
