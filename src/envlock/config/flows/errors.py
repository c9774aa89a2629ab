"""What can be wrong with a flow file."""

from __future__ import annotations

from pathlib import Path

from envlock.errors import ConfigError, Location


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
    hint = "python -m py_compile {name}"

    def __init__(
        self, path: Path, line: int | None, reason: str, text: str = "", *, locations: tuple[Location, ...] = ()
    ) -> None:
        name = shown_path(path)
        super().__init__(
            name=name,
            reason=reason,
            locations=(Location(name, line), *locations),
            details=(text.strip(),) if text.strip() else (),
        )
        self.path = path
