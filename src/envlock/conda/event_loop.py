"""Call py-rattler's coroutines from ordinary threads: one event loop for the process, in a thread of its own.

py-rattler's own threads let go of their last Python object a moment after an answer is there. When the interpreter is
being taken down just then, the process dies of a segmentation fault, after everything it had to do is done. So, at
exit, that moment is waited for.

A process that was forked after the first call has the loop but not its thread: py-rattler cannot be used there.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

Answer = TypeVar("Answer")

_SETTLED_AFTER = 0.06
"""Seconds after an answer until py-rattler's threads hold no Python object: 0.05 was enough in 40 of 40 runs with twice
as many busy processes as processors."""


class Ended(Exception):
    """The call was ended, or came after the end."""


class _Loop:
    """The one loop, started by the first call."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.last_answer = 0.0

    def submit(self, coroutine: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        """Start a coroutine on the loop."""
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="envlock-conda", daemon=True)
                self._thread.start()
                atexit.register(self._settle)
        assert threading.current_thread() is not self._thread, "a call that waits for its own thread never ends"
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _settle(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        # Two rounds later: a call that was cancelled a moment ago hears of it in the next one, and tidies up.
        self._loop.call_soon_threadsafe(self._loop.call_soon, self._loop.call_soon, self._loop.stop)
        self._thread.join(1.0)
        time.sleep(max(0.0, self.last_answer + _SETTLED_AFTER - time.monotonic()))


_LOOP = _Loop()


class Calls:
    """Calls of several threads that can be ended together. `end` ends the running ones, and starts no more."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._running: set[Future[Any]] = set()
        self._ended = False

    def run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine and return its result. Call it from any thread but the loop's; Ctrl-C cancels it.

        Raises Ended.
        """
        with self._guard:
            if self._ended:
                coroutine.close()
                raise Ended
            future = _LOOP.submit(coroutine)
            self._running.add(future)
        try:
            return future.result()
        except CancelledError:
            raise Ended from None
        except BaseException:
            future.cancel()
            raise
        finally:
            _LOOP.last_answer = time.monotonic()
            with self._guard:
                self._running.discard(future)

    def end(self) -> None:
        """End the running calls; later ones do not start."""
        with self._guard:
            self._ended = True
            running = tuple(self._running)
        for future in running:  # outside of the guard: a call that ends takes it
            future.cancel()


def run(coroutine: Coroutine[Any, Any, Answer]) -> Answer:
    """What a coroutine answers, or raises; the thread waits for it.

    >>> async def one() -> int:
    ...     return 1
    >>> run(one())
    1
    """
    return Calls().run(coroutine)
