"""`envlock show NAME...` into a pipe or a file; what is drawn for a terminal, and the overview, go through the app."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from envlock.cli.light.arguments import read_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VALUES = ("--config", "--arch", "--pathspec")
_DRAWN = ("FORCE_COLOR", "TTY_COMPATIBLE")
"""Variables that let rich take a pipe for a terminal."""


def main(arguments: Sequence[str]) -> int:
    """Tell of what is named, and return the exit status."""
    names, rest = _names(arguments)
    options = read_options(rest, values=_VALUES, flags=("--json",))
    if options is None or not names or "--pathspec" in options or _is_drawn():
        from envlock.cli.app import run

        return run(["show", *arguments])

    gc.disable()  # an eighth of what is imported to ask a bucket is search for garbage, in a process that ends soon
    try:
        return _tell(names, options)
    finally:
        gc.enable()


def _tell(names: Sequence[str], options: Mapping[str, Sequence[str]]) -> int:
    from envlock.cli.show_text import document, text
    from envlock.config.read import find_config, load_project
    from envlock.errors import without_commands
    from envlock.model.arch import parse_arch
    from envlock.workflow.show import describe

    archs = [parse_arch(each) for each in options.get("--arch", ())]
    config = options.get("--config")
    project = load_project(Path(config[-1]).absolute() if config else find_config(Path.cwd()))
    found = list(dict.fromkeys(each for name in names for each in describe(project, name, archs)))
    if "--json" in options:
        import json

        written = json.dumps({"environments": [document(each) for each in found]}, indent=2)
        sys.stdout.write(without_commands(written) + "\n")
    else:
        sys.stdout.write("\n".join(f"{text(each)}\n" for each in found))
    return 0


def _names(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands alone, and the options with their values."""
    names: list[str] = []
    options: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in _VALUES:
            options += [argument, *([value] if (value := next(rest, None)) is not None else [])]
        else:
            (options if argument.startswith("-") or not argument else names).append(argument)
    return names, options


def _is_drawn() -> bool:
    return sys.stdout.isatty() or any(os.environ.get(name) for name in _DRAWN)
