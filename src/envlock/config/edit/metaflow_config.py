"""Metaflow's own settings of a project: `.metaflow/config.json`, where envlock is made the default environment."""

from __future__ import annotations

import json
from pathlib import Path

from envlock.config.edit.errors import BadMetaflowConfig, CannotWrite
from envlock.files import CONFIG_BYTES, json_of, read_file, refuse_unwritable, write_atomically

KEY = "METAFLOW_DEFAULT_ENVIRONMENT"


def with_default(folder: Path) -> tuple[Path, str | None]:
    """The file that lets flows below `folder` have `--environment=envlock`, and the text that it lacks; None if none.

    Raises BadMetaflowConfig, CannotWrite.
    """
    path = folder / ".metaflow" / "config.json"
    name = path.relative_to(folder).as_posix()
    try:
        settings = json_of(read_file(path, CONFIG_BYTES)) if path.exists() else {}
        if not isinstance(settings, dict):
            raise BadMetaflowConfig(name, f"it is a {type(settings).__name__}")
        if settings.get(KEY) == "envlock":
            return path, None
        refuse_unwritable(path)
        return path, json.dumps({**settings, KEY: "envlock"}, indent=4) + "\n"
    except json.JSONDecodeError as error:
        raise BadMetaflowConfig(name, error.msg, error.lineno) from None
    except OSError as error:
        raise CannotWrite(name, error.strerror or str(error)) from None
    except ValueError as error:
        raise BadMetaflowConfig(name, str(error)) from None


def make_default(folder: Path) -> Path:
    """Let flows that run below `folder` have `--environment=envlock`, and return the file that says so.

    Other settings of the file stay. Metaflow reads it from the nearest `.metaflow` at or above the working folder.
    Raises BadMetaflowConfig, CannotWrite.
    """
    path, text = with_default(folder)
    if text is not None:
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise CannotWrite(path.relative_to(folder).as_posix(), error.strerror or str(error)) from None
    return path
