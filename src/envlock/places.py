"""Where envlock keeps things on this machine. Never part of a lock or an id."""

from __future__ import annotations

import os
from pathlib import Path

from envlock.errors import ConfigError


class NoHome(ConfigError):
    """A path begins with a home folder, and there is none: the user is not known here, and HOME is not set."""

    code = "no-home"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"`{path}` leads nowhere: there is no such home folder on this machine",
            hint="export HOME=... to a folder that you may write, or name a folder without `~`",
        )


def home() -> Path:
    """The folder of envlock on this machine: `$ENVLOCK_HOME`, or `~/.envlock`.

    Holds `environments/` (hydrated prefixes), `packages/` (verified artifacts, by SHA-256), `pythons/` (unpacked
    interpreters) and small memos. Everything in it can be deleted; it is made again from the cache. Raises NoHome.
    """
    return expanded(os.environ.get("ENVLOCK_HOME") or "~/.envlock").absolute()


def expanded(path: str) -> Path:
    """The path, with what `~` stands for. Raises NoHome."""
    found = os.path.expanduser(path)  # noqa: PTH111  pathlib's own raises what is no error of ours
    if found.startswith("~"):
        raise NoHome(path)
    return Path(found)
