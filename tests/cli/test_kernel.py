"""`envlock kernel`: Jupyter kernels of locked environments.

Most of these kernels are a stand-in, a package called ipykernel that writes down what it was started with. It is really
resolved, installed and started, by the command line that Jupyter reads. One test runs a cell in the real one.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envlock.model.arch import host_arch
from envlock.places import home
from envlock.workflow.machine.jupyter import jupyter_folder, search_path
from tests.build.repositories import commit
from tests.channel import Channel
from tests.channel.recipe import File, python_package
from tests.cli.locked_twice import LockedTwice
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.making import SERIES
from tests.index import Index
from tests.index.catalogue import CATALOGUE
from tests.index.recipe import Release
from tests.notebooks import opened
from tests.support import files_holding, read_only

LAUNCHER = """
import json, os, sys
said = {"prefix": sys.prefix, "argv": sys.argv[1:], "variables": dict(os.environ), "path": sys.path}
with open(sys.argv[2], "w") as file:
    json.dump(said, file)
"""
STAND_IN = Release("ipykernel", "6.0", requires=("nu-name-space",), files={"ipykernel_launcher.py": LAUNCHER})
IN_CONFLICT = Release("ipykernel", "7.0", requires=("alpha>=2",), files={"ipykernel_launcher.py": LAUNCHER})


@pytest.fixture(scope="module")
def kernel_index() -> Any:
    with Index(*CATALOGUE, STAND_IN) as served:
        yield served


@pytest.fixture(scope="module")
def locked_twice(tmp_path_factory: pytest.TempPathFactory, kernel_index: Index, shared_uv_cache: Path) -> LockedTwice:
    more = "[flow.TrainFlow.step.end]\ndisabled = true\n"
    return LockedTwice.make(tmp_path_factory, kernel_index, shared_uv_cache, more=more)


@pytest.fixture
def demo(project: ProjectFolder, locked_twice: LockedTwice) -> ProjectFolder:
    return locked_twice.copy(project.folder)


def listed(name: str) -> Path:
    """What Jupyter reads of a kernel: its own answer to where that is."""
    from jupyter_client.kernelspec import KernelSpecManager

    return Path(KernelSpecManager(ensure_native_kernel=False).get_kernel_spec(name).resource_dir) / "kernel.json"


def start(kernel_json: Path, tmp_path: Path, **variables: str) -> tuple[dict[str, Any], str]:
    """What a kernel says that it was started with, as Jupyter starts it, and its stderr."""
    connection = tmp_path / "connection.json"
    connection.unlink(missing_ok=True)
    argv = [each.format(connection_file=connection) for each in json.loads(kernel_json.read_text())["argv"]]
    done = subprocess.run(
        argv, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    assert done.returncode == (0 if connection.exists() else 5)
    return (json.loads(connection.read_text()) if connection.exists() else {}), done.stderr


def files_of(prefix: Path) -> set[str]:
    return {path.name for path in prefix.glob("lib/python*/site-packages/*.dist-info")}


@pytest.mark.parametrize(
    "variables", [{}, {"XDG_DATA_HOME": ""}, {"JUPYTER_DATA_DIR": "/data"}, {"JUPYTER_PATH": "/a:/b"}]
)
def test_kernels_are_where_jupyter_looks_for_them(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    from jupyter_core.paths import jupyter_data_dir, jupyter_path

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(jupyter_folder(os.environ)) == jupyter_data_dir()
    assert {*map(str, search_path(os.environ))} <= {*jupyter_path()}


def test_a_kernel_has_every_locked_package_and_ipykernel_in_a_prefix_of_its_own(
    demo: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    locked = Path(envlock("create", "--step", "train").stdout.strip())
    made = envlock("kernel", "install", "train", "--json").json
    assert (made["name"], made["environment"], made["added"]) == (
        "trainflow-train",
        "TrainFlow/train",
        ["ipykernel 6.0", "nu-name-space 1.0"],
    )
    kernel_json = listed("trainflow-train")
    assert str(kernel_json) == made["kernel_json"]
    assert json.loads(kernel_json.read_text())["display_name"] == "TrainFlow/train (envlock)"
    said, stderr = start(kernel_json, tmp_path, PYTHONPATH="/mine", CONDA_PREFIX="", VIRTUAL_ENV="/other")
    assert stderr == ""
    assert said["prefix"] == made["prefix"] != str(locked)
    assert said["argv"] == ["-f", str(tmp_path / "connection.json")]
    assert said["variables"]["VIRTUAL_ENV"] == made["prefix"]
    assert said["variables"]["PATH"].startswith(f"{made['prefix']}/bin:")
    assert "PYTHONPATH" not in said["variables"]
    assert files_of(locked) == {"alpha-1.1.dist-info"}
    assert files_of(Path(made["prefix"])) == {
        "alpha-1.1.dist-info",
        "ipykernel-6.0.dist-info",
        "nu_name_space-1.0.dist-info",
    }
    (lock,) = (home() / "kernels" / "trainflow-train" / "lock").rglob("pylock.*.toml")
    (own,) = demo.lock_folder.glob(f"{host_arch()}/{made['base'].partition(':')[0]}/*.toml")
    wheel = 'hashes = { sha256 = "'
    assert {line for line in own.read_text().splitlines() if wheel in line} < set(lock.read_text().splitlines())


def test_a_kernel_that_is_there_is_updated_without_solving_what_stayed_the_same(
    demo: ProjectFolder, locked_twice: LockedTwice, envlock: Envlock, tmp_path: Path, kernel_index: Index
) -> None:
    first = envlock("kernel", "install", "base", "--json").json
    asked = len(kernel_index.requests)
    assert envlock("kernel", "install", "base", "--json").json == first
    assert len(kernel_index.requests) == asked
    locked_twice.upgrade(demo)
    said, stderr = start(listed("base"), tmp_path)
    assert said["prefix"] == first["prefix"]
    assert stderr.splitlines()[0] == "warning: the kernel `base` is outdated: `base` has been locked again since"
    again = f"envlock kernel install base --config {demo.config} --name base"
    assert stderr.splitlines()[1] == f"  to update it: {again}"
    (kernel,) = envlock("kernel", "ls", "--json").json["kernels"]
    assert (kernel["state"], kernel["command"]) == ("outdated", again)
    envlock(*again.split()[1:], cwd=tmp_path)
    said, stderr = start(listed("base"), tmp_path)
    assert (said["prefix"] == first["prefix"], stderr) == (False, "")
    assert "alpha-1.0.dist-info" in files_of(Path(said["prefix"]))
    assert envlock("kernel", "ls").stdout == "base  base  ready\n"


def test_sync_updates_the_kernels_of_the_project(
    demo: ProjectFolder, locked_twice: LockedTwice, envlock: Envlock, tmp_path: Path
) -> None:
    prefix = tmp_path / "jupyter"
    first = envlock("kernel", "install", "base", "--name", "work", "--prefix", str(prefix), "--json").json
    envlock("create", "--env", "base", "--name", "jup")
    kernel_json = prefix / "share" / "jupyter" / "kernels" / "work" / "kernel.json"
    envlock("kernel", "install", "train", "--name", "unlisted")
    shutil.rmtree(listed("unlisted").parent)
    locked_twice.upgrade(demo)
    (planned,) = envlock("sync", "work", "--dry-run", "--json").json["names"]
    assert (planned["kind"], planned["state"], planned["before"]) == ("kernel", "outdated", first["prefix"])
    assert not Path(planned["after"]).exists()
    assert envlock("sync").stdout.splitlines() == ["jup   base  updated", "work  base  updated"]
    said, stderr = start(kernel_json, tmp_path)
    assert (said["prefix"], stderr) == (planned["after"], "")
    assert "alpha-1.0.dist-info" in files_of(Path(said["prefix"]))
    assert {each["state"] for each in envlock("sync", "--json").json["names"]} == {"current"}
    shutil.rmtree(said["prefix"])
    envlock("sync", "work")
    assert start(kernel_json, tmp_path)[0]["prefix"] == said["prefix"]
    demo.edit("[env.base]", "[env.other]")
    failed = envlock("sync", "work", "--json", check=1).json["names"]
    assert [each["error"]["code"] for each in failed] == ["no-such-selection"]


def test_a_kernel_whose_environment_was_removed_says_which_command_makes_it_again(
    demo: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    made = envlock("kernel", "install", "base", "--json").json
    kernel_json = listed("base")
    shutil.rmtree(made["prefix"])
    said, stderr = start(kernel_json, tmp_path)
    assert said == {}
    command = f"envlock kernel install base --config {demo.config} --name base"
    assert stderr == (
        f"envlock: the environment of the kernel `base` is no longer on this machine ({made['prefix']}). "
        f"Create it again: {command}\n"
    )
    (kernel,) = envlock("kernel", "ls", "--json").json["kernels"]
    assert kernel["state"] == "gone"
    envlock(*command.split()[1:], cwd=tmp_path)
    assert start(kernel_json, tmp_path)[0]["prefix"] == made["prefix"]


def test_a_damaged_kernel_says_so_and_is_installed_again(demo: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    made = envlock("kernel", "install", "base", "--json").json
    kernel_json = listed("base")
    for text in ("", "[]", "{}", '{"name": 1, "command": "x", "variables": {}, "envlock": 2}'):
        (home() / "kernels" / "base" / "made-from.json").write_text(text)
        assert "is incomplete. Install it again" in start(kernel_json, tmp_path)[1], text
        (kernel,) = envlock("kernel", "ls", "--json").json["kernels"]
        assert (kernel["name"], kernel["state"]) == ("base", "damaged"), text
        envlock("kernel", "install", "base")
    assert start(kernel_json, tmp_path)[0]["prefix"] == made["prefix"]


def test_a_kernel_works_without_the_envlock_that_installed_it(
    demo: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    made = envlock("kernel", "install", "base", "--json").json
    kernel_json = listed("base")
    interpreter = json.loads(kernel_json.read_text())["argv"][0]
    assert not Path(interpreter).is_relative_to(sys.prefix), "that may be an environment of uv or pipx for a single use"
    made_from = home() / "kernels" / "base" / "made-from.json"
    made_from.write_text(json.dumps({**json.loads(made_from.read_text()), "envlock": "/gone"}))
    said, stderr = start(kernel_json, tmp_path, PYTHONPATH="/mine")
    assert (said["prefix"], stderr) == (made["prefix"], "")
    assert said["variables"]["VIRTUAL_ENV"] == made["prefix"]
    assert "PYTHONPATH" not in said["variables"]


def test_a_kernel_is_named_listed_and_removed(demo: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    assert envlock("kernel", "ls").stdout == ""
    prefix = tmp_path / "jupyter"
    envlock("kernel", "install", "base", "--name", "Work", "--display-name", "Ours", "--prefix", str(prefix))
    kernel_json = prefix / "share" / "jupyter" / "kernels" / "work" / "kernel.json"
    assert json.loads(kernel_json.read_text())["display_name"] == "Ours"
    (kernel,) = envlock("kernel", "ls", "--json").json["kernels"]
    assert (kernel["name"], kernel["state"], kernel["kernel_json"]) == ("work", "ready", str(kernel_json))
    again = kernel["command"]
    assert again.endswith(f" --name work --display-name Ours --prefix {prefix}")
    shutil.rmtree(kernel_json.parent)
    assert "Jupyter does not have it" in envlock("kernel", "ls").stdout
    envlock(*again.split()[1:], cwd=tmp_path)
    assert envlock("kernel", "remove", "work").stdout == "removed the kernel work\n"
    assert (kernel_json.parent.exists(), list((home() / "kernels").iterdir())) == (False, [])
    assert Path(kernel["prefix"]).is_dir(), "until nothing needs it"
    assert "error[no-such-kernel]" in envlock("kernel", "remove", "work", check=2).stderr


def test_a_kernel_moves_to_another_jupyter(demo: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    first = Path(envlock("kernel", "install", "base", "--json").json["kernel_json"])
    second = Path(envlock("kernel", "install", "base", "--prefix", str(tmp_path), "--json").json["kernel_json"])
    assert (first.parent.exists(), second.exists()) == (False, True)
    envlock("kernel", "remove", "base")
    assert not second.parent.exists()


def test_a_dry_run_writes_no_kernel(demo: ProjectFolder, envlock: Envlock) -> None:
    planned = envlock("kernel", "install", "base", "--dry-run", "--json").json
    assert planned.pop("dry_run") is True
    assert not (home() / "kernels").exists()
    assert not Path(planned["prefix"]).exists()
    assert not Path(planned["kernel_json"]).exists()
    assert envlock("kernel", "install", "base", "--json").json == planned


def test_a_name_of_another_kernel_is_not_taken_over(demo: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    kernels = Path(os.environ["XDG_DATA_HOME"]) / "jupyter" / "kernels"
    (kernels / "base").mkdir(parents=True)
    (kernels / "base" / "kernel.json").write_text('{"argv": ["mine"]}')
    ran = envlock("kernel", "install", "base", check=2)
    assert "error[kernel-taken]" in ran.stderr
    assert str(kernels / "base") in ran.stderr
    assert (kernels / "base" / "kernel.json").read_text() == '{"argv": ["mine"]}'
    envlock("kernel", "install", "base", "--name", "ours")
    ran = envlock("kernel", "install", "train", "--name", "ours", check=2)
    assert "error[kernel-taken]: `ours` is the name of another kernel: it is the kernel of base" in ran.stderr
    ran = envlock("kernel", "install", "base", "--name", "ours", check=2, env={"ENVLOCK_HOME": str(tmp_path / "h2")})
    assert "it belongs to another home of envlock" in ran.stderr
    team = tmp_path / "team"
    (team / "kernels" / "theirs").mkdir(parents=True)
    ran = envlock("kernel", "install", "base", "--name", "theirs", check=2, env={"JUPYTER_PATH": str(team)})
    assert f"at {team / 'kernels' / 'theirs'}" in ran.stderr
    for name in ("python3", "a b", "../x", ""):
        assert "error[bad-kernel-name]" in envlock("kernel", "install", "base", f"--name={name}", check=2).stderr, name


def test_whatever_names_an_environment_names_that_of_a_kernel(demo: ProjectFolder, envlock: Envlock) -> None:
    demo.edit("[envlock]", '[envlock]\ncache = "../cache"')
    envlock("push")
    envlock("alias", "team/base:v1", "--env", "base")
    (shown,) = envlock("show", "base", "--json").json["environments"]
    ids = ":".join(each[:7] for each in shown["identity"].split(":"))
    lock = next(path for path in demo.locks if path.parent.name == shown["identity"].partition(":")[0])
    names = {"team/base:v1": "team-base-v1", ids: ids.replace(":", "-"), f"./{lock.relative_to(demo.folder)}": "base"}
    names["main:base"] = "main-base"
    commit(demo.folder)
    demo.edit("lam = ", "lam2 = ")  # a revision has its own requirements and locks
    for reference, name in names.items():
        planned = envlock("kernel", "install", reference, "--dry-run", "--json").json
        assert (planned["name"], planned["base"]) == (name, shown["identity"]), reference
    envlock("kernel", "install", f"./{lock.relative_to(demo.folder)}")
    (kernel,) = envlock("kernel", "ls", "--json").json["kernels"]
    assert kernel["command"] == f"envlock kernel install {lock} --config {demo.config} --name base"


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        ("", "several-environments", 2),
        ("end", "step-disabled", 2),
        ("trian", "no-such-selection", 2),
        ("base --user --prefix x", "usage", 2),
        ("base --pathspec TrainFlow/1/start", "usage", 2),
        ("base --prefix=", "usage", 2),
        ("./nothing.toml", "prefix-gone", 5),
    ],
)
def test_what_names_no_environment_is_an_error(
    demo: ProjectFolder, envlock: Envlock, arguments: str, code: str, status: int
) -> None:
    said = envlock("kernel", "install", *arguments.split(), check=status).stderr
    assert f"error[{code}]" in said
    assert code != "several-environments" or "hint: for example: `TrainFlow/" in said


def test_a_folder_of_jupyter_that_cannot_be_written_is_said_before_anything_is_resolved(
    demo: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ran = envlock("kernel", "install", "base", check=5, env={"JUPYTER_DATA_DIR": str(tmp_path / "file")})
    assert "error[jupyter-folder-unusable]" in ran.stderr
    assert not (home() / "kernels").exists()
    closed = tmp_path / "closed"
    closed.mkdir()
    with read_only(closed):
        ran = envlock("kernel", "install", "base", check=5, env={"JUPYTER_DATA_DIR": str(closed)})
        assert f"you may not write into {closed}" in ran.stderr


def test_a_home_that_cannot_be_written_is_said(demo: ProjectFolder, envlock: Envlock) -> None:
    (home() / "kernels").mkdir(mode=0o700, parents=True)
    home().chmod(0o700)
    with read_only(home() / "kernels"):
        assert "error[home-unusable]" in envlock("kernel", "install", "base", check=5).stderr
        assert envlock("kernel", "ls", "--json").json["kernels"] == []
    assert not (Path(os.environ["XDG_DATA_HOME"]) / "jupyter").exists()
    envlock("kernel", "install", "base")
    with read_only(home() / "kernels"):
        assert "error[home-unusable]" in envlock("kernel", "remove", "base", check=5).stderr
    assert envlock("kernel", "ls").stdout


def test_locked_packages_that_contradict_ipykernel_stay_and_the_error_names_them(
    demo: ProjectFolder, envlock: Envlock, make_index: Callable[..., Index]
) -> None:
    """Every release of ipykernel there is needs another alpha."""
    served = make_index(*CATALOGUE, IN_CONFLICT)
    demo.config.write_text(demo.config.read_text().replace(demo.index_url, served.url))
    envlock("lock")
    ran = envlock("kernel", "install", "base", check=4)
    assert "error[ipykernel-does-not-fit]" in ran.stderr
    assert "ipykernel requires alpha>=2, but `base` has alpha 1.1" in ran.stderr
    assert not (Path(os.environ["XDG_DATA_HOME"]) / "jupyter").exists()
    assert envlock("kernel", "ls", "--json").json["kernels"] == []


def test_no_password_of_an_index_is_kept_in_a_kernel(
    tmp_path: Path, envlock: Envlock, make_index: Callable[..., Index]
) -> None:
    served = make_index(*CATALOGUE, STAND_IN, credentials=("reader", "s3cr3t-t0ken"))
    project = ProjectFolder.make(tmp_path / "project", served.url)
    project.write_env(
        "alpha==1.1",
        python=SERIES,
        archs=[host_arch()],
        settings=f'index-url = "{served.url_with("reader", "${PASSWORD}")}"',
    )
    secret = {"PASSWORD": "s3cr3t-t0ken"}
    envlock("lock", env=secret)
    made = envlock("kernel", "install", "--json", env=secret).json
    assert made["added"] == ["ipykernel 6.0", "nu-name-space 1.0"]
    assert files_holding("s3cr3t-t0ken", home() / "kernels", Path(made["kernel_json"]).parent) == set()


def test_a_python_without_a_wheel_of_ipykernel_is_an_error(
    demo: ProjectFolder, envlock: Envlock, make_index: Callable[..., Index]
) -> None:
    served = make_index(*CATALOGUE, Release("ipykernel", "6.0", requires=("psutil",)), Release("psutil", "1", tags=()))
    demo.config.write_text(demo.config.read_text().replace(demo.index_url, served.url))
    envlock("lock")
    ran = envlock("kernel", "install", "base", check=4)
    assert "error[ipykernel-does-not-fit]" in ran.stderr
    assert "psutil" in ran.stderr


def test_a_kernel_has_what_only_the_notebook_needs(demo: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    made = envlock("kernel", "install", "train", "--with", "lam>=1", "--with=xi", "--name=more", "--json").json
    assert made["added"] == ["ipykernel 6.0", "lam 1.0", "nu-name-space 1.0", "xi 1.0"]
    (kernel,) = envlock("kernel", "ls", "--json").json["kernels"]
    assert kernel["command"].endswith(" --name more --with 'lam>=1' --with xi")
    shutil.rmtree(made["prefix"])
    envlock("sync")
    assert start(listed("more"), tmp_path)[0]["prefix"] == made["prefix"]
    ran = envlock("kernel", "install", "train", "--with", "alpha>=2", check=4)
    assert "error[ipykernel-does-not-fit]: ipykernel and alpha>=2 cannot be added to the locked" in ran.stderr
    assert "error[bad-package-name]" in envlock("kernel", "install", "train", "--with", ">=2", check=2).stderr


def test_an_environment_that_has_ipykernel_is_the_kernels_own(
    demo: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    demo.edit('lam = ""', 'ipykernel = ""')
    envlock("lock")
    made = envlock("kernel", "install", "base", "--json").json
    assert (made["added"], made["identity"]) == ([], made["base"])
    assert start(listed("base"), tmp_path)[0]["prefix"] == envlock("path", "--env", "base").stdout.strip()


@pytest.mark.parametrize("kind", ["conda", "mixed"])
def test_environments_with_conda_packages_have_kernels_too(
    conda_project: ProjectFolder,
    kernel_index: Index,
    make_channel: Callable[..., Channel],
    monkeypatch: pytest.MonkeyPatch,
    envlock: Envlock,
    tmp_path: Path,
    kind: str,
) -> None:
    """Where all packages are conda's, so is ipykernel."""
    stand_in = python_package("ipykernel", "6.0")
    with_launcher = {**stand_in.files, "site-packages/ipykernel_launcher.py": File(LAUNCHER.encode())}
    served = make_channel(python_package("ipykernel", "6.0", files=with_launcher), whole=True)
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", served.mirrors)
    project = ProjectFolder(conda_project.folder, kernel_index.url, conda_project.conda_python)
    project.write_conda_env("activates", pypi=("alpha==1.1",) if kind == "mixed" else (), archs=[host_arch()])
    envlock("lock")
    made = envlock("kernel", "install", "--json").json
    said, stderr = start(listed("demo"), tmp_path)
    assert stderr == ""
    assert (said["prefix"], said["variables"]["CONDA_PREFIX"]) == (made["prefix"], made["prefix"])
    assert said["variables"]["ACTIVATES_HOME"] == f"{made['prefix']}/share/activates"
    has_record = any((Path(made["prefix"]) / "conda-meta").glob("ipykernel-*.json"))
    assert has_record == (kind == "conda")


@pytest.mark.index
def test_a_cell_runs_in_exactly_the_locked_environment(tmp_path: Path, envlock: Envlock) -> None:
    """With the real ipykernel, from the public index. As long as it runs, nothing removes its environment."""
    (tmp_path / "envlock.toml").write_text(
        f'[envlock]\nmetaflow-requirements = false\narchs = ["{host_arch()}"]\n'
        f'[env.demo]\npypi = {{ python = "{SERIES}", packages = {{ six = "1.16.0" }} }}\n'
    )
    envlock("lock")
    made = envlock("kernel", "install", "--json").json
    with opened(json.loads(listed("demo").read_text())["argv"], tmp_path, {}) as notebook:
        assert notebook.run("import six, sys; print(sys.prefix, six.__version__)") == f"{made['prefix']} 1.16.0\n"
        handle = os.open(made["prefix"], os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
