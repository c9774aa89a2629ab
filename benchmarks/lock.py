"""`envlock lock` against the bare `uv pip compile` that it rests on, with uv's cache warm."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.projects import real
from benchmarks.timing import ENVLOCK, PYTHON, TOLD, UV, Command, Row, at_most, costs

ROOT = Path(__file__).resolve().parent.parent
FEW = ("alpha", "iota<2", "zeta[fast]")
"""Roots of the tests' index that need four packages, each of them the newest."""

PLATFORMS = {
    "linux-64": "x86_64-manylinux_2_28",
    "linux-aarch64": "aarch64-manylinux_2_28",
    "osx-64": "x86_64-apple-darwin",
    "osx-arm64": "aarch64-apple-darwin",
}


def bare(project: Path, arch: str) -> Command:
    """What envlock asks of uv for one arch, asked by itself."""
    return Command(
        [
            UV, "pip", "compile", "roots.in", "--format", "pylock.toml", "--no-header", "--no-annotate", "--quiet",
            "--python", PYTHON, "--python-version", "3.12.0", "--python-platform", PLATFORMS[arch],
            "--only-binary", ":all:", "--no-config", "--no-progress",
        ],
        project,
        environment={"MACOSX_DEPLOYMENT_TARGET": "13.0"},
    )  # fmt: skip


def unlocked(project: Path) -> Callable[[], None]:
    """Something that takes the locks away."""
    return lambda: shutil.rmtree(project / "envlock.lock", ignore_errors=True)


def rows(folder: Path) -> list[Row]:
    """The claims about `lock`."""
    one = real(folder / "one", archs=("linux-64",), python="3.12")
    four = real(folder / "four", archs=tuple(PLATFORMS), python="3.12")
    return [
        at_most(
            "lock, one environment, one arch, against one bare `uv pip compile`",
            1.3,
            Command([ENVLOCK, "lock"], one, before=unlocked(one)),
            bare(one, "linux-64"),
            9,
        ),
        at_most(
            "lock, four archs, against four bare runs side by side",
            1.5,
            Command([ENVLOCK, "lock"], four, before=unlocked(four)),
            [bare(four, arch) for arch in PLATFORMS],
            9,
        ),
        at_most(
            "lock, nothing changed, against 0.3 s",
            1,
            Command([ENVLOCK, "lock"], four),
            Command(["sleep", "0.3"], four),
            5,
        ),
        few_packages(folder / "few"),
    ]


def few_packages(folder: Path) -> Row:
    """The processor time of four archs from an index that lets uv cache its pages: one run of uv against four."""
    server = subprocess.Popen([PYTHON, "-m", "tests.index"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        project = real(folder, archs=tuple(PLATFORMS), python="3.12", roots=FEW, index=url)
        settings = ["--default-index", url]
        runs = [
            replace(each, arguments=[*each.arguments, *settings]) for each in map(partial(bare, project), PLATFORMS)
        ]
        lock = Command([ENVLOCK, "lock"], project, before=unlocked(project))
        costs([lock, runs], 1)
        own, other = costs([lock, runs], 9)
    finally:
        server.terminate()
        server.wait()
    claim = "lock, three new packages, four archs, uv's cache warm, against four bare runs: processor time"
    return Row(claim, own.cpu, other.cpu, TOLD, holds=True)
