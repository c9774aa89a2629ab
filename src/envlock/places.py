"""Where envlock keeps things on this machine. Never part of a lock or an id."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of envlock on this machine: `$ENVLOCK_HOME`, or `~/.envlock`.

    Holds `environments/` (hydrated prefixes), `packages/` (verified artifacts, by SHA-256), `pythons/` (unpacked
    interpreters), `bytecode/` (of Metaflow, for tasks) and small memos. Everything in it can be deleted; it is made
    again from the cache.
    """
    chosen = os.environ.get("ENVLOCK_HOME")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".envlock"
