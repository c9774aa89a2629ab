"""Named environments from end to end: one user locks, pushes and names, another uses the name and adds to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Envlock
from tests.index import Index
from tests.support import ProjectFolder

ARCHS = ("linux-64", "osx-arm64")


@pytest.fixture
def mine(tmp_path: Path, index: Index, envlock: Envlock) -> ProjectFolder:
    """The first user's checkout: `team/base:v1` and `team/base:latest` are named, in the cache that both share."""
    project = ProjectFolder.make(tmp_path / "mine", index.url)
    release(project, envlock, "v1", "alpha<2", "lam")
    return project


@pytest.fixture
def yours(tmp_path: Path, index: Index) -> ProjectFolder:
    """The second user's checkout, with a flow."""
    project = ProjectFolder.make(tmp_path / "yours", index.url)
    project.write_flow()
    return project


def release(project: ProjectFolder, envlock: Envlock, tag: str, *packages: str, archs: tuple[str, ...] = ARCHS) -> None:
    """Lock what is asked, and name it."""
    project.write_env(*packages, name="base", settings=CACHE, archs=archs)
    envlock("lock", cwd=project.folder)
    envlock("alias", f"team/base:{tag}", "--env", "base", cwd=project.folder)
    envlock("alias", "team/base:latest", "--env", "base", cwd=project.folder)


CACHE = 'cache = "../shared"'


def use(project: ProjectFolder, table: str, *, more: str = "", archs: tuple[str, ...] = ARCHS) -> None:
    """An envlock.toml in which `train` has this `named_env`, and the other steps are disabled."""
    off = "".join(f"[flow.DemoFlow.step.{step}]\ndisabled = true\n" for step in ("start", "end"))
    project.write(
        f'[flow.DemoFlow]\nfile = "demoflow.py"\n{off}[flow.DemoFlow.step.train]\nnamed_env = {table}\n{more}',
        settings=CACHE,
        archs=archs,
    )


def test_a_name_is_locked_to_what_it_stands_for(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }')
    ran = envlock("check", cwd=yours.folder, check=1)
    assert "DemoFlow/train on linux-64, osx-arm64: not locked" in ran.stdout
    assert "`team/base:v1`" in ran.stdout
    assert "repair: envlock lock" in ran.stdout
    said = envlock("lock", cwd=yours.folder).stdout
    assert "pinned team/base:v1, move 1" in said
    assert "fetched DemoFlow/train on linux-64, osx-arm64: 2 packages" in said
    for arch in ARCHS:
        assert yours.lock_of(arch).read_bytes() == mine.lock_of(arch).read_bytes()
        assert yours.lock_of(arch).relative_to(yours.folder) == mine.lock_of(arch).relative_to(mine.folder)
    assert (yours.lock_folder / "aliases/team/base/@tags/v1.toml").is_file()
    assert "fresh: 1 environment on 2 archs" in envlock("check", cwd=yours.folder).stdout
    before = yours.snapshot()
    assert "nothing changed" in envlock("lock", cwd=yours.folder).stdout
    assert yours.snapshot() == before
