"""An arch and a Python as PEP 425 tags, PEP 508 markers and uv's platform name. Never looks at the running machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.model.arch import LINUX_64, LINUX_AARCH64, MARKER_VALUES, OSX_64, OSX_ARM64, Arch
from envlock.model.python_range import releases_of
from envlock.model.requirements import Requirements

if TYPE_CHECKING:
    from packaging.tags import Tag

    from envlock.resolve.port import Request

_UV_MACHINES = {OSX_64: "x86_64-apple-darwin", OSX_ARM64: "aarch64-apple-darwin"}
_UV_GLIBC = (17, 28, *range(31, 41))
"""The minor versions of glibc 2 that uv accepts in a platform name."""
UNKNOWN = re.compile(r"\bplatform[._](?:release|version)\b")
"""Markers about the machine's kernel, which no lock can know: what depends on them is always locked."""
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Target:
    """The arch, Python and system that a lock is for."""

    arch: Arch
    python: str
    glibc: tuple[int, int]
    macos: tuple[int, int]

    @property
    def is_linux(self) -> bool:
        """Whether the arch is a Linux one."""
        return self.arch in {LINUX_64, LINUX_AARCH64}

    @property
    def uv_platform(self) -> str:
        """The `--python-platform` of uv. A glibc that uv does not know becomes the next newer; wheels are checked."""
        if not self.is_linux:
            return _UV_MACHINES[self.arch]
        minor = min((known for known in _UV_GLIBC if known >= self.glibc[1]), default=_UV_GLIBC[-1])
        return f"{MARKER_VALUES[self.arch]['platform_machine']}-manylinux_2_{minor}"

    @property
    def uv_environment(self) -> dict[str, str]:
        """The variables that tell uv the macOS floor."""
        return {} if self.is_linux else {"MACOSX_DEPLOYMENT_TARGET": f"{self.macos[0]}.{self.macos[1]}"}

    def tags(self) -> list[Tag]:
        """The wheel tags that install here, best first (PEP 425, PEP 600)."""
        from packaging.tags import compatible_tags, cpython_tags, mac_platforms

        major, minor = (int(part) for part in self.python.split(".")[:2])
        machine = MARKER_VALUES[self.arch]["platform_machine"]
        platforms = list(
            _linux_platforms(machine, self.glibc[1]) if self.is_linux else mac_platforms(self.macos, machine)
        )
        interpreter = f"cp{major}{minor}"
        # The ABI is given, or packaging would take the running interpreter's. Until 3.7 it has the flag of pymalloc.
        abi = f"{interpreter}m" if (major, minor) < (3, 8) else interpreter
        return [
            *cpython_tags((major, minor), abis=[abi], platforms=platforms),
            *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
        ]

    def marker_texts(self) -> dict[str, str]:
        """The PEP 508 environment of the target, by variable."""
        return {
            **MARKER_VALUES[self.arch],
            "implementation_version": self.python,
            "platform_release": "",
            "platform_version": "",
            "python_full_version": self.python,
            "python_version": ".".join(self.python.split(".")[:2]),
        }


def target_of(requirements: Requirements, arch: Arch, python: str) -> Target:
    """The target of a request. Its floors come from the requirements, never from this machine."""
    floors = {name: version for where, name, version in requirements.system if where == arch}
    return Target(
        arch=arch,
        python=python,
        glibc=_two(floors.get("__glibc", "2.28")),
        macos=_two(floors.get("__osx", "13.0")),
    )


def _two(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor or 0)


def _linux_platforms(machine: str, glibc: int) -> Iterator[str]:
    oldest = 5 if machine == "x86_64" else 17
    for minor in range(glibc, oldest - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{machine}"
    yield f"linux_{machine}"


def allowed_releases(request: Request) -> tuple[str, ...]:
    """The releases of Python, in order, that an environment may use.

    One where Python is an exact build or a conda package; else those of the series from the oldest on.
    """
    asked = request.requirements if request.base is None else request.base.lock.requirements
    if asked.python_from != "machine":
        return (request.python,)
    return releases_of(request.python, asked.python) or (request.python,)


def truths(marker: str, target: Target, releases: Sequence[str]) -> tuple[bool, ...]:
    """For each release, whether a marker is true, as far as that is known."""
    if UNKNOWN.search(marker):
        return (True,) * len(releases)
    from packaging.markers import Marker

    parsed = Marker(marker)
    texts = {**target.marker_texts(), "extra": ""}
    return tuple(
        parsed.evaluate({**texts, "python_full_version": release, "implementation_version": release})
        for release in releases
    )


def wheel_fits(name: str, version: str, filename: str, request: Request) -> bool:
    """Whether a wheel of this machine is for a request's arch and Python.

    Of the platform, the file's name says too little: one that was built has no manylinux tag.
    """
    from packaging.utils import parse_wheel_filename

    from envlock.lockfile.consistency import wrong_wheel

    if wrong_wheel([("pypi", name, version, "", filename, "")], request.arch, request.python):
        return False
    known = {(tag.interpreter, tag.abi) for tag in target_of(request.requirements, request.arch, request.python).tags()}
    return any((tag.interpreter, tag.abi) in known for tag in parse_wheel_filename(filename)[3])
