"""The locks that poetry, pdm and pip-compile of today write: each is imported to what envlock itself would lock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.uv_command import uv_environment, uv_executable
from envlock.workflow.import_locks import Wanted, import_lock
from tests.index import Index
from tests.interchange.sources import PROJECT, write_uv_project
from tests.support import ProjectFolder

pytestmark = [pytest.mark.slow, pytest.mark.index]
TOOLS = ("poetry>=2.1", "pdm[locked]", "pip-tools>=7.6")


@pytest.fixture(scope="module")
def tools(new_folder: Callable[[str], Path]) -> Path:
    """The folder of the commands, installed from the index that `make setup` uses."""
    folder = new_folder("tools")
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        ["pip", "install", "--quiet", "--python", str(folder / "venv" / "bin" / "python"), *TOOLS],
    ):
        subprocess.run([str(uv_executable()), *arguments], env={**os.environ, **uv_environment()}, check=True)
    return folder / "venv" / "bin"


def written(folder: Path, *command: str) -> None:
    environment = {
        **os.environ,
        "POETRY_VIRTUALENVS_CREATE": "false",
        "POETRY_CACHE_DIR": str(folder / "cache"),
        "PDM_CHECK_UPDATE": "0",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def poetry_lock(tools: Path, folder: Path, index: Index) -> Path:
    source = f'[[tool.poetry.source]]\nname = "own"\nurl = "{index.url}"\npriority = "primary"\n'
    groups = '[tool.poetry.group.train.dependencies]\niota = "*"\n[tool.poetry.group.dev.dependencies]\nrho = "*"\n'
    project = PROJECT.partition("[dependency-groups]")[0]
    (folder / "pyproject.toml").write_text(f"{project}\n[tool.poetry]\npackage-mode = false\n{groups}{source}")
    written(folder, str(tools / "poetry"), "lock", "--no-interaction")
    return folder / "poetry.lock"


def pdm_lock(tools: Path, folder: Path, index: Index, *arguments: str) -> Path:
    source = f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{index.url}"\nverify_ssl = false\n'
    (folder / "pyproject.toml").write_text(f"{PROJECT}\n[tool.pdm]\ndistribution = false\n{source}")
    written(folder, str(tools / "pdm"), "lock", "-G:all", *arguments)
    return folder / "pdm.lock"


def pdm_lock_with_urls(tools: Path, folder: Path, index: Index) -> Path:
    return pdm_lock(tools, folder, index, "--static-urls")


@pytest.mark.parametrize("write", [poetry_lock, pdm_lock, pdm_lock_with_urls])
def test_the_lock_of_a_tool_has_what_uv_locks_of_the_same_project(
    tools: Path, index: Index, project: ProjectFolder, tmp_path: Path, write: Callable[[Path, Path, Index], Path]
) -> None:
    project.write("", archs=["linux-64", "osx-arm64"])
    chosen = {"python": "3.11", "extras": ("gpu",), "groups": ("train",)}
    expected = import_lock(
        project.config,
        Wanted(write_uv_project(tmp_path / "uv", index.url), name="uv", **chosen),  # type: ignore[arg-type]
    )
    (tmp_path / "other").mkdir()
    path = write(tools, tmp_path / "other", index)
    found = import_lock(project.config, Wanted(path, name="other", **chosen))  # type: ignore[arg-type]
    assert [each.full_id for each, _ in found.locks] == [each.full_id for each, _ in expected.locks]


def test_what_pip_compile_writes_is_imported_with_who_needs_whom(
    tools: Path, index: Index, project: ProjectFolder, tmp_path: Path
) -> None:
    (tmp_path / "requirements.in").write_text("eta\nzeta[fast]\n")
    options = ("--generate-hashes", "--index-url", index.url, "requirements.in")
    written(tmp_path, str(tools / "pip-compile"), *options)
    project.write("", archs=["linux-64"])
    ((found, _),) = import_lock(project.config, Wanted(tmp_path / "requirements.txt")).locks
    assert found.python.series == "{}.{}".format(*sys.version_info)
    assert {each.name: each.dependencies for each in found.packages}["zeta"] == ("beta",)
