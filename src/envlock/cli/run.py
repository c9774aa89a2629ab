"""`envlock run`: run a command in an environment. It replaces this process."""

from __future__ import annotations

import os
import sys

from envlock.activation import activated
from envlock.cli.command import Argument, CommandLine, command
from envlock.cli.one_environment import Wanted, held_prefix
from envlock.cli.options import ENTERING, KEEP_PYTHONPATH, LOCAL_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_COMMAND = Argument("command", "-- COMMAND [ARGUMENTS]...", "What to run.")


@command(
    _COMMAND,
    *ENTERING,
    epilog="Exit status: the command's own; 1 to 5 if it could not be started.",
)
def run(line: CommandLine) -> int:
    """Run a command in a locked environment, creating it first if it is not on this machine.

    If the project has one environment, no option is needed.

    For example:

    - `envlock run --step train -- python train.py`
    - `envlock run --env base -- python -m pytest`
    - `envlock run --pathspec TrainFlow/142/train -- python`
    """
    words = line.values(_COMMAND)
    if not words:
        from envlock.cli.errors import BadUsage

        raise BadUsage(
            "no command to run is given; for example: `envlock run --step train -- python -V`", "envlock run"
        )
    prefix = held_prefix(Wanted.of(line, name=line.value(LOCAL_NAME)))
    return become(words, prefix, keep_pythonpath=line.has(KEEP_PYTHONPATH))


def become(words: Sequence[str], prefix: str, *, keep_pythonpath: bool = False) -> NoReturn:
    """Replace this process by the command, in the environment.

    Raises NoSuchCommand, UnfitPrefix, ActivationFailed.
    """
    variables = variables_in(prefix, keep_pythonpath=keep_pythonpath)
    forget_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    reason = "it is not on PATH"
    for candidate in _candidates(words[0], variables["PATH"]) if words[0] else ():
        try:
            os.execve(candidate, list(words), variables)  # noqa: S606  no shell is wanted
        except OSError as error:  # noqa: PERF203  looking first would not tell whether it starts
            if os.path.lexists(candidate):
                reason = f"{candidate} does not start ({error.strerror})"
    from envlock.cli.errors import NoSuchCommand

    raise NoSuchCommand(words[0], reason, os.path.join(prefix, "bin"))


def variables_in(prefix: str, *, keep_pythonpath: bool) -> dict[str, str]:
    """The variables of a process in the environment. Warns on stderr of what is odd there."""
    return activated(prefix, os.environ, warn=_warn, keep_pythonpath=keep_pythonpath)


def forget_signals() -> None:
    """Let the command get the signals that a shell gives it: Python ignores some, and a new program inherits that."""
    import _signal  # type: ignore[import-not-found]  # loaded already; `signal` would bring `enum`

    for name in ("SIGPIPE", "SIGXFSZ"):
        _signal.signal(getattr(_signal, name), _signal.SIG_DFL)


def _candidates(program: str, path: str) -> list[str]:
    if "/" in program:
        return [program]
    return [os.path.join(folder or os.curdir, program) for folder in path.split(":")]


def _warn(message: str) -> None:
    from envlock.errors import one_line

    sys.stderr.write(f"warning: {one_line(message)}\n")
