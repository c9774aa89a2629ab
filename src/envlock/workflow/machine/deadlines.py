"""Doing many things at once, of which one may never end: a server that is gone holds up nobody else."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Answer = TypeVar("_Answer")
_MOST = 200
"""Threads: a container may have no more than some hundred processes and threads."""


def all_within(calls: Sequence[Callable[[], _Answer]], seconds: float) -> list[_Answer | Exception | None]:
    """What each call returns or raises, in order; None for one that has not ended after so many seconds.

    At most `_MOST` run at a time, each in a thread. One that hangs is left alone, and ends with the process.

    >>> all_within([lambda: 1, lambda: time.sleep(60)], 0.05)
    [1, None]
    """
    answers: list[_Answer | Exception | None] = [None] * len(calls)
    until = time.monotonic() + seconds

    left = list(range(len(calls)))[::-1]

    def answer() -> None:
        while left and time.monotonic() < until:
            try:
                number = left.pop()
            except IndexError:  # another thread took it
                return
            try:
                answers[number] = calls[number]()
            except Exception as error:  # noqa: BLE001  whoever asked decides
                answers[number] = error

    threads = [threading.Thread(target=answer, daemon=True) for _ in calls[:_MOST]]
    for each in threads:
        each.start()
    for each in threads:
        each.join(max(until - time.monotonic(), 0))
    return list(answers)
