from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import envlock.workflow.cache as cache_module
from envlock.cache import gc_lock
from envlock.cache.errors import (
    BadSpan,
    CacheReadOnly,
    GcOverdue,
    NewerCache,
    NoClock,
    NoLockTree,
    UnreadableAnnouncement,
    UnreadableKept,
)
from envlock.cache.folder_store import STAGE
from envlock.cache.gc import ENVIRONMENT, LEFTOVER, SWEEPING, Garbage
from envlock.cache.gc_lock import GcFlag, Needs, announced
from envlock.cache.gc_roots import BY_DOUBT
from envlock.cache.images import ImageRecord, Images
from envlock.cache.layout import environment_place, image_path, move_path, probe_path, push_path, sweep_path
from envlock.cache.packages import BuiltFor, BuiltWheels, path_of
from envlock.cache.port import Store
from envlock.config.project import Project
from envlock.errors import EnvlockError
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.artifact import artifacts_of
from envlock.model.lock import Lock
from envlock.named.alias import parse_alias
from envlock.named.errors import BrokenAliasChain, DamagedRunRecord
from envlock.named.give import give
from envlock.named.lookup import Lookup
from envlock.named.run_record import RunRecord, RunRecords
from envlock.workflow.cache import collect_garbage, limits_of
from envlock.workflow.push import push
from tests.cache.locks import lock_of
from tests.support import snapshot, wait_until
from tests.workflow.made_up import (
    ShiftedStore,
    age,
    made_up_project,
    packages_in,
    paths,
    store_of,
    sweeps_that_are_killed,
)
from tests.workflow.recording import Recorder

EVERYTHING = ("packages", "envs", "aliases", "pathspecs", "resolved", "pushes", "sweeps", "probe")


@pytest.fixture
def other(tmp_path: Path) -> Project:
    """Another project of the same cache, pushed long ago: nothing of it is in the lock tree of `project`."""
    made = made_up_project(tmp_path / "other", {"one": ["shared", "first"], "two": ["shared", "second"]})
    push(made)
    age(tmp_path / "cache", 30)
    return made


@pytest.fixture
def project(tmp_path: Path, other: Project) -> Project:
    """Pushed long ago too."""
    made = made_up_project(tmp_path / "project", {"mine": ["shared", "own"]})
    push(made)
    age(tmp_path / "cache", 30)
    return made


@pytest.fixture
def store(project: Project) -> Store:
    return store_of(project)


def run_record(lock: Lock, run: str = "142") -> RunRecord:
    return RunRecord("TrainFlow", run, "train", lock.arch, lock.req_id, lock.full_id)


def name_it(project: Project, alias: str, environment: str) -> None:
    lookup = Lookup(project)
    (found,) = (lookup.environment(each) for each in project.named if each.name == environment)
    give(lookup, parse_alias(alias), found)


def swept(project: Project, **options: object) -> Garbage:
    """Delete, and show that there is nothing more to delete then."""
    limits = {key: options.pop(key) for key in ("grace", "runs", "moves") if key in options}
    before = collect_garbage(project, limits_of(**limits), **options)  # type: ignore[arg-type]
    done = collect_garbage(project, limits_of(**limits), delete=True, **options)  # type: ignore[arg-type]
    assert {each.path for each in done.doomed} == {each.path for each in before.doomed}, "what was shown is what went"
    assert collect_garbage(project, limits_of(**limits), **options).doomed == ()  # type: ignore[arg-type]
    return done


class TestWhatStays:
    def test_a_dry_run_deletes_nothing(self, project: Project, store: Store, tmp_path: Path) -> None:
        before = paths(store, *EVERYTHING)
        result = collect_garbage(project, limits_of())
        assert len(result.of("environment")) == 2
        assert len(result.of("package")) == 2
        assert paths(store, *EVERYTHING) == before

    def test_a_dry_run_makes_no_cache(self, tmp_path: Path) -> None:
        made = made_up_project(tmp_path / "project", {"mine": ["own"]})
        before = set(tmp_path.rglob("*"))
        assert collect_garbage(made, limits_of()).doomed == ()
        assert set(tmp_path.rglob("*")) == before

    def test_the_projects_own_locks(self, project: Project, store: Store) -> None:
        result = swept(project)
        assert packages_in(store) == {"shared", "own"}
        assert paths(store, "envs") == {environment_place(lock_of(project, "mine")).path}
        assert result.kept == {"a lock": 1}
        assert result.totals["environment"].count == 3
        assert len(result.of("pointer")) == 2, "who resolved the two that went"
        assert len(paths(store, "resolved")) == 1
        assert [each.kind for each in result.doomed] == ["pointer"] * 2 + ["environment"] * 2 + ["package"] * 2
        assert all(29 < each.age / 86400 < 31 for each in result.doomed)

    def test_a_lock_that_was_never_pushed_keeps_its_packages(
        self, project: Project, store: Store, tmp_path: Path
    ) -> None:
        """A push that was killed has packages in the cache, and no environment."""
        lock = lock_of(project, "mine")
        store.delete(environment_place(lock).path)
        swept(project)
        assert packages_in(store) == {"shared", "own"}

    def test_a_wheel_that_a_machine_of_another_arch_built(self, project: Project, other: Project, store: Store) -> None:
        """No lock has it until somebody locks for that arch."""
        (built,) = (each for each in lock_of(other, "two").packages if each.name == "second")
        wheel = BuiltFor(built.filename, built.version, built.sha256, built.size or 0, ("setuptools==80.9.0",))
        BuiltWheels(store).put("ab" * 32, "osx-arm64", "3.12", wheel)
        swept(project)
        assert packages_in(store) == {"shared", "own", "second"}
        assert BuiltWheels(store).find("ab" * 32, "osx-arm64", "3.12") == wheel
        assert BuiltWheels(store).find("ab" * 32, "osx-64", "3.12") is None

    @pytest.mark.parametrize("inside", [True, False])
    def test_lock_trees_of_others(self, project: Project, other: Project, store: Store, inside: bool) -> None:
        result = swept(project, trees=[other.lock_folder if inside else other.folder])
        assert result.doomed == ()
        assert result.kept == {"a lock": 3}

    def test_environments_of_aliases(self, project: Project, other: Project, store: Store, tmp_path: Path) -> None:
        name_it(other, "team/base:v1", "two")
        age(tmp_path / "cache", 30)
        result = swept(project)
        assert packages_in(store) == {"shared", "own", "second"}
        assert result.kept == {"a lock": 1, "an alias": 1}

    def test_environments_of_earlier_moves(
        self, project: Project, other: Project, store: Store, tmp_path: Path
    ) -> None:
        for environment in ("one", "two"):
            name_it(other, "team/base:latest", environment)
        age(tmp_path / "cache", 30)
        assert swept(project).doomed == ()
        swept(project, moves=1)
        assert packages_in(store) == {"shared", "own", "second"}
        assert len(paths(store, "aliases")) == 2, "the history of a name is whole"
        assert Lookup(project).aliases.history(parse_alias("team/base"))[0].req_id == lock_of(other, "one").req_id

    def test_what_young_runs_ran_in(self, project: Project, other: Project, store: Store, tmp_path: Path) -> None:
        one, two = lock_of(other, "one"), lock_of(other, "two")
        RunRecords(store).write(run_record(one, "1"))
        RunRecords(store).write(run_record(two, "2"))
        age(tmp_path / "cache" / "pathspecs", 80)
        assert swept(project).doomed == ()
        age(tmp_path / "cache" / "pathspecs", 100, "/1/")
        result = swept(project)
        assert packages_in(store) == {"shared", "own", "second"}
        assert paths(store, "pathspecs") == {run_record(two, "2").path}
        assert result.doomed[0].kind == "pointer", "what points goes first"

    def test_the_record_of_an_old_run_stays_as_long_as_its_environment(
        self, project: Project, other: Project, store: Store, tmp_path: Path
    ) -> None:
        RunRecords(store).write(run_record(lock_of(other, "one")))
        name_it(other, "team/base:v1", "one")
        age(tmp_path / "cache", 400)
        swept(project)
        assert len(paths(store, "pathspecs")) == 1

    def test_what_is_young(self, project: Project, other: Project, store: Store, tmp_path: Path) -> None:
        young = environment_place(lock_of(other, "one")).path
        age(tmp_path / "cache", 3, young)
        result = swept(project)
        assert packages_in(store) == {"shared", "own", "first"}, "old packages of a young environment"
        assert result.kept == {"a lock": 1, "its age": 1}
        swept(project, grace="2d")
        assert packages_in(store) == {"shared", "own"}

    def test_a_young_package_that_nothing_names(self, project: Project, other: Project, tmp_path: Path) -> None:
        store = store_of(project)
        age(tmp_path / "cache", 3, "second")
        swept(project)
        assert packages_in(store) == {"shared", "own", "second"}

    def test_what_a_push_needs(self, project: Project, other: Project, store: Store) -> None:
        two = lock_of(other, "two")
        needs = Needs(frozenset({environment_place(two).path}))
        with announced(store, needs):
            assert collect_garbage(project, limits_of(grace="0")).pushes == 1
            collect_garbage(project, limits_of(grace="0"), delete=True)
            assert packages_in(store) == {"shared", "own", "second"}
        with announced(store, Needs(packages=frozenset(map(path_of, artifacts_of(two))))):
            collect_garbage(project, limits_of(grace="0"), delete=True)
            assert packages_in(store) == {"shared", "own", "second"}
            assert len(paths(store, "envs")) == 1
        swept(project, grace="0")
        assert packages_in(store) == {"shared", "own"}

    def test_an_older_gc_reads_what_a_push_with_kits_needs(self) -> None:
        needs = Needs(frozenset({"envs/a"}), frozenset({"packages/b"}))
        assert json.loads(needs.render()) == {"format": 1, "environments": ["envs/a"], "packages": ["packages/b"]}
        more = needs._replace(kits=frozenset({"kits/objects/c"}))
        assert json.loads(more.render()).items() > json.loads(needs.render()).items()
        assert Needs.parse(needs.render()) == needs
        assert Needs.parse(more.render()) == more

    def test_what_envlock_did_not_put_there(self, project: Project, store: Store, tmp_path: Path) -> None:
        strangers = {"packages/README.md", "envs/notes.txt", "resolved/x", "packages/ab/x.whl"}
        for path in strangers:
            store.put(path, b"the team's")
        age(tmp_path / "cache", 400)
        swept(project)
        assert strangers <= paths(store, *EVERYTHING)

    def test_an_empty_cache(self, tmp_path: Path) -> None:
        project = made_up_project(tmp_path / "project", {"mine": ["own"]})
        assert swept(project).doomed == ()


class TestLeftovers:
    def test_what_the_killed_left(self, project: Project, store: Store, tmp_path: Path) -> None:
        for path in (push_path("a1"), sweep_path("b2"), "probe/c3"):
            store.put(path, Needs().render())
        fresh = collect_garbage(project, limits_of())
        assert fresh.of("leftover") == ()
        assert fresh.pushes == 1
        age(tmp_path / "cache", 2, "pushes", "sweeps", "probe")
        assert len(swept(project).of("leftover")) == 3
        assert paths(store, "pushes", "sweeps", "probe") == set()

    def test_a_pointer_to_what_is_gone(self, project: Project, other: Project, store: Store) -> None:
        store.delete(environment_place(lock_of(other, "one")).path)
        assert len(collect_garbage(project, limits_of()).of("pointer")) == 2

    def test_the_record_of_an_image_stays_as_long_as_its_environment(
        self, project: Project, other: Project, store: Store, tmp_path: Path
    ) -> None:
        record = ImageRecord("registry.example/team/train", "1", f"sha256:{'1' * 64}", "base")
        for made, name in ((project, "mine"), (other, "one")):
            Images(store).write(environment_place(lock_of(made, name)), record)
        age(tmp_path / "cache", 30)
        swept(project)
        assert paths(store, "images") == {image_path(environment_place(lock_of(project, "mine")))}

    def test_a_sweep_that_is_killed(self, project: Project, store: Store, tmp_path: Path) -> None:
        """It is stopped after each file in turn: whatever is there still, what it points to is there."""
        for _ in sweeps_that_are_killed(project, tmp_path / "cache"):
            for path in paths(store, "resolved"):
                full_id, req_id = path.rpartition("-")[2], path.split("/")[1]
                assert store.entry(f"envs/linux-64/{req_id}/{full_id}.toml"), "a pointer goes first"
            for each in paths(store, "envs"):
                lock = next(lock for lock in LOCKS(project) if environment_place(lock).path == each)
                assert all(store.entry(path_of(artifact)) for artifact in artifacts_of(lock))
        assert packages_in(store) == {"shared", "own"}


def LOCKS(project: Project) -> list[Lock]:  # noqa: N802
    folders = (project.lock_folder, project.folder.parent / "other" / "envlock.lock")
    return [read_lock(path) for folder in folders for path in lock_files(folder)]


class TestClocks:
    @pytest.mark.parametrize("days", [-400, 400])
    def test_only_the_servers_time_counts(
        self, project: Project, other: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, days: int
    ) -> None:
        """A server whose clock is a year off, either way, has the same old and young files as any other."""
        age(tmp_path / "cache", 3, environment_place(lock_of(other, "one")).path)
        store = store_of(project)
        shifted = ShiftedStore(store, days * 86400.0)
        monkeypatch.setattr(cache_module, "open_cache", lambda *_: shifted)
        assert len(collect_garbage(project, limits_of()).of("environment")) == 1
        collect_garbage(project, limits_of(), delete=True)
        assert packages_in(store) == {"shared", "own", "first"}

    @pytest.mark.parametrize("days", [-400, 400])
    def test_a_dead_sweep_is_told_by_the_servers_time(self, project: Project, days: int, tmp_path: Path) -> None:
        shifted = ShiftedStore(store_of(project), days * 86400.0)
        shifted.put(sweep_path("a1"), b"{}")  # type: ignore[operator]
        age(tmp_path / "cache", 1, "sweeps")
        with announced(shifted, Needs()) as announcement:  # type: ignore[arg-type]
            assert announcement.stands()

    def test_a_store_that_tells_no_time(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        class Timeless(ShiftedStore):
            def _shifted(self, entry):  # type: ignore[no-untyped-def]
                return type(entry)(entry.path, entry.size, None)

        before = paths(store_of(project), *EVERYTHING)
        monkeypatch.setattr(cache_module, "open_cache", lambda *_: Timeless(store_of(project), 0))
        for delete in (False, True):
            with pytest.raises(NoClock):
                collect_garbage(project, limits_of(), delete=delete)
        assert paths(store_of(project), *EVERYTHING) == before

    def test_a_cache_that_can_only_be_read(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """The time is then that of the newest file, which keeps no less."""

        class ReadOnly(ShiftedStore):
            def put(self, path: str, data: bytes) -> None:
                raise CacheReadOnly(self.url, "written", "Read-only file system")  # type: ignore[arg-type]

        monkeypatch.setattr(cache_module, "open_cache", lambda *_: ReadOnly(store_of(project), 0))
        assert collect_garbage(project, limits_of(grace="1d")).doomed == ()
        assert len(collect_garbage(project, limits_of(grace="0")).of("environment")) == 2
        with pytest.raises(CacheReadOnly):
            collect_garbage(project, limits_of(grace="0"), delete=True)

    def test_a_sweep_that_overslept_takes_nothing_more(
        self, project: Project, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = paths(store, "packages", "envs", "resolved")
        monkeypatch.setattr(gc_lock, "_OVERDUE", -1.0)
        with pytest.raises(GcOverdue):
            collect_garbage(project, limits_of(), delete=True)
        assert paths(store, "packages", "envs", "resolved") == before
        assert paths(store, "sweeps") == set()

    def test_the_flag_is_renewed_and_a_lost_one_is_not(
        self, project: Project, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(gc_lock, "_RENEWED_EVERY", 0.02)
        with GcFlag(store) as flag:
            age(tmp_path / "cache", 1, "sweeps")
            wait_until(lambda: [entry for entry in store.entries("sweeps") if flag.now and entry.modified >= flag.now])  # type: ignore[arg-type,return-value,operator]
            with flag.taking():
                pass
            monkeypatch.setattr(gc_lock, "_OVERDUE", -1.0)
            flag._thread.join(5)
            assert not flag._thread.is_alive()
            with pytest.raises(GcOverdue), flag.taking():
                pytest.fail("nothing may be taken any more")

    @pytest.mark.parametrize("patience", [5.0, 0.01])
    def test_a_sweep_that_is_broken_off_keeps_its_flag_until_its_last_delete(
        self, project: Project, store: Store, monkeypatch: pytest.MonkeyPatch, patience: float
    ) -> None:
        """A delete that is under way when Ctrl-C comes may land later: until then, pushes have to wait."""
        monkeypatch.setattr(gc_lock, "_LAST_DELETES", patience)
        naps = [0.1, 0.6]
        events: list[str] = []

        class Slow(ShiftedStore):
            def delete(self, path: str) -> None:
                if path.startswith("resolved"):
                    time.sleep(naps.pop(0))
                store.delete(path)
                events.append(path.partition("/")[0])

        class Interrupted(Recorder):
            def advanced(self, phase: str, item: str, amount: int = 1) -> None:
                if phase == SWEEPING:
                    raise KeyboardInterrupt

        monkeypatch.setattr(cache_module, "open_cache", lambda *_: Slow(store, 0))
        with pytest.raises(KeyboardInterrupt):
            collect_garbage(project, limits_of(), delete=True, reporter=Interrupted())
        wait_until(lambda: events.count("resolved") == 2)
        assert events == ["resolved", "resolved", *(["sweeps"] if patience > 1 else [])], "or it ends by its age"


class TestAnnouncing:
    def test_one_whose_announcement_was_swept_says_it_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A push that took days has its announcement deleted, and a package of it; it looks again before it ends."""
        project = made_up_project(tmp_path / "project", {"mine": ["own", "second"]})
        store = store_of(project)
        moved = []
        import envlock.workflow.push as push_module

        original = push_module.mirror

        def mirror(artifacts, *others, **options):  # type: ignore[no-untyped-def]
            done = original(artifacts, *others, **options)
            moved.append(len(artifacts))
            if len(moved) == 1:
                for path in paths(store, "pushes") | {next(iter(paths(store, "packages")))}:
                    store.delete(path)
            return done

        monkeypatch.setattr(push_module, "mirror", mirror)
        result = push(project)
        assert moved == [2, 1]
        assert (result.moved, result.written) == (2, 1)
        assert packages_in(store) == {"own", "second"}
        assert paths(store, "pushes") == set()

    def test_an_old_announcement_is_made_again(self, project: Project, store: Store) -> None:
        with announced(store, Needs()) as announcement:
            assert announcement.stands()
            announcement._made -= gc_lock.PUSH_LIVES
            assert not announcement.stands()
            announcement.make()
            assert announcement.stands()
            assert len(paths(store, "pushes")) == 1
        assert paths(store, "pushes") == set()

    def test_a_push_with_nothing_to_do_announces_nothing(self, project: Project, tmp_path: Path) -> None:
        before = snapshot(tmp_path / "cache")
        push(project)
        assert snapshot(tmp_path / "cache") == before

    def test_waiting_is_told(self, project: Project, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gc_lock, "_LONGEST_PAUSE", 0.03)
        recorder = Recorder()
        with GcFlag(store) as flag:
            threading.Timer(0.3, lambda: store.delete(flag._path)).start()
            with announced(store, Needs(), recorder):
                pass
        assert len(recorder.notes) == 1
        assert "`envlock cache gc` is running" in recorder.notes[0]
        assert flag._path in recorder.notes[0]
        assert "delete that file" in recorder.notes[0]

    def test_a_flag_from_the_future_is_waited_for_as_long_as_any(
        self, project: Project, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """It counts while it is renewed, whatever its date, and no longer; then it is in nobody's way any more."""
        monkeypatch.setattr(gc_lock, "SWEEP_LIVES", 0.4)
        store.put(sweep_path("a1"), b"{}")
        age(tmp_path / "cache", -1000, "/sweeps/")
        began = time.monotonic()
        with announced(store, Needs()):
            assert 0.4 <= time.monotonic() - began < 60
        assert paths(store, "sweeps") == set()

    def test_a_sweep_whose_clock_is_ahead_is_waited_for_while_it_lives(
        self, project: Project, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(gc_lock, "SWEEP_LIVES", 1.5)
        store.put(sweep_path("a1"), b"{}")
        ended = threading.Event()

        def renew() -> None:
            for number in range(20):
                age(tmp_path / "cache", -1000 - number, "/sweeps/")
                time.sleep(0.1)
            ended.set()
            store.delete(sweep_path("a1"))

        thread = threading.Thread(target=renew)
        thread.start()
        with announced(store, Needs()):
            assert ended.is_set()
        thread.join()

    def test_a_flag_from_the_future_that_cannot_be_deleted(
        self, project: Project, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(gc_lock, "SWEEP_LIVES", 0.1)
        store.put(sweep_path("a1"), b"{}")
        age(tmp_path / "cache", -1000, "/sweeps/")

        class Undeletable(ShiftedStore):
            def delete(self, path: str) -> None:
                raise CacheReadOnly(self.url, "written", "Read-only file system")  # type: ignore[arg-type]

        with announced(Undeletable(store, 0), Needs()):  # type: ignore[arg-type]
            pass


class TestDatesAhead:
    """Whoever writes into a cache may have a clock that is wrong, or choose a date."""

    def test_a_flag_is_a_leftover(self, project: Project, store: Store, tmp_path: Path) -> None:
        store.put(sweep_path("a1"), b"{}")
        age(tmp_path / "cache", -1000, "/sweeps/")
        assert [each.path for each in collect_garbage(project, limits_of(), delete=True).of(LEFTOVER)] == [
            sweep_path("a1")
        ]
        assert paths(store, "sweeps") == set()

    def test_one_that_a_clock_explains_stays(self, project: Project, store: Store, tmp_path: Path) -> None:
        store.put(sweep_path("a1"), b"{}")
        age(tmp_path / "cache", -0.5, "/sweeps/")
        assert collect_garbage(project, limits_of(), delete=True).of(LEFTOVER) == ()

    def test_what_stays_for_its_date_is_told(self, project: Project, store: Store, tmp_path: Path) -> None:
        store.put(push_path("a1"), Needs().render())
        age(tmp_path / "cache", -1000, "/pushes/", "/envs/")
        recorder = Recorder()
        found = collect_garbage(project, limits_of(grace="0"), delete=True, reporter=recorder)
        assert found.of(ENVIRONMENT) == ()
        (warning,) = [each for each in recorder.warnings if "ahead" in each]
        assert warning.startswith("envs/")
        assert f"and {len(paths(store, 'envs'))} more in {store.url}" in warning

    def test_a_cache_that_can_only_be_read_does_not_age_by_one_file(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        age(tmp_path / "cache", 1)
        packages = sorted((tmp_path / "cache" / "packages").rglob("*.whl"))
        then = time.time() + 1000 * 24 * 3600
        os.utime(packages[0], (then, then))

        class ReadOnly(ShiftedStore):
            def put(self, path: str, data: bytes) -> None:
                raise CacheReadOnly(self.url, "written", "Read-only file system")  # type: ignore[arg-type]

        monkeypatch.setattr(cache_module, "open_cache", lambda *_: ReadOnly(store_of(project), 0))
        assert collect_garbage(project, limits_of(grace="2d")).doomed == ()


def test_no_folder_stays_empty(project: Project, other: Project, store: Store, tmp_path: Path) -> None:
    (tmp_path / "cache" / "packages" / "00" / "1234").mkdir(parents=True)  # of an earlier sweep
    collect_garbage(project, limits_of(grace="0"), delete=True)
    folders = [path for path in (tmp_path / "cache").rglob("*") if path.is_dir()]
    assert folders
    assert [path.name for path in folders if not any(path.iterdir())] == [STAGE], "which writers work in"
    # Who wrote into the folders before, writes into them again.
    push(other)
    store.put("packages/00/x/y", b"")


DEEP = b"[" * 100_000
TOML_DEEP = b"x = " + DEEP


class TestWhatCannotBeRead:
    """It is named, and what it may need stays; whatever else there is to do is done."""

    @pytest.fixture(autouse=True)
    def _there_is_more_to_do(self, project: Project, store: Store, tmp_path: Path) -> object:
        store.put(probe_path("ab"), b"")
        age(tmp_path / "cache", 30, "/probe/")
        yield
        assert paths(store, "probe") == set()
        assert len(paths(store, "packages")) == 4

    def named(self, project: Project, kind: type[EnvlockError], place: str) -> Garbage:
        done = collect_garbage(project, limits_of(grace="0"), delete=True)
        (error,) = done.unreadable
        assert isinstance(error, kind)
        assert error.exit_status == 3
        assert place in error.locations[0].path
        return done

    @pytest.mark.parametrize(
        "data", [b"", b"[]", b'{"format": 2}', b'{"format": 1, "environments": [], "packages": [1]}', b"\xff", DEEP]
    )
    def test_an_announcement(self, project: Project, store: Store, data: bytes) -> None:
        store.put(push_path("a1"), data)
        assert self.named(project, UnreadableAnnouncement, push_path("a1")).kept[BY_DOUBT] == 2

    @pytest.mark.parametrize("data", [b"{}", DEEP])
    def test_a_broken_chain(self, project: Project, other: Project, store: Store, data: bytes) -> None:
        name_it(other, "team/base:v1", "one")
        place = move_path(parse_alias("team/base:v1"), 1)
        store.put(place, data)
        assert self.named(project, BrokenAliasChain, place).kept[BY_DOUBT] == 2

    @pytest.mark.parametrize("data", [b"{}", DEEP, b'{"flow": {}}'])
    def test_the_record_of_a_run(self, project: Project, other: Project, store: Store, data: bytes) -> None:
        place = run_record(lock_of(other, "one")).path
        store.put(place, data)
        assert self.named(project, DamagedRunRecord, place).kept[BY_DOUBT] == 2

    @pytest.mark.parametrize("data", [b"", TOML_DEEP])
    def test_a_lock_that_stays(self, project: Project, other: Project, store: Store, data: bytes) -> None:
        name_it(other, "team/base:v1", "one")
        place = environment_place(lock_of(other, "one")).path
        store.put(place, data)
        done = self.named(project, UnreadableKept, place)
        assert "because of an alias" in done.unreadable[0].render()
        assert [each.path for each in done.of(ENVIRONMENT)] == [environment_place(lock_of(other, "two")).path]


class TestRefusals:
    """What a project says of itself cannot be understood: nothing is deleted."""

    @pytest.fixture(autouse=True)
    def _nothing_went(self, project: Project, store: Store) -> object:
        yield
        assert len(paths(store, "packages")) == 4

    def refused(self, project: Project, kind: type[EnvlockError], **options: object) -> EnvlockError:
        for delete in (False, True):
            with pytest.raises(kind) as caught:
                collect_garbage(project, limits_of(grace="0"), delete=delete, **options)  # type: ignore[arg-type]
        assert paths(store_of(project), "sweeps", "probe") == set()
        return caught.value

    def test_a_lock_of_the_project(self, project: Project) -> None:
        (path,) = lock_files(project.lock_folder)
        path.write_bytes(path.read_bytes()[:-40])
        self.refused(project, DamagedLock)

    @pytest.mark.parametrize("name", ["nothing", "other/envlock.lock/linux-64", "."])
    def test_a_folder_without_locks(self, project: Project, tmp_path: Path, name: str) -> None:
        self.refused(project, NoLockTree, trees=[tmp_path / name])

    def test_a_newer_cache(self, project: Project, store: Store) -> None:
        store.put("CACHE.json", b'{"format": 9}')
        self.refused(project, NewerCache)

    @pytest.mark.parametrize("text", ["", "7", "a week", "-1d", "7d later", "99999999999d", "9" * 5000 + "w"])
    def test_a_span(self, text: str) -> None:
        with pytest.raises(BadSpan):
            limits_of(grace=text)


def test_a_damaged_lock_that_nothing_needs_goes(project: Project, other: Project, store: Store, tmp_path: Path) -> None:
    place = environment_place(lock_of(other, "one")).path
    store.put(place, b"")
    age(tmp_path / "cache", 30)
    swept(project)
    assert packages_in(store) == {"shared", "own"}


class TestCommand:
    @pytest.fixture
    def command(self, project: Project, envlock: Callable[..., object]) -> Callable[..., object]:
        return envlock

    def test_it_shows_and_deletes(self, command, project: Project, store: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        shown = command("cache", "gc").stdout
        assert f"not needed in {tmp_path}/cache:" in shown
        assert "environments: 2 of 3" in shown
        assert "packages: 2 of 4" in shown
        assert "second-1.0-py3-none-any.whl, 30 days old" in shown
        assert "kept: 1 environment, 1 by locks" in shown
        assert "with `--delete`" in shown
        assert len(packages_in(store)) == 4
        assert "deleted from" in command("cache", "gc", "--delete").stdout
        assert packages_in(store) == {"shared", "own"}
        assert command("cache", "gc").stdout.startswith("nothing to delete")

    def test_json(self, command, project: Project, other: Project) -> None:  # type: ignore[no-untyped-def]
        told = command("cache", "gc", "--json", "--grace", "2 weeks", "--keep-moves", "3").json
        assert told["deleted"] is False
        assert told["grace_seconds"] == 14 * 86400
        assert told["keep_moves"] == 3
        assert told["kept"] == {"lock": 1}
        assert told["kinds"]["package"]["files"] == 2
        assert told["kinds"]["package"]["of_files"] == 4
        assert told["bytes"] == sum(each["bytes"] for each in told["files"])
        kept = command("cache", "gc", "--json", "--lock-tree", str(other.folder), "--lock-tree", ".").json
        assert kept["files"] == []

    def test_what_an_alias_keeps(self, command, project: Project, other: Project) -> None:  # type: ignore[no-untyped-def]
        name_it(other, "team/base:v1", "two")
        assert "kept: 2 environments, 1 by aliases, 1 by locks" in command("cache", "gc").stdout
        assert command("cache", "gc", "--json").json["kept"] == {"lock": 1, "name": 1}

    def test_errors(self, command) -> None:  # type: ignore[no-untyped-def]
        assert "error[bad-span]" in command("cache", "gc", "--grace", "soon", check=2).stderr
        assert "error[no-lock-tree]" in command("cache", "gc", "--lock-tree", "../nothing", check=2).stderr
        assert command("cache", "gc", "--keep-moves", "0", check=2).stderr
