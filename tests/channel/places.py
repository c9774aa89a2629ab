"""Where the channel is kept between sessions, decided before any test has a HOME of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.channel.interpreters import folders


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


CACHE = _cache()
INTERPRETER_FOLDERS = folders()


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds a lock that all processes of this user share."""
    with Path(CACHE, f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
