"""Doing many things at once, of which one may never end: a server that is gone holds up nobody else."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Answer = TypeVar("_Answer")


def all_within(calls: Sequence[Callable[[], _Answer]], seconds: float) -> list[_Answer | Exception | None]:
    """What each call returns or raises, in order; None for one that has not ended after so many seconds.

    Each has a thread of its own. One that hangs is left alone, and ends with the process.

    >>> all_within([lambda: 1, lambda: time.sleep(60)], 0.05)
    [1, None]
    """
    answers: list[_Answer | Exception | None] = [None] * len(calls)
    until = time.monotonic() + seconds

    def answer(number: int) -> None:
        try:
            answers[number] = calls[number]()
        except Exception as error:  # noqa: BLE001  whoever asked decides
            answers[number] = error

    threads = [threading.Thread(target=answer, args=(number,), daemon=True) for number in range(len(calls))]
    for each in threads:
        each.start()
    for each in threads:
        each.join(max(until - time.monotonic(), 0))
    return list(answers)
