"""Hydrating against the bare uv commands that it rests on, with uv's cache warm; and finding what is there already."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import tomli

from benchmarks.projects import real
from benchmarks.timing import ENVLOCK, PYTHON, UV, Command, Row, at_most
from envlock.config.read import load_project
from envlock.interpreters import find_interpreter
from envlock.lockfile.folder import candidates, read_lock
from envlock.model.arch import host_arch


def rows(folder: Path) -> list[Row]:
    """The claims about hydrating."""
    series = ".".join(str(part) for part in sys.version_info[:2])
    arch = host_arch()
    project = real(folder / "hydrate", archs=(arch,), python=series)
    home = folder / "home"
    environment = {"ENVLOCK_HOME": str(home)}
    for command in ("lock", "push", "path"):
        subprocess.run(
            [ENVLOCK, command], cwd=project, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment}
        )
    environment_ = load_project(project / "envlock.toml").environments()[0]
    (path,) = candidates(project / "envlock.lock", arch, environment_.requirements.req_id)
    count = len(read_lock(path).packages)
    bare = _bare(project, path, home, find_interpreter(series, bool).path)

    def gone() -> None:
        shutil.rmtree(home / "memo", ignore_errors=True)
        _put_aside(home / "environments", folder)

    there = Command([ENVLOCK, "path"], project, environment=environment)
    found = [
        at_most(
            f"hydrate {count} packages, uv's cache warm, against `uv venv` and `uv pip sync`",
            1.3,
            Command([ENVLOCK, "path", "--offline"], project, before=gone, environment=environment),
            bare,
            7,
        )
    ]
    subprocess.run(
        [ENVLOCK, "path"], cwd=project, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    time.sleep(3)  # younger files are not trusted by their time stamps
    subprocess.run(
        [ENVLOCK, "path"], cwd=project, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    found.append(
        at_most(
            "path of an environment that is there, against `python -c pass`",
            1.5,
            there,
            Command([PYTHON, "-c", "pass"], project),
            21,
        )
    )
    return found


def _put_aside(path: Path, folder: Path) -> None:
    """Move a tree away. To delete its thousands of files now would keep the disk busy in the run that follows."""
    if path.exists():
        path.rename(folder / f"aside-{time.monotonic_ns()}")
    os.sync()


def _bare(project: Path, lock: Path, home: Path, interpreter: Path) -> Command:
    """The same packages from the same files, by uv alone."""
    lines = ['lock-version = "1.0"', 'created-by = "benchmark"', "packages = ["]
    for package in tomli.loads(lock.read_text())["packages"]:
        (wheel,) = package["wheels"]
        sha256 = wheel["hashes"]["sha256"]
        name = wheel["url"].rsplit("/", 1)[-1].replace("%2B", "+")
        file = home / "packages" / sha256[:2] / sha256 / name
        lines.append(
            f'{{name = "{package["name"]}", version = "{package["version"]}", '
            f'wheels = [{{path = "{file}", hashes = {{sha256 = "{sha256}"}}}}]}},'
        )
    (project / "pylock.bare.toml").write_text("\n".join([*lines, "]"]))
    # A new folder each time, as ours: uv remembers what it asked of an interpreter by its path.
    script = (
        f'target="{project}/bare-$$" && '
        f'"{UV}" venv -q --no-config --no-project -p "{interpreter}" "$target" && '
        f'"{UV}" pip sync -q --preview-features pylock --offline --no-config --no-build '
        f'--python "$target/bin/python" pylock.bare.toml'
    )
    return Command(["sh", "-c", script], project, before=os.sync)
