"""The file that says of a prefix that it is whole: whose it is, and which interpreter it was made of."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from envlock import __version__
from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.interpreters import Interpreter
from envlock.places import trusted

if TYPE_CHECKING:
    from envlock.model.lock import Lock

NAME = ".envlock.json"


@dataclass(frozen=True)
class Marker:
    """What stands in a prefix's marker; a prefix without one is a remnant."""

    req_id: str
    full_id: str
    arch: str
    python: str
    """The absolute path of the interpreter that the prefix was made of."""
    python_version: str
    python_file: tuple[int, ...]
    """mtime, size and inode of that interpreter: while they stay, so does its version."""
    envlock: str = __version__

    @property
    def interpreter(self) -> Interpreter:
        """The interpreter that the prefix was made of."""
        return Interpreter(Path(self.python), self.python_version)

    def is_of(self, lock: Lock) -> bool:
        """Whether the prefix was made of this lock."""
        return (self.req_id, self.full_id, self.arch) == (lock.req_id, lock.full_id, lock.arch)

    @property
    def python_is_unchanged(self) -> bool:
        """Whether the interpreter is still the file that it was. Costs one look at the disk."""
        return bool(self.python_file) and signature(Path(self.python)) == self.python_file


def find(lock: Lock, environments: Path) -> Path | None:
    """The prefix of a lock, where it is whole and its interpreter is the file that it was made of; else None.

    Reads one small file and looks at another. Never waits, never writes. Raises UntrustedHome where others may have
    written into the prefix.
    """
    prefix = environments / lock.prefix_name
    marker = read_marker(prefix)
    if marker is None:
        return None
    trusted(prefix)
    return prefix if marker.is_of(lock) and marker.python_is_unchanged else None


def signature(path: Path) -> tuple[int, ...]:
    """mtime, size and inode of a file; empty where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  pathlib's own raises for less
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_marker(prefix: Path) -> Marker | None:
    """The marker of a prefix, or None where it has none that can be understood."""
    try:
        found = json_of(read_file(prefix / NAME, MEMO_BYTES))
        known = {field.name: found[field.name] for field in fields(Marker)}
        marker = Marker(**{**known, "python_file": tuple(found["python_file"])})
        texts = (value for name, value in known.items() if name != "python_file")
        is_one = all(type(text) is str for text in texts) and all(type(number) is int for number in marker.python_file)
        return marker if is_one and b"\0" not in os.fsencode(marker.python) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_marker(prefix: Path, marker: Marker) -> None:
    """Say that the prefix is whole. Raises OSError."""
    write_atomically(prefix / NAME, (json.dumps(asdict(marker), indent=1) + "\n").encode())
