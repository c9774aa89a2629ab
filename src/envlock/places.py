"""Where envlock keeps things on this machine, and who works there. Never part of an id."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from envlock.errors import ConfigError, Location
from envlock.trust import VARIABLE, distrust, distrust_home, make_folder


class NoHome(ConfigError):
    """A path begins with `~`, and there is no home folder: the user is not known here, and HOME is not set."""

    code = "no-home"
    message = "`{path}` does not exist: there is no such home folder on this machine"
    hint = "export HOME=<a folder that you may write>, or use a path without `~`"


class UntrustedHome(ConfigError):
    """Somebody else may have written the files that envlock keeps on this machine and runs."""

    code = "untrusted-home"

    def __init__(self, path: str, reason: str) -> None:
        quoted = shlex.quote(path)
        hints = {
            "anybody": f"chmod -R o-w {quoted}, or delete it if you do not know who wrote into it",
            "the group": f"chmod -R g-w {quoted}, or, if the group is meant to share it: export {VARIABLE}=<group>",
            "it is not": f"chmod 2770 {quoted}, or: unset {VARIABLE}",
            VARIABLE: f"export {VARIABLE}=<name or number of the group that shares the home>, or: unset {VARIABLE}",
            "": "export ENVLOCK_HOME=<a folder of your own>, or, if a group is meant to share it: "
            f"export {VARIABLE}=<group>",
        }
        super().__init__(
            "envlock does not run files that others may have written",
            locations=(Location(path),),
            details=(reason,),
            hint=next(hint for start, hint in hints.items() if reason.startswith(start)),
        )


def home() -> Path:
    """The folder of envlock on this machine: `$ENVLOCK_HOME`, or `~/.envlock`.

    Contains `environments/` (prefixes), `packages/` (verified artifacts, by SHA-256), `pythons/` (unpacked Pythons) and
    small memos. Everything in it can be deleted; envlock makes it again from the cache. Raises NoHome, and
    UntrustedHome if somebody else may have written into it.
    """
    found = expanded(os.environ.get("ENVLOCK_HOME") or "~/.envlock").absolute()
    path, reason = distrust_home(str(found))
    if reason:
        raise UntrustedHome(path, reason)
    return found


def folder_in_home(*parts: str, is_private: bool = False) -> Path:
    """A folder of the home, made if it is missing, into which nobody else may write: see `make_folder`.

    Raises as `home`, and OSError.
    """
    top = home()
    folder = top.joinpath(*parts)
    make_folder(str(folder), str(top), is_private=is_private)
    return folder


def trusted(path: Path) -> Path:
    """The path, unless others may have written what is there. Raises UntrustedHome."""
    reason = distrust(str(path))
    if reason:
        raise UntrustedHome(str(path), reason)
    return path


def expanded(path: str) -> Path:
    """The path with `~` expanded. Raises NoHome."""
    found = os.path.expanduser(path)  # noqa: PTH111  pathlib's own raises RuntimeError
    if found.startswith("~"):
        raise NoHome(path=path)
    return Path(found)


def user() -> str:
    """The user's name, as Metaflow has it; the number of one who has no name here."""
    import getpass

    try:
        return os.environ.get("METAFLOW_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
