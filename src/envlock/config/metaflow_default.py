"""Metaflow's own settings of a project: `.metaflow/config.json`, where envlock is made the default environment."""

from __future__ import annotations

import json
from pathlib import Path

from envlock.errors import ConfigError, Location
from envlock.files import CONFIG_BYTES, json_of, read_file, write_atomically

KEY = "METAFLOW_DEFAULT_ENVIRONMENT"


class BadMetaflowConfig(ConfigError):
    """Metaflow's settings of the project cannot be read, so nothing can be added to them."""

    code = "bad-metaflow-config"

    def __init__(self, path: str, reason: str, line: int | None = None) -> None:
        super().__init__(
            f"`{path}` is no JSON object: {reason}",
            locations=(Location(path, line),),
            hint="correct it, or delete it; Metaflow cannot read it either",
        )


def make_default(folder: Path) -> Path:
    """Let flows that are run below `folder` have `--environment=envlock`, and return the file that says so.

    Other settings of the file stay. Metaflow reads it from the nearest `.metaflow` at or above the working folder.
    Raises BadMetaflowConfig, CannotWrite.
    """
    path = folder / ".metaflow" / "config.json"
    name = path.relative_to(folder).as_posix()
    try:
        settings = _settings(path, name)
        if settings.get(KEY) != "envlock":
            settings[KEY] = "envlock"
            write_atomically(path, (json.dumps(settings, indent=4) + "\n").encode())
    except OSError as error:
        from envlock.config.edit import CannotWrite

        raise CannotWrite(name, error.strerror or str(error)) from None
    return path


def _settings(path: Path, name: str) -> dict[str, object]:
    try:
        settings = json_of(read_file(path, CONFIG_BYTES))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise BadMetaflowConfig(name, error.msg, error.lineno) from None
    except ValueError as error:
        raise BadMetaflowConfig(name, str(error)) from None
    if not isinstance(settings, dict):
        raise BadMetaflowConfig(name, f"it is a {type(settings).__name__}")
    return settings
