"""Fair times: commands take turns, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
ENVLOCK = str(BIN / "envlock")
PYTHON = sys.executable
UV = str(BIN / "uv")


@dataclass(frozen=True)
class Command:
    """A program to time; `before` runs untimed before each run of it."""

    arguments: Sequence[str]
    folder: Path
    before: Callable[[], None] = lambda: None
    environment: dict[str, str] | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    claim: str
    ours: float
    theirs: float
    limit: str
    holds: bool
    unit: str = "s"

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def run(command: Command | Sequence[Command]) -> float:
    """The wall time of a command in seconds, or of several started together and waited for."""
    commands = [command] if isinstance(command, Command) else list(command)
    for each in commands:
        each.before()
    began = time.perf_counter()
    running = [
        subprocess.Popen(
            each.arguments,
            cwd=each.folder,
            env={**os.environ, **(each.environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for each in commands
    ]
    errors = [each.communicate()[1] for each in running]
    took = time.perf_counter() - began
    for each, error in zip(running, errors, strict=True):
        if each.returncode:
            raise SystemExit(f"{each.args} failed:\n{error.decode()}")
    return took


def pair(ours: Command | Sequence[Command], theirs: Command | Sequence[Command], rounds: int) -> tuple[float, float]:
    """The medians of both, taking turns."""
    run(theirs), run(ours)  # once for the caches
    times = [(run(theirs), run(ours)) for _ in range(rounds)]
    return statistics.median(t[1] for t in times), statistics.median(t[0] for t in times)


def at_most(
    claim: str, limit: float, ours: Command | Sequence[Command], theirs: Command | Sequence[Command], rounds: int
) -> Row:
    """A claim that ours takes at most `limit` times as long as theirs."""
    own, other = pair(ours, theirs, rounds)
    return Row(claim, own, other, f"at most {limit:g} x", own / other <= limit)


def at_least_faster(claim: str, factor: float, ours: Command, theirs: Command, rounds: int) -> Row:
    """A claim that ours is at least `factor` times as fast."""
    own, other = pair(ours, theirs, rounds)
    return Row(claim, own, other, f"at most 1/{factor:g} of it", other / own >= factor)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| claim | envlock | the other | ratio | claimed | holds |", "|---|--:|--:|--:|---|---|"]
    for row in rows:
        shown = _seconds if row.unit == "s" else lambda amount, unit=row.unit: f"{amount:.0f} {unit}"
        cells = (row.claim, shown(row.ours), shown(row.theirs), f"{row.ratio:.2f}", row.limit)
        lines.append(f"| {' | '.join(cells)} | {'yes' if row.holds else 'NO'} |")
    return "\n".join(lines)


def _seconds(time_: float) -> str:
    return f"{time_ * 1000:.0f} ms" if time_ < 1 else f"{time_:.2f} s"
