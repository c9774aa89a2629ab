"""The one adapter to fsspec: a store on any of its filesystems that writes an object whole or not at all."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envlock.cache.errors import CacheUnusable
from envlock.cache.layout import checked
from envlock.cache.port import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 20


class FsspecStore:
    """A Store below `root` of an fsspec filesystem.

    Made for filesystems whose writes appear whole, as those of buckets do. Only calls on single files are used: the
    others read `*` and `?` in a name as a pattern.
    """

    def __init__(self, filesystem: Any, root: str, url: str) -> None:
        self._files = filesystem
        self._root = root.rstrip("/")
        self._url = url

    @property
    def url(self) -> str:
        """The root, without credentials."""
        return self._url

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one."""
        with self._said("read"):
            try:
                found = self._files.info(self._key(path))
            except FileNotFoundError:
                return None
        return Entry(path, found["size"]) if found["type"] == "file" else None

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`."""
        with self._said("read"):
            try:
                found = self._files.find(self._key(folder), detail=True)
            except FileNotFoundError:
                return
        for key, facts in found.items():
            yield Entry(key[len(self._root) :].lstrip("/"), facts["size"])

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        with self._said("read"):
            return bytes(self._files.cat_file(self._key(path)))

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file's bytes."""
        digest = hashlib.sha256()
        with self._said("read"), self._files.open(self._key(path), "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def fetch(self, path: str, to: Path) -> None:
        """Copy a file out."""
        key = self._key(path)
        with self._said("read"):
            self._files.get_file(key, str(to))

    def put(self, path: str, data: bytes | Path) -> None:
        """Write a file with one call, which makes it appear whole."""
        key = self._key(path)
        with self._said("written"):
            if isinstance(data, bytes):
                self._files.pipe_file(key, data)
            elif self._files.protocol == "memory":  # its put_file writes piece by piece, where readers see it
                self._files.pipe_file(key, data.read_bytes())
            else:
                self._files.put_file(str(data), key)

    def delete(self, path: str) -> None:
        """Take a file away."""
        with self._said("written"):
            try:
                self._files.rm_file(self._key(path))
            except FileNotFoundError:
                return

    def _key(self, path: str) -> str:
        return f"{self._root}/{checked(path)}"

    @contextmanager
    def _said(self, doing: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise CacheUnusable.of(self._url, doing, error) from error
