"""`envlock path`: where an environment is, made now if it is not there."""

from __future__ import annotations

import sys

from envlock.cli.light.arguments import read_options
from envlock.cli.light.wanted import FLAGS, VALUES, Wanted, prefix_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Print the prefix and return the exit status."""
    options = read_options(arguments, values=VALUES, flags=(*FLAGS, "--no-hydrate"))
    if options is None:
        from envlock.cli.app import run

        return run(["path", *arguments])
    return report(Wanted.of(options, "path"))


def report(wanted: Wanted) -> int:
    """Print the prefix of what is wanted; the exit status. Raises EnvlockError."""
    sys.stdout.write(f"{prefix_of(wanted)}\n")
    return 0
