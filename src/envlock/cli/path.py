"""`envlock path`: print the prefix of an environment."""

from __future__ import annotations

import sys

from envlock.cli.command import CommandLine, Flag, command
from envlock.cli.one_environment import Wanted, ready_prefix
from envlock.cli.options import (
    CONFIG,
    ENVIRONMENT,
    FORCE,
    JSON,
    LOCAL_NAME,
    OFFLINE,
    ONE_ENV,
    ONE_FLOW,
    ONE_STEP,
    PATHSPEC,
)

_NO_HYDRATE = Flag("--no-hydrate", "Fail if the environment is not on this machine, instead of creating it.")


@command(
    ENVIRONMENT,
    ONE_FLOW,
    ONE_STEP,
    ONE_ENV,
    LOCAL_NAME,
    PATHSPEC,
    _NO_HYDRATE,
    OFFLINE,
    FORCE,
    JSON,
    CONFIG,
    epilog="Exit status: 0; 1 if the environment is not on this machine (`--no-hydrate`), or its lock is stale.",
)
def path(line: CommandLine) -> int:
    """Print the path of a locked environment, creating it first if it is not on this machine.

    If the project has one environment, no option is needed.

    For example:

    - `envlock path train`
    - `envlock path --flow TrainFlow --step train`
    - `$(envlock path --env base)/bin/python`
    - `envlock path --pathspec TrainFlow/142/train`
    """
    wanted = Wanted.of(line, name=line.value(LOCAL_NAME), hydrate=not line.has(_NO_HYDRATE))
    print_prefix(line, ready_prefix(wanted))
    return 0


def print_prefix(line: CommandLine, prefix: str) -> None:
    """Print the path of an environment; with `--json`, that of its interpreter too."""
    if not line.has(JSON):
        sys.stdout.write(f"{prefix}\n")
        return
    from envlock.cli.console import write_json

    write_json({"prefix": prefix, "python": f"{prefix}/bin/python"})
