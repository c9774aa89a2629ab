"""Interpreters that have Metaflow and envlock's extension, and not envlock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from envlock.interpreters import find_interpreter, machine_series
from tests.support import isolation

ROOT = Path(__file__).resolve().parent.parent.parent
EXTENSION = ROOT / "src" / "metaflow_extensions"
METAFLOW = f"metaflow=={version('metaflow')}"
SERIES = [each for each in machine_series() if (3, 8) <= tuple(map(int, each.split("."))) <= (3, 14)]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Callable[..., Path]:
    """Makes a folder with some packages for a series of Python; the same one each time."""
    made: dict[tuple[str, ...], Path] = {}

    def install(series: str, *packages: str) -> Path:
        key = (series, *packages)
        if key not in made:
            folder = tmp_path_factory.mktemp("installed")
            with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
                run_uv("pip", "install", "--target", str(folder), "--python", python_of(series), *packages)
            made[key] = folder
        return made[key]

    return install


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Path:
    """envlock's wheel, as it would be published."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: building leaves its traces in the folder it builds from
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        run_uv("build", "--wheel", "--out-dir", str(folder), str(source))
    (path,) = folder.glob("*.whl")
    return path


def run_uv(*arguments: str) -> None:
    """Run uv, and insist that it succeeds."""
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run([uv, "--quiet", *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def python_of(series: str) -> str:
    """An interpreter of a series."""
    return str(find_interpreter(series, lambda _: True).path)


def run_python(
    series: str, code: str, *, paths: list[Path], arguments: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run code with nothing on the path but these folders and the standard library."""
    return subprocess.run(
        [python_of(series), "-s", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
