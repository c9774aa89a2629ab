"""What can be wrong with a flow file."""

from __future__ import annotations

from pathlib import Path

from envlock.errors import ConfigError, Location


class NotANotebook(Exception):
    """What is wrong with a file that should be a notebook, for BadNotebook."""


def shown_path(path: Path) -> str:
    """The path as a reader wants it: relative to the working folder, where it lies below that."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class FlowFileMissing(ConfigError):
    """A flow file that is not there, or cannot be read."""

    code = "flow-file-missing"

    def __init__(self, path: Path, reason: str = "", *, locations: tuple[Location, ...] = ()) -> None:
        name = shown_path(path)
        super().__init__(
            f"cannot read `{name}`: {reason}" if reason else f"there is no flow file `{name}`",
            locations=locations,
            hint="`file` is relative to the folder of envlock.toml" if locations else None,
        )
        self.path = path


class FlowFileSyntax(ConfigError):
    """A flow file that is not Python."""

    code = "flow-file-syntax"
    message = "`{name}` is not valid Python: {reason}"

    def __init__(
        self, path: Path, line: int | None, reason: str, text: str = "", *, locations: tuple[Location, ...] = ()
    ) -> None:
        name = shown_path(path)
        super().__init__(
            name=name,
            reason=reason,
            locations=(Location(name, line), *locations),
            details=(text.strip(),) if text.strip() else (),
            hint="correct the cell, or delete it" if name.endswith(".ipynb") else f"python -m py_compile {name}",
        )
        self.path = path


class BadNotebook(ConfigError):
    """A flow file has the name of a notebook, but cannot be read as one."""

    code = "bad-notebook"
    message = "`{name}` is no notebook that envlock can read: {reason}"
    hint = "open it in Jupyter and save it there, or name a Python file"

    def __init__(self, path: Path, reason: str, locations: tuple[Location, ...] = ()) -> None:
        name = shown_path(path)
        super().__init__(name=name, reason=reason, locations=(Location(name), *locations))
