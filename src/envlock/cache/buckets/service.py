"""One bucket by fsspec's coroutines: what all services share, and what each adapter adds."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import re
import threading
from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from envlock.cache.buckets.errors import BadCacheOption, CacheBackendMissing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from envlock.cache.open import BucketPlace
    from envlock.config.settings import CacheOptions

PART = 16 << 20
"""Bytes of a large object per request."""
PARTS_AT_ONCE = 2
"""Parts of one object that move at once: with eight objects at once, 256 MiB at most."""
CONNECT_SECONDS = 5
ANSWER_SECONDS = 30
"""How long a server may be silent on a connection."""
CONNECTIONS = 32
OF_PYTHON = (OSError, ValueError, asyncio.TimeoutError)
"""Python's own exceptions, which every library raises. Before Python 3.11, asyncio's is no TimeoutError."""


class Found(NamedTuple):
    """One object of a bucket."""

    key: str
    size: int
    modified: float | None


class Service(ABC):
    """A bucket of one service. Opens nothing before the first request.

    Its coroutines run on fsspec's own loop, and raise what the service's library raises: `raises` lists the bases of
    that. Keys are whole: the cache's prefix is a part of them.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    floor: ClassVar[str]
    """The first release of the package whose exclusive create works."""
    extra: ClassVar[str]
    options: ClassVar[frozenset[str]]
    """The cache options that the service has."""
    attempts: ClassVar[int]
    """How often a request is sent at most, beside the library's own retries."""
    login: ClassVar[str]
    """How to log in to the service."""

    def __init__(self, place: BucketPlace, options: CacheOptions, environment: Mapping[str, str] | None = None) -> None:
        self.place = place
        self.chosen = options
        self.environment = os.environ if environment is None else environment
        self._lock = threading.Lock()
        self._opened: Any = None
        for option, value in options._asdict().items():
            if value and option not in self.options:
                known = ", ".join(f"`{each}`" for each in sorted(self.options))
                raise BadCacheOption(
                    option, f"does not exist for {self.name}", f"supported: {known}; remove the others"
                )
        self._prove_package()

    def _prove_package(self) -> None:
        """Check that the package is installed and new enough, without importing it. Raises CacheBackendMissing."""
        from importlib.metadata import PackageNotFoundError, version

        missing = CacheBackendMissing(self.place.scheme, self.package, self.extra, self.floor)
        if importlib.util.find_spec(self.package) is None:
            raise missing
        try:
            found = version(self.package)
        except PackageNotFoundError:
            raise missing from None
        if _numbers(found) < _numbers(self.floor):
            raise CacheBackendMissing(self.place.scheme, self.package, self.extra, self.floor, found)

    @property
    def files(self) -> Any:
        """The fsspec filesystem. Importing its package takes up to two seconds. Raises CacheBackendMissing."""
        with self._lock:
            if self._opened is None:
                # Without a handler of its own, a logger prints what an error tells anyway, URLs and all.
                logging.getLogger(self.package).addHandler(logging.NullHandler())
                try:
                    self._opened = self.open()
                except ImportError as error:  # such as a botocore that somebody else wanted in another release
                    reason = " ".join(str(error).split())
                    place = self.place.scheme
                    raise CacheBackendMissing(place, self.package, self.extra, self.floor, broken=reason) from error
            return self._opened

    @abstractmethod
    def open(self) -> Any:
        """A new filesystem. It never caches listings, because others write too."""

    @abstractmethod
    def raises(self) -> tuple[type[Exception], ...]:
        """The bases of what the coroutines raise when the service, the network or the local disk fails."""

    @abstractmethod
    async def find(self, key: str) -> Found:
        """What an object is, in one request. Raises FileNotFoundError."""

    @abstractmethod
    async def prove_bucket(self) -> None:
        """Raise what asking for the bucket itself raises."""

    async def list(self, prefix: str) -> list[Found]:
        """Every object whose key begins with `prefix/`; none where there is none, perhaps not even the bucket."""
        try:
            found = await self.files._find(self._path(prefix), detail=True)
        except FileNotFoundError:
            return []
        root = len(self.place.bucket) + 1
        return [
            Found(path[root:], int(facts["size"]), modified_of(facts))
            for path, facts in found.items()
            if facts["type"] == "file" and path[root:].startswith(f"{prefix}/")
        ]

    async def read(self, key: str, start: int, end: int) -> bytes:
        """An object's bytes from `start` up to `end`, as far as it has them."""
        return bytes(await self.files._cat_file(self._path(key), start=start, end=end))

    async def write(self, key: str, data: bytes) -> None:
        """Make or replace an object."""
        await self.files._pipe_file(self._path(key), data)

    async def create(self, key: str, data: bytes) -> None:
        """Make an object, which the service refuses where there is one."""
        await self.files._pipe_file(self._path(key), data, mode="create")

    @abstractmethod
    async def upload(self, key: str, file: Path, progress: Any) -> None:
        """Make or replace an object by a local file, in parts of a bounded size."""

    @abstractmethod
    async def download(self, key: str, file: Path, progress: Any) -> None:
        """Write an object to a local file, piece by piece."""

    async def delete(self, key: str) -> None:
        """Take an object away."""
        await self.files._rm_file(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self.place.bucket}/{key}"


def modified_of(facts: Mapping[str, Any]) -> float | None:
    """When an object was written, from whichever field and format its service uses.

    >>> modified_of({"updated": "1970-01-01T00:01:00Z"})
    60.0
    """
    for name in ("LastModified", "last_modified", "updated", "mtime"):
        value = facts.get(name)
        if isinstance(value, str) and value:
            value = _instant(value)
        if isinstance(value, datetime):
            return value.timestamp()
    return None


def _instant(text: str) -> datetime | None:
    try:
        # Before Python 3.11, neither `Z` nor a fraction of other than three or six digits is read.
        return datetime.fromisoformat(
            re.sub(r"\.(\d+)", lambda part: f".{part[1][:6]:0<6}", text.replace("Z", "+00:00"))
        )
    except ValueError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The year and the month of a calendar version.

    >>> _numbers("2025.5.1")
    (2025, 5)
    """
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
