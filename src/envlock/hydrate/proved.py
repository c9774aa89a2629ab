"""Which files were hashed before, and were not touched since.

The kernel changes a file's ctime with every write, rename or change of mode, and no program can set it back. So a file
whose size, inode, mtime and ctime are those of the moment it was hashed holds what it held then. Hashing it again for
each environment would cost as much as linking its contents does.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_RACY_NANOSECONDS = 2_000_000_000
"""A file this young could change once more within one tick of the clock that ctime is taken from."""


class Proved:
    """Remembers in a folder, a small file for each hash. Whatever is wrong there only means that a file is hashed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def knows(self, path: Path, sha256: str) -> bool:
        """Whether the file at `path` was found to have this SHA-256, and is untouched since."""
        try:
            return (self._folder / sha256).read_text(encoding="utf-8") == signature(path)
        except (OSError, UnicodeDecodeError):
            return False

    def remember(self, path: Path, sha256: str, before: str) -> None:
        """Keep that the file, whose signature was `before` when hashing began, has this SHA-256."""
        try:
            young = time.time_ns() - path.stat().st_ctime_ns < _RACY_NANOSECONDS
            if not young and signature(path) == before:
                self._folder.mkdir(parents=True, exist_ok=True)
                (self._folder / sha256).write_text(before, encoding="utf-8")  # half of it would match nothing
        except OSError:
            return  # it is hashed again the next time


def signature(path: Path) -> str:
    """What the kernel knows of a file, which is another as soon as the file is. Raises OSError."""
    found = path.stat()
    parts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return f"{os.fspath(path)}\n{' '.join(str(part) for part in parts)}\n"
