"""The port that every store of a cache implements: a folder, a bucket, or memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from envlock.values import Protocol

TYPE_CHECKING = False
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
    """When it was written, in seconds since the epoch by the store's own clock; None if the store does not say."""


def tell_nobody(_: int) -> None:
    """Ignore progress: the default of every `on_bytes`."""


class Store(Protocol):
    """Files under one root, which need not exist before the first write.

    Paths are relative and `/`-separated; a path that leaves the root raises UnsafePath. Any thread may call any method.
    Every method raises CacheUnusable if the store cannot be reached, read or written. `on_bytes` is called with the
    size of each piece that was moved, from any thread, and with a negative size when pieces are thrown away.
    """

    @property
    def url(self) -> str:
        """The root, without credentials: for messages."""

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one. One request, no listing."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`, in no order; none if the folder is missing."""

    def read(self, path: str) -> bytes:
        """The bytes of a small file. Raises FileNotFoundError, and StoredFileTooLarge above LOCK_BYTES."""

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file, 64 hex digits. Reads all of it. Raises FileNotFoundError."""

    def fetch(self, path: str, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Copy a file to a local path that does not exist yet. Raises FileNotFoundError."""

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Write a file atomically: no reader ever sees a part of it. Replaces an existing file.

        After it returns, every later call of any process sees the file.
        """

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file if there is none, by the store's own precondition: of any number of callers, one succeeds.

        Returns True if this call wrote it. If the store's answer was lost, the file is read back and compared, so
        `data` must hold something that nobody else would write. Returns False, and changes nothing, if there is a file
        with other content.
        """

    def delete(self, path: str) -> None:
        """Delete a file; a missing one is no error."""

    def tidy(self) -> None:
        """Delete empty folders, if the store has folders. Others may write at the same time."""
