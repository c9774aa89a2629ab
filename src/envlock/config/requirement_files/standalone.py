"""A project of requirement files alone, without an envlock.toml that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from envlock.config.project import CONFIG_NAME, OF_METAFLOW, Project
from envlock.config.read import project_of
from envlock.errors import EnvlockError, Location, ManyErrors


def project_of_files(
    files: Mapping[str, Sequence[Any]],
    *,
    name: str,
    folder: Path,
    locks: Path,
    python: str = "",
    cache: str = "",
    around: Project | None = None,
) -> Project:
    """A project with one `[env.<name>]`, whose requirements are those of files.

    `files` are the values of the keys that name requirement files, their paths relative to `folder`, where the project
    is. `locks` is its lock folder. Its settings are those of the project `around`, with this `cache`. Raises what
    reading an envlock.toml raises, without its lines: nobody wrote them.
    """
    settings = dict(around.table) if around is not None else {}
    settings.pop("extends", None)  # what the team file says is among them
    if cache:
        settings["cache"] = cache
    elif around is not None:
        settings["cache"] = around.written_cache
        if around.settings.cache == OF_METAFLOW:
            settings["cache-options"] = {key: value for key, value in around.cache_options._asdict().items() if value}
    table: dict[str, Any] = {kind: list(values) for kind, values in files.items() if values}
    if python:
        table["pypi"] = {"python": python}
    text = tomli_w.dumps({"envlock": settings, "env": {name: table}})
    try:
        return project_of(folder / CONFIG_NAME, text)._replace(locks=locks)
    except EnvlockError as error:
        raise without_lines(error) from None


def without_lines(error: EnvlockError) -> EnvlockError:
    """The error without the places and keys of an envlock.toml that is not there."""
    if isinstance(error, ManyErrors):
        return ManyErrors(tuple(map(without_lines, error.errors)))
    return error.at(*(Location(at.path, at.line) for at in error.locations if at.path != CONFIG_NAME))
