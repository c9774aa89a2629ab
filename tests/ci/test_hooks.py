"""The hooks of .pre-commit-hooks.yaml, run by the real pre-commit at real commits."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from envlock.config.read import load_project
from envlock.workflow.check import check_index
from envlock.workflow.lock import lock
from tests.conftest import Envlock
from tests.index import Index
from tests.support import ENVLOCK, ProjectFolder

ROOT = Path(__file__).parents[2]
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def git(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    settings = ("-c", "user.name=Ada", "-c", "user.email=ada@mail.example", "-c", "commit.gpgsign=false")
    path = f"{ENVLOCK.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["git", *settings, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def repository(project: ProjectFolder) -> ProjectFolder:
    """A project in a git repository, not locked, all of it added."""
    project.write_env("alpha", archs=["linux-64"])
    git(project.folder, "init", "--quiet", "--initial-branch=main")
    git(project.folder, "add", ".")
    return project


@pytest.fixture
def install(repository: ProjectFolder) -> Callable[..., None]:
    """Installs hooks into the repository as `pre-commit install` does; they run the envlock of these tests."""

    def installed(*names: str) -> None:
        # `language: python` would install envlock once more: what is run in its environment is the same.
        hooks = [{**hook, "language": "system"} for hook in HOOKS if hook["id"] in names]
        document = {"repos": [{"repo": "local", "hooks": hooks}]}
        (repository.folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(document))
        git(repository.folder, "add", ".pre-commit-config.yaml")
        command = [sys.executable, "-m", "pre_commit", "install"]
        subprocess.run(command, cwd=repository.folder, check=True, capture_output=True)

    return installed


def test_a_commit_fails_until_the_locks_are_made_and_added(
    repository: ProjectFolder, install: Callable[..., None], envlock: Envlock
) -> None:
    install("envlock-check")
    said = git(repository.folder, "commit", "--message=one", check=False).stderr
    assert "not locked" in said
    envlock("lock")
    said = git(repository.folder, "commit", "--message=one", check=False).stderr
    assert "not added to git" in said
    assert "repair: git add envlock.lock" in said
    git(repository.folder, "add", "envlock.lock")
    git(repository.folder, "commit", "--message=one")
    assert git(repository.folder, "status", "--porcelain").stdout == ""


def test_the_hook_that_locks_fails_until_the_locks_are_added(
    repository: ProjectFolder, install: Callable[..., None], envlock: Envlock
) -> None:
    install("envlock-lock")
    for _ in range(2):  # nothing to lock the second time, and still not in the commit
        said = git(repository.folder, "commit", "--message=one", check=False)
        assert said.returncode == 1
        assert "not added to git: git add envlock.lock" in said.stderr
    git(repository.folder, "add", "envlock.lock")
    git(repository.folder, "commit", "--message=one")
    envlock("check")
    before = git(repository.folder, "ls-files", "envlock.lock").stdout
    repository.edit('"alpha" = ""', '"beta" = ""')
    assert git(repository.folder, "commit", "--all", "--message=two", check=False).returncode == 1
    git(repository.folder, "add", "--all")
    git(repository.folder, "commit", "--message=two")
    assert git(repository.folder, "ls-files", "envlock.lock").stdout != before


def test_a_team_file_and_a_requirement_file_are_to_be_added_too_in_a_folder_of_the_repository(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ProjectFolder.make(tmp_path / "flows", index.url)
    monkeypatch.chdir(project.folder)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "team.toml").write_text("[envlock]\n")
    (project.folder / "more.txt").write_text("alpha\n")
    project.write(
        '[env.demo]\nrequirements = "more.txt"\npypi.python = "3.12"\n',
        settings='extends = "../team.toml"',
        archs=["linux-64"],
    )
    lock(load_project(project.config))
    git(tmp_path, "add", ".")
    assert check_index(load_project(project.config)) == ()
    (tmp_path / "team.toml").write_text("[envlock]\n# more\n")
    (project.folder / "more.txt").write_text("# more\nalpha\n")
    found = check_index(load_project(project.config))
    assert found is not None
    assert [each.repair for each in found] == ["git add ../team.toml more.txt"]


def test_what_git_ignores_or_still_has_is_not_added(repository: ProjectFolder, envlock: Envlock) -> None:
    envlock("lock")
    git(repository.folder, "add", ".")
    envlock("check", "--staged")
    git(repository.folder, "commit", "--quiet", "--message=one")
    envlock("check", "--staged")
    repository.edit('"alpha" = ""', '"beta" = ""')
    envlock("lock")
    (finding,) = envlock("check", "--staged", "--json", check=1).json["findings"]
    assert (finding["verdict"], finding["repair"]) == ("not-added", "git add envlock.toml envlock.lock")
    git(repository.folder, "add", "envlock.toml", *(str(path) for path in repository.locks))
    (finding,) = envlock("check", "--staged", "--json", check=1).json["findings"]  # the one that was deleted
    assert finding["repair"] == "git add envlock.lock"
    git(repository.folder, "add", "envlock.lock")
    envlock("check", "--staged")
    git(repository.folder, "rm", "-r", "--cached", "--quiet", "envlock.lock")
    (repository.folder / ".gitignore").write_text("envlock.lock\n")
    (finding,) = envlock("check", "--staged", "--json", check=1).json["findings"]
    assert finding["path"] == "envlock.lock"


def test_a_project_in_a_folder_is_added_from_where_one_is(
    project: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    inner = ProjectFolder.make(project.folder / "my flows", project.index_url)
    inner.write_env("alpha", archs=["linux-64"])
    git(project.folder, "init", "--quiet")
    config = ("--config", "my flows/envlock.toml")
    envlock("lock", *config)
    for ignored in ("", "envlock.lock/\n"):
        (project.folder / ".gitignore").write_text(ignored)
        (finding,) = envlock("check", "--staged", "--json", *config, check=1).json["findings"]
        assert finding["repair"] == "git add 'my flows/envlock.toml' 'my flows/envlock.lock'"
    (project.folder / ".gitignore").unlink()
    git(project.folder, *shlex.split(finding["repair"])[1:])
    assert envlock("check", "--staged", *config).stdout == "fresh: 1 environment on 1 arch\n"


def test_outside_of_git_there_is_nothing_to_add_to(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha", archs=["linux-64"])
    for command in ("lock", "check"):
        said = envlock(command, "--staged", check=2).stderr
        assert "error[usage]" in said
        assert f"envlock {command} --help" in said


def test_locking_files_has_no_index(project: ProjectFolder, envlock: Envlock) -> None:
    (project.folder / "requirements.txt").write_text("alpha\n")
    said = envlock("lock", "-r", "requirements.txt", "--output", "locks", "--staged", check=2).stderr
    assert "`-r` and `--staged` exclude each other" in said or "`--requirements` and `--staged`" in said


@pytest.mark.slow
@pytest.mark.index
def test_pre_commit_installs_the_hooks_and_they_start_quickly(repository: ProjectFolder, envlock: Envlock) -> None:
    """The whole way: pre-commit clones this repository, installs envlock from it, and runs the hook at a commit."""
    import time

    envlock("lock")
    revision = git(ROOT, "rev-parse", "HEAD").stdout.strip()
    document = {"repos": [{"repo": str(ROOT), "rev": revision, "hooks": [{"id": hook["id"]} for hook in HOOKS]}]}
    (repository.folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(document))
    git(repository.folder, "add", ".")
    command = [sys.executable, "-m", "pre_commit", "install", "--install-hooks"]
    subprocess.run(command, cwd=repository.folder, check=True, capture_output=True)
    began = time.monotonic()
    said = git(repository.folder, "commit", "--message=one").stderr
    assert time.monotonic() - began < 5  # git, pre-commit and two hooks: each takes a fraction of a second
    assert said.count("Passed") == len(HOOKS)
