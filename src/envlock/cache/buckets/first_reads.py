"""The first reads of a bucket of S3, without s3fs, which takes half a second to import.

A command that only looks a name up reads a few small objects. The client that nodes have does that, if the credentials
are keys of the environment or of a profile. Whatever it does not do, or does not get, the store by s3fs does, with
its own messages and attempts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from envlock.cache.errors import StoredFileTooLarge
from envlock.cache.layout import checked
from envlock.cache.port import Entry, tell_nobody
from envlock.files import LOCK_BYTES
from envlock.reporter import asking
from metaflow_extensions.envlock.plugins.node.aws import settings_of
from metaflow_extensions.envlock.plugins.node.plain_s3 import PlainS3, RefusedRequest, serves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from envlock.cache.open import BucketPlace
    from envlock.cache.port import Store
    from envlock.config.settings import CacheOptions

_KINDS = ("keys", "profile")
"""Whose credentials are at hand: others are asked of services."""
_SECONDS = 10.0
"""How long the server may be silent, before s3fs asks it again."""
_Result = TypeVar("_Result")


def first_reads(place: BucketPlace, options: CacheOptions, opened: Callable[[], Store]) -> Store:
    """The store in a bucket of S3, which reads without s3fs as long as that does; else what `opened` returns."""
    settings = settings_of(
        os.environ,
        endpoint=options.endpoint or "",
        region=options.region or ("" if options.profile else os.environ.get("AWS_REGION", "")),
        profile=options.profile or "",
        anonymous=bool(options.anonymous),
    )
    is_at_hand = settings is not None and (settings.source is None or settings.source.kind in _KINDS)
    if settings is None or not is_at_hand or not serves(place.bucket):
        return opened()
    return FirstReads(place, PlainS3(place.bucket, place.prefix, settings, _SECONDS), opened)


class FirstReads:
    """A Store that reads by a small client, and from its first failure on, or to write, by another store."""

    def __init__(self, place: BucketPlace, client: PlainS3, opened: Callable[[], Store]) -> None:
        self._place = place
        self._client = client
        self._open = opened
        self._store: Store | None = None
        self._is_bucket_proved = False

    @property
    def url(self) -> str:
        """The bucket and the prefix."""
        return self._place.url

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one."""
        checked(path)
        try:
            found = self._do(path, lambda: self._client.find(path))
        except _Elsewhere:
            return self._rest().entry(path)
        except FileNotFoundError:
            return None
        return Entry(path, found.size, found.modified)

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`."""
        checked(folder)
        try:
            found = self._do(folder, lambda: self._client.entries(folder))
        except _Elsewhere:
            yield from self._rest().entries(folder)
            return
        for path, size, modified in found:
            yield Entry(path, size, modified)

    def read(self, path: str) -> bytes:
        """The bytes of a file. Reads a bounded range, because an object may have any size."""
        checked(path)
        pieces: list[bytes] = []
        try:
            self._do(path, lambda: self._client.get(path, 0, LOCK_BYTES + 1, pieces.append))
        except _Elsewhere:
            return self._rest().read(path)
        data = b"".join(pieces)
        if len(data) > LOCK_BYTES:
            raise StoredFileTooLarge(f"{self.url}/{path}", LOCK_BYTES)
        return data

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file."""
        return self._rest().sha256(path)

    def fetch(self, path: str, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Copy a file to a local path that does not exist yet."""
        self._rest().fetch(path, to, on_bytes=on_bytes)

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Write a file atomically."""
        self._rest().put(path, data, on_bytes=on_bytes)

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file if there is none."""
        return self._rest().create(path, data)

    def delete(self, path: str) -> None:
        """Delete a file."""
        self._rest().delete(path)

    def tidy(self) -> None:
        """Do nothing: a bucket has no folders."""

    def _rest(self) -> Store:
        """The store that does everything."""
        if self._store is None:
            self._store = self._open()
        return self._store

    def _do(self, path: str, request: Callable[[], _Result]) -> _Result:
        """What a request returns. Raises FileNotFoundError, and _Elsewhere if it is for the other store."""
        if self._store is not None:
            raise _Elsewhere
        try:
            with asking("read", f"{self.url}/{path}"):
                return request()
        except RefusedRequest as refused:
            if refused.status == 404 and self._has_bucket(refused):
                raise FileNotFoundError(f"{self.url}/{path}") from None
            raise _Elsewhere from None
        except self._client.raises:
            raise _Elsewhere from None

    def _has_bucket(self, refused: RefusedRequest) -> bool:
        """Whether it is the object that was not found, and not the bucket. Asks for the bucket once."""
        if refused.code == "NoSuchKey":
            self._is_bucket_proved = True
        if not self._is_bucket_proved and not refused.code:
            try:
                self._client.prove_bucket()
            except self._client.raises:
                return False
            self._is_bucket_proved = True
        return self._is_bucket_proved


class _Elsewhere(Exception):
    """The other store answers that."""
