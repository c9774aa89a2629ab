"""What references name: aliases, ids, pathspecs and environments of the project."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envlock.cache.open import open_store
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.errors import EnvlockError
from envlock.lockfile.errors import NotLocked
from envlock.lockfile.folder import lock_files
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.named.alias import Alias
from envlock.named.errors import (
    AliasNotFound,
    AmbiguousId,
    BadAlias,
    BadPathspec,
    BaseLacksArch,
    EnvironmentNotInCache,
    LockNotFound,
    MetaflowMissing,
    UnsetNameVariable,
)
from envlock.named.give import give
from envlock.named.lookup import Lookup, NamedEnvironment, alias_of
from envlock.named.new_table import using
from envlock.named.run_record import RunRecords
from envlock.workflow.check import check
from envlock.workflow.get import get
from envlock.workflow.lock import lock
from envlock.workflow.show import Description, describe
from tests.index import Index
from tests.named.projects import LATEST, TWO, environment_of, of_another, pushed_project, record_of, without_locks


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return pushed_project(tmp_path, index)


@pytest.fixture
def lookup(project: Project) -> Lookup:
    return Lookup(project)


@pytest.fixture
def no_metaflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaflow.client.core", None)


class TestAliases:
    def test_nothing_is_locked(self, project: Project) -> None:
        lookup = without_locks(project)
        with pytest.raises(NotLocked):
            environment_of(lookup.project, "one")

    def test_what_is_stale(self, project: Project) -> None:
        project.path.write_text(project.path.read_text().replace('one = "1', 'one = "2'))
        changed = Lookup(load_project(project.path))
        with pytest.raises(EnvlockError) as caught:
            environment_of(changed.project, "one")
        assert caught.value.exit_status == 1

    def test_by_ids_that_nobody_has(self, lookup: Lookup, project: Project) -> None:
        with pytest.raises(LockNotFound):
            lookup.reference(f"{'1' * 40}:{'2' * 40}")
        nowhere = NamedEnvironment("x", "1" * 40, ((LINUX_64, "2" * 40),))
        with pytest.raises(EnvironmentNotInCache):
            give(lookup, LATEST, nowhere)
        assert lookup.aliases.newest(LATEST) is None

    @pytest.mark.parametrize("text", ["Team/base", "team/../base", "team//base", "a" * 300, "te\u0430m/base", "a:b:c"])
    def test_no_names(self, lookup: Lookup, text: str) -> None:
        for call in (alias_of, lookup.reference):
            with pytest.raises(BadAlias) as caught:
                call(text)
            assert len(caught.value.render().splitlines()[0]) < 200

    @pytest.mark.parametrize("text", [f"{'1' * 12}:{'2' * 12}", f"{'a' * 40}:{'b' * 12}"])
    def test_ids_as_they_are_shortened(self, lookup: Lookup, text: str) -> None:
        with pytest.raises(EnvlockError) as caught:
            lookup.reference(text)
        assert "--env NAME" not in caught.value.render()


class TestVariables:
    def test_they_come_from_the_environment(self, lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEAM", "team")
        monkeypatch.setenv("VERSION", "v1")
        give(lookup, alias_of("@{TEAM}/base:@{VERSION}"), environment_of(lookup.project, "one"))
        assert lookup.reference("team/base:v1") == lookup.reference("@{TEAM}/base:@{VERSION}")

    def test_one_that_is_not_set_is_named(self, lookup: Lookup) -> None:
        for call in (alias_of, lookup.reference):
            with pytest.raises(UnsetNameVariable) as caught:
                call("team/base:@{ENVLOCK_VERSION}")
            assert "`ENVLOCK_VERSION`" in caught.value.message
        with pytest.raises(UnsetNameVariable):
            lookup.pathspec("Train/@{RUN_ID}/start")

    def test_what_it_holds_is_a_name_or_none(self, lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEAM", "../envs")
        with pytest.raises(BadAlias):
            alias_of("@{TEAM}/base")


class TestPathspecs:
    def test_without_metaflow(self, project: Project, tmp_path: Path, no_metaflow: None) -> None:
        other = of_another(tmp_path, project)
        ran = record_of(project)
        assert RunRecords(other.store).write(ran)
        for pathspec in ("TrainFlow/142/start", "TrainFlow/142/start/7"):
            task = other.pathspec(pathspec)
            assert (task.req_id, task.full_ids) == (ran.req_id, ((LINUX_64, ran.full_id),))
            assert task.reference == task.task == "TrainFlow/142/start"
        assert [lock.full_id for lock in get(other, other.pathspec("TrainFlow/142/start")).locks] == [ran.full_id]

    def test_all_archs_that_belong_together(self, project: Project, tmp_path: Path, no_metaflow: None) -> None:
        own = Lookup(project)
        RunRecords(own.store).write(record_of(project))
        assert own.pathspec("TrainFlow/142/start").archs == tuple(sorted(TWO)), "locked with it"
        assert own.pathspec("TrainFlow/142/start", all_archs=False).archs == (LINUX_64,)
        other = of_another(tmp_path, project)
        for arch in TWO:
            RunRecords(other.store).write(record_of(project, arch=arch)._replace(run="143"))
        assert other.pathspec("TrainFlow/143/start").archs == tuple(sorted(TWO)), "it ran on both"

    def test_a_name_for_what_ran(self, project: Project, tmp_path: Path, no_metaflow: None) -> None:
        other = of_another(tmp_path, project)
        ran = record_of(project)
        RunRecords(other.store).write(ran)
        given = give(other, Alias("team/rerun", "v1"), other.pathspec("TrainFlow/142/start"))
        assert given.move.source == "TrainFlow/142/start"
        assert given.move.full_ids == ((LINUX_64, ran.full_id),)
        assert given.lacking == (OSX_ARM64,)

    def test_what_ran_on_one_arch_is_for_that_one_until_it_is_named_where_it_ran_from(
        self, project: Project, tmp_path: Path, no_metaflow: None
    ) -> None:
        RunRecords(open_store(project.cache_url)).write(record_of(project))
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
        RunRecords(other.store).write(record_of(project)._replace(req_id="0" * 40))
        task = other.pathspec("TrainFlow/142/start")
        with pytest.raises(LockNotFound, match="the lock of `TrainFlow/142/start` is not here"):
            other.lock(task, LINUX_64)


class TestBeginningsOfIds:
    """`show` and `cache ls` print twelve digits of each id, and whoever takes ids takes those."""

    @staticmethod
    def short(found: NamedEnvironment) -> str:
        return f"{found.req_id[:12]}:{found.full_ids[0][1][:12]}"

    def test_of_the_project_and_of_the_cache(self, project: Project, tmp_path: Path) -> None:
        one = environment_of(project, "one")
        assert Lookup(project).reference(self.short(one)).full_ids == one.full_ids
        other = of_another(tmp_path, project)
        there = other.reference(self.short(one))
        assert (there.req_id, there.full_ids[:1]) == (one.req_id, one.full_ids[:1])
        assert there.reference == f"{one.req_id}:{one.full_ids[0][1]}"

    def test_all_digits_of_one_and_the_beginning_of_the_other(self, project: Project, tmp_path: Path) -> None:
        one = environment_of(project, "one")
        full_id = one.full_ids[0][1]
        other = of_another(tmp_path, project)
        for asked in (f"{one.req_id}:{full_id[:8]}", f"{one.req_id[:8]}:{full_id}"):
            assert other.reference(asked).req_id == one.req_id

    def test_show_takes_them(self, project: Project, tmp_path: Path) -> None:
        one = environment_of(project, "one")
        for asked in (project, of_another(tmp_path, project).project):
            (shown,) = describe(asked, self.short(one), (one.full_ids[0][0],))
            assert isinstance(shown, Description)
            assert shown.lock.full_id == one.full_ids[0][1]

    def test_those_of_two_are_refused(self, project: Project, tmp_path: Path) -> None:
        one, two = environment_of(project, "one"), environment_of(project, "two")
        path = next(path for path in lock_files(project.lock_folder) if path.parent.name == two.req_id)
        twin = f"{one.req_id[:12]}{'0' * 28}"
        (path.parent.parent / twin).mkdir()
        path.rename(path.parent.parent / twin / f"pylock.{one.full_ids[0][1][:12]}{'1' * 28}.toml")
        with pytest.raises(AmbiguousId):
            Lookup(project).reference(self.short(one))

    @pytest.mark.parametrize("ids", ["0123456789ab:0123456789ab", f"{'a' * 40}:0123456789ab", f"0123:{'a' * 40}"])
    def test_those_of_nothing_are_reported(self, project: Project, ids: str) -> None:
        with pytest.raises(LockNotFound):
            Lookup(project).reference(ids)

    def test_a_name_that_looks_like_them_is_one(self, project: Project, tmp_path: Path) -> None:
        give(Lookup(project), Alias("cafe", "beef"), environment_of(project, "two"))
        assert of_another(tmp_path, project).reference("cafe:beef").req_id == environment_of(project, "two").req_id
        one = environment_of(project, "one")
        with pytest.raises(AliasNotFound):
            Lookup(project).reference(self.short(one), exact=True)

    def test_envlock_toml_gets_whole_ones(self, project: Project, tmp_path: Path) -> None:
        one = environment_of(project, "one")
        other = of_another(tmp_path, project)
        asked = using(other.project, "base", "name", self.short(one))
        assert f'name = "{one.req_id}:{one.full_ids[0][1]}"' in asked.project.text
