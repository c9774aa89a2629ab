"""`envlock path`: where an environment is, hydrated first if it is not on this machine."""

from __future__ import annotations

import sys

from envlock.cli.command import CommandLine, Flag, command
from envlock.cli.one_environment import Wanted, prefix_of
from envlock.cli.options import CONFIG, FORCE, LOCAL_NAME, OFFLINE, ONE_ENV, ONE_FLOW, ONE_STEP

_NO_HYDRATE = Flag("--no-hydrate", "Fail when the environment is not there, instead of making it.")


@command(
    ONE_FLOW,
    ONE_STEP,
    ONE_ENV,
    LOCAL_NAME,
    _NO_HYDRATE,
    OFFLINE,
    FORCE,
    CONFIG,
    epilog="Exit status: 0; 1 when the environment is not there, or its lock is stale.",
)
def path(line: CommandLine) -> int:
    """Print where a locked environment is, after making it if it is not on this machine.

    A project with one environment needs no option.

    Examples: `envlock path --step train`, `$(envlock path --env base)/bin/python`.
    """
    wanted = Wanted.of(line, name=line.value(LOCAL_NAME), hydrate=not line.has(_NO_HYDRATE))
    sys.stdout.write(f"{prefix_of(wanted)}\n")
    return 0
