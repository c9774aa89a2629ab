"""Interpreters that have Metaflow and envlock's extension, and not envlock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import distribution, version
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
    """Makes a folder with some packages for a series of Python; the same one each time.

    Metaflow and its extensions come without boto3, which takes longer to install than all the rest; this machine's
    version is linked, so that its bytecode is there already.
    """
    made: dict[tuple[str, ...], Path] = {}

    def install(series: str, *packages: str) -> Path:
        key = (series, *packages)
        if key not in made:
            folder = tmp_path_factory.mktemp("installed")
            of_metaflow = [each for each in packages if each.startswith("metaflow")]
            others = [*(each for each in packages if each not in of_metaflow), *(["requests"] if of_metaflow else [])]
            if METAFLOW in of_metaflow:
                of_metaflow.remove(METAFLOW)
                link_metaflow(folder)
            with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
                into = ("pip", "install", "--target", str(folder), "--python", python_of(series))
                run_uv(*into, *others)
                if of_metaflow:
                    run_uv(*into, "--no-deps", *of_metaflow)
            made[key] = folder
        return made[key]

    return install


def link_metaflow(folder: Path) -> None:
    """Let a folder on Python's path have the Metaflow that is installed here."""
    found = distribution("metaflow")
    for name in {file.parts[0] for file in found.files or () if file.parts[0].startswith("metaflow")}:
        (folder / name).symlink_to(str(found.locate_file(name)))


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
