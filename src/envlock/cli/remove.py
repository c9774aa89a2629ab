"""`envlock remove`: remove packages from envlock.toml."""

from __future__ import annotations

from envlock.cli.add import CONDA, TARGET_ENV, TARGET_FLOW, TARGET_STEP, edit
from envlock.cli.command import Argument, CommandLine, command
from envlock.cli.options import CONFIG, DRY_RUN, JSON

_PACKAGES = Argument("packages", "PACKAGE...", "Names, without versions.", complete="required")


@command(_PACKAGES, TARGET_FLOW, TARGET_STEP, TARGET_ENV, CONDA, DRY_RUN, JSON, CONFIG)
def remove(line: CommandLine) -> int:
    """Remove packages from a flow, one of its steps, or an `[env.NAME]`.

    Edits envlock.toml and keeps your comments, order and style. It does not lock anything: run `envlock lock` next.

    For example:

    - `envlock remove pandas`
    - `envlock remove rich --step train`
    - `envlock remove ffmpeg --conda`
    """
    return edit(line, line.values(_PACKAGES))
