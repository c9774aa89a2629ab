"""Using what others named, pushed or ran: get, pathspecs, and what the launcher keeps of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from envlock.cache.errors import CachedLockDamaged
from envlock.cache.layout import environment_place
from envlock.cache.open import open_store
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.config.selection import Selection, choose_one
from envlock.lockfile.document import render
from envlock.lockfile.folder import lock_files, read_lock, write_lock
from envlock.model.arch import LINUX_64, OSX_64, OSX_ARM64, host_arch
from envlock.model.lock import Lock, LockedPython
from envlock.named.alias import Alias
from envlock.named.errors import (
    AliasLacksArch,
    AliasNotFound,
    AmbiguousId,
    BadPathspec,
    BaseLacksArch,
    DamagedRunRecord,
    EnvironmentNotInCache,
    LockNotFound,
    MetaflowMissing,
    NotNeeded,
)
from envlock.named.give import give
from envlock.named.lookup import Lookup, NamedEnvironment
from envlock.named.run_record import RunRecord, RunRecorder, RunRecords
from envlock.workflow.check import check
from envlock.workflow.errors import HostNotAllowed
from envlock.workflow.get import get
from envlock.workflow.launch import serve
from envlock.workflow.lock import lock
from envlock.workflow.lock_new import using
from envlock.workflow.push import push
from envlock.workflow.show import Description, describe
from tests.cache.locks import asking, locked_project
from tests.index import Index, Release
from tests.support import ProjectFolder, run_envlock, snapshot

ALPHA = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.5-py3-none-{platform}.whl"
LAM = "lam-1.0-py3-none-any.whl"
V1 = Alias("team/base", "v1")
TWO = (LINUX_64, OSX_ARM64)


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    """Somebody's: two environments, of which one is named and all are pushed."""
    made = locked_project(tmp_path / "project", index, {"one": [ALPHA, BETA], "two": [ALPHA, LAM]}, archs=TWO)
    push(made)
    give(Lookup(made), V1, found(made, "one"))
    return made


def found(project: Project, name: str) -> NamedEnvironment:
    return Lookup(project).environment(choose_one(project, environment=name))


def of_another(tmp_path: Path, project: Project, *, name: str = "one", archs: tuple[str, ...] = TWO) -> Lookup:
    """Somebody else's project, which asks for the same under another name, has no lock, and has the same cache."""
    made = ProjectFolder.make(tmp_path / "another", project.text.partition('index-url = "')[2].partition('"')[0])
    made.write(f"[env.mine.pypi]\n{asking(name)}", settings='cache = "../cache"', archs=list(archs))
    return Lookup(load_project(made.config))


def locks(project: Project) -> list[Lock]:
    return [read_lock(path) for path in lock_files(project.lock_folder)]


class TestGet:
    def test_what_a_project_asks_for(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project)
        assert check(other.project).exit_status == 1
        fetched = get(other, other.reference("team/base:v1"))
        assert fetched.serves == ("mine",)
        assert len(fetched.written) == 2
        assert fetched.kept == fetched.replaced == fetched.left_out == ()
        assert locks(other.project) == [each for each in locks(project) if each.asked_by == ("one",)]
        assert check(other.project).findings == ()
        again = get(other, other.reference("team/base:v1"))
        assert (again.written, again.kept) == ((), fetched.written)

    def test_what_names_a_host_that_is_not_allowed_is_not_written(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project)
        text = other.project.path.read_text().replace("[envlock]", '[envlock]\nhosts = ["files.example"]')
        other.project.path.write_text(text)
        with pytest.raises(HostNotAllowed):
            get(Lookup(load_project(other.project.path)), other.reference("team/base:v1"))
        assert not other.project.lock_folder.exists()

    def test_what_lacks_a_package_is_damage_in_the_cache_too(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project)
        (lock, *_) = (each for each in locks(project) if each.asked_by == ("one",))
        first = replace(lock.packages[0], dependencies=("ghost",))
        place = tmp_path / "cache" / environment_place(lock).path
        place.write_text(render(replace(lock, packages=(first, *lock.packages[1:]))))
        with pytest.raises(CachedLockDamaged) as caught:
            get(other, other.reference("team/base:v1"))
        assert "ghost" in caught.value.render()

    def test_what_nothing_asks_for_is_not_written(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project, name="three")
        before = snapshot(other.project.folder)
        with pytest.raises(NotNeeded) as caught:
            get(other, other.reference("team/base:v1"))
        assert "--into FOLDER" in caught.value.render()
        assert snapshot(other.project.folder) == before

    def test_into_a_folder_whoever_asks(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project, name="three")
        fetched = get(other, other.reference("team/base:v1"), into=tmp_path / "into")
        assert fetched.serves == ()
        assert [read_lock(path) for path in lock_files(tmp_path / "into")] == list(fetched.locks)
        assert not other.project.lock_folder.exists()

    def test_archs(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project, archs=(OSX_ARM64, OSX_64))
        fetched = get(other, other.reference("team/base:v1"))
        assert [lock.arch for lock in fetched.locks] == [OSX_ARM64]
        assert fetched.left_out == (LINUX_64,)
        assert [lock.arch for lock in get(other, other.reference("team/base:v1"), (LINUX_64,)).locks] == [LINUX_64]
        with pytest.raises(AliasLacksArch):
            get(other, other.reference("team/base:v1"), (OSX_64,))

    def test_no_arch_of_the_project(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project, archs=(OSX_64,))
        with pytest.raises(AliasLacksArch, match="not there for osx-64"):
            get(other, other.reference("team/base:v1"))

    def test_it_takes_the_place_of_what_was_locked(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project)
        wanted = other.reference("team/base:v1")
        (lock, _) = [each for each in locks(project) if each.req_id == wanted.req_id]
        mine = replace(lock, asked_by=("mine",), python=LockedPython("machine", "3.11.0"))
        path = write_lock(other.project.lock_folder, mine)
        assert get(other, wanted).replaced == (path,)
        assert check(other.project).findings == ()

    def test_a_damaged_lock_of_the_project_is_put_right(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project)
        (path, _) = get(other, other.reference("team/base:v1")).written
        path.write_bytes(path.read_bytes()[:-50])
        assert get(other, other.reference("team/base:v1")).written == (path,)
        assert check(other.project).findings == ()

    def test_who_locked_it_stays_as_it_is_committed(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project)
        for path in get(other, other.reference("team/base:v1")).written:
            write_lock(other.project.lock_folder, replace(read_lock(path), resolved_by="me"))
        assert get(other, other.reference("team/base:v1")).written == ()

    def test_a_damaged_lock_of_the_cache_is_refused(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project)
        (lock, _) = [each for each in locks(project) if each.asked_by == ("one",)]
        path = environment_place(lock).path
        other.store.put(path, other.store.read(path).replace(b"alpha-1.0", b"alpha-1.1"))
        with pytest.raises(CachedLockDamaged):
            get(other, other.reference("team/base:v1"))
        assert not other.project.lock_folder.exists()

    def test_what_is_no_longer_in_the_cache(self, project: Project, tmp_path: Path) -> None:
        other = of_another(tmp_path, project)
        for entry in list(other.store.entries("envs/osx-arm64")):
            other.store.delete(entry.path)
        with pytest.raises(EnvironmentNotInCache, match="`team/base:v1` for osx-arm64"):
            get(other, other.reference("team/base:v1"))
        assert not other.project.lock_folder.exists(), "all are read before any is written"

    def test_the_project_itself_changes_nothing(self, project: Project) -> None:
        before = snapshot(project.folder)
        lookup = Lookup(project)
        assert len(get(lookup, lookup.reference("team/base:v1")).kept) == 2
        assert snapshot(project.folder) == before


@pytest.fixture
def no_metaflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaflow.client.core", None)


class TestPathspecs:
    def kept(self, project: Project, name: str = "one", arch: str = LINUX_64) -> RunRecord:
        (lock,) = [each for each in locks(project) if each.asked_by == (name,) and each.arch == arch]
        return RunRecord("TrainFlow", "142", "start", lock.arch, lock.req_id, lock.full_id)

    def test_without_metaflow(self, project: Project, tmp_path: Path, no_metaflow: None) -> None:
        other = of_another(tmp_path, project)
        ran = self.kept(project)
        assert RunRecords(other.store).write(ran)
        for pathspec in ("TrainFlow/142/start", "TrainFlow/142/start/7"):
            task = other.pathspec(pathspec)
            assert (task.req_id, task.full_ids) == (ran.req_id, ((LINUX_64, ran.full_id),))
            assert task.reference == task.task == "TrainFlow/142/start"
        assert [lock.full_id for lock in get(other, other.pathspec("TrainFlow/142/start")).locks] == [ran.full_id]

    def test_all_archs_that_belong_together(self, project: Project, tmp_path: Path, no_metaflow: None) -> None:
        own = Lookup(project)
        RunRecords(own.store).write(self.kept(project))
        assert own.pathspec("TrainFlow/142/start").archs == tuple(sorted(TWO)), "locked with it"
        assert own.pathspec("TrainFlow/142/start", all_archs=False).archs == (LINUX_64,)
        other = of_another(tmp_path, project)
        for arch in TWO:
            RunRecords(other.store).write(self.kept(project, arch=arch)._replace(run="143"))
        assert other.pathspec("TrainFlow/143/start").archs == tuple(sorted(TWO)), "it ran on both"

    def test_a_name_for_what_ran(self, project: Project, tmp_path: Path, no_metaflow: None) -> None:
        other = of_another(tmp_path, project)
        ran = self.kept(project)
        RunRecords(other.store).write(ran)
        given = give(other, Alias("team/rerun", "v1"), other.pathspec("TrainFlow/142/start"))
        assert given.move.source == "TrainFlow/142/start"
        assert given.move.full_ids == ((LINUX_64, ran.full_id),)
        assert given.lacking == (OSX_ARM64,)

    def test_what_ran_on_one_arch_is_for_that_one_until_it_is_named_where_it_ran_from(
        self, project: Project, tmp_path: Path, no_metaflow: None
    ) -> None:
        RunRecords(open_store(project.cache_url)).write(self.kept(project))
        other = of_another(tmp_path, project).project
        head = other.text.partition("[env.")[0]
        other.path.write_text(f'{head}[env.mine]\nnamed_env = {{ pathspec = "TrainFlow/142/start" }}\n')
        with pytest.raises(BaseLacksArch) as caught:
            lock(load_project(other.path))
        named = "`envlock alias TEAM/NAME:TAG --pathspec TrainFlow/142/start`"
        assert named in (caught.value.hint or "")
        lock(load_project(other.path), selection=Selection(archs=(LINUX_64,)))
        (lacking,) = check(load_project(other.path)).findings
        assert (lacking.verdict, lacking.repair) == ("base-lacks-arch", caught.value.hint)
        give(Lookup(project), Alias("team/rerun", "v1"), Lookup(project).pathspec("TrainFlow/142/start"))
        other.path.write_text(f'{head}[env.mine]\nnamed_env = {{ name = "team/rerun:v1" }}\n')
        lock(load_project(other.path))
        assert check(load_project(other.path)).findings == ()

    def test_what_nobody_knows(self, project: Project, no_metaflow: None) -> None:
        lookup = Lookup(project)
        with pytest.raises(BadPathspec):
            lookup.pathspec("TrainFlow/../start")
        for pathspec in ("TrainFlow/9/start", "TrainFlow/9:1/start"):
            with pytest.raises(MetaflowMissing) as caught:
                lookup.pathspec(pathspec)
        assert caught.value.details[-1] == f"the cache {lookup.store.url} does not know it either"

    def test_what_ran_and_is_gone(self, project: Project, tmp_path: Path, no_metaflow: None) -> None:
        other = of_another(tmp_path, project)
        RunRecords(other.store).write(self.kept(project)._replace(req_id="0" * 40))
        task = other.pathspec("TrainFlow/142/start")
        with pytest.raises(LockNotFound, match="the lock of `TrainFlow/142/start` is not here"):
            other.lock(task, LINUX_64)

    def test_the_first_word_counts(self, project: Project) -> None:
        kept = RunRecords(open_store(project.cache_url))
        ran = self.kept(project)
        assert kept.write(ran)
        assert kept.write(ran), "every task of a step says the same"
        assert not kept.write(ran._replace(full_id="0" * 40))
        assert kept.read("TrainFlow", "142", "start") == (ran,)

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b'{"format": 1, "flow": {}}'])
    def test_a_record_that_was_changed(self, project: Project, data: bytes, no_metaflow: None) -> None:
        lookup = Lookup(project)
        ran = self.kept(project)
        lookup.store.put(ran.path, data)
        with pytest.raises(DamagedRunRecord):
            lookup.pathspec("TrainFlow/142/start")
        lookup.store.put(ran.path, ran._replace(step="end").render())
        with pytest.raises(DamagedRunRecord):
            lookup.pathspec("TrainFlow/142/start")


class TestKeeping:
    """What a run leaves in the cache: at best, and never in its way."""

    def ran(self, project: Project) -> list[str]:
        return [entry.path for entry in open_store(project.cache_url).entries("pathspecs")]

    def record(self, project: Project) -> None:
        lock = locks(project)[0]
        recorder = RunRecorder(project, "TrainFlow")
        for step in ("start", "train", "start"):
            recorder.record("142", step, lock)
        recorder.end()

    def test_every_step_once(self, project: Project) -> None:
        self.record(project)
        assert sorted(self.ran(project)) == [
            "pathspecs/TrainFlow/142/start/linux-64.json",
            "pathspecs/TrainFlow/142/train/linux-64.json",
        ]

    def test_only_in_a_cache_that_is_named(self, project: Project) -> None:
        default = project._replace(settings=project.settings._replace(cache=""))
        self.record(default)
        assert not Path(default.cache_url).exists()

    def test_no_folder_is_made_for_it(self, project: Project, tmp_path: Path) -> None:
        self.record(project._replace(settings=project.settings._replace(cache="../not-mounted")))
        assert not (tmp_path / "not-mounted").exists()

    @pytest.mark.parametrize("cache", ["s3+none://bucket/x", "file"])
    def test_a_cache_that_cannot_be_used_is_no_matter(self, project: Project, tmp_path: Path, cache: str) -> None:
        (tmp_path / "project" / "file").write_text("no folder")
        self.record(project._replace(settings=project.settings._replace(cache=cache)))

    def test_a_cache_of_a_newer_format_is_left_alone(self, project: Project) -> None:
        open_store(project.cache_url).put("CACHE.json", b'{"format": 99}')
        self.record(project)
        assert self.ran(project) == []

    def test_the_launcher_says_when_a_step_begins(self, tmp_path: Path, make_index: Callable[..., Index]) -> None:
        folder = ProjectFolder.make(tmp_path / "flow", make_index(Release("requests", "2.32.0")).url)
        folder.write_flow()
        folder.write(
            '[flow.DemoFlow]\nfile = "demoflow.py"\npypi = { packages = { requests = "" } }\n'
            "[flow.DemoFlow.step.end]\ndisabled = true",
            settings='cache = "../cache"',
            archs=[host_arch()],
        )
        run_envlock("lock", cwd=folder.folder)
        run_envlock("push", cwd=folder.folder)
        request = {
            "flow": "DemoFlow",
            "file": str(folder.folder / "demoflow.py"),
            "steps": ["start", "train", "end"],
            "datastore": "local",
            "remote": {},
            "command": "",
        }
        said = [{"started": step, "run": "1700000000000000"} for step in ("start", "end")]
        output = StringIO()
        serve([json.dumps(each) + "\n" for each in (request, *said)], output)
        assert json.loads(output.getvalue())["event"] == "planned"
        project = load_project(folder.config)
        assert self.ran(project) == [f"pathspecs/DemoFlow/1700000000000000/start/{host_arch()}.json"]
        (lock,) = locks(project)
        (ran,) = RunRecords(open_store(project.cache_url)).read("DemoFlow", "1700000000000000", "start")
        assert (ran.arch, ran.req_id, ran.full_id) == (lock.arch, lock.req_id, lock.full_id)


class TestBeginningsOfIds:
    """`show` and `cache ls` print twelve digits of each id, and whoever takes ids takes those."""

    @staticmethod
    def short(found: NamedEnvironment) -> str:
        return f"{found.req_id[:12]}:{found.full_ids[0][1][:12]}"

    def test_of_the_project_and_of_the_cache(self, project: Project, tmp_path: Path) -> None:
        one = found(project, "one")
        assert Lookup(project).reference(self.short(one)).full_ids == one.full_ids
        other = of_another(tmp_path, project)
        there = other.reference(self.short(one))
        assert (there.req_id, there.full_ids[:1]) == (one.req_id, one.full_ids[:1])
        assert there.reference == f"{one.req_id}:{one.full_ids[0][1]}"

    def test_all_digits_of_one_and_the_beginning_of_the_other(self, project: Project, tmp_path: Path) -> None:
        one = found(project, "one")
        full_id = one.full_ids[0][1]
        other = of_another(tmp_path, project)
        for asked in (f"{one.req_id}:{full_id[:8]}", f"{one.req_id[:8]}:{full_id}"):
            assert other.reference(asked).req_id == one.req_id

    def test_show_takes_them(self, project: Project, tmp_path: Path) -> None:
        one = found(project, "one")
        for asked in (project, of_another(tmp_path, project).project):
            (shown,) = describe(asked, self.short(one), (one.full_ids[0][0],))
            assert isinstance(shown, Description)
            assert shown.lock.full_id == one.full_ids[0][1]

    def test_those_of_two_are_refused(self, project: Project, tmp_path: Path) -> None:
        one, two = found(project, "one"), found(project, "two")
        path = next(path for path in lock_files(project.lock_folder) if path.parent.name == two.req_id)
        twin = f"{one.req_id[:12]}{'0' * 28}"
        (path.parent.parent / twin).mkdir()
        path.rename(path.parent.parent / twin / f"pylock.{one.full_ids[0][1][:12]}{'1' * 28}.toml")
        with pytest.raises(AmbiguousId):
            Lookup(project).reference(self.short(one))

    @pytest.mark.parametrize("ids", ["0123456789ab:0123456789ab", f"{'a' * 40}:0123456789ab", f"0123:{'a' * 40}"])
    def test_those_of_nothing_are_told(self, project: Project, ids: str) -> None:
        with pytest.raises(LockNotFound):
            Lookup(project).reference(ids)

    def test_a_name_that_looks_like_them_is_one(self, project: Project, tmp_path: Path) -> None:
        give(Lookup(project), Alias("cafe", "beef"), found(project, "two"))
        assert of_another(tmp_path, project).reference("cafe:beef").req_id == found(project, "two").req_id
        one = found(project, "one")
        with pytest.raises(AliasNotFound):
            Lookup(project).reference(self.short(one), exact=True)

    def test_envlock_toml_gets_whole_ones(self, project: Project, tmp_path: Path) -> None:
        one = found(project, "one")
        other = of_another(tmp_path, project)
        asked = using(other.project, "base", "name", self.short(one))
        assert f'name = "{one.req_id}:{one.full_ids[0][1]}"' in asked.project.text
