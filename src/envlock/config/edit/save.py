"""envlock.toml from a text: tried before it is written, and written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from envlock.config.edit.errors import CannotWrite
from envlock.config.project import Project
from envlock.files import refuse_unwritable, write_atomically


def load_text(path: Path, text: str) -> Project:
    """The project that `path` would describe if it held `text`. Raises ConfigError, with all errors of the text."""
    from envlock.config.read import project_of
    from envlock.config.validate import explain

    explain(text, path)
    return project_of(path, text)


def check_writable(path: Path) -> None:
    """Raise CannotWrite if envlock.toml, which exists, cannot be written: what a dry run can know of that."""
    try:
        refuse_unwritable(path.resolve(strict=True))
    except OSError as error:
        raise CannotWrite(path.name, error.strerror or str(error)) from None


def save(path: Path, text: str) -> Project:
    """Write envlock.toml, which exists, if the text is right; else leave it. Raises ConfigError, CannotWrite."""
    project = load_text(path, text)
    try:
        write_atomically(path.resolve(strict=True), text.encode())
    except OSError as error:
        raise CannotWrite(path.name, error.strerror or str(error)) from None
    return project
