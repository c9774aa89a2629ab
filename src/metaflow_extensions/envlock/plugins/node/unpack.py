"""A pack onto this node: its parts, fetched, verified, decompressed and written, several at once.

Anyone who can write to the cache can replace a part: each is hashed before it is decompressed, and what comes out is
hashed before any of it is written.
"""

from __future__ import annotations

import hashlib
import os
import threading

from .errors import Damaged
from .members import BadMember, Members
from .transport import together
from .zstd import BadFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from .members import Placeholder
    from .plan import Part
    from .report import Reporter
    from .transport import Transport
    from .zstd import Decompress

_MOST_UNPACKING = 4
"""Threads that unpack. More find nothing to do: the interpreter prepares the writing of one small file at a time."""
_MOST_THREADS = 8


def unpack(
    transport: Transport,
    parts: Sequence[Part],
    decompress: Decompress,
    folder: str,
    placeholder: Placeholder | None,
    reporter: Reporter,
) -> None:
    """Fill a folder with the files of a pack. There are conda packages in it if there is a `placeholder`.

    One request a part; in memory are at most two compressed parts and one raw one a processor, and never more of a part
    than the plan says. The first failure ends all, and leaves what was written: raises Damaged, what the transport
    raises, and OSError if the folder cannot be written to.
    """
    waiting = sorted(parts, key=lambda part: -part.size)  # so that none of the largest comes last, and alone
    members = Members(folder, placeholder)
    count = "1 part" if len(waiting) == 1 else "%d parts" % len(waiting)
    reporter.began("fetching %s of the pack from %s" % (count, transport.url), sum(part.size for part in waiting))
    _Work(transport, waiting, decompress, members, reporter).run()
    try:
        members.check_slices()
    except BadMember as error:
        raise Damaged("the pack is not whole (%s); it was not used: run `envlock verify --pack`" % error) from None


class _Work:
    """Threads that each take a part all the way, and of which as many unpack at once as there are processors."""

    def __init__(
        self, transport: Transport, parts: Sequence[Part], decompress: Decompress, members: Members, reporter: Reporter
    ) -> None:
        self._transport = transport
        self._waiting = iter(parts)
        self._decompress = decompress
        self._members = members
        self._reporter = reporter
        unpacking = min(len(os.sched_getaffinity(0)), _MOST_UNPACKING)
        self._count = min(2 * unpacking, _MOST_THREADS, len(parts))
        self._largest = max(part.raw_size for part in parts)
        self._buffers = [bytearray() for _ in range(unpacking)]
        self._unpacking = threading.Semaphore(unpacking)
        self._guard = threading.Lock()
        self._is_over = False

    def run(self) -> None:
        """Do it. The first failure is raised, and stops the others."""
        together(self._transport, *[self._take] * self._count)

    def _take(self) -> None:
        data = bytearray()
        try:
            while not self._is_over:
                with self._guard:
                    part = next(self._waiting, None)
                if part is None:
                    return
                if len(data) < part.size:  # once: the first part that a thread takes is its largest
                    data = bytearray(part.size)
                self._fetch(part, data)
                with self._unpacking:
                    if not self._is_over:
                        self._unpack(part, data)
        except BaseException:
            self._is_over = True
            raise

    def _fetch(self, part: Part, data: bytearray) -> None:
        found = hashlib.sha256()
        position = 0

        def write(piece: bytes) -> None:
            nonlocal position
            end = position + len(piece)
            if end > part.size:
                raise self._damage(part, "it is longer than %d bytes" % part.size)
            data[position:end] = piece
            position = end
            found.update(piece)
            self._reporter.advanced(len(piece))

        self._transport.get(part.path, write)
        if position < part.size:
            raise self._damage(part, "it has %d bytes in place of %d" % (position, part.size))
        if found.hexdigest() != part.sha256:
            raise self._damage(part, "its SHA-256 is %s" % found.hexdigest())

    def _unpack(self, part: Part, data: bytearray) -> None:
        raw = self._buffers.pop()
        try:
            if len(raw) < part.raw_size:
                raw = bytearray(self._largest)
            try:
                self._decompress(data, part.size, raw, part.raw_size)
            except BadFrame:
                raise self._damage(part, "it is not one zstd frame of %d bytes" % part.raw_size) from None
            with memoryview(raw) as whole, whole[: part.raw_size] as view:
                found = hashlib.sha256(view).hexdigest()
                if found != part.raw_sha256:
                    raise self._damage(part, "the SHA-256 of what it holds is %s" % found)
                try:
                    self._members.write(view, lambda: self._is_over)
                except BadMember as error:
                    raise self._damage(part, str(error), "envlock verify --pack") from None
        finally:
            self._buffers.append(raw)

    def _damage(self, part: Part, what: str, command: str = "envlock push --verify") -> Damaged:
        return Damaged(
            "%s/%s is not the part of a pack that the plan names (%s); it was not used: run `%s`"
            % (self._transport.url, part.path, what, command)
        )
