"""A store in a bucket: objects are complete or missing, every wait is bounded, and all services fail alike."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fsspec.asyn import sync
from fsspec.callbacks import Callback

from envlock.cache.buckets.errors import (
    CacheBucketMissing,
    CacheForbidden,
    CacheUnreachable,
    CacheWrongRegion,
)
from envlock.cache.buckets.faults import Fault, Kind, fault_of
from envlock.cache.buckets.service import PART
from envlock.cache.errors import CacheReadOnly, CacheUnusable, StoredFileTooLarge
from envlock.cache.layout import checked
from envlock.cache.port import Entry, tell_nobody
from envlock.errors import EnvlockError
from envlock.files import LOCK_BYTES
from envlock.reporter import asking
from metaflow_extensions.envlock.plugins.node.transport import CHANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from envlock.cache.buckets.service import Service

_Result = TypeVar("_Result")

SMALL_SECONDS = 60.0
"""The longest time for one request without a file, whatever the library does."""
LISTING_SECONDS = 600.0
PATIENCE = 90.0
"""Seconds after which nothing is retried. What is refused for being too much is retried until then."""
SILENT_SECONDS = 60.0
"""How long a transfer may make no progress, beside the time of its next piece on a slow line."""
_SLOW = 128 << 10
"""Bytes per second."""
_TRICKLE = 8 << 10
"""Bytes per second: a transfer that is slower for `SILENT_SECONDS` is abandoned."""
PAUSE = 0.5
"""Seconds before the second attempt; doubled before each further one."""
_LONGEST_PAUSE = 10.0
_CREATE_ATTEMPTS = 6
_FAREWELL = 5.0
"""Seconds in which a cancelled transfer must end."""


class BucketStore:
    """A Store in a bucket, below a prefix.

    Only calls on single objects are used: fsspec's others read `*` and `?` in a name as a pattern. What breaks or is
    refused for being too much is tried again, after a pause that grows and differs from one writer to the next.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._prefix = f"{service.place.prefix}/" if service.place.prefix else ""
        self._is_silent = False
        self._was_read = False
        self._is_bucket_proved = False

    @property
    def url(self) -> str:
        """The bucket and the prefix."""
        return self._service.place.url

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one."""
        key = self._key(path)
        try:
            found = self._do("read", lambda: self._service.find(key), about=key)
        except FileNotFoundError:
            return None
        return Entry(path, found.size, found.modified)

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`."""
        key = self._key(folder)
        found = self._do("read", lambda: self._service.list(key), about=key, seconds=LISTING_SECONDS)
        if not found:
            self._prove_bucket("read")
        for each in found:
            yield Entry(each.key[len(self._prefix) :], each.size, each.modified)

    def read(self, path: str) -> bytes:
        """The bytes of a file. Reads a bounded range, because an object may have any size."""
        key = self._key(path)
        try:
            data = self._do("read", lambda: self._service.read(key, 0, LOCK_BYTES + 1), about=key)
        except _Empty:
            return b""
        if len(data) > LOCK_BYTES:
            raise StoredFileTooLarge(f"{self.url}/{path}", LOCK_BYTES)
        return data

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file's bytes, part by part."""
        key = self._key(path)
        size = self._do("read", lambda: self._service.find(key), about=key).size
        digest = hashlib.sha256()
        for start in range(0, size, PART):
            end = min(start + PART, size)
            seconds = SMALL_SECONDS + (end - start) / _SLOW
            digest.update(self._do("read", partial(self._service.read, key, start, end), about=key, seconds=seconds))
        return digest.hexdigest()

    def fetch(self, path: str, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Copy a file, piece by piece. An OSError of the local disk is raised as it is."""
        key = self._key(path)
        with to.open("xb"):  # as all stores: it is not there yet, and can be made
            pass

        def download(progress: _Progress) -> Coroutine[Any, Any, None]:
            return self._service.download(key, to, progress)

        try:
            self._move("read", download, on_bytes, 2 * PART, lambda: to.stat().st_size, about=key, local=to)
        except BaseException:
            to.unlink(missing_ok=True)
            raise

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Write a file, which a bucket shows only when it is complete."""
        key = self._key(path)
        if isinstance(data, bytes):
            seconds = SMALL_SECONDS + len(data) / _SLOW
            self._do("written", lambda: self._service.write(key, data), about=key, seconds=seconds)
            on_bytes(len(data))
            return
        with data.open("rb"):
            size = data.stat().st_size

        def upload(progress: _Progress) -> Coroutine[Any, Any, None]:
            return self._service.upload(key, data, progress)

        self._move("written", upload, on_bytes, size, lambda: size, about=key, local=data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file if there is none.

        A refusal is not believed before what is there was read: it may be ours, when the answer to an earlier attempt,
        of this store or of the library below it, was lost.
        """
        key = self._key(path)
        for number in range(_CREATE_ATTEMPTS):
            made = self._created(key, data)
            if made is not None:
                return made
            time.sleep(_jittered(PAUSE / 4 * (number + 1)))
        raise CacheUnreachable(self.url, "written", f"too many processes write {path} at once")

    def _created(self, key: str, data: bytes) -> bool | None:
        """Like `create`; None if it was refused and no file is there: another write is not done, or it was deleted."""
        try:
            self._do("written", lambda: self._service.create(key, data), about=key)
            return True
        except _Refused:
            pass  # and what is read now fails for its own reasons, not while this is handled
        try:  # a byte more than ours: what is there may have any size
            return self._do("read", lambda: self._service.read(key, 0, len(data) + 1), about=key) == data
        except _Empty:
            return False
        except FileNotFoundError:
            return None

    def delete(self, path: str) -> None:
        """Delete a file."""
        key = self._key(path)
        try:
            self._do("read", lambda: self._service.delete(key), about=key, writes=True)
        except FileNotFoundError:
            return

    def tidy(self) -> None:
        """Do nothing: a bucket has no folders."""

    def _key(self, path: str) -> str:
        return self._prefix + checked(path)

    def _do(
        self,
        doing: str,
        call: Callable[[], Coroutine[Any, Any, _Result]],
        *,
        about: str,
        seconds: float | None = None,
        writes: bool | None = None,
        local: Path | None = None,
    ) -> _Result:
        """Run a coroutine of the service, with retries; `about` is the key of the object.

        Raises FileNotFoundError when reading what is not there, _Refused when a precondition does not hold.
        """
        attempts = 1 if self._is_silent else self._service.attempts
        pause = PAUSE
        patience = time.monotonic() + PATIENCE
        seconds = SMALL_SECONDS if seconds is None else seconds
        while True:
            try:
                files = self._service.files
                with asking(
                    {"read": "read", "written": "write"}.get(doing, doing), f"{self._service.place.url}/{about}"
                ):
                    result: _Result = sync(files.loop, call, timeout=seconds)
            except EnvlockError:  # of opening; `raises` imports what may be what is broken
                raise
            except self._service.raises() as error:
                if _is_local(error, local):
                    raise
                failure = error
            else:
                self._is_silent = False
                self._was_read |= doing == "read"
                return result
            # Not while it is handled: it would be the context of what a request for the bucket raises, and `fault_of`
            # would take one answer for the other.
            fault = fault_of(failure)
            attempts -= fault.kind is not Kind.BUSY
            is_late = attempts <= 0 or time.monotonic() > patience
            if is_late or fault.kind not in {Kind.PASSING, Kind.SILENT, Kind.BUSY}:
                is_write = doing == "written" if writes is None else writes
                raise self._error(fault, doing, about, writes=is_write) from failure
            time.sleep(_jittered(pause))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _move(
        self,
        doing: str,
        call: Callable[[_Progress], Coroutine[Any, Any, None]],
        on_bytes: Callable[[int], None],
        size: int,
        moved: Callable[[], int],
        *,
        about: str,
        local: Path,
    ) -> None:
        """Run a transfer, and end it if it makes no progress. `size` is that of the largest piece."""
        progress = _Progress(on_bytes)
        silence = SILENT_SECONDS + min(size, 4 * PART) / _SLOW

        async def watched() -> None:
            progress.restart()
            await _watched(call(progress), progress, silence)

        self._do(doing, watched, about=about, seconds=0, local=local)
        progress.tell(moved())

    def _error(self, fault: Fault, doing: str, about: str, *, writes: bool) -> Exception:
        if fault.kind is Kind.SILENT:
            self._is_silent = True  # the next call need not wait as long to learn it
        if fault.kind in {Kind.SILENT, Kind.PASSING, Kind.BUSY}:
            return CacheUnreachable(self.url, doing, fault.reason)
        if fault.kind is Kind.EXISTS:
            return _Refused(fault.reason)
        if fault.kind is Kind.EMPTY:
            return _Empty(fault.reason)
        if fault.kind is Kind.NO_BUCKET or (fault.kind is Kind.MISSING and doing == "written"):
            return CacheBucketMissing(self.url, doing, f"there is no bucket `{self._service.place.bucket}`")
        if fault.kind is Kind.MISSING:
            self._prove_bucket(doing)
            return FileNotFoundError(fault.reason)
        if fault.kind is Kind.REGION:
            return CacheWrongRegion(self.url, doing, f"{fault.reason}: the bucket is in another region")
        place = f"{self.url}/{about.removeprefix(self._prefix)}"
        if fault.kind is Kind.FORBIDDEN:
            if writes and self._was_read:
                return CacheReadOnly(self.url, "written", fault.reason, place=place)
            return CacheForbidden(self.url, doing, fault.reason, hint=self._service.login, place=place)
        hint = "set `cache` in envlock.toml, or see what the server says"
        return CacheUnusable(self.url, doing, fault.reason, hint=hint, place=place)

    def _prove_bucket(self, doing: str) -> None:
        """Once, after something was missing: check that the bucket exists. Raises CacheBucketMissing.

        Who may read objects may be forbidden to ask for their bucket; then it is taken to be there.
        """
        if self._is_bucket_proved:
            return
        self._is_bucket_proved = True
        try:
            sync(self._service.files.loop, self._service.prove_bucket, timeout=SMALL_SECONDS)
        except self._service.raises() as error:
            if fault_of(error).kind in {Kind.MISSING, Kind.NO_BUCKET}:
                self._is_bucket_proved = False
                reason = f"there is no bucket `{self._service.place.bucket}`"
                raise CacheBucketMissing(self.url, doing, reason) from error


class _Refused(Exception):
    """A precondition failed."""


class _Empty(Exception):
    """A range of an empty object was requested."""


class _Stalled(TimeoutError):
    """A transfer made no progress for too long."""


class _Progress(Callback):  # type: ignore[misc]
    """fsspec's progress of one transfer, passed on in pieces; the pieces of a failed attempt are taken back."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        super().__init__()
        self._on_bytes = on_bytes
        self.told = 0
        self._lock = threading.Lock()
        self.last = time.monotonic()

    def restart(self) -> None:
        """Another attempt begins."""
        self.value = 0
        self.last = time.monotonic()
        self.tell(0)

    def call(self, *_: Any, **__: Any) -> None:
        """The report of fsspec that something moved."""
        self.last = time.monotonic()
        self.tell(self.value)

    def tell(self, count: int) -> None:
        """`count` bytes have moved in all."""
        with self._lock:
            more = count - self.told
            self.told = count
        if more:
            self._on_bytes(more)


async def _watched(moving: Coroutine[Any, Any, None], progress: _Progress, silence: float) -> None:
    """Wait for a transfer as long as it makes progress, and more than a trickle of it. Raises _Stalled."""
    task = asyncio.ensure_future(moving)
    began, before = time.monotonic(), progress.told
    try:
        while (left := progress.last + silence - time.monotonic()) > 0:
            done, _ = await asyncio.wait({task}, timeout=min(left, silence))
            if done:
                await task
                return
            seconds = time.monotonic() - began
            if seconds >= silence:
                if progress.told - before < _TRICKLE * seconds:
                    raise _Stalled(f"{progress.told - before} bytes transferred in {seconds:.0f} seconds")
                began, before = time.monotonic(), progress.told
        raise _Stalled(f"nothing transferred for {silence:.0f} seconds")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_FAREWELL)  # so that it writes no more where the next attempt writes


def _is_local(error: Exception, local: Path | None) -> bool:
    """Whether this machine's disk made a transfer fail."""
    import errno

    if local is None or not isinstance(error, OSError):
        return False
    full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
    return error.errno in full or error.filename == str(local)


def _jittered(pause: float) -> float:
    return pause * CHANCE.uniform(0.5, 1.5)
