"""The port for progress, and for details: what happens is reported, not how it is shown."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

_LONGEST = 300
"""Characters of a word that are shown."""
_LOOK_SECONDS = 0.1


class Reporter:
    """Progress callbacks; no-op by default. The command line draws them, tests record them.

    Every method may be called from any thread.
    """

    def began(self, phase: str, total: int, unit: str) -> None:
        """`phase` starts, with `total` things of `unit` to do ("locks", "bytes", "packages")."""

    def grew(self, phase: str, amount: int) -> None:
        """The phase has `amount` more to do than was known when it began."""

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        """`amount` more of the phase is done; `item` names what was just worked on."""

    def doing(self, phase: str, item: str) -> None:
        """`item` is being worked on now."""

    def ended(self, phase: str) -> None:
        """The phase is over."""

    def noted(self, message: str) -> None:
        """A note for the user."""

    def warned(self, message: str) -> None:
        """A warning for the user."""


def watching(look: Callable[[], None]) -> AbstractContextManager[None]:
    """Call `look` ten times a second, in a thread of its own, as long as the context lasts: for work that is silent."""
    import threading
    from contextlib import contextmanager

    @contextmanager
    def watched() -> Iterator[None]:
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(_LOOK_SECONDS):
                look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            is_over.set()
            watcher.join()

    return watched()


_show: Callable[[str], None] | None = None
_NUMBERS = iter(range(1, 1 << 60))


def show_details(show: Callable[[str], None] | None) -> None:
    """Have `show` called with every detail (`--verbose`), from any thread; None: with none."""
    global _show  # noqa: PLW0603  a process shows details or does not
    _show = show


class Detail:
    """One thing that takes time: a program that runs, an answer that is waited for. A context manager.

    Says what it is when it begins, and how it ended, after how long. Costs next to nothing if no details are shown.
    What is said has its number, because several run at a time.
    """

    def __init__(self, what: str) -> None:
        self._number = 0
        if _show is None:
            return
        from time import monotonic

        self._number = next(_NUMBERS)  # which threads share
        self._began = monotonic()
        _show(f"[{self._number}] {what}")

    def __enter__(self) -> Detail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended("done" if kind is None else f"failed ({kind.__name__})")

    def ended(self, how: object) -> None:
        """Say how it ended, unless that is said."""
        if self._number and _show is not None:
            from time import monotonic

            _show(f"[{self._number}] {how} after {monotonic() - self._began:.2f} s")
        self._number = 0


def _line(command: Iterable[object]) -> str:
    r"""A command as a shell reads it. Programs are cut: what follows `-c`, is long, or has several lines.

    >>> _line(["python", "-c", "import x; x.main()", "a b"]), _line(["sh", "cd x\nls"])
    ("python -c ... 'a b'", "sh 'cd x...'")
    """
    from shlex import quote

    words, before = [], ""
    for word in map(str, command):
        first = word.split("\n", 1)[0]
        shown = word if word == first and len(word) <= _LONGEST else f"{first[:_LONGEST]}..."
        words.append("..." if before == "-c" else quote(shown))
        before = word
    return " ".join(words)


def running(command: Iterable[object]) -> Detail:
    """Say that a program runs, with its arguments. A secret that is no part of a URL must not be among them."""
    return Detail(f"run {_line(command)}" if _show is not None else "")


def asking(method: str, url: str) -> Detail:
    """Say that a URL is requested. What shows it leaves its credentials out."""
    return Detail(f"request {method} {url}")


def working(what: str) -> Detail:
    """Say what a library does in this process, such as to solve."""
    return Detail(what)


def waiting(what: str) -> Detail:
    """Report what this process waits for, such as another process."""
    return Detail(f"wait for {what}")


def detail(message: str) -> None:
    """Report a detail that matters only with `--verbose`."""
    if _show is not None:
        _show(message)
