"""A home with environments that nobody made: folders that look like prefixes, for tests of what needs them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from envlock.activation import RECEIPT
from envlock.config.project import Project
from envlock.in_use import note_of
from envlock.model.arch import host_arch
from envlock.model.lock import Lock
from envlock.places import home
from envlock.workflow.machine.known_projects import know

DAY = 86400.0


def ids(number: int) -> tuple[str, str]:
    """The ids of the environment with this number."""
    return f"{number:040x}", f"{number + (1 << 100):040x}"


def name_of(number: int) -> str:
    return "metaflow_{}_{}".format(*ids(number))


@contextmanager
def releasing() -> Iterator[None]:
    """What is held within the context is let go at its end, as if a process had ended."""
    before = _descriptors()
    try:
        yield
    finally:
        for each in _descriptors() - before:
            with suppress(OSError):  # of listing them
                os.close(each)


def _descriptors() -> set[int]:
    return {int(each.name) for each in Path("/dev/fd").iterdir() if int(each.name) >= 100}


def make_prefix(number: int, *, days: float = 100, size: int = 5000, whole: bool = True) -> Path:
    """The prefix with this number, last used so many days ago, with one file of its own."""
    prefix = home() / "environments" / name_of(number)
    (prefix / "bin").mkdir(parents=True)
    (prefix.parent / ".stages").mkdir(exist_ok=True)
    (prefix / "own.txt").write_bytes(b"x" * size)
    when = time.time() - days * DAY
    if whole:
        req_id, full_id = ids(number)
        receipt = {"req_id": req_id, "full_id": full_id, "arch": host_arch(), "python": "/usr/bin/python3"}
        receipt |= {"python_version": "3.11.2", "envlock": "0"}
        (prefix / RECEIPT).write_text(json.dumps({**receipt, "python_file": [1, 2, 3]}))
        os.utime(prefix / RECEIPT, (when, when))
    note = Path(note_of(str(prefix)))
    note.parent.mkdir(exist_ok=True)
    note.touch()
    os.utime(note, (when, when))
    return prefix


@dataclass(frozen=True)
class MadeUpProject:
    """A folder with locks, known to this machine."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "envlock.toml"

    def lock_for(self, number: int, *asked_by: str, more: str = "") -> Path:
        """Lock the environment with this number: only what is looked at is in the file."""
        req_id, full_id = ids(number)
        path = self.folder / "envlock.lock" / host_arch() / req_id / f"pylock.{full_id}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{more}\n[tool.envlock.stamp]\ndigest = "00"\nasked-by = {json.dumps(asked_by)}\n')
        return path

    def is_known(self, number: int | None = None, *asked_by: str) -> MadeUpProject:
        """Let this machine know the project, and the environment with this number as one that was made for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.touch()
        project = cast("Project", SimpleNamespace(path=self.config, lock_folder=self.folder / "envlock.lock"))
        identity = ":".join(ids(number)) if number is not None else ""
        lock = cast("Lock", SimpleNamespace(identity=identity, asked_by=asked_by)) if number is not None else None
        know(project, lock)
        return self
