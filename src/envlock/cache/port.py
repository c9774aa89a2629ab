"""What the cache asks of a store of files: a folder, a bucket, or memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """One file of a store."""

    path: str
    """Relative to the store's root, `/`-separated."""
    size: int


class Store(Protocol):
    """Files under one root. Paths are relative and `/`-separated. Every method may be called from any thread."""

    @property
    def url(self) -> str:
        """The root, without credentials: for messages."""

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one. One request."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`, in no order; none if it is not there."""

    def read(self, path: str) -> bytes:
        """A small file's bytes. Raises FileNotFoundError."""

    def fetch(self, path: str, to: Path) -> None:
        """Copy a file out to a local path that does not exist yet. Raises FileNotFoundError."""

    def put(self, path: str, data: bytes | Path) -> None:
        """Write a file, whole or not at all: no reader ever sees a part. Replaces what was there."""
