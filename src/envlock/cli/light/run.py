"""`envlock run`: a command inside an environment, in this very process."""

from __future__ import annotations

import os
import sys

from envlock.activation import activated
from envlock.cli.light.arguments import read_options
from envlock.cli.light.wanted import FLAGS, VALUES, Wanted, prefix_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


KEEP = "--keep-pythonpath"


def main(arguments: Sequence[str]) -> int:
    """Become the command; returns only where there is something to say about the command line."""
    own, command = _split(arguments)
    options = read_options(own, values=VALUES, flags=(*FLAGS, KEEP))
    if options is None or not command:
        from envlock.cli.app import run

        return run(["run", *arguments])
    return become(command, prefix_of(Wanted.of(options, "run")), keep_pythonpath=KEEP in options)


def become(command: Sequence[str], prefix: str, *, keep_pythonpath: bool = False) -> NoReturn:
    """Replace this process by the command, inside the environment.

    Raises NoSuchCommand, UnfitPrefix, ActivationFailed.
    """
    variables = variables_in(prefix, keep_pythonpath=keep_pythonpath)
    forget_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    reason = "it is not on PATH"
    for candidate in _candidates(command[0], variables["PATH"]) if command[0] else ():
        try:
            os.execve(candidate, list(command), variables)  # noqa: S606  no shell is wanted
        except OSError as error:  # noqa: PERF203  looking first would not tell whether it starts
            if os.path.lexists(candidate):
                reason = f"{candidate} does not start ({error.strerror})"
    from envlock.cli.environment import NoSuchCommand

    raise NoSuchCommand(command[0], reason, os.path.join(prefix, "bin"))


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments that are envlock's, and the command with its own.

    >>> _split(["--step", "train", "--", "python", "-V"])
    (['--step', 'train'], ['python', '-V'])
    >>> _split(["--step=train", "python", "--", "x"])
    (['--step=train'], ['python', '--', 'x'])
    """
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        if arguments[position] == "--":
            return arguments[:position], arguments[position + 1 :]
        position += 2 if arguments[position] in VALUES else 1
    return arguments[:position], arguments[position:]


def _candidates(command: str, path: str) -> list[str]:
    if "/" in command:
        return [command]
    return [os.path.join(folder or os.curdir, command) for folder in path.split(":")]


def variables_in(prefix: str, *, keep_pythonpath: bool) -> dict[str, str]:
    """The variables of this process once it is in the environment; what is odd there is told on stderr."""
    return activated(prefix, os.environ, warn=_warn, keep_pythonpath=keep_pythonpath)


def _warn(message: str) -> None:
    from envlock.errors import one_line

    sys.stderr.write(f"warning: {one_line(message)}\n")


def forget_signals() -> None:
    """Give the command the signals that a shell would: this interpreter ignores some, and that is inherited."""
    import _signal  # type: ignore[import-not-found]  # loaded already; `signal` would bring `enum`

    for name in ("SIGPIPE", "SIGXFSZ"):
        _signal.signal(getattr(_signal, name), _signal.SIG_DFL)
