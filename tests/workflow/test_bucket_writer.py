"""What somebody can do who may write into the cache: found, held off, or said on the pages to be possible.

The attacker has the store alone: no file of the project, and nobody's machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.errors import CachedLockDamaged, CacheHashMismatch, CacheUnusable, NewerCache, NotInCache
from envlock.cache.layout import (
    EnvironmentPlace,
    environment_place,
    move_path,
    push_path,
    resolved_place,
    sweep_path,
)
from envlock.cache.packages import path_of
from envlock.cache.port import Store
from envlock.cache.resolution_records import Resolved
from envlock.cache.verify import verify
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.lockfile.document import render
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.artifact import artifacts_of
from envlock.model.lock import Lock
from envlock.named.alias import Alias, parse_alias
from envlock.named.errors import BrokenAliasChain
from envlock.named.give import give
from envlock.named.history import Aliases
from envlock.named.lookup import Lookup
from envlock.named.run_record import RunRecord, RunRecords
from envlock.reporter import Reporter
from envlock.workflow.artifacts import artifact_source
from envlock.workflow.cache import collect_garbage, limits_of
from envlock.workflow.check import check
from envlock.workflow.check_online import with_cache
from envlock.workflow.lock import lock
from envlock.workflow.locking.jobs import Upgrade
from envlock.workflow.push import push
from tests.workflow.made_up import made_up_project, store_of

LATEST, V1 = parse_alias("team/base"), parse_alias("team/base:v1")


@pytest.fixture
def team(tmp_path: Path) -> Project:
    """Who publishes: `good` is named, `evil` is what the attacker would have others run; both are in the cache."""
    made = made_up_project(tmp_path / "team", {"good": ["good"], "evil": ["evil"]})
    push(made)
    lookup = Lookup(made)
    for alias in (LATEST, V1):
        give(lookup, alias, lookup.environment(made.named[0]))
    return made


@pytest.fixture
def store(team: Project) -> Store:
    """What the attacker has."""
    return store_of(team)


@pytest.fixture
def good(team: Project) -> Lock:
    return lock_named(team, "good")


@pytest.fixture
def evil(team: Project) -> Lock:
    return lock_named(team, "evil")


def lock_named(project: Project, name: str) -> Lock:
    (found,) = (each for each in map(read_lock, lock_files(project.lock_folder)) if each.asked_by == (name,))
    return found


def user_of(tmp_path: Path, name: str, *, folder: str = "user") -> Project:
    """A project whose one environment is a named one of the cache; not locked yet."""
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "envlock.toml").write_text(
        '[envlock]\ncache = "../cache"\nmetaflow-requirements = false\narchs = ["linux-64"]\n'
        f"[env.mine]\nnamed_env = {{ {name} }}\n"
    )
    return load_project(tmp_path / folder / "envlock.toml")


def locked(tmp_path: Path, name: str = 'name = "team/base"', *, folder: str = "user") -> Project:
    """As `user_of`, and locked: the environment that the name names is pinned."""
    project = user_of(tmp_path, name, folder=folder)
    lock(project)
    return load_project(project.path)


def verdicts(project: Project) -> list[str]:
    """What `check --online` finds."""
    return [finding.verdict for finding in with_cache(project, check(project)).findings]


def runs(project: Project) -> tuple[str, ...]:
    """The packages that a project runs, by its locks, which it proves to be fresh offline."""
    assert check(load_project(project.path)).findings == ()
    (path,) = lock_files(project.lock_folder)
    return tuple(package.name for package in read_lock(path).packages)


def bring(project: Project, wanted: Lock, monkeypatch: pytest.MonkeyPatch, home: Path) -> object:
    """Another machine takes a lock's packages from the cache."""
    monkeypatch.setenv("ENVLOCK_HOME", str(home))
    return artifact_source(project, Reporter(), offline=True).fetch(artifacts_of(wanted))


class TestPackages:
    @pytest.mark.parametrize(
        "change", [lambda data: data[::-1], lambda data: data[:-1], lambda data: b"", lambda data: data * 5000]
    )
    def test_other_bytes_are_found_and_not_used(
        self,
        team: Project,
        store: Store,
        good: Lock,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        change: Callable[[bytes], bytes],
    ) -> None:
        (artifact,) = artifacts_of(good)
        store.put(path_of(artifact), change(store.read(path_of(artifact))))
        with pytest.raises(CacheHashMismatch):
            bring(team, good, monkeypatch, tmp_path / "home")
        assert [found.verdict for found in verify(store, Reporter()).findings] == ["damaged-package"]

    def test_what_is_deleted_is_missed(
        self, team: Project, store: Store, good: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (artifact,) = artifacts_of(good)
        store.delete(path_of(artifact))
        with pytest.raises(NotInCache):
            bring(team, good, monkeypatch, tmp_path / "home")
        assert [found.verdict for found in verify(store, Reporter()).findings] == ["missing-package"]


class TestEnvironments:
    def test_an_edit_is_found(self, team: Project, store: Store, good: Lock) -> None:
        path = environment_place(good).path
        store.put(path, store.read(path).replace(b"good-1.0", b"evil-1.0"))
        with pytest.raises(CachedLockDamaged):
            Lookup(team).cached_lock(Lookup(team).reference("team/base"), good.arch)

    @pytest.mark.parametrize("change", ["packages", "requirements", "python"])
    def test_another_content_has_another_place(
        self, team: Project, store: Store, good: Lock, evil: Lock, change: str
    ) -> None:
        """Digests and ids recomputed: what is asked and what is installed are what the place is made of."""
        forged = {
            "packages": replace(good, packages=evil.packages),
            "requirements": replace(good, requirements=evil.requirements),
            "python": replace(good, python=replace(good.python, version="3.13.0")),
        }[change]
        store.put(environment_place(good).path, render(forged).encode())
        with pytest.raises(CachedLockDamaged):
            Lookup(team).cached_lock(Lookup(team).reference("team/base"), good.arch)

    def test_where_packages_come_from_can_be_changed_and_not_what_they_are(
        self, team: Project, store: Store, good: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor whom credentials are sent to: those go by host."""
        (package,) = good.packages
        forged = replace(good, packages=(replace(package, url="https://evil.example/x.whl"),), resolved_by="mia")
        store.put(environment_place(good).path, render(forged).encode())
        found = Lookup(team).cached_lock(Lookup(team).reference("team/base"), good.arch)
        assert (found.packages[0].url, found.resolved_by) == ("https://evil.example/x.whl", "mia")
        assert (found.full_id, found.packages[0].sha256) == (good.full_id, package.sha256)
        bring(team, found, monkeypatch, tmp_path / "home")

    def test_who_takes_what_others_resolved_takes_what_the_writer_wants(
        self, team: Project, store: Store, good: Lock, evil: Lock, tmp_path: Path
    ) -> None:
        """Whoever writes can say any name. What is taken is written into the lock folder, for a review to see."""
        (wanted,) = good.packages
        packages = (*evil.packages, replace(wanted, dependencies=("evil",)))
        forged = replace(good, packages=packages, resolved_by="mia", resolved_at="2026-11-02T00:00:00Z")
        store.put(environment_place(forged).path, render(forged).encode())
        Resolved(store).write(forged)
        assert resolved_place(forged) is not None
        taker = made_up_project(tmp_path / "taker", {"good": ["good"]}, settings='use-remote-latest = ["mia"]')
        for path in lock_files(taker.lock_folder):
            path.unlink()
        lock(taker)
        assert runs(taker) == ("evil", "good")

    def test_what_is_not_required_is_not_taken(
        self, team: Project, store: Store, good: Lock, evil: Lock, tmp_path: Path
    ) -> None:
        forged = replace(good, packages=evil.packages, resolved_by="mia", resolved_at="2026-11-02T00:00:00Z")
        store.put(environment_place(forged).path, render(forged).encode())
        Resolved(store).write(forged)
        taker = made_up_project(tmp_path / "taker", {"good": ["good"]}, settings='use-remote-latest = ":any:"')
        for path in lock_files(taker.lock_folder):
            path.unlink()
        lock(taker)
        assert runs(taker) == ("good",), "that of the team, which is older"


def names_of(store: Store, alias: Alias) -> Aliases:
    assert store.read(move_path(alias, 1))
    return Aliases(store)


def forged(store: Store, alias: Alias, sequence: int, target: Lock, *, previous: str = "") -> None:
    """Write a record that is whole, whatever was there."""
    first = names_of(store, alias).newest(alias)
    assert first is not None
    record = replace(
        first,
        sequence=sequence,
        req_id=target.req_id,
        full_ids=((target.arch, target.full_id),),
        previous=previous,
        nonce="ab" * 8,
        why="trust me",
    )
    store.put(move_path(alias, sequence), record.render())


class TestNames:
    """A writer can let a name name another environment. Whoever has pinned it stays with the pinned one."""

    def retarget(self, store: Store, evil: Lock) -> None:
        """As anybody does who may give names."""
        head = Aliases(store).newest(LATEST)
        assert head is not None
        forged(store, LATEST, 2, evil, previous=head.digest)

    def test_who_has_pinned_a_tag_that_moves_stays(self, store: Store, evil: Lock, tmp_path: Path) -> None:
        project = locked(tmp_path)
        self.retarget(store, evil)
        assert runs(project) == ("good",)
        assert verdicts(project) == ["alias-moved"]
        lock(load_project(project.path))
        assert runs(project) == ("good",), "locking again does not follow it"
        assert len(Aliases(store).history(LATEST)) == 2, "who, when and why is in its log, as far as the writer tells"

    def test_who_has_not_pinned_it_gets_what_the_writer_wants(self, store: Store, evil: Lock, tmp_path: Path) -> None:
        self.retarget(store, evil)
        assert runs(locked(tmp_path)) == ("evil",)

    @pytest.mark.parametrize("alias", [LATEST, V1])
    def test_a_record_that_is_replaced_is_found_by_who_has_pinned_it(
        self, store: Store, evil: Lock, tmp_path: Path, alias: Alias
    ) -> None:
        """Also of a tag that never moves: the store is asked to refuse a second one, and a writer need not ask."""
        project = locked(tmp_path, f'name = "{alias}"')
        forged(store, alias, 1, evil)
        assert runs(project) == ("good",)
        assert verdicts(project) == ["pin-disagrees"]
        with pytest.raises(BrokenAliasChain) if alias.moves else nullcontext():
            lock(load_project(project.path), upgrade=Upgrade(all_aliases=True))
        assert runs(project) == ("good",), "a tag that never moves is not looked up again"

    @pytest.mark.parametrize("alias", [LATEST, V1])
    def test_and_by_nobody_else(self, store: Store, evil: Lock, tmp_path: Path, alias: Alias) -> None:
        forged(store, alias, 1, evil)
        assert runs(locked(tmp_path, f'name = "{alias}"')) == ("evil",)

    def test_a_history_that_is_rewritten_is_found_by_who_has_pinned_it(
        self, store: Store, evil: Lock, tmp_path: Path
    ) -> None:
        project = locked(tmp_path)
        forged(store, LATEST, 1, evil)
        self.retarget(store, evil)
        assert verdicts(project) == ["pin-disagrees"]
        assert runs(project) == ("good",)

    def test_moves_that_are_taken_back_are_found_by_who_has_pinned_them(
        self, store: Store, evil: Lock, tmp_path: Path
    ) -> None:
        """The last of a chain has nobody after it who says that it was there."""
        self.retarget(store, evil)
        project = locked(tmp_path)
        store.delete(move_path(LATEST, 2))
        assert verdicts(project) == ["pin-disagrees"]
        assert runs(locked(tmp_path, folder="another")) == ("good",), (
            "the environment that it named before, which is now the last"
        )

    @pytest.mark.parametrize("sequence", [1, 2])
    def test_a_move_before_the_last_cannot_be_changed_unseen(self, store: Store, evil: Lock, sequence: int) -> None:
        self.retarget(store, evil)
        head = Aliases(store).newest(LATEST)
        assert head is not None
        forged(store, LATEST, 3, evil, previous=head.digest)
        forged(store, LATEST, sequence, evil, previous="" if sequence == 1 else "0" * 64)
        with pytest.raises(BrokenAliasChain):
            Aliases(store).history(LATEST)

    @pytest.mark.parametrize("sequence", [1, 2])
    def test_a_move_before_the_last_cannot_be_taken_away_unseen(self, store: Store, evil: Lock, sequence: int) -> None:
        self.retarget(store, evil)
        head = Aliases(store).newest(LATEST)
        assert head is not None
        forged(store, LATEST, 3, evil, previous=head.digest)
        store.delete(move_path(LATEST, sequence))
        with pytest.raises(BrokenAliasChain):
            Aliases(store).newest(LATEST)

    def test_a_record_that_is_edited_by_hand_is_found(self, store: Store, evil: Lock) -> None:
        place = move_path(V1, 1)
        record = json.loads(store.read(place))
        store.put(place, json.dumps({**record, "req_id": evil.req_id}, indent=1).encode())
        with pytest.raises(BrokenAliasChain):
            Aliases(store).newest(V1)

    def test_a_name_that_is_deleted_is_missed_by_who_has_pinned_it(self, store: Store, tmp_path: Path) -> None:
        project = locked(tmp_path, 'name = "team/base:v1"')
        store.delete(move_path(V1, 1))
        assert verdicts(project) == ["pin-disagrees"]
        assert runs(project) == ("good",)


class TestRuns:
    """What a step ran in, where Metaflow does not know the run: the cache's own notes."""

    @pytest.fixture(autouse=True)
    def _nobody_knows_runs(self, monkeypatch: pytest.MonkeyPatch, good: Lock, store: Store) -> None:
        from envlock.named import lookup
        from envlock.named.errors import MetaflowMissing

        def missing(pathspec: str) -> object:
            raise MetaflowMissing(reason=pathspec)

        monkeypatch.setattr(lookup, "recorded_by_metaflow", missing)
        self.note(store, good)

    def note(self, store: Store, lock: Lock) -> None:
        ran = RunRecord("Train", "1", "start", lock.arch, lock.req_id, lock.full_id)
        store.delete(ran.path)
        RunRecords(store).write(ran)

    def test_who_has_pinned_a_run_stays(self, store: Store, evil: Lock, tmp_path: Path) -> None:
        project = locked(tmp_path, 'pathspec = "Train/1/start"')
        self.note(store, evil)
        lock(load_project(project.path))
        assert runs(project) == ("good",)

    def test_who_has_not_gets_what_the_writer_wants(self, store: Store, evil: Lock, tmp_path: Path) -> None:
        self.note(store, evil)
        assert runs(locked(tmp_path, 'pathspec = "Train/1/start"')) == ("evil",)


class TestSweeps:
    def test_an_announcement_only_keeps_more(self, team: Project, store: Store, evil: Lock) -> None:
        place = EnvironmentPlace(evil.arch, evil.req_id, evil.full_id).path
        said = {"format": 1, "environments": [place, "../../etc"], "packages": ["/etc/passwd"]}
        store.put(push_path("a1"), json.dumps(said).encode())
        for path in lock_files(team.lock_folder):
            if read_lock(path).asked_by == ("evil",):
                path.unlink()
        assert collect_garbage(team, limits_of(grace="0"), delete=True).of("environment") == ()

    def test_a_format_that_is_made_up_stops_everybody_and_says_where(self, team: Project, store: Store) -> None:
        store.put("CACHE.json", b'{"format": 2}')
        with pytest.raises(NewerCache):
            push(load_project(team.path))

    def test_a_flag_is_no_push_of_its_own(self, team: Project, store: Store) -> None:
        """How long one holds a push off: see test_cache_gc."""
        store.put(sweep_path("a1"), b"\0" * 100)
        collect_garbage(team, limits_of(), delete=True)
        push(load_project(team.path))
        there = {entry.path for entry in store.entries("envs")}
        assert {
            EnvironmentPlace(lock.arch, lock.req_id, lock.full_id).path
            for lock in map(read_lock, lock_files(team.lock_folder))
        } <= there


class TestFolders:
    """In a folder, a writer can make links."""

    def test_a_link_to_a_secret_is_read_by_nobody_else(self, team: Project, store: Store, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text('{"format": 1, "password": "s3cret"}')
        place = tmp_path / "cache" / move_path(V1, 1)
        place.unlink()
        place.symlink_to(secret)
        with pytest.raises(BrokenAliasChain) as caught:
            Aliases(store).newest(V1)
        assert "s3cret" not in caught.value.render()

    @pytest.mark.parametrize("linked", ["packages", "envs", "envs/linux-64", ".stage"])
    def test_nothing_is_written_through_a_link_that_leads_out(self, team: Project, tmp_path: Path, linked: str) -> None:
        mine = tmp_path / "mine"
        mine.mkdir()
        for package in (tmp_path / "cache" / "packages").rglob("*.whl"):
            package.unlink()
        place = tmp_path / "cache" / linked
        place.rename(tmp_path / "moved")
        place.symlink_to(mine)
        with pytest.raises(CacheUnusable, match="leads out of the cache") as caught:
            push(load_project(team.path))
        assert str(mine) in caught.value.message
        assert list(mine.iterdir()) == []
