"""`check`: the rules of drift, on a project found from a folder."""

from __future__ import annotations

from pathlib import Path

from envlock.config.project import Project
from envlock.config.read import find_config, load_project
from envlock.config.selection import Selection
from envlock.lockfile.drift import Verdict
from envlock.lockfile.drift import check as check_project


def check(config: Path | None = None, selection: Selection | None = None) -> tuple[Project, Verdict]:
    """The project of `config` (or the one around the current folder) and whether its locks are fresh and whole.

    Raises ConfigError when there is no judging: no envlock.toml, or a wrong one.
    """
    project = load_project(config or find_config(Path.cwd()))
    return project, check_project(project, selection)
