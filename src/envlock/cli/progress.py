"""Progress: bars and spinners on a terminal, one line a phase elsewhere."""

from __future__ import annotations

import sys
import threading
import time

from envlock.errors import one_line
from envlock.reporter import Reporter
from envlock.words import byte_size, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from rich.console import Console, RenderableType
    from rich.progress import Progress

QUIET_SECONDS = 0.3
"""Work that is over sooner is not worth a line."""

_MOST_ITEMS = 6
_BAR_WIDTH = 28


class _Phase:
    """How far one phase is, and what it works on."""

    def __init__(self, total: int, unit: str) -> None:
        self.total = total
        self.unit = unit
        self.began = time.monotonic()
        self.done = 0
        self.items: dict[str, None] = {}

    @property
    def in_bytes(self) -> bool:
        return self.unit == "bytes"

    def amount(self) -> str:
        return byte_size(self.done) if self.in_bytes else count(self.done, self.unit.removesuffix("s"))

    def work(self) -> list[str]:
        """What it works on: of what is counted in bytes, the latest few, for nothing says that one of them is done."""
        return list(self.items)[-_MOST_ITEMS:] if self.in_bytes else list(self.items)


class _Bars:
    """The phases, as rich draws them from a thread of its own. `lock` guards `phases`, which others change.

    Importing rich takes longer than some work does, so this is made once there is something to draw.
    """

    def __init__(self, console: Console, phases: Mapping[str, _Phase], lock: threading.RLock) -> None:
        from rich import progress
        from rich.live import Live
        from rich.table import Column

        def bars(*state: progress.ProgressColumn) -> Progress:
            name = progress.TextColumn("{task.description}", markup=False)
            return progress.Progress(name, progress.BarColumn(_BAR_WIDTH), *state, console=console)

        one_row = Column(no_wrap=True, overflow="ellipsis")
        item = progress.TextColumn("{task.description}", style="dim", markup=False, table_column=one_row)
        self._counted = bars(progress.MofNCompleteColumn(), progress.TextColumn("{task.fields[unit]}"))
        self._in_bytes = bars(progress.DownloadColumn(), progress.TransferSpeedColumn())
        self._items = progress.Progress(progress.SpinnerColumn(), item, console=console)
        self._phases = phases
        self._lock = lock
        self.live = Live(
            get_renderable=self.draw, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def draw(self) -> RenderableType:
        """One frame."""
        from rich.console import Group
        from rich.text import Text

        with self._lock:
            for progress, in_bytes in ((self._counted, False), (self._in_bytes, True)):
                _show(progress, {name: each for name, each in self._phases.items() if each.in_bytes == in_bytes})
            items = [item for each in self._phases.values() for item in each.work()]
            _show(self._items, dict.fromkeys(items[:_MOST_ITEMS]))
        shown = [each for each in (self._counted, self._in_bytes, self._items) if each.tasks]
        hidden = len(items) - _MOST_ITEMS
        return Group(*shown, *([Text(f"  and {hidden} more", "dim")] if hidden > 0 else []))


def _show(progress: Progress, wanted: Mapping[str, _Phase | None]) -> None:
    """Let `progress` have a task for each name, as far as its phase is, and no other."""
    wanted = {one_line(name): phase for name, phase in wanted.items()}
    tasks = {task.description: task.id for task in progress.tasks}
    for name in tasks.keys() - wanted.keys():
        progress.remove_task(tasks[name])
    for name, phase in wanted.items():
        task = tasks[name] if name in tasks else progress.add_task(name, total=None, unit="")
        if phase is not None:
            progress.update(task, total=max(phase.total, 1), completed=phase.done, unit=phase.unit)


class LiveReporter(Reporter):
    """Draws progress on stderr while it is open as a context manager.

    On a terminal: a bar for each phase and a spinner for each thing in work, from 0.3 s on, gone at the end.
    Everywhere: a line for each phase that took longer than that, and every note and warning.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._given = console
        self._lock = threading.RLock()
        self._phases: dict[str, _Phase] = {}
        self._bars: _Bars | None = None
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
            self._phases[phase] = _Phase(total, unit)
            if self._draws() and self._bars is None and self._timer is None:
                self._timer = threading.Timer(QUIET_SECONDS, self._start)
                self._timer.daemon = True
                self._timer.start()

    def grew(self, phase: str, amount: int) -> None:
        """Make the bar of `phase` longer."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].total += amount

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        """Move the bar forward. An item of a phase that is not counted in bytes is done with that."""
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
        """Show that `item` is being worked on."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].items[item] = None

    def ended(self, phase: str) -> None:
        """Close the bar, and leave a line if the phase took long enough to deserve one."""
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
        if self._given is not None:
            return self._given.is_terminal
        from envlock.cli.console import draws_progress

        return draws_progress()

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
        bars = _Bars(self._console(), self._phases, self._lock)
        with self._lock:
            if not self._phases or self._bars is not None or self._timer is None:
                return
            self._bars = bars
            bars.live.start()

    def _stop(self) -> None:
        with self._lock:
            timer, self._timer = self._timer, None
            bars, self._bars = self._bars, None
        if timer is not None:
            timer.cancel()
        if bars is not None:
            bars.live.stop()
