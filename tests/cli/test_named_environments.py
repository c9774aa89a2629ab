"""Named environments from end to end: one user locks, pushes and names, another uses the name and adds to it."""

from __future__ import annotations

from collections.abc import Callable
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


def packages(path: Path) -> dict[str, str]:
    """The lines of a lock's packages, by name."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("    {name = ")]
    return {line.split('"')[1]: line for line in lines}


def test_additions_leave_the_base_as_it_is(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }', more='pypi = { packages = { beta = "", zeta = "" } }')
    envlock("lock", cwd=yours.folder)
    assert envlock("check", cwd=yours.folder).status == 0
    for arch in ARCHS:
        base, found = packages(mine.lock_of(arch)), packages(yours.lock_of(arch))
        assert set(found) == {*base, "beta", "zeta"}
        assert {name: found[name] for name in base} == base
    before = yours.snapshot()
    assert "nothing changed" in envlock("lock", cwd=yours.folder).stdout
    assert yours.snapshot() == before


def test_only_additions_are_asked_of_the_index(
    mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock, make_index: Callable[..., Index]
) -> None:
    served = make_index()
    yours = ProjectFolder(yours.folder, served.url)
    use(yours, '{ name = "team/base:v1" }', more='pypi = { packages = { theta = "1.0" } }')
    cold = {"UV_CACHE_DIR": str(yours.folder.parent / "uv")}
    envlock("lock", cwd=yours.folder, env=cold)
    assert {request.path.strip("/").rpartition("/")[2].partition("-")[0] for request in served.requests} == {"theta"}
    served.forget()
    use(yours, '{ name = "team/base:v1" }', more='pypi = { packages = { lam = "", alpha = "<2" } }')
    envlock("lock", cwd=yours.folder, env=cold)
    assert served.requests == ()
    assert set(packages(yours.lock_of("linux-64"))) == {"alpha", "lam"}


def test_extras_of_the_base_are_those_of_its_own_wheels(
    tmp_path: Path, index: Index, yours: ProjectFolder, envlock: Envlock
) -> None:
    mine = ProjectFolder.make(tmp_path / "mine", index.url)
    release(mine, envlock, "v1", "zeta")
    use(yours, '{ name = "team/base:v1" }', more='pypi = { packages = { "zeta[full]" = "" } }')
    envlock("lock", cwd=yours.folder)
    base, found = packages(mine.lock_of("linux-64")), packages(yours.lock_of("linux-64"))
    assert set(found) == {"zeta", "lam", "nu-name-space"}
    assert found["zeta"] == base["zeta"]


def test_a_wheel_knows_what_it_needs_of_the_base(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }', more='pypi = { packages = { theta = "1.0" } }')
    envlock("lock", cwd=yours.folder)
    assert 'dependencies = [{name = "alpha"}]' in packages(yours.lock_of("linux-64"))["theta"]


def test_a_contradiction_shows_both_sides(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }', more='pypi = { packages = { alpha = ">=2" } }')
    said = envlock("lock", cwd=yours.folder, check=4).stderr
    assert "DemoFlow/train on linux-64, osx-arm64: alpha>=2 is asked of PyPI, and `team/base:v1` has alpha 1.1" in said
    assert "(flow.DemoFlow.step.train.pypi.packages.alpha)" in said
    assert "(flow.DemoFlow.step.train.named_env.name)" in said
    assert not yours.lock_folder.exists()


def test_the_python_of_the_base_is_the_python(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }', more='pypi = { python = "3.10", packages = { beta = "" } }')
    said = envlock("lock", cwd=yours.folder, check=4).stderr
    assert "error[conflict-with-base]" in said
    assert "Python ==3.10.* is asked, and `team/base:v1` has Python 3.12.0 or later" in said
    assert "(flow.DemoFlow.step.train.pypi.python)" in said
    use(yours, '{ name = "team/base:v1" }', more='pypi = { python = ">=3.11", packages = { beta = "" } }')
    envlock("lock", cwd=yours.folder)
    assert 'requires-python = "==3.12.*"' in yours.lock_of("linux-64").read_text()


def test_conda_packages_need_a_base_with_conda(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }', more='conda = { libraries = { zlib = "" } }')
    said = envlock("lock", cwd=yours.folder, check=4).stderr
    assert "error[base-without-conda]" in said
    assert "zlib is asked of conda, and `team/base:v1` has no conda part" in said
    assert "(flow.DemoFlow.step.train.conda.libraries.zlib)" in said
