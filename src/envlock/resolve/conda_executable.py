"""The conda, mamba or micromamba of this machine, where there is one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from envlock.errors import ConfigError

VARIABLE = "ENVLOCK_CONDA_EXE"
NAMES = ("micromamba", "mamba", "conda")
"""In the order of preference: the first ones solve faster."""


class NoCondaExecutable(ConfigError):
    """ENVLOCK_CONDA_EXE names nothing that can be run."""

    code = "no-conda-executable"

    def __init__(self, found: str) -> None:
        super().__init__(
            f"{VARIABLE} is `{found}`, which is no executable",
            hint=f"export {VARIABLE}= to a conda, mamba or micromamba; or empty, to do without one",
        )


def conda_executable() -> Path | None:
    """The executable that ENVLOCK_CONDA_EXE names, else the first on PATH. None without one, and where it is empty.

    Raises NoCondaExecutable.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen is None:
        return next((Path(found) for name in NAMES if (found := shutil.which(name)) is not None), None)
    if not chosen.strip():
        return None
    found = shutil.which(chosen.strip())
    if found is None:
        raise NoCondaExecutable(chosen)
    return Path(found).absolute()
