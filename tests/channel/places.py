"""Where the channel is kept between sessions, decided before any test has a HOME of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.channel.interpreters import folders

_TOLD = "TESTS_CHANNEL_PLACES"


def _cache() -> Path:
    home = os.environ.get("HOME")
    base = os.environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else "")
    for root in (base, tempfile.gettempdir()):
        folder = Path(root, "envlock-tests")
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if root and os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.mkdtemp(prefix="envlock-tests-"))


def _decided() -> tuple[Path, tuple[Path, ...]]:
    """The cache, and where interpreters may lie. A process that a test starts is told: its HOME is another."""
    if _TOLD not in os.environ:
        os.environ[_TOLD] = json.dumps([str(_cache()), *map(str, folders())])
    cache, *rest = map(Path, json.loads(os.environ[_TOLD]))
    return cache, tuple(rest)


CACHE, INTERPRETER_FOLDERS = _decided()


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds a lock that all processes of this user share."""
    with Path(CACHE, f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
