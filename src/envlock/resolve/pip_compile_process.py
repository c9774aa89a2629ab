"""pip-compile for another release of this Python: `python -m envlock.resolve.pip_compile_process`.

pip asks its own interpreter which Python it solves for, and the system which wheels it takes. A lock is for the oldest
release of the Python series that is allowed, and for the oldest glibc and macOS. So, in this process and no other, both
give those as their own.

The arguments are the Python (three numbers), the glibc, the macOS, and then pip-compile's.
"""

from __future__ import annotations

import platform
import runpy
import sys
from types import ModuleType
from typing import NamedTuple


class _Version(NamedTuple):
    """A stand-in for `sys.version_info`."""

    major: int
    minor: int
    micro: int
    releaselevel: str = "final"
    serial: int = 0


def pretend(python: str, glibc: str, macos: str) -> None:
    """Make this process report that Python, and a system as old as that."""
    major, minor, micro = (int(number) for number in python.split("."))
    version = _Version(major, minor, micro)
    vars(sys)["version_info"] = version
    vars(sys.implementation)["version"] = version
    vars(platform)["python_version"] = lambda: python
    # PEP 600: how a system says which manylinux wheels it takes.
    floor = tuple(int(number) for number in glibc.split("."))
    system = ModuleType("_manylinux")
    vars(system)["manylinux_compatible"] = lambda major, minor, _: (major, minor) <= floor
    sys.modules["_manylinux"] = system
    if sys.platform == "darwin":
        _, *rest = platform.mac_ver()
        vars(platform)["mac_ver"] = lambda: (macos, *rest)


def main() -> None:
    """Run pip-compile with the other arguments."""
    program, python, glibc, macos, *arguments = sys.argv
    pretend(python, glibc, macos)
    sys.argv = [program, "compile", *arguments]
    runpy.run_module("piptools", run_name="__main__")


if __name__ == "__main__":
    main()
