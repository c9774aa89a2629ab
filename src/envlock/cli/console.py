"""Writing to stdout and stderr: plain text and JSON, and, through rich, tables and coloured text.

Data goes to stdout, everything else to stderr. Neither reads markup, so that `pandas[sql]` stays `pandas[sql]`; colour
comes from `style=` and `rich.text.Text`. Nothing depends on colour, and `NO_COLOR` turns it off.

What the global options say is in force here. `--quiet` leaves data (`write`, `write_json`, `console()`) and errors
(`show_error`): what a command did (`say`) is not printed, and all else that is written to stderr is thrown away.

rich takes longer to import than most commands take to run: `console` imports it, and nothing else here does.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from itertools import zip_longest

from envlock import reporter
from envlock.errors import EnvlockError, ManyErrors, one_line, printable, steady, without_commands
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from typing import Any, Literal, TextIO, TypedDict

    from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
    from rich.segment import Segment
    from rich.text import Text

    class _Colours(TypedDict, total=False):
        """What decides about colours, for rich."""

        force_terminal: bool
        no_color: bool
        color_system: Literal["auto", "standard"] | None


_DRAWN = ("FORCE_COLOR", "TTY_COMPATIBLE")
"""Variables that make rich treat a pipe as a terminal."""
_CALM = {
    "bar.complete": "cyan",
    "bar.finished": "green",
    "bar.pulse": "cyan",
    "progress.data.speed": "none",
    "progress.download": "none",
    "progress.spinner": "cyan",
}
"""Styles of rich's own in whose place it has red and pink, which are for errors here."""
CHANGE_STYLES = {"added": "green", "removed": "yellow", "upgraded": "cyan", "downgraded": "magenta", "rebuilt": "blue"}
"""The colours of what became of a package."""
_PIPE_WIDTH = 400  # a table that is piped is cut by no terminal's width


class _Manners(NamedTuple):
    """What the global options say."""

    is_quiet: bool = False
    color: str = "auto"
    draws: bool = True
    stderr: TextIO | None = None
    """The real stderr, where another one is in its place."""


_manners = _Manners()


def print_as(
    *, quiet: bool = False, verbose: bool = False, color: str = "auto", progress: bool = True, command: str = ""
) -> None:
    """Print as the global options say, from here on; without any, as ever. Raises BadUsage if two contradict."""
    global _manners  # noqa: PLW0603  one process has one stdout and one stderr
    if quiet and verbose:
        from envlock.cli.errors import BadUsage

        raise BadUsage("`--quiet` and `--verbose` exclude each other", f"envlock {command}")
    if _manners.stderr is not None:
        sys.stderr.close()
        sys.stderr = _manners.stderr
    if color != _manners.color:
        console.cache_clear()
    real = sys.stderr
    if quiet:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  until the command ends
    _manners = _Manners(quiet, color, progress and not verbose, real if quiet else None)
    reporter.show_details(_detail if verbose else None)


def _detail(message: str) -> None:
    from envlock.addresses import hide_all
    from envlock.redaction import without_credentials

    sys.stderr.write(f"debug: {one_line(without_credentials(hide_all(message)))}\n")


def draws_progress() -> bool:
    """Whether progress is drawn: on a terminal, unless an option says no. Details would be written into bars."""
    return _manners.draws and sys.stderr.isatty()


def is_drawn() -> bool:
    """Whether rich draws on stdout as on a terminal."""
    is_wanted = _manners.color == "always" or any(map(os.environ.get, _DRAWN))
    return (sys.stdout.isatty() or is_wanted) and console().is_terminal


def is_coloured() -> bool:
    """Whether plain text on stdout may have colours, as rich decides it."""
    if _manners.color != "auto":
        return _manners.color == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (
        sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}
    )


def write(text: str) -> None:
    """Write a line, or some, of plain text to stdout."""
    sys.stdout.write(f"{printable(text)}\n")


def say(text: str) -> None:
    """Write what was done to stdout, in a line or some: no data, so nothing with `--quiet`."""
    if not _manners.is_quiet:
        write(text)


def write_err(text: str) -> None:
    """Write a line, or some, of plain text to stderr."""
    sys.stderr.write(f"{printable(text)}\n")


def write_table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Container[int] = ()) -> None:
    """Write a table to stdout: one row a line, each column as wide as its widest cell. Rows may be short.

    The numbers in `right` are columns that end at the same place, such as sizes. On a terminal where the table has no
    room, the widest columns are narrower, and their cells folded. rich is imported for a terminal alone.
    """
    if is_drawn():
        from rich.cells import cell_len
        from rich.table import Table

        cells = [[one_line(cell) for cell in row] for row in (titles, *rows)]
        table = Table(box=None, pad_edge=False, header_style="bold")
        natural = [max(cell_len(row[at]) for row in cells if at < len(row)) for at in range(len(titles))]
        widths = narrowed(natural, console().width - 2 * (len(titles) - 1))
        for number, title in enumerate(cells[0]):
            side: JustifyMethod = "right" if number in right else "left"
            table.add_column(title, width=widths[number], overflow="fold", justify=side)
        for row in cells[1:]:
            table.add_row(*row)
        console().print(table)
        return
    for row in aligned((titles, *rows), right):
        write("  ".join(row).rstrip())


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> list[list[str]]:
    """The cells of rows, each in one line and as wide as the widest of its column. Rows may be short.

    >>> aligned([("six", "9 kB", "no"), ("numpy", "18 MB")], right={1})
    [['six  ', ' 9 kB', 'no'], ['numpy', '18 MB']]
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    return [
        [cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row)]
        for row in cells
    ]


_NARROWEST = 10


def narrowed(widths: Sequence[int], room: int) -> list[int]:
    """Widths of columns that have room together: the widest ones lose most, and none becomes narrower than 10.

    >>> narrowed([30, 8, 12, 40], 60), narrowed([30, 8], 60), narrowed([30, 8], 12)
    ([20, 8, 12, 20], [30, 8], [10, 8])
    """
    fitting = [*widths]
    while sum(fitting) > room and max(fitting) > _NARROWEST:
        most = max(fitting)
        at = len(fitting) - 1 - fitting[::-1].index(most)
        fitting[at] = most - 1
    return fitting


def write_styled(lines: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Write lines to stdout, each of parts with their style: the whole at once, which on a pipe is plain text."""
    if not is_drawn():
        write("\n".join("".join(text for text, _ in parts) for parts in lines))
        return
    from rich.text import Text

    for parts in lines:
        console().print(Text.assemble(*parts))


def say_styled(lines: Sequence[Sequence[tuple[str, str]]]) -> None:
    """As `write_styled`, for what was done: nothing with `--quiet`."""
    if not _manners.is_quiet:
        write_styled(lines)


def write_json(document: dict[str, object], *, dry_run: bool = False) -> None:
    """Write a document to stdout, for `--json`. That of a dry run says so: what it has was not done."""
    import json

    if dry_run:
        document = {"dry_run": True, **document}
    sys.stdout.write(f"{without_commands(json.dumps(document, indent=2))}\n")


class _Stream:
    """The current sys.stdout or sys.stderr. No line that is written to it is a command to CI."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> int:
        written: int = getattr(sys, self._name).write(without_commands(text))
        return written

    def __getattr__(self, name: str) -> object:
        return getattr(getattr(sys, self._name), name)


@cache
def console(*, stderr: bool = False) -> Console:
    """Rich's console for stdout or stderr. It does not wrap lines, and takes text literally."""
    from rich.console import Console
    from rich.segment import Segment
    from rich.theme import Theme

    class SteadyConsole(Console):
        """A console whose only control characters are those of its own style."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                text = segment.text
                yield segment if segment.control else Segment(steady(text), segment.style)

    stream: Any = _Stream("stderr" if stderr else "stdout")  # as much of a TextIO as is used
    made = SteadyConsole(
        file=stream,
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
        theme=Theme(_CALM),
        **_colours(),
    )
    if not made.is_terminal or (_manners.color == "always" and not stream.isatty()):
        made.width = _PIPE_WIDTH
    return made


def _colours() -> _Colours:
    """What `--color` says, for rich: without it, the terminal decides, and NO_COLOR and FORCE_COLOR."""
    if _manners.color == "always":
        return {"force_terminal": True, "no_color": False, "color_system": "standard"}
    return {"color_system": None} if _manners.color == "never" else {}


def write_reason(text: str) -> None:
    """Write to stderr why the exit status is not 0, also with `--quiet`."""
    (_manners.stderr or sys.stderr).write(f"{printable(text)}\n")


def show_error(error: EnvlockError) -> None:
    """Show an error on stderr, also with `--quiet`: `error.render()`, with colour on a terminal."""
    quiet, real = sys.stderr, _manners.stderr or sys.stderr
    sys.stderr = real
    try:
        _show_error(error)
    finally:
        sys.stderr = quiet


def _show_error(error: EnvlockError) -> None:
    if _manners.color == "never" or not (_manners.color == "always" or sys.stderr.isatty()):
        sys.stderr.write(f"{error.render()}\n")
        return
    errors = error.errors if isinstance(error, ManyErrors) else (error,)
    for position, one in enumerate(errors):
        if position:
            console(stderr=True).print()
        console(stderr=True).print(_styled(one))


def _styled(error: EnvlockError) -> Text:
    from rich.text import Text

    text = Text(error.render())
    text.highlight_regex(r"\Aerror\[[^\]]*\]:", "bold red")
    text.highlight_regex(r"(?m)^  at .*$", "cyan")
    text.highlight_regex(r"(?m)^hint:", "bold green")
    text.highlight_regex(r"`[^`\n]*`", "bold")
    return text
