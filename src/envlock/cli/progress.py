"""Progress, drawn: bars and spinners on a terminal, one line a phase elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envlock.errors import one_line
from envlock.reporter import Reporter
from envlock.words import byte_size, count

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType
    from rich.live import Live

QUIET_SECONDS = 0.3
"""Work that is over sooner is not worth a line."""

_MOST_ITEMS = 6
_BAR_WIDTH = 28


@dataclass
class _Phase:
    total: int
    unit: str
    began: float
    done: int = 0
    items: dict[str, None] = field(default_factory=dict)

    @property
    def in_bytes(self) -> bool:
        return self.unit == "bytes"

    def amount(self) -> str:
        if self.in_bytes:
            return byte_size(self.done)
        return count(self.done, self.unit.removesuffix("s"))

    def state(self, now: float) -> str:
        """`3/8 environments`, or `1.2/3.4 GB at 5.6 MB/s`."""
        if not self.in_bytes:
            return f"{self.done}/{self.total} {self.unit}"
        rate = self.done / max(now - self.began, 1e-9)
        return f"{byte_size(self.done)} of {byte_size(self.total)}, {byte_size(int(rate))}/s"


class LiveReporter(Reporter):
    """Draws progress on stderr while it is open as a context manager.

    On a terminal: a bar for each phase and a spinner for each thing in work, from 0.3 s on, gone at the end.
    Everywhere: a line for each phase that took longer than that, and every note and warning.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._given = console
        self._lock = threading.RLock()
        self._phases: dict[str, _Phase] = {}
        self._live: Live | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> LiveReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._phases.clear()
        self._stop()

    def began(self, phase: str, total: int, unit: str) -> None:
        """Open the bar of `phase`."""
        with self._lock:
            self._phases[phase] = _Phase(total, unit, time.monotonic())
            if self._draws() and self._live is None and self._timer is None:
                self._timer = threading.Timer(QUIET_SECONDS, self._start)
                self._timer.daemon = True
                self._timer.start()

    def grew(self, phase: str, amount: int) -> None:
        """Make the bar of `phase` longer."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].total += amount

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        """Move the bar on; what is counted in pieces is no longer in work."""
        with self._lock:
            state = self._phases.get(phase)
            if state is None:
                return
            state.done += amount
            if state.in_bytes:
                state.items.pop(item, None)
                state.items[item] = None
            else:
                state.items.pop(item, None)

    def doing(self, phase: str, item: str) -> None:
        """Show `item` as in work."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].items[item] = None

    def ended(self, phase: str) -> None:
        """Close the bar, and leave a line of it when it was worth one."""
        with self._lock:
            state = self._phases.pop(phase, None)
            idle = not self._phases
        if idle:
            self._stop()
        if state is not None and state.done and (took := time.monotonic() - state.began) >= QUIET_SECONDS:
            self._say(f"{phase}: {state.amount()} in {took:.1f} s")

    def noted(self, message: str) -> None:
        """Print a note."""
        self._say(f"note: {message}")

    def warned(self, message: str) -> None:
        """Print a warning."""
        self._say(f"warning: {message}")

    # rich takes longer to import than some work takes to do: it is loaded by the timer, or not at all.

    def _draws(self) -> bool:
        return self._given.is_terminal if self._given is not None else sys.stderr.isatty()

    def _console(self) -> Console:
        if self._given is None:
            from envlock.cli.console import console

            self._given = console(stderr=True)
        return self._given

    def _say(self, line: str) -> None:
        # Never under our lock: printing takes rich's, and drawing, which holds that one, takes ours.
        line = one_line(line)
        if self._given is None:
            sys.stderr.write(f"{line}\n")
        else:
            self._given.print(line)

    def _start(self) -> None:
        from rich.live import Live

        self._console()
        with self._lock:
            if not self._phases or self._live is not None or self._timer is None:
                return
            self._live = Live(
                get_renderable=self._draw,
                console=self._console(),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _stop(self) -> None:
        with self._lock:
            timer, self._timer = self._timer, None
            live, self._live = self._live, None
        if timer is not None:
            timer.cancel()
        if live is not None:
            live.stop()

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        bars = Table.grid(padding=(0, 1))
        items: list[str] = []
        with self._lock:
            for name, phase in self._phases.items():
                bar = ProgressBar(total=max(phase.total, 1), completed=phase.done, width=_BAR_WIDTH)
                bars.add_row(one_line(name), bar, phase.state(now))
                items += list(phase.items)[-_MOST_ITEMS:] if phase.in_bytes else phase.items
        shown = [
            Spinner("dots", Text(one_line(item), "dim", overflow="ellipsis", no_wrap=True))
            for item in items[:_MOST_ITEMS]
        ]
        hidden = len(items) - len(shown)
        rest = [Text(f"  and {hidden} more", "dim")] if hidden else []
        return Group(bars, *shown, *rest)
