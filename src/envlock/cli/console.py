"""What every command needs of the command line; the two consoles, made when first used.

Data goes to `out`, everything else to `err`. Neither reads markup, so that `pandas[sql]` stays `pandas[sql]`; colour
comes from `style=` and `rich.text.Text`. Nothing depends on colour, and `NO_COLOR` turns it off.

Importing this module costs nothing; rich and typer are imported with the first name that needs them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError, ManyErrors

if TYPE_CHECKING:
    from rich.console import Console
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


@cache
def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)
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
