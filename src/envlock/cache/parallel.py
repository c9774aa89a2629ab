"""Work on many items in threads, which an interrupt does not have to wait for."""

from __future__ import annotations

import threading
from collections import deque

from envlock.errors import EnvlockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    _Item = TypeVar("_Item")
    _Result = TypeVar("_Result")

WORKERS = 8


def in_parallel(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int = WORKERS
) -> Iterator[tuple[_Item, _Result | EnvlockError]]:
    """Yield each item with the result of `work`, or the EnvlockError that it raised, in order of completion.

    Raises any other exception here. When the caller stops iterating, on an error or Ctrl-C, no more work starts; what
    is running may end by itself, in daemon threads that do not keep the process alive.

    >>> sorted(in_parallel(abs, [-1, 2]))
    [(-1, 1), (2, 2)]
    """
    from queue import SimpleQueue

    waiting = deque(items)
    count = len(waiting)
    done: SimpleQueue[tuple[_Item, _Result | BaseException]] = SimpleQueue()
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            try:
                item = waiting.popleft()
            except IndexError:
                return
            try:
                done.put((item, work(item)))
            except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
                done.put((item, error))

    for _ in range(min(workers, count)):
        threading.Thread(target=run, daemon=True).start()
    try:
        for _ in range(count):
            item, result = done.get()
            if isinstance(result, BaseException) and not isinstance(result, EnvlockError):
                raise result
            yield item, result
    finally:
        stopped.set()


def all_in_parallel(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int = WORKERS
) -> Iterator[tuple[_Item, _Result]]:
    """As `in_parallel`, and raises the first EnvlockError too."""
    for item, result in in_parallel(work, items, workers=workers):
        if isinstance(result, EnvlockError):
            raise result
        yield item, result
