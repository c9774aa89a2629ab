"""Run by a shell that has read its user's own files: what it has to set so that it is in its environment again."""

from __future__ import annotations

import os
import sys

from envlock.activation import STEERS_PYTHON, activated, changes, with_programs
from envlock.cli.light.shells import quoted

_LISTS_OF_FISH = ("PATH", "MANPATH", "CDPATH")


def main() -> None:
    """Print the commands for `sys.argv`: a prefix, its PYTHONPATH after `=` or nothing, and `posix` or `fish`."""
    prefix, pythonpath, language = sys.argv[1:]
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    from envlock.errors import EnvlockError

    try:
        wanted = again(prefix, dict(os.environ), pythonpath)
    except EnvlockError as error:
        sys.stderr.write(f"{error.render()}\n")
        return
    for name, value in changes(os.environ, wanted).items():
        if name.isascii() and name.isidentifier():
            sys.stdout.write(f"{_command(name, value, language)}\n")


def again(prefix: str, environ: dict[str, str], pythonpath: str = "=") -> dict[str, str]:
    """The variables of a process in `prefix`; where it is in there still, its programs come first again, and no more.

    `pythonpath` is `=` and what PYTHONPATH has to be, or nothing where it stays as it is.

    >>> again("/env", {"VIRTUAL_ENV": "/env", "PATH": "/mine:/env/bin:/bin"})["PATH"]
    '/env/bin:/mine:/bin'
    """
    if prefix not in {environ.get("CONDA_PREFIX"), environ.get("VIRTUAL_ENV")}:
        return activated(prefix, environ, keep_pythonpath=not pythonpath)
    variables = {name: value for name, value in environ.items() if name not in STEERS_PYTHON}
    if pythonpath:
        variables.pop("PYTHONPATH", None)
    if pythonpath[1:]:
        variables["PYTHONPATH"] = pythonpath[1:]
    return {**variables, "PATH": with_programs(prefix, variables)}


def _command(name: str, value: str | None, language: str) -> str:
    r"""One variable, set or unset.

    >>> print(_command("A", "it's", "posix"), _command("PATH", "/a:/b", "fish"), sep=chr(10))
    export A='it'\''s'
    set -gx PATH '/a' '/b'
    """
    if language == "posix":
        return f"unset {name}" if value is None else f"export {name}={quoted(value)}"
    if value is None:
        return f"set -e {name}"
    words = value.split(":") if name in _LISTS_OF_FISH else [value]
    escaped = (word.replace("\\", "\\\\").replace("'", "\\'") for word in words)
    return f"set -gx {name} " + " ".join(f"'{word}'" for word in escaped)
