"""Which environments a text names, and their locks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envlock.config.contradictions import BadTeamFile
from envlock.config.errors import (
    MergeConflict,
    NoSuchSelection,
    RevisionWithoutLocks,
    SeveralEnvironments,
    StepDisabled,
)
from envlock.config.past import project_at
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.git_objects import NoSuchRevision, NotARepository, ShallowClone
from envlock.hydration.prefix import Receipt, write_receipt
from envlock.lockfile.errors import ArchNotLocked, ConflictMarkersInLock, DamagedLock, NotLocked
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import LINUX_64, OSX_64, OSX_ARM64
from envlock.named.errors import AliasLacksArch, AliasNotFound, EnvironmentNotInCache, LockNotFound
from envlock.named.lookup import Lookup
from envlock.named.run_record import RunRecord, RunRecords
from envlock.workflow.errors import PrefixGone, StaleLock
from envlock.workflow.references import Referred, all_referred, referred
from envlock.workflow.show import Description, describe
from tests.build.repositories import commit, git
from tests.index import Index
from tests.named.projects import pushed_project, record_of


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return pushed_project(tmp_path, index)


def names(found: Referred) -> list[str]:
    """The packages of what was found, the same for all archs."""
    (told,) = {tuple(package.name for package in found.rows(arch).packages) for arch in found.archs}
    return list(told)


def lock_of(project: Project, name: str, arch: str = LINUX_64) -> Path:
    (path,) = [
        path
        for path in lock_files(project.lock_folder)
        if path.parent.parent.name == arch and name in read_lock(path).asked_by
    ]
    return path


class TestWhatATextNames:
    def test_an_environment_of_the_project(self, project: Project) -> None:
        found = referred(project, "one")
        assert (found.name, found.archs, names(found)) == ("one", (LINUX_64, OSX_ARM64), ["alpha", "beta"])
        assert found.environment == project.named[0]
        assert found.lock(LINUX_64) == read_lock(lock_of(project, "one"))
        assert found.full_ids == {arch: lock.full_id for arch, lock in found.locks.items()}

    def test_ids(self, project: Project) -> None:
        lock = read_lock(lock_of(project, "two"))
        for text in (lock.full_id, lock.full_id[:7], f"{lock.req_id[:5]}:{lock.full_id[:5]}"):
            found = referred(project, text)
            assert (found.archs, names(found)) == ((LINUX_64, OSX_ARM64), ["alpha", "lam"])
            assert found.environment is None
        with pytest.raises(LockNotFound):
            referred(project, "abcdef1")

    def test_an_alias_also_when_its_locks_are_only_in_the_cache(self, project: Project) -> None:
        for path in lock_files(project.lock_folder):
            path.unlink()
        found = referred(project, "team/base:v1")
        assert (found.name, found.archs, names(found)) == (
            "team/base:v1",
            (LINUX_64, OSX_ARM64),
            ["alpha", "beta"],
        )
        with pytest.raises(AliasLacksArch):
            referred(project, "team/base:v1", archs=[OSX_64])

    def test_what_ran(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "metaflow.client.core", None)
        RunRecords(Lookup(project).store).write(record_of(project))
        assert names(referred(project, "TrainFlow/142/start")) == ["alpha", "beta"]

    def test_a_lock_file(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        path = lock_of(project, "two", OSX_ARM64)
        assert names(referred(project, str(path))) == ["alpha", "lam"]
        monkeypatch.chdir(path.parent)
        found = referred(project, path.name)
        assert (found.archs, found.name) == ((OSX_ARM64,), path.name)
        path.write_text("packages = []\n")
        with pytest.raises(DamagedLock):
            referred(project, path.name)
        for gone in ("./gone.toml", "main:envlock.toml"):  # as git would name a file of a revision
            with pytest.raises(PrefixGone, match="nothing is there"):
                referred(project, gone)

    def test_a_prefix_by_its_receipt(self, project: Project, tmp_path: Path) -> None:
        lock = read_lock(lock_of(project, "one"))
        prefix = tmp_path / "environments" / lock.prefix_name
        prefix.mkdir(parents=True)
        link = tmp_path / "jup"
        link.symlink_to(prefix)
        with pytest.raises(PrefixGone) as caught:
            referred(project, str(link))
        assert "no receipt" in caught.value.message
        write_receipt(prefix, Receipt(lock.req_id, lock.full_id, lock.arch, "/usr/bin/python3", "3.12.0", ()))
        for text in (str(prefix), str(link)):
            found = referred(project, text)
            assert (found.archs, names(found)) == ((LINUX_64,), ["alpha", "beta"])

    def test_a_prefix_that_is_gone_says_which_it_was(self, project: Project, tmp_path: Path) -> None:
        link = tmp_path / "jup"
        link.symlink_to(f"environments/metaflow_{'a' * 40}_{'b' * 40}")
        with pytest.raises(PrefixGone) as caught:
            referred(project, str(link))
        assert caught.value.details == (f"it was {'a' * 40}:{'b' * 40}",)

    def test_a_name_of_the_project_comes_before_one_of_the_cache(self, project: Project) -> None:
        project.path.write_text(project.text + '\n[env."team/base:v1".pypi]\npackages.lam = "1"\n')
        with pytest.raises(NotLocked):
            referred(load_project(project.path), "team/base:v1")

    def test_nothing(self, project: Project) -> None:
        with pytest.raises(NoSuchSelection) as caught:
            referred(project, "oen")
        assert caught.value.hint == "did you mean `one`?"


class TestLocks:
    def test_of_some_archs(self, project: Project) -> None:
        assert referred(project, "one", archs=[OSX_ARM64]).archs == (OSX_ARM64,)
        with pytest.raises(ArchNotLocked):
            referred(project, "one", archs=[OSX_64])

    def test_one_that_is_damaged_is_an_error_when_it_is_read(self, project: Project) -> None:
        path = lock_of(project, "one")
        path.write_text(path.read_text().replace("alpha-1.0", "alpha-1.7"))
        found = referred(project, "one")
        with pytest.raises(DamagedLock):
            found.rows(LINUX_64)

    def test_one_that_is_spelt_otherwise_is_read_all_the_same(self, project: Project) -> None:
        path = lock_of(project, "one")
        path.write_text(path.read_text().replace("packages = [\n", "# somebody's\npackages = [\n", 1))
        assert [package.name for package in referred(project, "one").rows(LINUX_64).packages] == ["alpha", "beta"]

    def test_what_changed_since_it_was_locked(self, project: Project) -> None:
        project.path.write_text(project.text.replace('packages.one = "1', 'packages.one = "2'))
        with pytest.raises(StaleLock):
            referred(load_project(project.path), "one")


FLOW = """
from metaflow import FlowSpec, step

class Train(FlowSpec):
    @step
    def start(self):
        self.next(self.fit)

    @step
    def fit(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


class TestSeveral:
    @pytest.fixture
    def flow(self, project: Project) -> Project:
        (project.folder / "train.py").write_text(FLOW)
        table = '[flow.Train]\nfile = "train.py"\nstep.end.disabled = true\nstep.fit.pypi.packages.lam = "*"\n'
        project.path.write_text(f"{project.text}\n{table}")
        return load_project(project.path)

    def test_all_of_a_project_with_those_that_have_no_lock(self, flow: Project) -> None:
        for text in ("", "."):
            found = all_referred(flow, text)
            assert [(each.name, each.archs) for each in found] == [
                ("Train/start", ()),
                ("Train/fit", ()),
                ("one", (LINUX_64, OSX_ARM64)),
                ("two", (LINUX_64, OSX_ARM64)),
            ]

    def test_all_of_a_flow(self, flow: Project) -> None:
        assert [each.name for each in all_referred(flow, "Train")] == ["Train/start", "Train/fit"]

    def test_one_of_several_is_an_error(self, flow: Project) -> None:
        with pytest.raises(SeveralEnvironments):
            referred(flow, "Train")

    def test_a_disabled_step_is_an_error(self, flow: Project) -> None:
        with pytest.raises(StepDisabled):
            referred(flow, "end")


def lock_of_revision(project: Project, name: str) -> str:
    """The path of a lock of `main`, relative to the project."""
    return referred(project, f"main:{name}").files[LINUX_64].shown.removeprefix("main:")


class TestRevisions:
    @pytest.fixture
    def committed(self, project: Project) -> Project:
        """A project on `main`, which has lost `two` since, and locked `one` for fewer archs."""
        commit(project.folder)
        lock_of(project, "two").unlink()
        lock_of(project, "two", OSX_ARM64).unlink()
        project.path.write_text(project.text.partition("[env.two")[0])
        lock_of(project, "one", OSX_ARM64).unlink()
        return load_project(project.path)

    def test_an_environment_as_it_was(self, committed: Project) -> None:
        found = referred(committed, "main:two")
        assert (found.name, found.archs, names(found)) == ("main:two", (LINUX_64, OSX_ARM64), ["alpha", "lam"])
        assert found.environment is not None
        assert found.project is not None
        assert [each.name for each in found.project.named] == ["one", "two"]
        assert referred(committed, "one").archs == (LINUX_64,)
        assert referred(committed, "HEAD:one").archs == (LINUX_64, OSX_ARM64)

    def test_the_team_file_of_the_revision_counts(self, project: Project) -> None:
        (project.folder / "team.toml").write_text('[envlock]\nkeep-on-node = "1 GB"\nhosts = ["old.example"]\n')
        project.path.write_text(project.text.replace("[envlock]\n", '[envlock]\nextends = "team.toml"\n', 1))
        commit(project.folder)
        (project.folder / "team.toml").write_text('[envlock]\nhosts = ["new.example"]\n')
        now, then = load_project(project.path).settings, project_at(project, "main").settings
        assert (now.hosts, now.keep_on_node) == (("new.example",), "20 GB")
        assert (then.hosts, then.keep_on_node) == (("old.example",), "1 GB")
        (project.folder / "team.toml").unlink()
        (project.folder / "team.toml").symlink_to("../outside.toml")
        commit(project.folder)
        with pytest.raises(BadTeamFile):
            project_at(project, "main")

    def test_a_whole_revision(self, committed: Project) -> None:
        head = git(committed.folder, "rev-parse", "HEAD")
        for text in ("main", "main:", "HEAD", "HEAD^{/x}", head, head[:9], "main@{0}", "refs/heads/main"):
            assert [each.environment and each.environment.name for each in all_referred(committed, text)] == [
                "one",
                "two",
            ]

    def test_ids_of_a_revision(self, committed: Project) -> None:
        full_id = referred(committed, "main:two").full_ids[LINUX_64]
        assert names(referred(committed, f"main:{full_id[:8]}")) == ["alpha", "lam"]

    def test_a_name_that_the_revision_does_not_have(self, committed: Project) -> None:
        with pytest.raises(NoSuchSelection) as caught:
            referred(committed, "main:Tow")
        assert caught.value.details[-1] == "at the revision `main`"

    def test_a_whole_revision_is_no_environment(self, committed: Project) -> None:
        with pytest.raises(NoSuchSelection) as caught:
            referred(committed, "main")
        assert "`main:STEP`" in caught.value.details[-1]

    def test_a_revision_that_git_does_not_know(self, committed: Project) -> None:
        for text in ("mian:Train/start", "HEAD~7:one"):
            with pytest.raises(NoSuchRevision):
                referred(committed, text)
        with pytest.raises(NoSuchSelection) as caught:
            all_referred(committed, "mian")
        assert "git knows no revision `mian`" in caught.value.details[-1]
        for text in ("@{u}", "main@{upstream}", "@{-1}", "HEAD@{99}"):  # and no variable of that name
            with pytest.raises(NoSuchRevision):
                all_referred(committed, text)
        with pytest.raises(AliasNotFound) as neither:
            all_referred(committed, "v9:one")
        assert "git knows no revision `v9`" in neither.value.details[-1]
        with pytest.raises(NoSuchRevision) as unknown:
            project_at(committed, "mian")
        assert unknown.value.hint == "did you mean `main`?"

    def test_what_is_no_name_of_a_commit_is_no_option_of_git(self, committed: Project) -> None:
        for text in ("-x", "--help", "--exec=true", "main\nHEAD", "", "HEAD HEAD", ":one", "main:x", "main\0"):
            with pytest.raises(NoSuchRevision):
                project_at(committed, text)

    def test_a_branch_that_begins_with_a_dash(self, committed: Project) -> None:
        git(committed.folder, "update-ref", "refs/heads/-x", "HEAD")
        assert project_at(committed, "-x").named == project_at(committed, "main").named

    def test_a_shallow_clone_says_how_to_get_the_rest(self, committed: Project, tmp_path: Path) -> None:
        commit(committed.folder)
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{committed.folder}", str(clone))
        cloned = load_project(clone / "envlock.toml")
        assert [each.name for each in project_at(cloned, "HEAD").named] == ["one"]
        for text in ("HEAD~1:one", "older:Train/start"):
            with pytest.raises(ShallowClone) as caught:
                referred(cloned, text)
            assert caught.value.hint == "git fetch --unshallow"
        with pytest.raises(ShallowClone):
            all_referred(cloned, "older")

    def test_a_revision_without_locks(self, committed: Project) -> None:
        git(committed.folder, "rm", "-qr", "--cached", "envlock.lock")
        git(committed.folder, "commit", "-qm", "x")
        with pytest.raises(RevisionWithoutLocks) as caught:
            all_referred(committed, "HEAD")
        assert "`envlock.lock`" in caught.value.message
        git(committed.folder, "rm", "-q", "--cached", "envlock.toml")
        git(committed.folder, "commit", "-qm", "x")
        with pytest.raises(RevisionWithoutLocks) as caught:
            referred(committed, "HEAD:one")
        assert "`envlock.toml`" in caught.value.message

    def test_no_repository_around_the_project(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(NotARepository):
            referred(project, "main:Train/start")
        commit(project.folder)
        (project.folder / ".git" / "HEAD").unlink()
        with pytest.raises(NotARepository) as caught:
            referred(project, "main:Train/start")
        assert "not a git repository" in caught.value.message
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(NotARepository) as caught:
            referred(project, "main:Train/start")
        assert "no `git` on PATH" in caught.value.message

    def test_an_alias_that_looks_like_a_revision_is_one_where_git_does_not_know_it(self, committed: Project) -> None:
        assert names(referred(committed, "team/base:v1")) == ["alpha", "beta"]
        assert names(all_referred(committed, "team/base:v1")[0]) == ["alpha", "beta"]

    def test_what_is_wrong_with_a_revision_says_where(self, committed: Project) -> None:
        lock_file = lock_of(committed, "one")
        sound = lock_file.read_text()
        lock_file.write_text(f"<<<<<<< HEAD\n{sound}=======\n{sound}>>>>>>> x\n")
        commit(committed.folder)
        found = referred(committed, "HEAD:one")
        with pytest.raises(ConflictMarkersInLock) as caught:
            found.rows(LINUX_64)
        assert "HEAD:envlock.lock/linux-64/" in caught.value.render()
        committed.path.write_text(f"{committed.text}\n<<<<<<< HEAD\n")
        commit(committed.folder)
        with pytest.raises(MergeConflict) as broken:
            referred(committed, "HEAD:one")
        assert broken.value.locations[0].path == "HEAD:envlock.toml"

    def test_what_neither_the_project_nor_the_cache_has_is_read_from_the_history(
        self, committed: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "metaflow.client.core", None)
        lock = read_lock(Path(project_at(committed, "main").folder) / lock_of_revision(committed, "two"))
        prefix = tmp_path / "environments" / lock.prefix_name
        prefix.mkdir(parents=True)
        write_receipt(prefix, Receipt(lock.req_id, lock.full_id, lock.arch, "/usr/bin/python3", "3.12.0", ()))
        lookup = Lookup(committed)
        RunRecords(lookup.store).write(RunRecord("TrainFlow", "9", "fit", lock.arch, lock.req_id, lock.full_id))
        for entry in list(lookup.store.entries("envs")):
            lookup.store.delete(entry.path)
        for text in (str(prefix), "TrainFlow/9/fit"):
            assert names(referred(committed, text)) == ["alpha", "lam"]
        commit(committed.folder)  # which deletes it
        assert names(referred(committed, str(prefix))) == ["alpha", "lam"]
        git(committed.folder, "checkout", "-q", "--orphan", "other")
        commit(committed.folder)
        assert names(referred(committed, str(prefix))) == ["alpha", "lam"]
        git(committed.folder, "branch", "-q", "-D", "main")
        with pytest.raises(EnvironmentNotInCache):
            referred(committed, str(prefix)).rows(LINUX_64)

    def test_show_shows_it_too(self, committed: Project) -> None:
        (found,) = describe(committed, "main:two", [LINUX_64])
        assert isinstance(found, Description)
        assert [package.name for package in found.lock.packages] == ["alpha", "lam"]
        assert found.place.startswith("main:envlock.lock/linux-64/")

    def test_one_that_was_stale_there_says_so_and_not_to_lock(self, committed: Project) -> None:
        committed.path.write_text(committed.text.replace('packages.one = "1', 'packages.one = "2'))
        commit(committed.folder)
        for look in (referred, describe):
            with pytest.raises(StaleLock) as caught:
                look(committed, "main:one")
            assert (caught.value.details[-1], caught.value.hint) == ("at the revision `main`", None)
            assert caught.value.locations[0].path == "main:envlock.toml"

    def test_git_is_run_for_this_repository_whatever_another_command_of_git_left_in_variables(
        self, committed: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GIT_DIR", "/nowhere")
        monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
        monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nowhere/objects")
        assert len(all_referred(committed, "main")) == 2


MIXED = """
[envlock]
archs = ["linux-64"]

[flow.Train]
file = "flows/train.py"
step.fit.requirements = "needs/fit.txt"
step.fit.env = "local"

[env.local.pypi.packages]
tool = { path = "libs/tool" }
wheel = { path = "libs/wheel-1.0-py3-none-any.whl" }

[env.uv]
pyproject = "app/pyproject.toml"
"""
PARENT = """
from metaflow import FlowSpec, step

class Parent(FlowSpec):
    @step
    def end(self):
        pass
"""
CHILD = """
from metaflow import step
from common.parent import Parent

class Train(Parent):
    @step
    def start(self):
        self.next(self.fit)

    @step
    def fit(self):
        self.next(self.end)
"""


def test_a_revision_is_read_as_the_disk_is(tmp_path: Path) -> None:
    """Flows over modules, requirement files, links, folders and wheels give the same ids as on the disk."""
    top = tmp_path / "repository"
    files = {
        "sub/envlock.toml": MIXED,
        "sub/flows/train.py": CHILD,
        "shared/parent.py": PARENT,
        "sub/needs/fit.txt": "-r ../../shared/base.txt\nrich>=13\n",
        "shared/base.txt": "requests<3\n",
        "shared/tool/pyproject.toml": '[project]\nname = "tool"\nversion = "1"\ndependencies = ["wheel"]\n',
        "shared/tool/tool.py": "x = 1\n",
        "shared/tool/.gitignore": "*.log\nskip/\n",
        "shared/tool/run.sh": "#!/bin/sh\n",
        "sub/libs/wheel-1.0-py3-none-any.whl": "PK",
        "sub/app/pyproject.toml": '[project]\nname = "app"\nversion = "1"\ndependencies = ["member"]\n'
        '[tool.uv.sources]\nmember = { workspace = true }\n[tool.uv.workspace]\nmembers = ["packages/*"]\n',
        "sub/app/packages/member/pyproject.toml": '[project]\nname = "member"\nversion = "1"\n',
        "sub/envlock.lock/.gitattributes": "",
    }
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    (top / "shared/tool/run.sh").chmod(0o755)
    (top / "sub/common").symlink_to("../shared")
    (top / "sub/libs/tool").symlink_to("../../shared/tool")
    (top / "shared/tool/link.py").symlink_to("tool.py")
    (top / "shared/tool/parent.py").symlink_to("../parent.py")
    commit(top)
    before = load_project(top / "sub/envlock.toml")
    for path in files:
        (top / path).write_text("nothing of this is read\n")
    (top / "shared/tool/a.log").write_text("ignored")
    past = project_at(before, "HEAD")
    assert [each.name for each in past.environments()] == ["Train/start", "Train/fit", "Train/end", "local", "uv"]
    assert [each.requirements for each in past.environments()] == [each.requirements for each in before.environments()]
    assert len({each.requirements.req_id for each in past.environments()}) == 4
