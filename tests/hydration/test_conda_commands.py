"""Conda and mixed environments, made by the real command out of locks that it wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from envlock.places import home
from tests.channel import Channel
from tests.cli.test_prefix_memo import imported
from tests.conftest import Envlock
from tests.hydration.conda_making import files_naming, wrong_files
from tests.hydration.making import SERIES, remains
from tests.support import ProjectFolder

HERE = [host_arch()]


@pytest.fixture(autouse=True)
def _python_runs_here(channel: Channel) -> None:
    channel.need()


def prefix_of(said: str) -> Path:
    return Path(said.strip())


def test_a_mixed_environment_is_made_run_and_found(
    conda_project: ProjectFolder, envlock: Envlock, channel: Channel
) -> None:
    channel.need("click")
    conda_project.write_conda_env("click", "speak", pypi=("lam",), archs=HERE)
    envlock("lock")
    made = envlock("create")
    prefix = prefix_of(made.stdout)
    assert wrong_files(prefix) == []
    assert files_naming(prefix, ".stages") == []
    assert remains(prefix.parent) == []
    assert envlock("path").stdout == made.stdout
    assert envlock("run", "--", "speak").stdout == "speak 1.1 from conda\n"
    code = "import click, lam, sys; print(sys.prefix, sys.base_prefix)"
    assert envlock("run", "--", "python", "-c", code).stdout.split() == [str(prefix)] * 2


def test_what_is_cached_is_all_that_is_needed(conda_project: ProjectFolder, envlock: Envlock, channel: Channel) -> None:
    conda_project.write_conda_env("speak", pypi=("lam",), archs=HERE)
    envlock("lock")
    envlock("push")
    channel.forget()
    prefix = prefix_of(envlock("create", "--offline", env={"ENVLOCK_CHANNEL_MIRRORS": ""}).stdout)
    assert channel.requests == ()
    assert wrong_files(prefix) == []


def test_no_command_dies_after_its_work_is_done(conda_project: ProjectFolder, envlock: Envlock) -> None:
    conda_project.write_conda_env("lower", archs=HERE)
    envlock("lock")
    for command in ("create", "path") * 4:
        prefix = prefix_of(envlock(command).stdout)
        assert (prefix / "conda-meta").is_dir()
        shutil.rmtree(prefix)


def test_settings_say_which_scripts_run_and_what_is_compiled(conda_project: ProjectFolder, envlock: Envlock) -> None:
    conda_project.write_conda_env("greets", "speak", archs=HERE)
    envlock("lock")
    made = envlock("create")
    assert 'greets has a link script that was not run; `link-scripts = ["greets"]`' in made.stderr
    prefix = prefix_of(made.stdout)
    shutil.rmtree(prefix)
    settings = 'link-scripts = ["greets"]\ncompile-bytecode = true'
    conda_project.write_conda_env("greets", "speak", archs=HERE, settings=settings)
    again = envlock("create")
    assert prefix_of(again.stdout) == prefix
    assert "not run" not in again.stderr
    assert (prefix / "share/greets/linked.txt").read_text() == "greets was linked\n"
    assert list(prefix.glob("lib/python3*/site-packages/speak/__pycache__/*.pyc"))
    assert list(prefix.glob("lib/python3*/json/__pycache__/*.pyc"))


def test_bytecode_of_wheels_alone_is_compiled_too(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam", python=SERIES, archs=HERE, settings="compile-bytecode = true")
    envlock("lock")
    prefix = prefix_of(envlock("create").stdout)
    assert list(prefix.glob("lib/python3*/site-packages/lam/__pycache__/*.pyc"))
    assert files_naming(prefix, ".stages") == []


@pytest.mark.parametrize("way", ["http", "file"])
def test_an_archive_that_is_not_the_locked_one_is_refused_however_it_comes(
    make_channel: Callable[..., Channel],
    conda_project: ProjectFolder,
    envlock: Envlock,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    served = make_channel(whole=True)
    if way == "file":
        monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", f"conda-forge={(served.folder / 'main').as_uri()}")
    else:
        monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", served.mirrors)
    conda_project.write_conda_env("lower", archs=HERE)
    envlock("lock")
    path = "main/noarch/lower-2.0-0.conda"
    served.rewrite(path, (served.folder / "main/noarch/lower-1.2-0.conda").read_bytes())
    said = envlock("create", check=3).stderr
    assert "error[upstream-hash-mismatch]: " in said  # on a slow machine, after what was fetched
    assert "lower-2.0-0.conda" in said
    assert not list((home() / "environments").glob("metaflow_*"))
    assert not list((home() / "packages").rglob("lower-2.0-0.conda"))


def test_a_package_that_was_changed_on_this_machine_is_named(conda_project: ProjectFolder, envlock: Envlock) -> None:
    conda_project.write_conda_env("lower", archs=HERE)
    envlock("lock")
    shutil.rmtree(prefix_of(envlock("create").stdout))
    (path,) = (home() / "packages").rglob("lower-2.0-0.conda")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    said = envlock("create", check=3).stderr
    assert "error[changed-artifact]: the file of `lower` 2.0 is not the one that was locked" in said
    assert f"rm '{path}'" in said


def test_a_home_too_deep_is_refused_before_anything_is_fetched(
    conda_project: ProjectFolder, envlock: Envlock, channel: Channel, tmp_path: Path
) -> None:
    conda_project.write_conda_env("lower", archs=HERE)
    envlock("lock")
    channel.forget()
    deep = tmp_path / ("d" * 200)
    said = envlock("create", check=5, env={"ENVLOCK_HOME": str(deep)}).stderr
    assert said.startswith("error[prefix-too-long]: the environment's path has ")
    assert channel.downloads() == ()
    assert not deep.exists()


def test_a_home_that_cannot_be_written_is_reported(
    conda_project: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    if shutil.which("chattr") is None:
        pytest.skip("nothing can be made read-only for root here: there is no chattr")
    conda_project.write_conda_env("lower", archs=HERE)
    envlock("lock")
    shutil.rmtree(prefix_of(envlock("create").stdout))
    unpacked = home() / "conda" / "packages"
    shutil.rmtree(unpacked)
    unpacked.mkdir()
    done = subprocess.run(["chattr", "+i", unpacked], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be made read-only for root here: {done.stderr}")
    try:
        said = envlock("create", check=5).stderr
    finally:
        subprocess.run(["chattr", "-i", unpacked], check=True)
    assert "error[home-unusable]" in said
    assert str(unpacked) in said


def test_only_what_holds_conda_packages_costs_their_library(conda_project: ProjectFolder, envlock: Envlock) -> None:
    conda_project.write(
        f'[env.plain.pypi]\npython = "{SERIES}"\npackages = {{ lam = "" }}\n'
        f'[env.conda.conda]\nchannels = ["conda-forge"]\npython = "{conda_project.conda_python}"\n'
        'libraries = { lower = "" }',
        archs=HERE,
    )
    envlock("lock")
    assert "rattler" not in imported("path", "--env", "plain", cwd=conda_project.folder)[1]
    assert "rattler" in imported("path", "--env", "conda", cwd=conda_project.folder)[1]
    for path in (home() / "memo").glob("*"):
        path.unlink()
    assert "rattler" not in imported("path", "--env", "conda", cwd=conda_project.folder)[1]


def test_python_alone_may_come_from_a_channel(conda_project: ProjectFolder, envlock: Envlock) -> None:
    conda_project.write_env(
        "lam",
        python=conda_project.conda_python,
        archs=HERE,
        settings='python-from = "conda"\nchannels = ["conda-forge"]',
    )
    envlock("lock")
    prefix = prefix_of(envlock("create").stdout)
    assert wrong_files(prefix) == []
    receipt = json.loads((prefix / ".envlock.json").read_text())
    assert receipt["python"].startswith(f"{prefix}/bin/python3.")
    assert envlock("run", "--", "lam").stdout.startswith("lam ")
