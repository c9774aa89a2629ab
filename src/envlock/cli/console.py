"""What every command needs of the command line; the two consoles, made when first used.

Data goes to `out`, everything else to `err`. Neither reads markup, so that `pandas[sql]` stays `pandas[sql]`; colour
comes from `style=` and `rich.text.Text`. Nothing depends on colour, and `NO_COLOR` turns it off.

Importing this module costs nothing; rich and typer are imported with the first name that needs them.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, cast

from envlock.errors import EnvlockError, ManyErrors, steady, without_commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

    from envlock.cli.options import (
        ArchOption,
        ConfigOption,
        EnvOption,
        FlowOption,
        JsonOption,
        StepOption,
        open_project,
        selection,
    )
    from envlock.cli.progress import LiveReporter

    out: Console
    """stdout: data only. Lines are never wrapped."""
    err: Console
    """stderr: progress, notes, warnings and errors."""

__all__ = [
    "ArchOption",
    "ConfigOption",
    "EnvOption",
    "FlowOption",
    "JsonOption",
    "LiveReporter",
    "StepOption",
    "err",
    "open_project",
    "out",
    "selection",
    "show_error",
]

_PIPE_WIDTH = 400  # a table that is piped is cut by no terminal's width


def __getattr__(name: str) -> object:
    if name in {"out", "err"}:
        return _console(stderr=name == "err")
    if name == "LiveReporter":
        from envlock.cli import progress

        return progress.LiveReporter
    if name in __all__:
        from envlock.cli import options

        return getattr(options, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Stream:
    """stdout or stderr, whichever it is when it is written to; no line of it is a command to CI."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> int:
        written: int = getattr(sys, self._name).write(without_commands(text))
        return written

    def __getattr__(self, name: str) -> object:
        return getattr(getattr(sys, self._name), name)


@cache
def _console(*, stderr: bool) -> Console:
    from rich.console import Console
    from rich.segment import Segment

    class SteadyConsole(Console):
        """One that shows the text of others, and its own style alone."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                text = segment.text
                yield segment if segment.control else Segment(steady(text), segment.style)

    stream = cast("TextIO", _Stream("stderr" if stderr else "stdout"))
    made = SteadyConsole(file=stream, stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def show_error(error: EnvlockError) -> None:
    """Show an error on stderr, the same text as `error.render()`, with colour."""
    errors = error.errors if isinstance(error, ManyErrors) else (error,)
    for position, one in enumerate(errors):
        if position:
            _console(stderr=True).print()
        _console(stderr=True).print(_styled(one))


def _styled(error: EnvlockError) -> Text:
    from rich.text import Text

    text = Text(error.render())
    text.highlight_regex(r"\Aerror\[[^\]]*\]:", "bold red")
    text.highlight_regex(r"(?m)^  at .*$", "cyan")
    text.highlight_regex(r"(?m)^hint:", "bold green")
    text.highlight_regex(r"`[^`\n]*`", "bold")
    return text
