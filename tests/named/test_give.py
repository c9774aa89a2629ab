"""Giving aliases: packages and environments come first, whoever is killed, and whoever is faster."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.cache.environments import Environments
from envlock.cache.layout import move_path, package_at
from envlock.cache.open import open_store
from envlock.cache.packages import path_of
from envlock.cache.port import Store
from envlock.config.project import Project
from envlock.errors import EnvlockError
from envlock.lockfile.folder import lock_files
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.model.artifact import artifacts_of
from envlock.named.alias import Alias
from envlock.named.diff import log
from envlock.named.errors import (
    AliasLacksArch,
    AliasMoved,
    AliasNeverMoves,
    AliasNotFound,
    AliasTaken,
    BrokenAliasChain,
    EnvironmentNotInCache,
    NoEarlierMove,
    NoSuchMove,
)
from envlock.named.give import give, promote, promotion_target, rollback
from envlock.named.lookup import Lookup, NamedEnvironment
from envlock.workflow.get import get
from envlock.workflow.push import push
from tests.cache.locks import locked_project
from tests.index import Index
from tests.named.alias_drafts import CountingStore
from tests.named.projects import (
    ALPHA,
    LAM,
    LATEST,
    TWO,
    V1,
    environment_of,
    two_environments,
    without_locks,
)

STABLE = Alias("team/base", "stable")


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return two_environments(tmp_path, index)


@pytest.fixture
def lookup(project: Project) -> Lookup:
    return Lookup(project)


def files(project: Project) -> list[str]:
    store = open_store(project.cache_url)
    return [entry.path for folder in ("packages", "envs", "aliases") for entry in store.entries(folder)]


def assert_names_lead_somewhere(store: Store) -> int:
    """Every name's environment is there, with all packages; how many names there are."""
    from envlock.named.history import Aliases

    environments = Environments(store)
    for place in environments.places():
        for artifact in artifacts_of(environments.read(place)):
            assert store.entry(path_of(artifact)) is not None
    for entry in store.entries("packages"):
        found = package_at(entry.path)
        assert found is not None
        assert store.sha256(entry.path) == found[0]
    aliases = Aliases(store)
    for alias in aliases.names():
        for move in aliases.history(alias):
            for arch, full_id in move.full_ids:
                assert store.entry(f"envs/{arch}/{move.req_id}/{full_id}.toml") is not None
    return len(aliases.names())


class TestGiving:
    def test_packages_and_environments_come_first(self, lookup: Lookup) -> None:
        given = give(lookup, V1, environment_of(lookup.project, "one"), why="the first")
        assert given.pushed is not None
        assert (given.pushed.moved, given.pushed.written) == (3, 2)
        move = given.move
        assert [arch for arch, _ in move.full_ids] == sorted(TWO)
        assert (move.who, move.source, move.why) == ("tester", "one", "the first")
        assert given.lacking == ()
        assert assert_names_lead_somewhere(lookup.store) == 1
        assert lookup.reference("team/base:v1").move == move

    def test_again(self, lookup: Lookup) -> None:
        give(lookup, V1, environment_of(lookup.project, "one"))
        again = give(lookup, V1, environment_of(lookup.project, "one"), why="another")
        assert again.was_there
        assert again.pushed is not None
        assert again.pushed.moved_nothing

    def test_what_is_taken_is_refused_before_anything_is_moved(self, lookup: Lookup, project: Project) -> None:
        give(lookup, V1, environment_of(lookup.project, "one"))
        before = files(project)
        with pytest.raises(AliasTaken):
            give(Lookup(project), V1, environment_of(lookup.project, "two"))
        assert files(project) == before

    def test_a_package_that_cannot_be_had_gives_no_name(self, tmp_path: Path, make_index: Callable[..., Index]) -> None:
        own = make_index()
        project = locked_project(tmp_path / "own", own, {"one": [ALPHA, LAM]})
        own.tamper(ALPHA)
        lookup = Lookup(project)
        with pytest.raises(EnvlockError, match=r"alpha-1\.0"):
            give(lookup, V1, environment_of(lookup.project, "one"))
        assert list(lookup.store.entries("aliases")) == list(lookup.store.entries("envs")) == []

    def test_an_arch_that_is_not_locked(self, lookup: Lookup, project: Project) -> None:
        for path in lock_files(project.lock_folder):
            if OSX_ARM64 in path.parts:
                path.unlink()
        given = give(lookup, V1, environment_of(lookup.project, "one"))
        assert given.lacking == (OSX_ARM64,)
        found = lookup.reference("team/base:v1")
        assert found.archs == (LINUX_64,)
        with pytest.raises(AliasLacksArch) as caught:
            lookup.lock(found, OSX_ARM64)
        assert "`team/base:v1` is not there for osx-arm64" in caught.value.message
        assert caught.value.details == ("it is there for: linux-64",)

    def test_one_alias_from_another(self, lookup: Lookup, project: Project) -> None:
        give(lookup, LATEST, environment_of(lookup.project, "one"))
        alone = without_locks(project)
        given = give(alone, V1, alone.reference("team/base"))
        assert given.move.source == "team/base:latest@1"
        assert given.pushed is None
        assert alone.reference("team/base:v1").full_ids == alone.reference("team/base").full_ids

    def test_by_ids_that_the_project_has(self, lookup: Lookup) -> None:
        one = environment_of(lookup.project, "one")
        identity = f"{one.req_id}:{dict(one.full_ids)[LINUX_64]}"
        given = give(lookup, V1, lookup.reference(identity))
        assert given.move.full_ids == one.full_ids, "all archs that are locked with it"
        assert given.move.source == identity
        assert_names_lead_somewhere(lookup.store)

    def test_by_ids_that_only_the_cache_has(self, lookup: Lookup, project: Project) -> None:
        push(project)
        ids = {name: environment_of(lookup.project, name) for name in ("one", "two")}
        alone = without_locks(project)
        for name, archs in (("one", (LINUX_64,)), ("two", tuple(sorted(TWO)))):
            found = alone.reference(f"{ids[name].req_id}:{dict(ids[name].full_ids)[LINUX_64]}")
            assert found.archs == archs, "the same full_id is the same packages, whatever the arch"
            assert not give(alone, Alias(name, "v1"), found).was_there

    def test_words_of_the_command_line_may_be_any_bytes(self, lookup: Lookup) -> None:
        give(lookup, V1, environment_of(lookup.project, "one"), why="caf\udce9")
        assert lookup.reference("team/base:v1").move.why == "caf?"  # type: ignore[union-attr]


class TestMoving:
    @pytest.fixture
    def moved(self, lookup: Lookup) -> Lookup:
        """`latest` was moved from one to two."""
        for name in ("one", "two"):
            give(lookup, LATEST, environment_of(lookup.project, name))
        return lookup

    def test_rollback(self, moved: Lookup) -> None:
        one, two = environment_of(moved.project, "one"), environment_of(moved.project, "two")
        given = rollback(moved, LATEST)
        assert given.move.sequence == 3
        assert given.move.full_ids == one.full_ids
        assert given.move.source == "team/base:latest@1"
        assert given.move.why == "rolled back from 2 to 1"
        assert rollback(moved, LATEST, to=2, why="it was right").move.full_ids == two.full_ids
        assert rollback(moved, LATEST, to=2).was_there
        assert len(moved.aliases.history(LATEST)) == 4

    def test_what_cannot_be_rolled_back(self, moved: Lookup) -> None:
        give(moved, V1, environment_of(moved.project, "one"))
        give(moved, STABLE, environment_of(moved.project, "one"))
        for alias, to, error in (
            (V1, None, AliasNeverMoves),
            (STABLE, None, NoEarlierMove),
            (STABLE, 2, NoSuchMove),
            (LATEST, 3, NoSuchMove),
            (Alias("team/base", "candidate"), None, AliasNotFound),
        ):
            with pytest.raises(error):
                rollback(moved, alias, to=to)

    def test_a_rollback_to_what_is_gone(self, moved: Lookup, project: Project) -> None:
        for entry in list(moved.store.entries("envs")):
            if moved.aliases.history(LATEST)[0].req_id in entry.path:
                moved.store.delete(entry.path)
        with pytest.raises(EnvironmentNotInCache):
            rollback(without_locks(project), LATEST)
        assert len(moved.aliases.history(LATEST)) == 2

    def test_a_broken_history_is_not_rolled_back(self, moved: Lookup) -> None:
        moved.store.delete(move_path(LATEST, 1))
        with pytest.raises(BrokenAliasChain):
            rollback(moved, LATEST)

    def test_promote(self, moved: Lookup) -> None:
        given = promote(moved, LATEST, STABLE, why="passes the nightly")
        assert given.move.full_ids == environment_of(moved.project, "two").full_ids
        assert (given.move.source, given.move.why) == ("team/base:latest@2", "passes the nightly")
        assert promote(moved, LATEST, STABLE).was_there
        assert promote(moved, STABLE, promotion_target(STABLE, "v7")).move.alias == Alias("team/base", "v7")
        assert promotion_target(STABLE, "prod/base:stable") == Alias("prod/base", "stable")
        with pytest.raises(AliasNotFound):
            promote(moved, Alias("team/base", "candidate"), STABLE)

    @pytest.mark.parametrize("work", ["promote", "rollback"])
    def test_two_people_at_once(self, moved: Lookup, project: Project, work: str) -> None:
        """Both look, the other one moves first: the second is told, and nothing that the first did is undone."""
        for name in ("one", "two"):
            give(moved, STABLE, environment_of(moved.project, name))
        mine = Lookup(project)
        three = [environment_of(moved.project, "one"), environment_of(moved.project, "two")]
        before = mine.aliases.add

        def late(*arguments: object, **options: object) -> object:
            give(moved, STABLE, three[0])
            return before(*arguments, **options)  # type: ignore[arg-type]

        mine.aliases.add = late  # type: ignore[method-assign, assignment]
        if work == "promote":
            give(moved, Alias("team/base", "candidate"), NamedEnvironment("x", three[1].req_id, three[1].full_ids[:1]))
            with pytest.raises(AliasMoved, match="it was at move 2, and is at move 3"):
                promote(mine, Alias("team/base", "candidate"), STABLE)
        else:
            give(moved, STABLE, NamedEnvironment("x", three[0].req_id, three[0].full_ids[:1]))
            with pytest.raises(AliasMoved, match="it was at move 3, and is at move 4"):
                rollback(mine, STABLE)
        assert moved.aliases.history(STABLE)[-1].full_ids == three[0].full_ids


def _requests(project: Project, url: str) -> dict[str, Counter[str]]:
    """What each kind of work asks of a cache that holds whatever it holds."""
    lookup = Lookup(project._replace(settings=project.settings._replace(cache=url)))
    counting = CountingStore(lookup.store)
    lookup.__dict__["store"] = counting
    asked = {}
    one = environment_of(lookup.project, "one")
    ids = f"{one.req_id}:{one.full_ids[0][1]}"
    for name, work in (
        ("give", lambda: give(lookup, V1, one)),
        ("give again", lambda: give(lookup, V1, one)),
        ("give one that moves", lambda: give(lookup, LATEST, one)),
        ("move", lambda: give(lookup, LATEST, environment_of(lookup.project, "two"))),
        ("find", lambda: lookup.reference("team/base:v1")),
        ("find one that moves", lambda: lookup.reference("team/base")),
        ("find by ids", lambda: lookup.reference(ids)),
        ("get", lambda: get(lookup, lookup.reference("team/base:v1"))),
        ("rollback", lambda: rollback(lookup, LATEST)),
        ("promote", lambda: promote(lookup, LATEST, STABLE)),
        ("log", lambda: log(lookup, LATEST)),
        ("not there", lambda: str(lookup.not_found(Alias("team/bose")))),
    ):
        counting.asked.clear()
        work()
        asked[name] = Counter(counting.asked)
    return asked


def test_a_hundred_thousand_files_make_no_difference(project: Project, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    full = open_store(f"{url}-full")
    for number in range(33_334):
        full.put(f"packages/{number:064x}/x.whl", b"")
        full.put(f"envs/linux-64/{number:040x}/{number:040x}.toml", b"")
        full.put(f"aliases/other/env-{number}/@tags/latest/0000000001.json", b"")
    asked = _requests(project, f"{url}-full")
    assert asked == _requests(project, f"{url}-empty")
    assert asked["find"] == asked["find one that moves"] == {"entries": 1, "read": 1}
    assert asked["get"] == {"entries": 1, "read": 1 + len(TWO)}
    for folder in ("packages", "envs", "aliases"):
        for entry in list(full.entries(folder)):
            full.delete(entry.path)


_KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from envlock.cache.folder_store import FolderStore
from envlock.config.read import load_project
from envlock.named.alias import Alias
from envlock.named.give import give
from envlock.config.selection import choose_one
from envlock.named.lookup import Lookup
import envlock.workflow.push
project = load_project(Path(sys.argv[1]))
def killing(method, count, number):
    def write(*arguments, **options):
        is_it = next(count) == number
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments, **options)
    return write
for number in range(1, 100):
    child = os.fork()
    if child == 0:
        count = itertools.count(1)
        FolderStore.put = killing(FolderStore.put, count, number)
        FolderStore.create = killing(FolderStore.create, count, number)
        lookup = Lookup(project._replace(settings=project.settings._replace(cache=f"../{number}")))
        give(lookup, Alias("team/base", "v1"), lookup.environment(choose_one(project, environment="one")))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(number, os.WIFSIGNALED(status), flush=True)
    if status == 0:
        sys.exit(0)
"""


def test_a_kill_at_any_write_leaves_no_name_of_what_is_not_there(tmp_path: Path, index: Index) -> None:
    """Before each: what is there then is what is there after the one before."""
    project = locked_project(tmp_path / "project", index, {"one": [ALPHA, LAM]}, archs=TWO)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(project.path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    *killed, last = [line.split() for line in done.stdout.splitlines()]
    assert last[1] == "False"
    assert len(killed) >= 5, "two packages, two environments, a name, and what announces them"
    given = []
    for number, was_killed in killed:
        assert was_killed == "True", done.stdout
        cache = tmp_path / number
        given.append(assert_names_lead_somewhere(open_store(str(cache))))
        # Whoever comes next finds what is there, and ends it.
        lookup = Lookup(project._replace(settings=project.settings._replace(cache=str(cache))))
        give(lookup, V1, environment_of(lookup.project, "one"))
        assert assert_names_lead_somewhere(lookup.store) == 1
    assert not any(given), "a name is the last thing that is written"
