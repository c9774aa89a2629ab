"""The one tree of errors: each is a failure that the user can act on.

An error takes facts and renders itself: what was found, where (file, line, key), and the command that helps. Its `code`
is stable and has a page in `docs/reference/errors/`. The subclasses live beside what raises them (`config/errors.py`,
`resolve/errors.py`, ...); a test walks the tree and holds codes unique and documented.

    EnvlockError                     exit status 2
    ├── ConfigError                  2   envlock.toml, or how envlock was called, is wrong
    ├── StaleError                   1   envlock.toml and the locks disagree; `envlock lock` repairs it
    ├── DamageError                  3   bytes are not what a lock says: a lock, the cache or a download was changed
    ├── ResolveError                 4   no lock can be made of these requirements, or an index did not answer
    └── HydrateError                 5   the environment cannot be made on this machine
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Location(NamedTuple):
    """A place in a file that the user wrote or can read.

    >>> str(Location("envlock.toml", 14, "flow.Train.pypi.python"))
    'envlock.toml:14 (flow.Train.pypi.python)'
    >>> str(Location("envlock.toml"))
    'envlock.toml'
    """

    path: str
    line: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return place if self.key is None else f"{place} ({self.key})"


def printable(text: str) -> str:
    r"""The text with `?` for what would steer a terminal: names and values come from files that others wrote.

    >>> printable("Train\x1b[2J/start\n  at envlock.toml")
    'Train?[2J/start\n  at envlock.toml'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" or "\udc80" <= each <= "\udcff" else "?" for each in text
    )


def _is_byte(character: str) -> bool:
    """Whether it stands for a byte of a path that is not UTF-8."""
    return "\udc80" <= character <= "\udcff"


class EnvlockError(Exception):
    """A failure the user can act on.

    `message` is one sentence. `locations` say where it was found, `details` are further lines of facts, and `hint` is
    the command or the change that helps.
    """

    code: ClassVar[str] = "envlock"
    exit_status: ClassVar[int] = 2

    def __init__(
        self,
        message: str,
        *,
        locations: tuple[Location, ...] = (),
        details: tuple[str, ...] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.locations = locations
        self.details = details
        self.hint = hint

    def render(self) -> str:
        """The error as plain text, readable without colour.

        >>> print(EnvlockError("no such step", locations=(Location("envlock.toml", 3),), hint="envlock init").render())
        error[envlock]: no such step
          at envlock.toml:3
        <BLANKLINE>
        hint: envlock init
        """
        lines = [f"error[{self.code}]: {self.message}"]
        lines += [f"  at {location}" for location in self.locations]
        lines += [f"  {line}" for detail in self.details for line in detail.splitlines()]
        if self.hint:
            lines += ["", f"hint: {self.hint}"]
        return printable("\n".join(lines))

    def as_dict(self) -> dict[str, object]:
        """The error for `--json`: the same facts, by name."""
        return {
            "code": self.code,
            "message": self.message,
            "locations": [{"path": at.path, "line": at.line, "key": at.key} for at in self.locations],
            "details": list(self.details),
            "hint": self.hint,
        }


class ConfigError(EnvlockError):
    """envlock.toml, or the way envlock was called, is wrong."""

    code = "config"


class StaleError(EnvlockError):
    """envlock.toml and the locks disagree."""

    code = "stale"
    exit_status = 1


class DamageError(EnvlockError):
    """Bytes are not what a lock says they are."""

    code = "damage"
    exit_status = 3


class ResolveError(EnvlockError):
    """No lock can be made of these requirements now."""

    code = "resolve"
    exit_status = 4


class HydrateError(EnvlockError):
    """The environment cannot be made on this machine."""

    code = "hydrate"
    exit_status = 5


class ManyErrors(EnvlockError):
    """Several failures found in one go, each whole; the exit status is the gravest one's."""

    code = "many"

    def __init__(self, errors: tuple[EnvlockError, ...]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors
        self.exit_status = max(error.exit_status for error in errors)  # type: ignore[misc]

    def render(self) -> str:
        """Each error's own text, with an empty line between."""
        return "\n\n".join(error.render() for error in self.errors)

    def as_dict(self) -> dict[str, object]:
        """The facts of each error, in `errors`."""
        return {**super().as_dict(), "errors": [error.as_dict() for error in self.errors]}
