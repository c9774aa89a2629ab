"""What the cache asks of a store of files: a folder, a bucket, or memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One file of a store."""

    path: str
    """Relative to the store's root, `/`-separated."""
    size: int


class Store(Protocol):
    """Files under one root, which need not exist before the first is written.

    Paths are relative and `/`-separated; one that leads out of the root is refused (UnsafePath). Every method may be
    called from any thread, and raises CacheUnusable where the store cannot be reached, read or written.
    """

    @property
    def url(self) -> str:
        """The root, without credentials: for messages."""

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one. One request, no listing."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`, in no order; none if it is not there."""

    def read(self, path: str) -> bytes:
        """A small file's bytes. Raises FileNotFoundError."""

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file's bytes, read through: 64 hex digits. Raises FileNotFoundError."""

    def fetch(self, path: str, to: Path) -> None:
        """Copy a file out to a local path that does not exist yet. Raises FileNotFoundError."""

    def put(self, path: str, data: bytes | Path) -> None:
        """Write a file, whole or not at all: no reader ever sees a part. Replaces what was there.

        When it returns, the next call of any process sees the file.
        """

    def delete(self, path: str) -> None:
        """Take a file away; one that is not there is no error."""
