"""System packages, which conda calls virtual packages: which arch has which, and how versions are written.

The values come from envlock.toml or from the defaults here, never from the machine that locks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch

_LINUX, _OSX = (LINUX_64, LINUX_AARCH64), (OSX_64, OSX_ARM64)

VIRTUAL_PACKAGES: dict[str, tuple[Arch, ...]] = {
    "__glibc": _LINUX,
    "__linux": _LINUX,
    "__osx": _OSX,
    "__cuda": _LINUX,
    "__archspec": ARCHS,
}
"""Every system package that envlock.toml may name, with the archs that can have it."""

DEFAULT_SYSTEM: dict[Arch, dict[str, str]] = {
    # Current manylinux wheels are built for glibc 2.28 (RHEL 8, Debian 10, Ubuntu 20.04 and later have it), and those
    # of the large libraries for macOS 13 and later.
    LINUX_64: {"__glibc": "2.28"},
    LINUX_AARCH64: {"__glibc": "2.28"},
    OSX_64: {"__osx": "13.0"},
    OSX_ARM64: {"__osx": "13.0"},
}
CONDA_DEFAULT_SYSTEM: dict[Arch, dict[str, str]] = {
    # Linux 4.18 is the kernel of RHEL 8, which has glibc 2.28; the processors are the oldest of each arch.
    LINUX_64: {"__linux": "4.18", "__archspec": "x86_64"},
    LINUX_AARCH64: {"__linux": "4.18", "__archspec": "aarch64"},
    OSX_64: {"__archspec": "x86_64"},
    OSX_ARM64: {"__archspec": "m1"},
}
"""The defaults of environments with conda packages, beside `DEFAULT_SYSTEM`."""

_FORMS = {
    "__glibc": (r"[0-9]{1,9}\.[0-9]{1,9}", "it takes two numbers", "2.28"),
    "__linux": (r"[0-9]{1,9}\.[0-9]{1,9}(?:\.[0-9]{1,9})?", "it takes two numbers, or three", "4.18"),
    "__osx": (r"[0-9]{1,9}\.[0-9]{1,9}", "it takes two numbers", "13.0"),
    "__cuda": (r"[0-9]{1,9}(?:\.[0-9]{1,9})?", "it takes one number, or two", "12.4"),
    "__archspec": (r"[a-z0-9_]+", "it takes the name of a microarchitecture", "x86_64_v3"),
}
_ARM = ("aarch64", "arm", "neoverse", "thunderx", "cortex", "a64fx", "ampere")


class BadSystemVersion(ValueError):
    """A system package cannot have this version. `reason` says why, `example` is one that it can have."""

    def __init__(self, package: str, version: str, reason: str, example: str) -> None:
        super().__init__(f"{package} {version}: {reason}")
        self.reason = reason
        self.example = example


def system_version(package: str, text: str) -> str:
    """The version of a system package, without the `=` that Metaflow's extension allows before it.

    >>> system_version("__glibc", "==2.28"), system_version("__cuda", "12")
    ('2.28', '12')

    Raises BadSystemVersion.
    """
    form, reason, example = _FORMS[package]
    text = text.strip()
    version = text.removeprefix("=").removeprefix("=").strip()
    if re.fullmatch(form, version) is None:
        raise BadSystemVersion(package, text, reason, example)
    return version


def archs_of(package: str, version: str) -> tuple[Arch, ...]:
    """The archs that a version applies to, of those that a system package has.

    >>> archs_of("__osx", "14.0"), archs_of("__archspec", "x86_64_v3"), archs_of("__archspec", "m2")
    (('osx-64', 'osx-arm64'), ('linux-64', 'osx-64'), ('osx-arm64',))
    """
    if package != "__archspec":
        return VIRTUAL_PACKAGES[package]
    if version.startswith("m") and version[1:].isdecimal():
        return (OSX_ARM64,)
    return (LINUX_AARCH64,) if version.startswith(_ARM) else (LINUX_64, OSX_64)


def packages_of(arch: str) -> tuple[str, ...]:
    """The system packages that an arch can have.

    >>> packages_of("osx-arm64")
    ('__osx', '__archspec')
    """
    return tuple(package for package, archs in VIRTUAL_PACKAGES.items() if arch in archs)


def system_rows(
    floors: Mapping[Arch, Mapping[str, str]], packages: Mapping[str, str], *, has_conda: bool
) -> tuple[tuple[Arch, str, str], ...]:
    """The system packages of every arch, sorted: from `packages`, else from the project's `floors`, else the defaults.

    >>> system_rows({}, {"__cuda": "12.4"}, has_conda=False)[:2]
    (('linux-64', '__cuda', '12.4'), ('linux-64', '__glibc', '2.28'))
    """
    rows: dict[tuple[Arch, str], str] = {}
    for table in _tables(floors, has_conda=has_conda):
        rows |= {(arch, package): version for arch, versions in table.items() for package, version in versions.items()}
    rows |= {(arch, package): version for package, version in packages.items() for arch in archs_of(package, version)}
    return tuple((arch, package, rows[arch, package]) for arch, package in sorted(rows))


def _tables(floors: Mapping[Arch, Mapping[str, str]], *, has_conda: bool) -> Iterable[Mapping[Arch, Mapping[str, str]]]:
    yield DEFAULT_SYSTEM
    if has_conda:
        yield CONDA_DEFAULT_SYSTEM
    yield floors
