"""The packages in a cache: verified on their way in, and on their way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cache.errors import CacheHashMismatch
from envlock.cache.layout import package_path
from envlock.cache.port import tell_nobody
from envlock.files import PACKAGE_BYTES, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from envlock.cache.port import Store
    from envlock.model.artifact import Artifact


_BLOCK = 1 << 20


class Packages:
    """The packages of one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look(self, artifact: Artifact, *, read: bool = False) -> bool | None:
        """Whether what is at the artifact's place is the artifact; None where nothing is. One request.

        Its size decides, where that is known; with `read`, its bytes, all of which are read.
        """
        path = path_of(artifact)
        if not read:
            entry = self._store.entry(path)
            return None if entry is None else artifact.size in {None, entry.size}
        try:
            return self._store.sha256(path) == artifact.sha256
        except FileNotFoundError:
            return None

    def has(self, artifact: Artifact) -> bool:
        """Whether the artifact is there, in its right size where that is known. One request."""
        return self.look(artifact) is True

    def is_whole(self, artifact: Artifact) -> bool:
        """Whether the artifact is there and its bytes are those that were locked. Reads all of it."""
        return self.look(artifact, read=True) is True

    def put(self, artifact: Artifact, file: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Put a local file in. Raises CacheHashMismatch, and puts nothing, when it is not the artifact."""
        got = sha256_of(file)
        if got != artifact.sha256:
            raise CacheHashMismatch(artifact.filename, str(file), expected=artifact.sha256, got=got)
        self._store.put(path_of(artifact), file, on_bytes=on_bytes)

    def fetch(self, artifact: Artifact, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> bool:
        """Copy the artifact out to a path that does not exist yet; False, and nothing done, when it is not there.

        Raises CacheHashMismatch when its bytes are others than those that were locked; `to` is not there then.
        """
        path = path_of(artifact)
        size = PACKAGE_BYTES if artifact.size is None else artifact.size
        came = 0

        def bounded(count: int) -> None:
            nonlocal came
            came += count
            if came > size + _BLOCK:  # else who writes into the cache fills this disk; a little more its hash tells of
                place = f"{self._store.url}/{path}"
                raise CacheHashMismatch(artifact.filename, place, expected=f"{size} bytes", got="more")
            on_bytes(count)

        try:
            self._store.fetch(path, to, on_bytes=bounded)
            got = sha256_of(to)
        except FileNotFoundError:
            return False
        except BaseException:
            to.unlink(missing_ok=True)
            raise
        if got != artifact.sha256:
            to.unlink()
            raise CacheHashMismatch(artifact.filename, f"{self._store.url}/{path}", expected=artifact.sha256, got=got)
        return True


def path_of(artifact: Artifact) -> str:
    """Where an artifact lies in a cache. Raises UnsafePath."""
    return package_path(artifact.sha256, artifact.filename)
