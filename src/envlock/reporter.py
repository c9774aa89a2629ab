"""The port for progress, and for details: what happens is reported, not how it is shown."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


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


_show: Callable[[str], None] | None = None
_last = 0


def show_details(show: Callable[[str], None] | None) -> None:
    """Have `show` called with every detail (`--verbose`), from any thread; None: with none."""
    global _show  # noqa: PLW0603  a process shows details or does not
    _show = show


class Detail:
    """One thing that takes time: a program that runs, an answer that is waited for. It says how it ended, and when.

    Costs next to nothing where no details are shown. What is said has its number, as several run at a time.
    """

    def __init__(self, what: str, words: Iterable[object]) -> None:
        self._number = 0
        if _show is None:
            return
        from time import monotonic

        global _last  # noqa: PLW0603
        self._number = _last = _last + 1
        self._began = monotonic()
        _show(f"[{self._number}] {what} {' '.join(map(str, words))}")

    def ended(self, how: object = "done") -> None:
        """Say that it ended, how, and how long it took."""
        if self._number and _show is not None:
            from time import monotonic

            _show(f"[{self._number}] {how} after {monotonic() - self._began:.2f} s")


def running(command: Iterable[object]) -> Detail:
    """Say that a program is run, with its arguments."""
    return Detail("run", command)


def asking(method: str, url: str) -> Detail:
    """Say that a URL is asked. What shows it leaves its credentials out."""
    return Detail("ask", (method, url))


def waiting(what: str) -> Detail:
    """Say what is waited for, such as another process."""
    return Detail("wait for", (what,))


def detail(message: str) -> None:
    """Say something that only matters to who wants to know everything."""
    if _show is not None:
        _show(message)
