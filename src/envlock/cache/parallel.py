"""Many waits at once, ended at once: threads that an interrupt does not have to wait for."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from envlock.errors import EnvlockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

WORKERS = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_parallel(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int = WORKERS
) -> Iterator[tuple[_Item, _Result | EnvlockError]]:
    """Each item with what `work` made of it, or the EnvlockError that it raised, as they come.

    Any other exception is raised here. When the iteration is left early, by an error or Ctrl-C, nothing more is begun,
    and what is under way is left to end by itself: its threads do not keep the process alive.

    >>> sorted(in_parallel(abs, [-1, 2]))
    [(-1, 1), (2, 2)]
    """
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
            except BaseException as error:  # noqa: BLE001  it is raised where the results are read
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
