"""`envlock shell`: the user's own shell inside an environment, in this very process."""

from __future__ import annotations

import os
import sys

from envlock.cli.light.arguments import read_options
from envlock.cli.light.run import KEEP, forget_signals, variables_in
from envlock.cli.light.wanted import FLAGS, VALUES, Wanted, prefix_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PREFIX_VARIABLE = "ENVLOCK_SHELL"
NAME_VARIABLE = "ENVLOCK_SHELL_NAME"


def main(arguments: Sequence[str]) -> int:
    """Become the shell; returns only where there is something to say about the command line."""
    options = read_options(arguments, values=VALUES, flags=(*FLAGS, KEEP))
    if options is None:
        from envlock.cli.app import run

        return run(["shell", *arguments])
    return enter(Wanted.of(options, "shell"), keep_pythonpath=KEEP in options)


def enter(wanted: Wanted, *, keep_pythonpath: bool = False) -> NoReturn:
    """Replace this process by the user's shell. Raises EnvlockError: AlreadyInShell and NoShell among them."""
    prefix = prefix_of(wanted)
    name = _name_of(wanted)
    shell = os.environ.get("SHELL") or "/bin/sh"
    _look_around(prefix)
    variables = variables_in(prefix, keep_pythonpath=keep_pythonpath)
    variables[PREFIX_VARIABLE] = prefix
    variables[NAME_VARIABLE] = name
    from envlock.cli.light.shells import KNOWN, command_line

    interactive = sys.stdin.isatty()
    if interactive and os.path.basename(shell) not in KNOWN:
        sys.stderr.write(f"note: this is {name}; envlock does not know how {shell} says so in its prompt\n")
    made: list[str] = []

    def folder() -> str:
        import tempfile

        made.append(tempfile.mkdtemp(prefix=f"envlock-shell-{os.getpid()}-"))
        return made[-1]

    try:
        command = command_line(
            shell, prefix, name, variables, interactive=interactive, folder=folder, keep_pythonpath=keep_pythonpath
        )
    except OSError as error:
        sys.stderr.write(f"note: {shell} is started as it is: no temporary file can be written ({error.strerror})\n")
        command = [shell]
    forget_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(shell, command, variables)  # noqa: S606  it is the shell that is wanted
    except OSError as error:
        import shutil

        for each in made:
            shutil.rmtree(each, ignore_errors=True)
        from envlock.cli.shell import NoShell

        raise NoShell(shell, error.strerror or str(error)) from None


def _name_of(wanted: Wanted) -> str:
    """What the environment is called in the prompt: `Train/start`, or the name of its table."""
    if wanted.name or wanted.environment:
        return wanted.name or wanted.environment
    if wanted.flow and wanted.step:
        return wanted.step if "/" in wanted.step else f"{wanted.flow}/{wanted.step}"
    from pathlib import Path

    from envlock.config.read import find_config, load_project
    from envlock.workflow.choice import choose_one

    project = load_project(Path(wanted.config).absolute() if wanted.config else find_config(Path.cwd()))
    return choose_one(project, flow=wanted.flow, step=wanted.step).name


def _look_around(prefix: str) -> None:
    """Refuse a shell in itself; say where another one is left."""
    around = os.environ.get(PREFIX_VARIABLE)
    if not around:
        return
    name = os.environ.get(NAME_VARIABLE, around)
    if around == prefix:
        from envlock.cli.shell import AlreadyInShell

        raise AlreadyInShell(name)
    from envlock.errors import one_line

    sys.stderr.write(f"note: this shell is inside that of {one_line(name)}; `exit` goes back there\n")
