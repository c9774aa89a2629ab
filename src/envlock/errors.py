"""The one tree of errors: each is a failure that the user can act on.

An error takes facts and renders itself: what was found, where (file, line, key), and the command that helps. Its `code`
is stable and has a page in `docs/reference/errors/`. Each folder has its errors in one module (`config/errors.py`,
`resolve/errors.py`, ...); a test walks the tree and holds codes unique and documented.

    EnvlockError                     exit status 2
    ├── ConfigError                  2   envlock.toml, or how envlock was called, is wrong
    ├── StaleError                   1   envlock.toml and the locks disagree; `envlock lock` repairs it
    ├── DamageError                  3   bytes are not what a lock says: a lock, the cache or a download was changed
    ├── ResolveError                 4   no lock can be made of these requirements, or an index did not answer
    └── HydrateError                 5   the environment cannot be made on this machine
"""

from __future__ import annotations

import re

from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from typing_extensions import Self


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


def place_document(place: Location | None) -> dict[str, object]:
    """The file and the line of a place, for `--json`; None where there is none.

    >>> place_document(Location("main:envlock.toml", 3)), place_document(None)
    ({'path': 'main:envlock.toml', 'line': 3}, {'path': None, 'line': None})
    """
    return {"path": place.path if place else None, "line": place.line if place else None}


def printable(text: str) -> str:
    r"""The text, of some lines, without what would steer who shows it: names and values come from files of others.

    A terminal is steered by control characters and by those that turn the order of letters around: `?` replaces them.
    A log of CI is steered by a line that begins with `::`, or by `##[` anywhere: neither is left.

    >>> printable("Train\x1b[2J/start\n  at envlock.toml")
    'Train?[2J/start\n  at envlock.toml'
    >>> printable("the step\n  ::error::x ##[add-mask]y")
    'the step\n  | ::error::x #\\u0023[add-mask]y'
    """
    return without_commands(steady(text))


def one_line(text: str) -> str:
    r"""As `printable`, of text that is meant to be a part of a line: a name, a reason, a path.

    >>> one_line("Train\n::add-mask::start")
    'Train ::add-mask::start'
    """
    return printable(text if text.isprintable() else " ".join(filter(None, map(str.strip, text.splitlines()))))


def steady(text: str) -> str:
    """The text with `?` for each character that moves, hides or turns around what is shown; line breaks and tabs stay.

    So do most bytes of a path that is not UTF-8 (they are surrogates): the path is of use as it is.
    """
    if text.isprintable():
        return text
    if "\n" in text:  # most lines of a long text are printable, which is soon known of a line
        return "\n".join(map(steady, text.split("\n")))
    return "".join(each if each.isprintable() or each == "\t" or "\udca0" <= each <= "\udcff" else "?" for each in text)


def without_commands(text: str) -> str:
    """The text, where no line is a command to GitHub, Azure Pipelines or TeamCity.

    In JSON, which is changed only inside of strings, it means the same as before.
    """
    if "::" not in text and "##" not in text:
        return text
    return re.sub(_MARKS, r"#\\u0023", re.compile(_COMMANDS, re.MULTILINE).sub(r"\1| ", text))


_COMMANDS = r"^([^\S\n]*)(?=::)"
_MARKS = r"##(?=\[|vso\[|teamcity\[)"


class EnvlockError(Exception):
    """A failure the user can act on.

    `message` is one sentence. `locations` say where it was found, `details` are further lines of facts, and `hint` is
    the command or the change that helps. A class may give each of the texts as a template, which the facts fill in:

    >>> class UnknownStep(EnvlockError):
    ...     code = "unknown-step"
    ...     message = "the flow `{flow}` has no step `{step}`"
    ...     hint = "envlock show"
    >>> print(UnknownStep(flow="Train", step="strat", locations=(Location("envlock.toml", 3),)).render())
    error[unknown-step]: the flow `Train` has no step `strat`
      at envlock.toml:3
    <BLANKLINE>
    hint: envlock show

    What is passed goes before the class's template, and is taken as it is. An error that was raised is never changed:
    code that knows more makes another one (`at`, `adding`, `with_hint`).
    """

    code: ClassVar[str] = "envlock"
    exit_status: ClassVar[int] = 2
    message: str = ""
    hint: str | None = None
    details: tuple[str, ...] = ()

    def __init__(
        self,
        message: str | None = None,
        *,
        locations: tuple[Location, ...] = (),
        details: tuple[str, ...] | None = None,
        hint: str | None = None,
        **facts: object,
    ) -> None:
        own = type(self)
        self.message = own.message.format_map(facts) if message is None else message
        self.locations = locations
        self.details = tuple(line.format_map(facts) for line in own.details) if details is None else details
        self.hint = own.hint.format_map(facts) if hint is None and own.hint else hint
        super().__init__(self.message)

    def at(self, *locations: Location) -> Self:
        """The same error, found at these places.

        >>> EnvlockError("no such step").at(Location("envlock.toml", 3)).locations
        (Location(path='envlock.toml', line=3, key=None),)
        """
        return self._with(locations=locations)

    def adding(self, *details: str, locations: tuple[Location, ...] = ()) -> Self:
        """The same error, with more lines of facts, and more places.

        >>> EnvlockError("no such step", details=("steps: start, end",)).adding("its flow is disabled").details
        ('steps: start, end', 'its flow is disabled')
        """
        return self._with(details=(*self.details, *details), locations=(*self.locations, *locations))

    def saying(self, *details: str) -> Self:
        """The same error, with these lines of facts in place of its own."""
        return self._with(details=details)

    def with_hint(self, hint: str) -> Self:
        """The same error, with another hint.

        >>> EnvlockError("no such step", hint="envlock show").with_hint("envlock init").hint
        'envlock init'
        """
        return self._with(hint=hint)

    def moved(self, root: str, shown: str, *, keep_hint: bool = True) -> Self:
        """The same error, of files below `root` or with relative paths: their paths begin with `shown`.

        >>> error = EnvlockError("cannot read `/tmp/x/a.py`", locations=(Location("envlock.toml", 3),))
        >>> print(error.moved("/tmp/x/", "main:").render())
        error[envlock]: cannot read `main:a.py`
          at main:envlock.toml:3
        """
        places = (each.path.removeprefix(root) for each in self.locations)
        return self._with(
            message=self.message.replace(root, shown),
            details=tuple(line.replace(root, shown) for line in self.details),
            hint=self.hint.replace(root, shown) if self.hint and keep_hint else None,
            locations=tuple(
                at._replace(path=path if path.startswith("/") else shown + path)
                for at, path in zip(self.locations, places, strict=True)
            ),
        )

    def _with(self, **changes: object) -> Self:
        made = type(self).__new__(type(self), *self.args)
        made.__dict__.update({**self.__dict__, **changes})
        return made

    def render(self) -> str:
        """The error as plain text, readable without colour.

        >>> print(EnvlockError("no such step", locations=(Location("envlock.toml", 3),), hint="envlock init").render())
        error[envlock]: no such step
          at envlock.toml:3
        <BLANKLINE>
        hint: envlock init
        """
        lines = [f"error[{self.code}]: {one_line(self.message)}"]
        lines += [f"  at {one_line(str(location))}" for location in self.locations]
        lines += [f"  {line}" for detail in self.details for line in detail.splitlines()]
        if self.hint:
            lines += ["", f"hint: {one_line(self.hint)}"]
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


def as_one(errors: Sequence[EnvlockError]) -> EnvlockError:
    """The error to raise for these: the only one itself, several as ManyErrors."""
    return errors[0] if len(errors) == 1 else ManyErrors(tuple(errors))
