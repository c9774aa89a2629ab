"""Which environments a text names, and their locks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envlock.config.errors import NoSuchSelection, SeveralEnvironments, StepDisabled
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.hydration.prefix import Receipt, write_receipt
from envlock.lockfile.errors import ArchNotLocked, DamagedLock, NotLocked
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import LINUX_64, OSX_64, OSX_ARM64
from envlock.named.errors import AliasLacksArch, LockNotFound
from envlock.named.lookup import Lookup
from envlock.named.run_record import RunRecords
from envlock.workflow.errors import PrefixGone, StaleLock
from envlock.workflow.references import Referred, all_referred, referred
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
        with pytest.raises(DamagedLock):
            referred(project, "./gone.toml")

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
