"""Architectures, named as conda names its subdirs."""

from __future__ import annotations

import os

from envlock.errors import ConfigError, Location
from envlock.words import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NewType

    Arch = NewType("Arch", str)
else:
    Arch = str  # `typing` takes longer to import than most modules

LINUX_64 = Arch("linux-64")
LINUX_AARCH64 = Arch("linux-aarch64")
OSX_64 = Arch("osx-64")
OSX_ARM64 = Arch("osx-arm64")

ARCHS: tuple[Arch, ...] = (LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64)

MARKER_VALUES: dict[Arch, dict[str, str]] = {
    arch: {
        "sys_platform": "linux" if system == "Linux" else "darwin",
        "platform_machine": machine,
        "os_name": "posix",
        "platform_system": system,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    for arch, system, machine in (
        (LINUX_64, "Linux", "x86_64"),
        (LINUX_AARCH64, "Linux", "aarch64"),
        (OSX_64, "Darwin", "x86_64"),
        (OSX_ARM64, "Darwin", "arm64"),
    )
}
"""What environment markers (PEP 508) compare, where the architecture decides it."""

_HOSTS = {
    ("Linux", "x86_64"): LINUX_64,
    ("Linux", "aarch64"): LINUX_AARCH64,
    ("Linux", "arm64"): LINUX_AARCH64,
    ("Darwin", "x86_64"): OSX_64,
    ("Darwin", "arm64"): OSX_ARM64,
}


class UnknownArch(ConfigError):
    """A name that is not an architecture."""

    code = "unknown-arch"

    def __init__(self, found: str, *, locations: tuple[Location, ...] = ()) -> None:
        super().__init__(
            f"`{found}` is not an architecture",
            locations=locations,
            details=("architectures: " + ", ".join(ARCHS),),
            hint=did_you_mean(found, ARCHS, cutoff=0.5),
        )


class UnsupportedHost(ConfigError):
    """This machine has an architecture that envlock does not know."""

    code = "unsupported-host"

    def __init__(self, system: str, machine: str) -> None:
        super().__init__(
            f"envlock cannot make environments on {system} {machine}",
            details=("locking for other architectures, `check` and `push` work here",),
        )


def parse_arch(text: str) -> Arch:
    """The architecture of that name.

    >>> parse_arch("osx-arm64")
    'osx-arm64'

    Raises UnknownArch, which names the nearest right one.
    """
    if text not in ARCHS:
        raise UnknownArch(text)
    return Arch(text)


def host_arch() -> Arch:
    """The architecture of this machine. Raises UnsupportedHost elsewhere (Windows, other processors)."""
    uname = os.uname()
    try:
        return _HOSTS[uname.sysname, uname.machine]
    except KeyError:
        raise UnsupportedHost(uname.sysname, uname.machine) from None
