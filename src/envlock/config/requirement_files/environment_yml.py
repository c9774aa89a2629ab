"""environment.yml, of conda."""

from __future__ import annotations

from envlock.config.requirement_files.contents import FileContents, RequirementFile


def read_environment_yml(file: RequirementFile) -> FileContents:
    """What the file says."""
    raise file.fault("this version of envlock cannot read it", 1)
