"""What a virtual environment has of its own beside its packages: its configuration, and links to its interpreter.

A pack has neither, because they name the interpreter, and each node has its own. They are as `uv venv --relocatable`
makes them.
"""

from __future__ import annotations

import os

_CONFIGURATION = "pyvenv.cfg"


def make_venv(prefix: str, python: str, version: str, series: str, uv: str) -> None:
    """Make a folder a virtual environment of an interpreter. `uv` is the version of uv that it says made it.

    `python` is the path of the interpreter, no script and of no other virtual environment. Raises OSError.
    """
    lines = [
        "home = %s" % os.path.dirname(python),
        "implementation = CPython",
        "uv = %s" % uv,
        "version_info = %s" % version,
        "include-system-site-packages = false",
        "relocatable = true",
    ]
    with open(os.path.join(prefix, _CONFIGURATION), "x", encoding="utf-8", errors="surrogateescape") as file:
        file.write("".join("%s\n" % line for line in lines))
    programs = os.path.join(prefix, "bin")
    os.makedirs(programs, exist_ok=True)
    os.makedirs(os.path.join(prefix, "lib", "python%s" % series, "site-packages"), exist_ok=True)
    os.symlink(python, os.path.join(programs, "python"))
    for name in ("python3", "python%s" % series):
        os.symlink("python", os.path.join(programs, name))
