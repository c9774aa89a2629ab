"""A store in memory, for this process: for trials."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.layout import checked
from envlock.cache.port import Entry, tell_nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _File(NamedTuple):
    data: bytes
    written: float


_LOCK = threading.Lock()
_FILES: dict[str, _File] = {}


class MemoryStore:
    """A Store in memory: all stores of one URL in this process share their files."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """`memory://` and a name."""
        return self._url

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one."""
        found = _FILES.get(self._key(path))
        return None if found is None else Entry(path, len(found.data), found.written)

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`."""
        top = f"{self._key(folder)}/"
        root = len(self._url) + 1
        with _LOCK:
            found = [(key, file) for key, file in _FILES.items() if key.startswith(top)]
        for key, file in found:
            yield Entry(key[root:], len(file.data), file.written)

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        try:
            return _FILES[self._key(path)].data
        except KeyError:
            raise FileNotFoundError(path) from None

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file's bytes."""
        return hashlib.sha256(self.read(path)).hexdigest()

    def fetch(self, path: str, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Copy a file."""
        data = self.read(path)
        with to.open("xb") as file:
            file.write(data)
        on_bytes(len(data))

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Write a file."""
        key = self._key(path)
        whole = data if isinstance(data, bytes) else data.read_bytes()
        with _LOCK:
            _FILES[key] = _File(whole, time.time())
        on_bytes(len(whole))

    def create(self, path: str, data: bytes) -> bool:
        """Write a file if there is none."""
        key = self._key(path)
        with _LOCK:
            return _FILES.setdefault(key, _File(data, time.time())).data == data

    def delete(self, path: str) -> None:
        """Delete a file."""
        key = self._key(path)
        with _LOCK:
            _FILES.pop(key, None)

    def tidy(self) -> None:
        """Do nothing: there are no folders."""

    def _key(self, path: str) -> str:
        return f"{self._url}/{checked(path)}"
