"""Fair times: commands take turns, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

import ctypes
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

BIN = Path(sys.executable).parent
ENVLOCK = str(BIN / "envlock")
PYTHON = sys.executable
UV = str(BIN / "uv")
_SETTLED = 61
"""Seconds."""
TOLD = "-"
"""The limit of a row for information, which claims nothing."""


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


class Cost(NamedTuple):
    """What a command took, in seconds."""

    cpu: float
    """Of the processors, with all that it started and waited for."""
    wall: float


def costs(
    ways: Sequence[Command | Sequence[Command]], rounds: int, before: Callable[[], None] = lambda: None
) -> list[Cost]:
    """The medians of each way, taking turns. Seconds of the processors tell more where a machine is not idle.

    `before` is called before each round: if a way deletes files, it is the last one, and the next round waits until
    that is forgotten (`settle`).
    """
    found: list[list[Cost]] = [[] for _ in ways]
    for _ in range(rounds):
        before()
        for way, each in zip(ways, found, strict=True):
            each.append(_cost(way))
    return [Cost(*(statistics.median(values) for values in zip(*each, strict=True))) for each in found]


def _cost(way: Command | Sequence[Command]) -> Cost:
    commands = [way] if isinstance(way, Command) else list(way)
    for each in commands:
        each.before()
    _adopt()
    known, before = _children(), resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = run([replace(each, before=lambda: None) for each in commands])
    for left in _children() - known:  # what works on after its command has ended counts too
        os.waitpid(left, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall)


def settle() -> None:
    """Wait until what was deleted before, as by a push, costs nothing.

    For each new file, ext4 without a journal looks at all files near it that were deleted in the last minute, and for
    longer if that is not on the disk.
    """
    os.sync()
    time.sleep(_SETTLED)


def _adopt() -> None:
    """Become the parent of what outlives its own: Linux gives it to the nearest process that has asked for it."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _children() -> set[int]:
    return {int(each) for path in Path("/proc/self/task").iterdir() for each in (path / "children").read_text().split()}


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
        holds = "-" if row.limit == TOLD else "yes" if row.holds else "NO"
        lines.append(f"| {' | '.join(cells)} | {holds} |")
    return "\n".join(lines)


def _seconds(time_: float) -> str:
    return f"{time_ * 1000:.0f} ms" if time_ < 1 else f"{time_:.2f} s"
