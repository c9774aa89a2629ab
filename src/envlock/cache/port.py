"""What the cache asks of a store of files: a folder, a bucket, or memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One file of a store."""

    path: str
    """Relative to the store's root, `/`-separated."""
    size: int
    modified: float | None = field(default=None, compare=False)
    """When it was written, in seconds since the epoch by the store's own clock; None where the store does not say."""


def tell_nobody(_: int) -> None:
    """Take the news of bytes, and do nothing."""


class Store(Protocol):
    """Files under one root, which need not exist before the first is written.

    Paths are relative and `/`-separated; one that leads out of the root is refused (UnsafePath). Every method may be
    called from any thread, and raises CacheUnusable where the store cannot be reached, read or written. `on_bytes` is
    told of each piece that was moved, in any thread, and of a negative number when pieces were thrown away.
    """

    @property
    def url(self) -> str:
        """The root, without credentials: for messages."""

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one. One request, no listing."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`, in no order; none if it is not there."""

    def read(self, path: str) -> bytes:
        """A small file's bytes. Raises FileNotFoundError; StoredFileTooLarge, for more than LOCK_BYTES."""

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file's bytes, read through: 64 hex digits. Raises FileNotFoundError."""

    def fetch(self, path: str, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Copy a file out to a local path that does not exist yet. Raises FileNotFoundError."""

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Write a file, whole or not at all: no reader ever sees a part. Replaces what was there.

        When it returns, the next call of any process sees the file.
        """

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file where none is, by the store's own precondition: of any number of callers, one succeeds.

        True when this call made it, also when the store's answer was lost on its way: what is there is read back then
        and compared, so callers put something into `data` that nobody else would write. False when a file is there
        that holds something else; it stays as it is.
        """

    def delete(self, path: str) -> None:
        """Take a file away; one that is not there is no error."""

    def tidy(self) -> None:
        """Take away folders in which nothing is left, where a store has such. Others may write meanwhile."""
