"""Where envlock keeps things on this machine, and who works there. Never part of an id."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from envlock.errors import ConfigError, Location
from envlock.settings_files import chosen_home
from envlock.trust import (
    ANYBODY,
    BY_GROUP,
    NO_GROUP,
    NOT_SET_UP,
    OF_OTHER,
    VARIABLE,
    distrust,
    distrust_home,
    make_folder,
)

NAMED = "named"
"""The folder of the home with the links that local names are."""
KERNELS = "kernels"
"""The folder of the home with the Jupyter kernels that envlock installed."""
IN_PROJECT = Path(".envlock", "envs")
"""Where a project has its own, relative to the folder of envlock.toml."""


class NoHome(ConfigError):
    """A path begins with `~`, and there is no home folder: the user is not known here, and HOME is not set."""

    code = "no-home"
    message = "`{path}` does not exist: there is no such home folder on this machine"
    hint = "export HOME=<a folder that you can write>, or use a path without `~`"


class UntrustedHome(ConfigError):
    """Somebody else may have written the files that envlock keeps on this machine and runs."""

    code = "untrusted-home"
    message = "envlock does not run files that others may have written"

    def __init__(self, path: str, kind: str, who: str) -> None:
        """`kind` and `who` as `trust.distrust` returns them."""
        reason, hint = _DISTRUST[kind]
        super().__init__(
            locations=(Location(path),),
            details=(reason.format(who=who),),
            hint=hint.format(path=shlex.quote(path)),
        )


class UntrustedSettings(ConfigError):
    """Somebody else may have written a settings file of this machine or user."""

    code = "untrusted-settings"
    message = "envlock does not follow settings that others may have written"

    def __init__(self, path: str, kind: str, who: str) -> None:
        """`kind` and `who` as `trust.distrust` returns them."""
        reason, _ = _DISTRUST[kind]
        hint = {ANYBODY: "chmod o-w {path}", BY_GROUP: "chmod g-w {path}", OF_OTHER: "sudo chown root {path}"}
        super().__init__(
            locations=(Location(path),),
            details=(reason.format(who=who),),
            hint=hint.get(kind, f"unset {VARIABLE}").format(path=shlex.quote(path)),
        )


class UnreadableConfig(ConfigError):
    """envlock.toml, or a settings file, is there, but cannot be read."""

    code = "unreadable-config"
    message = "cannot read `{path}`: {reason}"
    hint = "check that it is a file, and that you may read it"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=path, reason=reason)


_DISTRUST = {
    ANYBODY: (
        "anybody on this machine may write it",
        "chmod -R o-w {path}, or delete it if you do not know who wrote into it",
    ),
    BY_GROUP: (
        "the group {who} may write it",
        f"chmod -R g-w {{path}}, or, if the group is meant to share it: export {VARIABLE}=<group>",
    ),
    OF_OTHER: (
        "it belongs to {who}",
        f"export ENVLOCK_HOME=<a folder of your own>, or, if a group is meant to share it: export {VARIABLE}=<group>",
    ),
    NOT_SET_UP: (
        f"it is not set up for the group of {VARIABLE}: members could not use each other's files",
        f"chmod 2770 {{path}}, or: unset {VARIABLE}",
    ),
    NO_GROUP: (
        f"{VARIABLE} names a group that does not exist here: {{who}}",
        f"export {VARIABLE}=<name or number of the group that shares the home>, or: unset {VARIABLE}",
    ),
}


def home() -> Path:
    """The folder of envlock on this machine: `$ENVLOCK_HOME`, `home` in a settings file, or `~/.envlock`.

    Contains `environments/` (prefixes), `packages/` (verified artifacts, by SHA-256), `pythons/` (unpacked Pythons),
    small memos, and notes of what is used and known here. Everything in it can be deleted; envlock makes it again from
    the cache. Raises NoHome, UntrustedHome if somebody else may have written into it, and what `chosen_home` raises.
    """
    found = expanded(chosen_home()).absolute()
    distrusted = distrust_home(str(found))
    if distrusted is not None:
        raise UntrustedHome(*distrusted)
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
    found = distrust(str(path))
    if found is not None:
        raise UntrustedHome(str(path), *found)
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
