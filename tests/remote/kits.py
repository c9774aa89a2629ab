"""What kits are made of, made up: an index with wheels of uv and py-rattler, and a mirror of Python builds.

The wheels have the names, versions and tags of those that are installed here, for both archs of nodes; the builds have
the names that uv's list gives them. What is in them is small, and nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path

from envlock.model.arch import LINUX_64, LINUX_AARCH64
from envlock.resolve import python_builds
from envlock.resolve.python_builds import Build
from tests.hydration.builds import Host, served, sums
from tests.index import Release

UV = Release(
    "uv",
    metadata.version("uv"),
    tags=("py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64", "py3-none-manylinux_2_28_aarch64"),
)
RATTLER = Release(
    "py-rattler",
    metadata.version("py-rattler"),
    tags=("cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64", "cp310-abi3-manylinux_2_28_aarch64"),
)
KIT_RELEASES = (UV, RATTLER)


@cache
def builds_of(series: str) -> tuple[Build, ...]:
    """The newest builds of a series for the archs of nodes."""
    builds = [each for each in python_builds._builds() if str(each.version).startswith(f"{series}.")]
    return tuple(
        max((each for each in builds if each.arch == arch), key=lambda each: each.version)
        for arch in (LINUX_64, LINUX_AARCH64)
    )


@contextmanager
def python_mirror(folder: Path, *series: str) -> Iterator[Host]:
    """A mirror that has the newest builds of these series."""
    for build in (build for each in series for build in builds_of(each)):
        release = folder / build.folder.rsplit("/", 1)[1]
        release.mkdir(parents=True, exist_ok=True)
        (release / build.filename).write_bytes(f"{build.filename}\n".encode() * 50)
    for release in folder.iterdir():
        files = {path.name: path.read_bytes() for path in release.iterdir()}
        (release / "SHA256SUMS").write_bytes(sums(files))
    with served(folder) as host:
        yield host
