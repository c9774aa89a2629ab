"""`envlock shell`: open the user's own shell in an environment. It replaces this process."""

from __future__ import annotations

import os
import sys

from envlock.cli.command import CommandLine, command
from envlock.cli.one_environment import Wanted, held_prefix
from envlock.cli.options import ENTERING, ENVIRONMENT, KEEP_PYTHONPATH, LOCAL_NAME, config_path
from envlock.cli.run import forget_signals, variables_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PREFIX_VARIABLE = "ENVLOCK_SHELL"
NAME_VARIABLE = "ENVLOCK_SHELL_NAME"


@command(
    ENVIRONMENT,
    *ENTERING,
    epilog="Exit status: the shell's own; 1 to 5 if it could not be started.",
)
def shell(line: CommandLine) -> int:
    """Open your shell in a locked environment, creating it first if it is not on this machine.

    Starts the shell that SHELL names, with your own settings, and shows the environment in its prompt. `exit` leaves
    it. Commands can come from stdin. If the project has one environment, no option is needed.

    For example:

    - `envlock shell train`
    - `envlock shell --flow TrainFlow --step train`
    - `envlock shell --env base`
    - `envlock shell --pathspec TrainFlow/142/train`
    """
    wanted = Wanted.of(line, name=line.value(LOCAL_NAME))
    return enter(wanted, keep_pythonpath=line.has(KEEP_PYTHONPATH))


def enter(wanted: Wanted, *, keep_pythonpath: bool = False) -> NoReturn:
    """Replace this process by the user's shell. Raises EnvlockError: AlreadyInShell and NoShell among them."""
    prefix = held_prefix(wanted)
    name = _name_of(wanted)
    own = os.environ.get("SHELL") or "/bin/sh"
    _look_around(prefix)
    variables = variables_in(prefix, keep_pythonpath=keep_pythonpath)
    variables[PREFIX_VARIABLE] = prefix
    variables[NAME_VARIABLE] = name
    from envlock.cli.shell_startup import KNOWN, command_line

    interactive = sys.stdin.isatty()
    if interactive and os.path.basename(own) not in KNOWN:
        sys.stderr.write(f"note: entered {name}; envlock cannot show that in the prompt of {own}\n")
    made: list[str] = []

    def folder() -> str:
        import tempfile

        made.append(tempfile.mkdtemp(prefix=f"envlock-shell-{os.getpid()}-"))
        return made[-1]

    try:
        command = command_line(
            own, prefix, name, variables, interactive=interactive, folder=folder, keep_pythonpath=keep_pythonpath
        )
    except OSError as error:
        sys.stderr.write(
            f"note: cannot set up the prompt of {own}: no temporary file can be written ({error.strerror})\n"
        )
        command = [own]
    forget_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(own, command, variables)  # noqa: S606  it is the shell that is wanted
    except OSError as error:
        import shutil

        for each in made:
            shutil.rmtree(each, ignore_errors=True)
        from envlock.cli.errors import NoShell

        raise NoShell(own, error.strerror or str(error)) from None


def _name_of(wanted: Wanted) -> str:
    """The name of the environment in the prompt: `Train/start`, or the name of its table."""
    named = wanted.name or wanted.environment or wanted.pathspec or wanted.reference
    if named:
        return named
    if wanted.flow and wanted.step:
        return wanted.step if "/" in wanted.step else f"{wanted.flow}/{wanted.step}"
    from envlock.config.read import load_project
    from envlock.config.selection import choose_one

    project = load_project(config_path(wanted.config))
    return choose_one(project, flow=wanted.flow, step=wanted.step).name


def _look_around(prefix: str) -> None:
    """Refuse to enter the same environment twice; say so if this shell is inside another one."""
    around = os.environ.get(PREFIX_VARIABLE)
    if not around:
        return
    name = os.environ.get(NAME_VARIABLE, around)
    if around == prefix:
        from envlock.cli.errors import AlreadyInShell

        raise AlreadyInShell(name)
    from envlock.errors import one_line

    sys.stderr.write(f"note: this shell is inside the one of {one_line(name)}; `exit` returns to it\n")
