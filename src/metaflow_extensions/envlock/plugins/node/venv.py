"""What a virtual environment has of its own beside its packages: its configuration, and links to its interpreter.

A pack has neither, because they name the interpreter, and each node has its own. They are as `uv venv --relocatable`
makes them.
"""

from __future__ import annotations

import os

_CONFIGURATION = "pyvenv.cfg"


def venv_files(python: str, version: str, series: str, uv: str = "") -> list[tuple[str, str, str]]:
    """Path, text and link of each of them; a link has no text. `uv` is the version of uv that it says made it.

    `python` is the path of the interpreter, no script and of no other virtual environment.
    """
    lines = [
        "home = %s" % os.path.dirname(python),
        "implementation = CPython",
        *(["uv = %s" % uv] if uv else []),
        "version_info = %s" % version,
        "include-system-site-packages = false",
        "relocatable = true",
    ]
    return [
        (_CONFIGURATION, "".join("%s\n" % line for line in lines), ""),
        ("bin/python", "", python),
        ("bin/python3", "", "python"),
        ("bin/python%s" % series, "", "python"),
    ]


def make_venv(prefix: str, python: str, version: str, series: str, uv: str) -> None:
    """Make a folder a virtual environment of an interpreter, as `venv_files` says. Raises OSError."""
    for folder in ("bin", os.path.join("lib", "python%s" % series, "site-packages")):
        os.makedirs(os.path.join(prefix, folder), exist_ok=True)
    for path, text, link in venv_files(python, version, series, uv):
        if link:
            os.symlink(link, os.path.join(prefix, path))
        else:
            with open(os.path.join(prefix, path), "x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
