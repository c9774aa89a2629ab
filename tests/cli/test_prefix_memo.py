"""A memo is believed only while everything that decided it is untouched."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envlock.cli import prefix_memo as memo
from envlock.cli.prefix_memo import recall, remember
from envlock.model.arch import host_arch
from envlock.places import home
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.making import SERIES
from tests.support import Ran

KEY = ("project", "/work folder", "", "Flow", "train", "")
LATER = time.time_ns() + 3600 * 10**9
"""A beginning so late that no file is too young."""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("envlock.toml", "flow.py", "lock", "receipt")]
    for path in paths:
        path.write_text(path.name)
    return paths


def keep(files: list[Path], *, prefix: str = "/prefix", began: int = LATER) -> None:
    remember(KEY, prefix, map(str, files), began=began)


def test_what_is_remembered_is_recalled(files: list[Path]) -> None:
    assert recall(KEY) is None
    keep(files, prefix="/a prefix/é\udcff")
    assert recall(KEY) == "/a prefix/é\udcff"
    assert recall((*KEY[:-1], "other")) is None


def test_home_is_the_one_of_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for chosen in ("", "~/somewhere", "relative", str(tmp_path / "x")):
        monkeypatch.setenv("ENVLOCK_HOME", chosen)
        assert memo.home() == str(home())
    monkeypatch.delenv("ENVLOCK_HOME")
    assert memo.home() == str(home())


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("change", ["content", "touched", "replaced", "deleted", "a folder"])
def test_any_change_of_any_file_is_noticed(files: list[Path], number: int, change: str) -> None:
    keep(files)
    path = files[number]
    status = path.stat()
    if change == "content":
        path.write_text(path.name.upper())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "touched":
        os.utime(path)
    elif change == "replaced":
        other = path.with_name("other")
        other.write_text(path.name)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(path)
    else:
        path.unlink()
        if change == "a folder":
            path.mkdir()
    assert recall(KEY) is None


def test_what_appears_is_noticed(files: list[Path], tmp_path: Path) -> None:
    absent = tmp_path / "nearer" / "envlock.toml"
    keep([absent, *files])
    assert recall(KEY) == "/prefix"
    absent.parent.mkdir()
    assert recall(KEY) == "/prefix"
    absent.touch()
    assert recall(KEY) is None


def test_of_what_is_young_nothing_is_remembered(files: list[Path]) -> None:
    keep(files, began=time.time_ns())
    assert recall(KEY) is None
    keep(files, began=time.time_ns() + 10**9)
    assert recall(KEY) is None
    keep(files, began=time.time_ns() + 3 * 10**9)
    assert recall(KEY) == "/prefix"


@pytest.mark.parametrize("length", [0, 5, 40, 100, -1])
def test_a_memo_that_is_cut_off_is_not_believed(files: list[Path], length: int) -> None:
    keep(files)
    (path,) = (home() / "memo").iterdir()
    path.write_bytes(path.read_bytes()[:length])
    assert recall(KEY) is None


def test_a_memo_of_another_version_is_not_believed(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    keep(files)
    monkeypatch.setattr(memo, "__version__", "99")
    assert recall(KEY) is None


def test_a_memo_without_conditions_is_not_believed(files: list[Path]) -> None:
    keep([])
    assert recall(KEY) is None


def test_a_clash_of_hashes_does_no_harm(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "_fnv", lambda key: 7)
    keep(files)
    assert recall(("prefix", "/else")) is None
    assert recall(KEY) == "/prefix"


def test_a_home_that_cannot_be_written_costs_only_time(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVLOCK_HOME", str(files[0] / "home"))
    keep(files)
    assert recall(KEY) is None


# The whole commands.


def imported(*arguments: str, cwd: Path) -> tuple[str, set[str]]:
    """What a command printed, and which modules it imported beyond those that every interpreter starts with."""
    command = [sys.executable, "-X", "importtime", "-m", "envlock", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    bare = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "__future__"], cwd=cwd, capture_output=True, text=True, check=True
    )

    def names(text: str) -> set[str]:
        return {line.rpartition("|")[2].strip() for line in text.splitlines() if line.startswith("import time:")}

    return done.stdout, names(done.stderr) - names(bare.stderr)


def test_an_environment_that_is_there_is_found_with_next_to_no_imports(
    project: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    project.write_flow()
    project.write(
        f'[flow.DemoFlow]\nfile = "demoflow.py"\npypi = {{ python = "{SERIES}", packages = {{ alpha = "1.1" }} }}',
        archs=[host_arch()],
    )
    envlock("lock")
    prefix = envlock("create", "--flow", "DemoFlow", "--name", "demo").stdout
    time.sleep(2.1)
    assert "envlock.config.read" in imported("path", "--step", "train", cwd=project.folder)[1]
    for arguments in (("path", "--step", "train"), ("run", "--step=train", "--", "echo", prefix.strip())):
        said, modules = imported(*arguments, cwd=project.folder)
        assert said == prefix
        light = {
            f"envlock.cli.{name}" for name in ("command", "options", "prefix_memo", "one_environment", *arguments[:1])
        } | {
            "envlock.files",
            "envlock.in_use",
            "envlock.settings_files",
            "envlock.trust",
            "errno",
            "fcntl",
        }
        if arguments[0] == "run":
            light.add("envlock.activation")
        assert modules - light <= {"__future__", "envlock", "envlock.__main__", "envlock.cli", "gc"}
    imported("path", "--name", "demo", cwd=tmp_path)
    said, modules = imported("path", "--name", "demo", cwd=tmp_path)
    assert said == prefix
    assert "envlock.hydration" not in modules
    # Whatever decides it is looked at: a comment is enough for another look, and a new requirement for another answer.
    with project.config.open("a") as file:
        file.write("# a comment\n")
    said, modules = imported("path", "--step", "train", cwd=project.folder)
    assert said == prefix
    assert "envlock.config.read" in modules
    project.edit("1.1", "1.0")
    assert "error[stale-lock]" in envlock("path", "--step", "train", check=1).stderr


def test_a_name_whose_project_has_locked_something_else_is_reported(
    project: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    folder = tmp_path / "my project"
    folder.symlink_to(project.folder)
    old = envlock("create", "--config", f"{folder}/envlock.toml", "--name", "jup").stdout
    command = ("run", "--name", "jup", "--", "python", "-c", "import alpha; print(alpha.__version__)")

    def run() -> Ran:
        return envlock(*command, cwd=tmp_path)

    assert (run().text, run().text) == ("1.1\n", "1.1\n")
    project.write_env("alpha==1.0", python=SERIES, archs=[host_arch()])
    ran = run()
    assert ran.stdout == "1.1\n"
    assert "warning: `jup` is outdated: `demo` changed in envlock.toml" in ran.stderr
    envlock("lock")
    again = f"envlock sync jup --config '{folder}/envlock.toml'"
    for ran in (run(), envlock("path", "--name", "jup", cwd=tmp_path), envlock("shell", "--name", "jup", cwd=tmp_path)):
        assert again in ran.stderr
    assert envlock("path", "--name", "jup", cwd=tmp_path).stdout == old
    assert envlock(*shlex.split(again)[1:], cwd=tmp_path).stdout == "jup  demo  updated\n"
    assert (run().text, run().text) == ("1.0\n", "1.0\n")
    project.config.rename(tmp_path / "elsewhere.toml")
    assert run().text == "1.0\n"


def test_a_nearer_envlock_toml_and_a_changed_settings_file_count_at_once(
    project: ProjectFolder, envlock: Envlock
) -> None:
    team, user = project.folder / "team.toml", Path(os.environ["XDG_CONFIG_HOME"]) / "envlock" / "config.toml"
    team.write_text("[envlock]\n")
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()], settings='extends = "team.toml"')
    envlock("lock")
    inner = project.folder / "inner"
    inner.mkdir()
    envlock("path", cwd=inner)
    time.sleep(2.1)
    envlock("path", cwd=inner)
    assert "envlock.config.read" not in imported("path", cwd=inner)[1]
    (inner / "envlock.toml").write_text("[envlock]\n")
    assert "error[no-environments]" in envlock("path", cwd=inner, check=2).stderr
    (inner / "envlock.toml").unlink()
    assert envlock("path", cwd=inner).status == 0
    user.parent.mkdir(parents=True)
    user.write_text("[envlock]\nhosts = []\n")
    assert "error[setting-enters-ids]" in envlock("path", cwd=inner, check=2).stderr
    nothing = {"ENVLOCK_CONFIG": os.devnull}
    assert envlock("path", cwd=inner, env=nothing).status == 0
    user.unlink()
    team.write_text('[envlock]\nexclude-newer = "2026-01-01"\n')
    assert "error[stale-lock]" in envlock("path", cwd=inner, check=1).stderr


def test_a_prefix_that_was_deleted_is_made_again_and_a_file_that_changed_is_read_again(
    project: ProjectFolder, envlock: Envlock
) -> None:
    project.write(f'[env.demo]\nrequirements = "r.txt"\npypi.python = "{SERIES}"\n', archs=[host_arch()])
    (project.folder / "r.txt").write_text("-r base.txt\n")
    base = project.folder / "base.txt"
    base.write_text("alpha==1.1\n")
    envlock("lock")
    prefix = Path(envlock("path").stdout.strip())
    time.sleep(2.1)
    envlock("path")
    assert "envlock.config.read" not in imported("path", cwd=project.folder)[1]
    base.write_text("alpha==1.0\n")
    assert "error[stale-lock]" in envlock("path", check=1).stderr
    base.write_text("alpha==1.1\n")
    subprocess.run(["rm", "-rf", prefix], check=True)
    assert envlock("run", "--", "python", "-c", "import alpha").status == 0
    assert prefix.is_dir()
