"""What a node says while it works: plain lines on stderr, which schedulers keep in a task's log."""

from __future__ import annotations

import sys
import time
from _thread import allocate_lock  # threading's Lock, without threading

QUIET_SECONDS = 1.0
"""What takes less is not worth a line."""

EVERY_SECONDS = 5.0
"""How often a line tells how far the work is."""


class Reporter:
    """Says what is going on, if it takes longer than a second. All threads may call it."""

    def __init__(self, quiet: float = QUIET_SECONDS, every: float = EVERY_SECONDS) -> None:
        self._every = every
        self._began = time.monotonic()
        self._next = self._began + quiet
        self._what = ""
        self._total = 0
        self._done = 0
        self._guard = allocate_lock()

    @property
    def seconds(self) -> float:
        """How long this has been going on."""
        return time.monotonic() - self._began

    def said(self, text: str) -> None:
        """Say a line now."""
        sys.stderr.write("envlock: %s\n" % text)
        sys.stderr.flush()

    def began(self, what: str, total: int = 0) -> None:
        """Begin a piece of work, `total` bytes long if it is one of moving bytes."""
        with self._guard:
            self._what, self._total, self._done = what, total, 0
        self.advanced(0)

    def advanced(self, size: int) -> None:
        """Note that so many bytes more are done, and say how far the work is if it is time for that."""
        self._moved(size)

    def waiting(self, reason: str) -> None:
        """Note that a request is sent again, and why, and say so if it is time for a line."""
        self._moved(0, ": trying again (%s)" % reason)

    def _moved(self, size: int, more: str = "") -> None:
        with self._guard:
            self._done += size
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + self._every
            line = self._what
            if self._total:
                line += " (%s of %s)" % (megabytes(self._done), megabytes(self._total))
        self.said(line + more)


def megabytes(size: int) -> str:
    """A size as people read it.

    >>> megabytes(0), megabytes(1), megabytes(197000000), megabytes(20000000000)
    ('0 MB', '0.1 MB', '197 MB', '20 GB')
    """
    if size >= 10000000000:
        return "%d GB" % round(size / 1e9)
    if size and size < 10000000:
        return "%.1f MB" % max(size / 1e6, 0.1)
    return "%d MB" % round(size / 1e6)
