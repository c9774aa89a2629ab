"""The packages in a cache: verified on their way in, and on their way out."""

from __future__ import annotations

import json
from contextlib import suppress

from envlock.cache.errors import CacheHashMismatch, UnsafePath
from envlock.cache.layout import BUILDS, build_path, package_path
from envlock.cache.port import tell_nobody
from envlock.files import PACKAGE_BYTES, json_of, sha256_of
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from envlock.cache.port import Store
    from envlock.model.artifact import Artifact


_BLOCK = 1 << 20


class Packages:
    """The packages of one store. Any thread may call any method."""

    def __init__(self, store: Store, place: Callable[[Artifact], str] | None = None) -> None:
        """`place` gives the path of an artifact that is no package."""
        self._store = store
        self._place = place or path_of

    def look(self, artifact: Artifact, *, read: bool = False) -> bool | None:
        """Whether the file at the artifact's path is the artifact; None if there is no file. One request.

        Compares sizes, if the artifact's is known. With `read`, reads the whole file and compares hashes.
        """
        path = self._place(artifact)
        if not read:
            entry = self._store.entry(path)
            return None if entry is None else artifact.size in {None, entry.size}
        try:
            return self._store.sha256(path) == artifact.sha256
        except FileNotFoundError:
            return None

    def has(self, artifact: Artifact) -> bool:
        """Whether the artifact is there, with the right size if that is known. One request."""
        return self.look(artifact) is True

    def is_whole(self, artifact: Artifact) -> bool:
        """Whether the artifact is there with the locked hash. Reads all of it."""
        return self.look(artifact, read=True) is True

    def put(self, artifact: Artifact, file: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Store a local file. Raises CacheHashMismatch, and stores nothing, if it is not the artifact."""
        got = sha256_of(file)
        if got != artifact.sha256:
            raise CacheHashMismatch(artifact.filename, str(file), expected=artifact.sha256, got=got)
        self._store.put(self._place(artifact), file, on_bytes=on_bytes)

    def fetch(self, artifact: Artifact, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> bool:
        """Copy the artifact to a local path that does not exist yet. Returns False, and does nothing, if it is missing.

        Raises CacheHashMismatch, and leaves no file at `to`, if its hash is not the locked one.
        """
        path = self._place(artifact)
        size = PACKAGE_BYTES if artifact.size is None else artifact.size
        came = 0

        def bounded(count: int) -> None:
            nonlocal came
            came += count
            if came > size + _BLOCK:  # or a writer of the cache could fill this disk; the hash finds a little more
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


class BuiltFor(NamedTuple):
    """A wheel that was built of a source, for an arch."""

    filename: str
    version: str
    sha256: str
    size: int
    requires: tuple[str, ...]
    """What built it, as `setuptools==80.9.0`."""


class BuiltWheels:
    """Which wheels machines of other archs have built of a source."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, source: str, arch: str, series: str) -> BuiltFor | None:
        """The wheel of a source, by the source's hash; None if nobody has put one there, or it cannot be read."""
        try:
            found = json_of(self._store.read(build_path(source, arch, series)))
            texts = [found["version"], *found["requires"]]
            if type(found["size"]) is not int or not all(isinstance(each, str) for each in texts):
                return None
            package_path(found["sha256"], found["filename"])
            return BuiltFor(**{**found, "requires": tuple(found["requires"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError, UnsafePath):
            return None

    def packages(self) -> set[str]:
        """The paths of all wheels that are named. A listing, and a read for each."""
        found = set()
        for entry in self._store.entries(BUILDS):
            with suppress(FileNotFoundError, ValueError, TypeError, KeyError, UnsafePath):
                wheel = json_of(self._store.read(entry.path))
                found.add(package_path(wheel["sha256"], wheel["filename"]))
        return found

    def put(self, source: str, arch: str, series: str, wheel: BuiltFor) -> None:
        """Name the wheel of a source, which is among the packages already. A later one takes its place."""
        text = json.dumps(wheel._asdict(), indent=1, sort_keys=True)
        self._store.put(build_path(source, arch, series), text.encode())


def path_of(artifact: Artifact) -> str:
    """The path of an artifact in a cache. Raises UnsafePath."""
    return package_path(artifact.sha256, artifact.filename)
