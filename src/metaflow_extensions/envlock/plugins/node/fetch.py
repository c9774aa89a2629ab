"""A plan and what it names, from the cache onto this node: many at once, and hashed while they come.

A file has its name only once all of its bytes are there and have the right SHA-256. Until then it has another one, and
nothing reads it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from .errors import Damaged, Missing
from .manifest import Target
from .plan import LARGEST, Fetched, Plan, parse, path_of
from .report import Reporter
from .transport import NotThere, Transport, together

THREADS = 8
RANGE = 16 << 20
"""Bytes of a large object that one request brings."""
_PIECE = 1 << 20

Arrived = Callable[[Fetched, str], None]


def fetch_plan(transport: Transport, target: Target) -> Plan:
    """The plan of a target, verified. Raises Missing, Damaged, and what the transport raises."""
    try:
        data = transport.read(path_of(target), LARGEST)
    except NotThere:
        text = (
            "the cache %s no longer has the plan of %s on %s: run `envlock push`, then start the task again; if it "
            "finds no plan then either, deploy the flow again"
        )
        raise Missing(text % (transport.url, target.full_id[:12], target.arch)) from None
    return parse(data, target)


def fetch(
    transport: Transport,
    objects: Iterable[Fetched],
    folder: str,
    reporter: Reporter,
    arrived: Optional[Arrived] = None,
    range_bytes: Optional[int] = None,
) -> Dict[str, str]:
    """Put objects into a folder, each at its own path of the cache. The value has their places, by their SHA-256.

    `arrived` is called with each object and its place as soon as it is whole and right, in the thread that fetched it.
    One request brings `range_bytes` of an object, by default RANGE. What is there already is hashed again. The first
    failure ends all: raises Damaged, what the transport and `arrived` raise, and OSError if the folder cannot be
    written to. Holds up to 8 MB in memory.
    """
    wanted = list({each.path: each for each in objects}.values())
    wanted.sort(key=lambda each: -each.size)  # so that none of the largest comes last, and alone
    places = {each.sha256: os.path.join(folder, *each.path.split("/")) for each in wanted}
    missing: List[_Download] = []
    try:
        for each in wanted:
            place = places[each.sha256]
            if _is_whole(place, each):
                if arrived is not None:
                    arrived(each, place)
            else:
                missing.append(_Download(transport, each, place, reporter, arrived, range_bytes or RANGE))
        total = sum(each.object.size for each in missing)
        if not missing:
            return places
        count = "1 file" if len(missing) == 1 else "%d files" % len(missing)
        reporter.began("fetching %s from %s" % (count, transport.url), total)
        _work(transport, [(each, number) for each in missing for number in range(each.ranges)])
    except _DiskError as error:
        raise error.cause from None
    finally:
        for each in missing:
            each.discard()
    return places


def _work(transport: Transport, jobs: Sequence[Tuple[_Download, int]]) -> None:
    """Do all jobs in some threads. Raises what the first one raised that failed; the others are stopped."""
    waiting = iter(jobs)
    guard = threading.Lock()
    is_over = False

    def work() -> None:
        nonlocal is_over
        try:
            while not is_over:
                with guard:
                    job = next(waiting, None)
                if job is None:
                    return
                job[0].fetch(job[1])
        except BaseException:
            is_over = True
            raise

    together(transport, *[work] * min(THREADS, len(jobs)))


class _DiskError(Exception):
    """An OSError of this disk: no client takes it for one of the network."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


class _Download:
    """One object on its way."""

    def __init__(
        self,
        transport: Transport,
        wanted: Fetched,
        place: str,
        reporter: Reporter,
        arrived: Optional[Arrived],
        range_bytes: int,
    ) -> None:
        self.object = wanted
        self.ranges = max(1, -(-wanted.size // range_bytes))
        self._range = range_bytes
        self._transport = transport
        self._place = place
        self._reporter = reporter
        self._arrived = arrived
        self._file: Optional[int] = None
        self._stage = "%s.%s.part" % (place, os.urandom(4).hex())
        self._hash = hashlib.sha256()
        self._guard = threading.Lock()
        self._there: Set[int] = set()
        self._hashed = 0
        self._is_hashing = False

    def fetch(self, number: int) -> None:
        """Fetch one range; and after the last of them, give the file its name."""
        file = self._opened()
        position = number * self._range
        # The last range has no end, so that an object that is too long does not pass for the right one.
        last = number == self.ranges - 1
        end = self.object.size if last else position + self._range

        def write(piece: bytes) -> None:
            nonlocal position
            if position + len(piece) > end:
                raise self._damage("it is longer than %d bytes" % self.object.size)
            if self.ranges == 1:
                self._hash.update(piece)
            try:
                _write_at(file, piece, position)
            except OSError as error:
                raise _DiskError(error) from None
            position += len(piece)
            self._reporter.advanced(len(piece))

        self._transport.get(self.object.path, write, position, None if last else end)
        if position < end:
            raise self._damage("it has %d bytes in place of %d" % (position, self.object.size))
        if self._is_last(number, file):
            self._finish(file)

    def discard(self) -> None:
        """Remove what is there, if it is not whole."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._stage)

    def _opened(self) -> int:
        with self._guard:
            if self._file is None:
                os.makedirs(os.path.dirname(self._place), exist_ok=True)
                self._file = os.open(self._stage, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            return self._file

    def _is_last(self, number: int, file: int) -> bool:
        """Note that a range is there, and hash what is next, unless another thread does. Whether all is hashed."""
        if self.ranges == 1:
            return True
        with self._guard:
            self._there.add(number)
            if self._is_hashing:
                return False
            self._is_hashing = True
        while True:
            with self._guard:
                if self._hashed not in self._there:
                    self._is_hashing = False
                    return self._hashed == self.ranges
            for piece in _pieces(
                file, self._hashed * self._range, min((self._hashed + 1) * self._range, self.object.size)
            ):
                self._hash.update(piece)
            self._hashed += 1

    def _finish(self, file: int) -> None:
        got = self._hash.hexdigest()
        if got != self.object.sha256:
            raise self._damage("its SHA-256 is %s" % got)
        with self._guard:
            os.close(file)
            self._file = None
        os.rename(self._stage, self._place)
        if self._arrived is not None:
            self._arrived(self.object, self._place)

    def _damage(self, what: str) -> Damaged:
        return Damaged(
            "%s/%s is not the file that the plan names (%s); it was not used: run `envlock push --verify`"
            % (self._transport.url, self.object.path, what)
        )


def _is_whole(place: str, wanted: Fetched) -> bool:
    """Whether a file is there and right; a wrong one is removed."""
    try:
        file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if os.fstat(file).st_size == wanted.size:
            found = hashlib.sha256()
            for piece in _pieces(file, 0, wanted.size):
                found.update(piece)
            if found.hexdigest() == wanted.sha256:
                return True
    finally:
        os.close(file)
    os.unlink(place)
    return False


def _pieces(file: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        piece = os.pread(file, min(_PIECE, end - start), start)
        if not piece:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        yield piece
        start += len(piece)


def _write_at(file: int, piece: bytes, position: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(file, view, position)
        view = view[written:]
        position += written
