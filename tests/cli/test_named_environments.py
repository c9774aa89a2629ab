"""Named environments from end to end: one user locks, pushes and names, another uses the name and adds to it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from envlock.named.move import parse_move
from tests.conftest import Envlock
from tests.index import Index, Release
from tests.support import ProjectFolder, Ran, isolation, run_envlock

ARCHS = ("linux-64", "osx-arm64")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, index: Index, shared_uv_cache: Path) -> Path:
    """What the first user has made, once for all tests: a checkout, and the cache beside it."""
    folder = tmp_path_factory.mktemp("released")
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        release(ProjectFolder.make(folder / "mine", index.url), run_envlock, "v1", "alpha<2", "lam")
    return folder


@pytest.fixture
def mine(tmp_path: Path, index: Index, released: Path) -> ProjectFolder:
    """The first user's checkout: `team/base:v1` and `team/base:latest` are named, in the cache that both share."""
    shutil.copytree(released, tmp_path, dirs_exist_ok=True)
    return ProjectFolder(tmp_path / "mine", index.url)


@pytest.fixture
def yours(tmp_path: Path, index: Index) -> ProjectFolder:
    """The second user's checkout, with a flow."""
    project = ProjectFolder.make(tmp_path / "yours", index.url)
    project.write_flow()
    return project


def release(
    project: ProjectFolder, envlock: Callable[..., Ran], tag: str, *packages: str, archs: tuple[str, ...] = ARCHS
) -> None:
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


def test_an_alias_is_locked_to_the_environment_that_it_names(
    mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock
) -> None:
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


def test_only_additions_are_requested_from_the_index(
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
    assert (
        "DemoFlow/train on linux-64, osx-arm64: alpha>=2 is required from PyPI, but `team/base:v1` has alpha 1.1"
        in said
    )
    assert "(flow.DemoFlow.step.train.pypi.packages.alpha)" in said
    assert "(flow.DemoFlow.step.train.named_env.name)" in said
    assert not yours.lock_folder.exists()


def test_the_python_of_the_base_is_the_python(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }', more='pypi = { python = "3.10", packages = { beta = "" } }')
    said = envlock("lock", cwd=yours.folder, check=4).stderr
    assert "error[conflict-with-base]" in said
    assert "Python ==3.10.* is required, but `team/base:v1` has Python 3.12.0 or later" in said
    assert "(flow.DemoFlow.step.train.pypi.python)" in said
    use(yours, '{ name = "team/base:v1" }', more='pypi = { python = ">=3.11", packages = { beta = "" } }')
    envlock("lock", cwd=yours.folder)
    assert 'requires-python = "==3.12.*"' in yours.lock_of("linux-64").read_text()


def test_conda_packages_need_a_base_with_conda(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }', more='conda = { libraries = { zlib = "" } }')
    said = envlock("lock", cwd=yours.folder, check=4).stderr
    assert "error[base-without-conda]" in said
    assert "zlib is required from conda, but `team/base:v1` has no conda packages" in said
    assert "(flow.DemoFlow.step.train.conda.libraries.zlib)" in said


def test_a_tag_that_moves_stays_where_it_was_pinned(
    mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock, watched: Envlock
) -> None:
    use(yours, '{ name = "team/base" }', more='pypi = { packages = { zeta = "" } }')
    envlock("lock", cwd=yours.folder)
    first = yours.lock_of("linux-64").read_bytes()
    assert "fresh" in envlock("check", "--online", cwd=yours.folder).stdout
    release(mine, envlock, "v2", "alpha<2", "lam", "beta")
    assert "nothing changed" in envlock("lock", cwd=yours.folder).stdout
    ran = watched("check", cwd=yours.folder)
    assert "fresh" in ran.stdout
    assert not [effect for effect in ran.effects if effect.startswith(("talk", "start", "write"))]
    said = envlock("check", "--online", cwd=yours.folder, check=1).stdout
    assert "DemoFlow/train: moved since it was pinned" in said
    assert "`team/base:latest` is pinned to move 1, and tester made move 2 at " in said
    assert "repair: envlock lock --upgrade-alias team/base:latest" in said
    again = envlock("lock", "--upgrade-alias", "team/base", cwd=yours.folder)
    assert "pinned team/base:latest again, move 1 -> 2" in again.stdout
    assert "beta 2.0 added" in again.moved
    assert set(packages(yours.lock_of("linux-64"))) == {"alpha", "beta", "lam", "zeta"}
    assert yours.lock_of("linux-64").read_bytes() != first
    assert "fresh" in envlock("check", "--online", cwd=yours.folder).stdout
    ran = envlock("lock", "--upgrade-alias", "team/nothing", cwd=yours.folder, check=2)
    assert "named environments: team/base, team/base:latest" in ran.stderr


@pytest.mark.parametrize("how", ["cut off", "rewritten"])
def test_another_history_is_not_followed(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock, how: str) -> None:
    """Who can write to the cache cannot make an upgrade go back, or elsewhere, unseen."""
    release(mine, envlock, "v2", "alpha<2", "lam", "beta")
    use(yours, '{ name = "team/base" }')
    envlock("lock", cwd=yours.folder)
    folder = yours.folder.parent / "shared/aliases/team/base/@tags/latest"
    if how == "cut off":
        (folder / "0000000002.json").unlink()
    else:
        previous = ""
        for path in sorted(folder.iterdir()):
            record = replace(parse_move(path.read_bytes()), who="eve", previous=previous)
            path.write_bytes(record.render())
            previous = record.digest
        release(mine, envlock, "v3", "alpha<2", "lam")
    before = yours.snapshot()
    said = envlock("lock", "--upgrade-alias", "team/base", cwd=yours.folder, check=3).stderr
    assert "error[broken-alias-chain]" in said
    assert "it is pinned to move 2, and " in said
    assert yours.snapshot() == before
    (yours.lock_folder / "aliases/team/base/@tags/latest.toml").unlink()
    assert "pinned team/base:latest" in envlock("lock", cwd=yours.folder).stdout


def test_a_tag_that_never_moves_is_not_looked_up_again(
    mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock
) -> None:
    use(yours, '{ name = "team/base:v1" }')
    envlock("lock", cwd=yours.folder)
    shutil.rmtree(yours.folder.parent / "shared")
    assert "nothing changed" in envlock("lock", "--upgrade-aliases", cwd=yours.folder).stdout
    said = envlock("check", "--online", cwd=yours.folder, check=3).stdout
    assert "the cache has no such alias" in said
    envlock("check", cwd=yours.folder)


def test_a_pin_that_somebody_changed(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }')
    envlock("lock", cwd=yours.folder)
    pin = yours.lock_folder / "aliases/team/base/@tags/v1.toml"
    whole = pin.read_text()
    for text in (
        whole.replace("sequence = 1", "sequence = 2"),
        whole.replace("alpha<2", "alpha<3"),
        whole[: len(whole) // 2],
        "",
    ):
        pin.write_text(text)
        said = envlock("check", cwd=yours.folder, check=3).stdout
        assert "DemoFlow/train: DAMAGED" in said
        assert "at envlock.lock/aliases/team/base/@tags/v1.toml" in said
        assert "error[damaged-pin]" in envlock("lock", cwd=yours.folder, check=3).stderr
    pin.write_text(f"<<<<<<< mine\n{whole}")
    said = envlock("check", cwd=yours.folder, check=3).stdout
    assert "repair: envlock lock" in said
    assert "git checkout" not in said, "git refuses that while a merge is under way"
    assert "pinned team/base:v1" in envlock("lock", cwd=yours.folder).stdout
    assert pin.read_text() == whole
    pin.write_text(whole.replace("format = 1", "format = 3"))
    assert (
        "newer"
        in envlock("check", cwd=yours.folder, check=2).stdout + envlock("lock", check=2, cwd=yours.folder).stderr
    )
    pin.unlink()
    assert "pinned team/base:v1" in envlock("lock", cwd=yours.folder).stdout
    assert pin.read_text() == whole


def test_what_nobody_names_any_more_goes(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v1" }')
    envlock("lock", cwd=yours.folder)
    use(yours, '{ name = "team/base" }')
    assert "not needed by any environment" in envlock("check", cwd=yours.folder, check=1).stdout
    said = envlock("lock", cwd=yours.folder).stdout
    assert "removed envlock.lock/aliases/team/base/@tags/v1.toml" in said
    assert [path.name for path in (yours.lock_folder / "aliases/team/base/@tags").iterdir()] == ["latest.toml"]
    yours.write_env("lam", archs=ARCHS)
    envlock("lock", cwd=yours.folder)
    assert not (yours.lock_folder / "aliases").exists()


def test_an_arch_that_the_name_does_not_have(
    tmp_path: Path, index: Index, yours: ProjectFolder, envlock: Envlock
) -> None:
    mine = ProjectFolder.make(tmp_path / "mine", index.url)
    release(mine, envlock, "v1", "lam", archs=("linux-64",))
    use(yours, '{ name = "team/base:v1" }')
    said = envlock("lock", cwd=yours.folder, check=2).stderr
    assert "error[base-lacks-arch]: `team/base:v1` is not there for osx-arm64, and `DemoFlow/train` needs it" in said
    assert "it is there for: linux-64" in said
    assert not yours.lock_folder.exists()
    use(yours, '{ name = "team/base:v1" }', archs=("linux-64",))
    envlock("lock", cwd=yours.folder)
    use(yours, '{ name = "team/base:v1" }')
    said = envlock("check", cwd=yours.folder, check=1).stdout
    assert "DemoFlow/train on osx-arm64: named for another arch" in said


def test_a_name_that_nothing_has(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "team/base:v3" }')
    said = envlock("lock", cwd=yours.folder, check=2).stderr
    assert "error[alias-not-found]: no environment is called `team/base:v3`" in said
    assert "envlock.toml:13 (flow.DemoFlow.step.train.named_env.name)" in said
    for name in ("Team/base", "team//base", "../base", "team/base:v1:v2"):
        use(yours, f'{{ name = "{name}" }}')
        assert "error[bad-alias]" in envlock("check", cwd=yours.folder, check=2).stderr
    use(yours, '{ pathspec = "DemoFlow/1" }')
    assert "error[bad-pathspec]" in envlock("check", cwd=yours.folder, check=2).stderr


def test_variables_in_a_name(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    use(yours, '{ name = "@{TEAM}/base:@{VERSION}" }')
    said = envlock("lock", cwd=yours.folder, check=2, env={"TEAM": "team"}).stderr
    assert "error[unset-name-variable]: `@{TEAM}/base:@{VERSION}` needs the environment variable `VERSION`" in said
    assert "envlock.toml:13 (flow.DemoFlow.step.train.named_env.name)" in said
    known = {"TEAM": "team", "VERSION": "v1"}
    envlock("lock", cwd=yours.folder, env=known)
    assert "fresh" in envlock("check", cwd=yours.folder, env=known).stdout
    said = envlock("check", cwd=yours.folder, check=2).stdout
    assert "DemoFlow/train: unknown name" in said
    assert "the environment variable `TEAM`, which is not set" in said
    said = envlock("check", cwd=yours.folder, check=1, env={**known, "VERSION": "latest"}).stdout
    assert "`team/base:latest` has not been resolved yet" in said
    assert "error[bad-alias]" in envlock("lock", cwd=yours.folder, check=2, env={**known, "VERSION": "../x"}).stderr


def test_an_environment_by_its_ids(mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock) -> None:
    path = mine.lock_of("linux-64")
    identity = f"{path.parent.name}:{path.name.split('.')[1]}"
    use(yours, f'{{ name = "{identity}" }}', archs=("linux-64",))
    envlock("lock", cwd=yours.folder)
    assert yours.lock_of("linux-64").read_bytes() == path.read_bytes()
    assert "fresh" in envlock("check", "--online", cwd=yours.folder).stdout


def test_two_names_of_one_environment_are_extended_alike(
    mine: ProjectFolder, yours: ProjectFolder, envlock: Envlock
) -> None:
    found = []
    for name in ("team/base:v1", "team/base:latest"):
        use(yours, f'{{ name = "{name}" }}', more='pypi = { packages = { zeta = "" } }')
        envlock("lock", cwd=yours.folder)
        found.append(yours.lock_of("linux-64").relative_to(yours.folder))
    assert found[0] == found[1]


def test_a_name_beside_the_environment_that_it_was_given_to(
    tmp_path: Path, envlock: Envlock, make_index: Callable[..., Index]
) -> None:
    """One project gives the name and uses it: when its own environment is locked again, the name stays where it is."""
    served = make_index()
    mine = ProjectFolder.make(tmp_path / "mine", served.url)
    release(mine, envlock, "v1", "lam", archs=("linux-64",))
    first = mine.lock_of("linux-64")
    named = '[flow.DemoFlow]\nfile = "demoflow.py"\nnamed_env = { name = "team/base:v1" }\n'
    mine.write_flow()
    mine.config.write_text(f"{mine.config.read_text()}\n{named}")
    envlock("lock", cwd=mine.folder)
    assert mine.locks == (first,)
    served.publish(Release("lam", "2.0"))
    envlock("lock", "--upgrade", cwd=mine.folder)
    assert len(mine.locks) == 2
    assert first in mine.locks
    assert "fresh: 4 environments" in envlock("check", cwd=mine.folder).stdout
    assert "nothing changed" in envlock("lock", cwd=mine.folder).stdout
    envlock("alias", "team/base:v2", "--env", "base", cwd=mine.folder)
    mine.config.write_text(mine.config.read_text().replace(":v1", ":v2"))
    envlock("lock", cwd=mine.folder)
    assert len(mine.locks) == 1
    assert first not in mine.locks


def test_a_mixed_environment_with_conda_packages_put_on_top(
    conda_project: ProjectFolder, yours: ProjectFolder, envlock: Envlock
) -> None:
    """Locked, named, extended, and made on this machine: from the base, the channel and the index."""
    arch = host_arch()
    conda_project.write_conda_env("lower 1.1", "beta", pypi=["alpha"], name="base", settings=CACHE, archs=[arch])
    envlock("lock", cwd=conda_project.folder)
    envlock("alias", "team/base:v1", "--env", "base", cwd=conda_project.folder)
    more = 'conda = { libraries = { upper = "" } }\npypi = { packages = { pi = "" } }'
    use(yours, '{ name = "team/base:v1" }', more=more, archs=(arch,))
    said = envlock("lock", cwd=yours.folder).stdout
    assert "locked DemoFlow/train" in said
    base, found = packages(conda_project.lock_of(arch)), packages(yours.lock_of(arch))
    assert set(found) - set(base) == {"upper", "pi"}
    assert {name: found[name] for name in base} == base
    assert 'type = "mixed"' in yours.lock_of(arch).read_text()
    assert "fresh" in envlock("check", cwd=yours.folder).stdout
    code = "import alpha, beta, pi; print(alpha.__file__)"
    ran = envlock("run", "--step", "train", "--", "python", "-c", code, cwd=yours.folder)
    assert "metaflow_" in ran.stdout
    said = envlock("lock", cwd=yours.folder, check=True).stdout
    assert "nothing changed" in said
    use(yours, '{ name = "team/base:v1" }', more='conda = { libraries = { west = "" } }', archs=(arch,))
    said = envlock("lock", cwd=yours.folder, check=4).stderr
    assert "west conflicts with lower 1.1 of `team/base:v1`" in said
    assert "(flow.DemoFlow.step.train.conda.libraries.west)" in said
