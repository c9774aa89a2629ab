"""`lock --using` and `lock --from`: tables name an environment, or ask what it asks for, locked and written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envlock.cache.open import open_store
from envlock.config.edit.errors import CannotWrite
from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.lockfile.folder import read_lock
from envlock.model.arch import LINUX_64
from envlock.named.errors import ChangedMeanwhile
from envlock.named.new_table import NewTable, using
from envlock.named.run_record import RunRecord, RunRecords
from envlock.reporter import Reporter
from envlock.workflow.lock import lock
from envlock.workflow.locking.jobs import LockResult, Upgrade
from tests.channel import Channel
from tests.conftest import Envlock
from tests.index import Index, Release
from tests.support import ProjectFolder, Ran, isolation, own_project, run_envlock

ARCHS = ("linux-64", "osx-arm64")
CACHE = 'cache = "../shared"'
COMMENTED = "# ours\n[env.other] # another\npypi = { packages = { zeta = '' } }  # mine\n# the end\n"


@pytest.fixture(scope="module")
def given(new_folder: Callable[[str], Path], index: Index, shared_uv_cache: Path) -> Path:
    folder = new_folder("given")
    project = ProjectFolder.make(folder / "mine", index.url)
    project.write_env("alpha<2", "lam", name="base", settings=CACHE, archs=["linux-64"])
    with isolation(new_folder("home"), shared_uv_cache):
        give(project, run_envlock)
    return folder


@pytest.fixture
def mine(tmp_path: Path, index: Index, given: Path) -> ProjectFolder:
    """`team/base:v1`, locked for linux-64 alone, and pushed to the cache that all share."""
    shutil.copytree(given, tmp_path, dirs_exist_ok=True)
    return ProjectFolder(tmp_path / "mine", index.url)


@pytest.fixture
def project(tmp_path: Path, index: Index) -> ProjectFolder:
    """The project that uses it."""
    made = ProjectFolder.make(tmp_path / "project", index.url)
    made.write(COMMENTED, settings=CACHE, archs=ARCHS)
    return made


def give(project: ProjectFolder, envlock: Callable[..., Ran], name: str = "team/base:v1") -> None:
    envlock("lock", cwd=project.folder)
    envlock("alias", name, "--env", "base", cwd=project.folder)


def packages(project: ProjectFolder, path: Path) -> set[str]:
    return {f"{package.name} {package.version}" for package in read_lock(path).packages}


def locks(project: ProjectFolder, arch: str) -> list[Path]:
    return [path for path in project.locks if path.parent.parent.name == arch]


class TestUsing:
    def test_the_table_is_written_and_locked(
        self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock, watched: Envlock
    ) -> None:
        text = project.config.read_text()
        said = envlock("lock", "--env", "new", "--using", "team/base:v1", "--arch", "linux-64").stdout
        assert said.startswith("wrote [env.new] into envlock.toml\npinned team/base:v1, move 1")
        assert "fetched new on linux-64: 2 packages" in said
        added = '\n[env.new]\nnamed_env = { name = "team/base:v1" }\n'
        assert project.config.read_text().replace(added, "") == text
        assert added in project.config.read_text()
        assert project.lock_of("linux-64").read_bytes() == mine.lock_of("linux-64").read_bytes()
        assert envlock("check", "--env", "new", "--arch", "linux-64").status == 0
        before = project.snapshot()
        ran = watched("lock", "--env", "new", "--using", "team/base:v1", "--arch", "linux-64", "--json")
        assert ran.json["written"] == []
        assert not ran.json["changed"]
        assert project.snapshot() == before
        assert not [effect for effect in ran.effects if "envlock.toml" in effect and effect.startswith("write")]

    def test_an_environment_with_packages_of_its_own_extends_it(
        self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock
    ) -> None:
        ran = envlock("lock", "--env", "other", "--using", "team/base:v1", "--arch", "linux-64", "--json")
        assert ran.json["written"] == ["env.other"]
        text = project.config.read_text()
        line = 'named_env = { name = "team/base:v1" }\n'
        assert line in text
        assert text.replace(line, "").endswith(COMMENTED + "\n")
        found, base = packages(project, project.lock_of("linux-64")), packages(mine, mine.lock_of("linux-64"))
        assert base < found
        assert any(package.startswith("zeta ") for package in found)

    def test_a_name_is_given_too(self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock) -> None:
        project.write(COMMENTED, settings=CACHE, archs=["linux-64"])
        said = envlock("lock", "--env", "new", "--using", "team/base:v1", "--alias", "team/new:v1").stdout
        assert "gave team/new:v1 to new: " in said
        said = envlock("lock", "--env", "other", "--using", "team/base:v1", "--alias", "team/wide:v1").stdout
        assert "gave team/wide:v1 to other: " in said
        assert "zeta==" in envlock("show", "team/wide:v1").stdout

    def test_ids_variables_and_pathspecs(self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock) -> None:
        project.write(COMMENTED, settings=CACHE, archs=["linux-64"])
        path = mine.lock_of("linux-64")
        req_id, full_id = path.parent.name, path.name.split(".")[1]
        ran_in = RunRecord("TrainFlow", "142", "train", LINUX_64, req_id, full_id)
        RunRecords(open_store(load_project(project.config).cache_url)).write(ran_in)
        envlock("lock", "--env", "ids", "--using", f"{req_id}:{full_id}")
        envlock("lock", "--env", "var", "--using", "@{TEAM}/base:v1", env={"TEAM": "team"})
        envlock("lock", "--env", "ran", "--using-pathspec", "TrainFlow/142/train")
        envlock("lock", "--env", "new", "--from-pathspec", "TrainFlow/142/train")
        text = project.config.read_text()
        assert f'[env.ids.named_env]\nname = "{req_id}:{full_id}"\n' in text
        assert '[env.var]\nnamed_env = { name = "@{TEAM}/base:v1" }\n' in text
        assert '[env.ran]\nnamed_env = { pathspec = "TrainFlow/142/train" }\n' in text
        assert [lock.read_bytes() for lock in project.locks] == [path.read_bytes()]

    def test_the_same_name_in_another_spelling(
        self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock
    ) -> None:
        envlock("alias", "team/base:latest", "team/base:v1", cwd=mine.folder)
        envlock("lock", "--env", "new", "--using", "team/base", "--arch", "linux-64")
        before = project.snapshot()
        envlock("lock", "--env", "new", "--using", "team/base:latest", "--arch", "linux-64")
        assert project.snapshot() == before

    def test_another_name_stays(self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock) -> None:
        envlock("lock", "--env", "new", "--using", "team/base:v1", "--arch", "linux-64")
        before = project.snapshot()
        said = envlock("lock", "--env", "new", "--using", "team/base:v2", check=2).stderr
        assert "error[names-another]: `[env.new]` names `team/base:v1` already" in said
        assert "(env.new.named_env.name)" in said
        said = envlock("lock", "--env", "new", "--using-pathspec", "Train/1/start", check=2).stderr
        assert "error[names-another]" in said
        assert project.snapshot() == before

    def test_what_fails_changes_nothing(
        self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock, tmp_path: Path
    ) -> None:
        before = project.snapshot()
        cold = {"UV_CACHE_DIR": str(tmp_path / "uv")}
        for arguments, status, code in [
            (["--using", "team/base:v1"], 2, "base-lacks-arch"),
            (["--using", "team/base:v9"], 2, "alias-not-found"),
            (["--using", "Team/base"], 2, "bad-alias"),
            (["--using", "team/base:latest@3"], 2, "bad-alias"),
            (["--using-pathspec", "Train/1"], 2, "bad-pathspec"),
            (["--using", "@{NOT_SET}/base"], 2, "unset-name-variable"),
            (["--from", "team/base:v9"], 2, "alias-not-found"),
            (["--from", "@{NOT_SET}/base"], 2, "unset-name-variable"),
            (["--from-pathspec", "Train/1"], 2, "bad-pathspec"),
            (["--from", "team/base:v1", "--offline"], 4, "index-unreachable"),
        ]:
            said = envlock("lock", "--env", "new", *arguments, check=status, env=cold)
            assert f"error[{code}]" in said.stderr, arguments
            assert project.snapshot() == before, arguments

    def test_a_contradiction_changes_nothing(
        self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock
    ) -> None:
        project.write("[env.new]\npypi = { packages = { alpha = '>=2' } }\n", settings=CACHE, archs=["linux-64"])
        before = project.snapshot()
        said = envlock("lock", "--env", "new", "--using", "team/base:v1", check=4).stderr
        assert "error[conflict-with-base]" in said
        assert "envlock.toml was not changed" in said
        assert project.snapshot() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--env", "new", "--using", "a", "--from", "b"],
        ["--env", "new", "--using", "a", "--using-pathspec", "F/1/s"],
        ["--env", "new", "--from", "a", "--from-pathspec", "F/1/s"],
        ["--env", "new", "--using-pathspec", "F/1/s", "--from-pathspec", "F/1/s"],
        ["--using", "a"],
        ["--from", "a"],
        ["--env", "new", "--env", "other", "--using", "a"],
        ["--env", "new", "--step", "train", "--from", "a"],
        ["--flow", "F", "--using-pathspec", "F/1/s"],
        ["--env", "", "--using", "a"],
        ["--env", "new", "--from", " "],
        ["--env", "new", "--from="],
    ],
)
def test_what_does_not_go_together(project: ProjectFolder, envlock: Envlock, arguments: list[str]) -> None:
    before = project.snapshot()
    said = envlock("lock", *arguments, check=2).stderr
    assert "error[usage]" in said
    assert "hint: envlock lock --help" in said
    assert project.snapshot() == before


class TestFrom:
    def test_an_environment_of_one_arch_comes_to_more(
        self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock
    ) -> None:
        text = project.config.read_text()
        said = envlock("lock", "--env", "base", "--from", "team/base:v1").stdout
        assert said.startswith("wrote [env.base] into envlock.toml\n")
        table = '\n[env.base]\npypi = { python = "==3.12.*", packages = { alpha = "<2", lam = "" } }\n'
        assert project.config.read_text().replace(table, "") == text
        assert table in project.config.read_text()
        theirs = mine.lock_of("linux-64")
        assert [path.relative_to(project.lock_folder) for path in locks(project, "linux-64")] == [
            theirs.relative_to(mine.lock_folder)
        ]
        (other,) = locks(project, "osx-arm64")
        assert other.parent.name == theirs.parent.name
        assert packages(project, other) == packages(mine, theirs)
        assert envlock("check", "--env", "base").status == 0
        before = project.snapshot()
        said = envlock("lock", "--env", "base", "--from", "team/base:v1", check=2).stderr
        assert "error[environment-exists]: `[env.base]` exists already" in said
        assert "(env.base)" in said
        assert project.snapshot() == before

    def test_versions_stay_unless_they_are_to_move(
        self, tmp_path: Path, envlock: Envlock, make_index: Callable[..., Index]
    ) -> None:
        old, new = Release("moving", "1.0"), Release("moving", "2.0")
        served = make_index(old)
        mine = ProjectFolder.make(tmp_path / "mine", served.url)
        mine.write_env("moving", name="base", settings=CACHE, archs=["linux-64"])
        give(mine, envlock)
        served.publish(new)
        project = own_project(tmp_path, served)
        fresh = {"UV_CACHE_DIR": str(tmp_path / "uv")}
        project.write("", settings=CACHE, archs=ARCHS)
        envlock("lock", "--env", "kept", "--from", "team/base:v1", env=fresh)
        assert {arch: project.pins(arch) for arch in ARCHS} == {arch: {"moving": "1.0"} for arch in ARCHS}
        project.write("", settings=CACHE, archs=ARCHS)
        envlock("lock")
        envlock("lock", "--env", "moved", "--from", "team/base:v1", "--upgrade", env=fresh)
        assert {arch: project.pins(arch) for arch in ARCHS} == {arch: {"moving": "2.0"} for arch in ARCHS}

    def test_settings_have_to_agree(self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock) -> None:
        project.write("", settings=f'{CACHE}\nexclude-newer = "2026-11-01"', archs=ARCHS)
        before = project.snapshot()
        said = envlock("lock", "--env", "base", "--from", "team/base:v1", check=2).stderr
        assert "error[settings-differ]: `team/base:v1` was locked with other settings" in said
        assert "hint: in `[envlock]`, remove `exclude-newer`" in said
        assert project.snapshot() == before

    def test_what_extends_another_is_not_resolved_again(
        self, mine: ProjectFolder, project: ProjectFolder, envlock: Envlock
    ) -> None:
        project.write(COMMENTED, settings=CACHE, archs=["linux-64"])
        envlock("lock", "--env", "other", "--using", "team/base:v1", "--alias", "team/wide:v1")
        before = project.snapshot()
        said = envlock("lock", "--env", "new", "--from", "team/wide:v1", check=2).stderr
        assert "error[cannot-copy-requirements]" in said
        assert "envlock lock --env new --using team/wide:v1" in said
        assert project.snapshot() == before


class TestConda:
    @pytest.fixture
    def mine(self, tmp_path: Path, conda_project: ProjectFolder, envlock: Envlock, channel: Channel) -> ProjectFolder:
        """`team/base:v1`: conda packages with one of PyPI on top, locked for linux-64."""
        channel.need("numpy", "click")
        made = ProjectFolder.make(tmp_path / "mine", conda_project.index_url)
        made = ProjectFolder(made.folder, made.index_url, conda_project.conda_python)
        made.write_conda_env(
            "numpy", pypi=["lam"], name="base", system={"__glibc": "2.31"}, settings=CACHE, archs=["linux-64"]
        )
        give(made, envlock)
        return made

    def test_the_same_for_more_archs(self, mine: ProjectFolder, conda_project: ProjectFolder, envlock: Envlock) -> None:
        conda_project.write("", settings=CACHE, archs=ARCHS)
        envlock("lock", "--env", "wide", "--from", "team/base:v1")
        theirs = mine.lock_of("linux-64")
        assert conda_project.lock_of("linux-64").name == theirs.name
        assert {path.parent.name for path in conda_project.locks} == {theirs.parent.name}
        names = [{each.name for each in read_lock(path).packages} for path in conda_project.locks]
        assert all({"numpy", "lam", "python"} <= each for each in names)
        assert "fresh" in envlock("check").stdout

    def test_it_is_extended(self, mine: ProjectFolder, conda_project: ProjectFolder, envlock: Envlock) -> None:
        conda_project.write("[env.more.conda.libraries]\nclick = ''\n", settings=CACHE, archs=["linux-64"])
        envlock("lock", "--env", "more", "--using", "team/base:v1")
        assert '[env.more.named_env]\nname = "team/base:v1"\n' in conda_project.config.read_text()
        base, found = packages(mine, mine.lock_of("linux-64")), packages(mine, conda_project.lock_of("linux-64"))
        assert base < found
        assert "fresh" in envlock("check").stdout


class TestWriting:
    def lock(self, new: NewTable) -> LockResult:
        return new.lock(Selection(environments=("new",)), Upgrade(), Reporter())

    def test_a_change_of_somebody_else_is_kept(
        self, mine: ProjectFolder, project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.write("", settings=CACHE, archs=["linux-64"])
        new = using(load_project(project.config), "new", "name", "team/base:v1")
        text = project.config.read_text() + "# theirs\n"

        def meanwhile(*arguments: Any, **options: Any) -> LockResult:
            result = lock(*arguments, **options)
            result.locked[0].path.with_name("pylock.of-another.toml").touch()
            project.config.write_text(text)
            return result

        monkeypatch.setattr("envlock.named.new_table.lock", meanwhile)
        with pytest.raises(ChangedMeanwhile):
            self.lock(new)
        assert project.config.read_text() == text
        assert [path.name for path in project.lock_folder.rglob("*.toml")] == ["pylock.of-another.toml"]

    def test_a_file_that_was_deleted_meanwhile_is_not_made(self, mine: ProjectFolder, project: ProjectFolder) -> None:
        project.write("", settings=CACHE, archs=["linux-64"])
        new = using(load_project(project.config), "new", "name", "team/base:v1")
        project.config.unlink()
        with pytest.raises(ChangedMeanwhile):
            self.lock(new)
        assert not project.config.exists()
        assert not project.locks

    def test_a_file_that_cannot_be_written(self, project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        new = using(load_project(project.config), "new", "name", "team/base:v1")
        monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
        with pytest.raises(CannotWrite):
            self.lock(new)
