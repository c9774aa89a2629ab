"""pyproject.toml: dependencies, extras and dependency groups."""

from __future__ import annotations

from collections.abc import Sequence

from envlock.config.requirement_files.contents import FileContents, RequirementFile
from envlock.words import listed


def read_pyproject(file: RequirementFile, *, extras: Sequence[str], groups: Sequence[str]) -> FileContents:
    """What the file says."""
    raise file.fault(f"this version of envlock cannot read it, nor {listed([*extras, *groups])} of it", 1)
