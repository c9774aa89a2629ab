"""What can be wrong with envlock.toml and the files that it names. No error shows a credential.

Names, versions and architectures have their errors beside what parses them, in `envlock.model`.
"""

from __future__ import annotations

from envlock.errors import ConfigError, DamageError, Location
from envlock.model.url import variable_fault
from envlock.redaction import shown, without_credentials
from envlock.words import did_you_mean, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.config.project import KeyPath

ALIKE = 0.5
"""How like a known word an unknown one has to be: two letters of `pypi` that changed places are half of it."""


def all_of(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """The line of details that lists what there is."""
    return (f"{what}: {', '.join(map(shown, names)) or 'none'}",)


class NoConfig(ConfigError):
    """There is no envlock.toml to read.

    `looked_at` is the folder to begin with, or the file that was named.
    """

    code = "no-config"
    hint = "envlock init"

    def __init__(self, looked_at: str) -> None:
        is_file = looked_at.endswith(".toml")
        super().__init__(
            f"there is no file `{looked_at}`" if is_file else f"no envlock.toml in `{looked_at}` or any folder above it"
        )


class RevisionWithoutLocks(ConfigError):
    """The project has no locks at a revision."""

    code = "revision-without-locks"
    message = "at the revision `{revision}`, the project has no locks: there is no `{path}`"
    hint = "name a revision at which it has some: `git log -- :/{path}` lists the commits that changed them"

    def __init__(self, revision: str, path: str) -> None:
        super().__init__(revision=revision, path=path)


class UnsafeFile(DamageError):
    """A flow file or a requirement file that envlock.toml names is not safe to read."""

    code = "unsafe-file"
    message = "refused to read `{path}`: {reason}"
    hint = "put a plain file there"

    def __init__(self, path: str, reason: str, locations: Sequence[Location] = (), *, hint: str | None = None) -> None:
        super().__init__(path=path, reason=reason, locations=tuple(locations) or (Location(path),), hint=hint)


class Unexplained(ConfigError):
    """The light reader refuses what the full one accepts: a defect of envlock."""

    code = "unexplained"
    message = "envlock cannot read this file and cannot say why"
    hint = "this is a defect of envlock; please report it with the file"

    def __init__(self, path: str) -> None:
        super().__init__(locations=(Location(path),))


class NotToml(ConfigError):
    """The file cannot be parsed.

    `text` is the line where the parser stopped.
    """

    code = "not-toml"
    message = "`{path}` is not valid TOML: {reason}"

    def __init__(
        self,
        path: str,
        reason: str,
        *,
        line: int | None = None,
        column: int | None = None,
        text: str = "",
        hint: str = "the format is described at https://toml.io",
    ) -> None:
        line_shown = shown(text.rstrip(), 120)
        pointer = f"\n{' ' * (column - 1)}^" if column is not None and line_shown == text.rstrip() else ""
        super().__init__(
            path=path,
            reason=reason,
            locations=(Location(path, line),),
            details=(f"{line_shown}{pointer}",) if line_shown else (),
            hint=hint,
        )

    def unquoted(self) -> NotToml:
        """The same error without the line: for a file that whoever reads the message may not be allowed to read."""
        return self._with(details=())


class DottedName(ConfigError):
    """A package whose name has a dot, as a key without quotes: TOML makes a table of what is before the dot."""

    code = "dotted-name"
    message = "`{name}` needs quotes: without them, it is the key `{key}` of a table `{table}`"
    hint = 'write it as `"{name}" = {value}`'

    def __init__(self, name: str, value: str, at: Location) -> None:
        table, _, key = shown(name).partition(".")
        super().__init__(name=shown(name), table=table, key=key, value=shown(value), locations=(at,))


class WrittenTwice(ConfigError):
    """A key or a table that is defined twice."""

    code = "written-twice"
    message = "`{key}` is defined twice"
    hint = "merge the two into one"

    def __init__(self, key: str, places: Sequence[Location]) -> None:
        super().__init__(key=shown(key), locations=tuple(places))


class MergeConflict(ConfigError):
    """The file has the markers of an unresolved merge conflict."""

    code = "merge-conflict"
    message = "`{path}` has an unresolved merge conflict"
    hint = "resolve it, then run `envlock lock`"

    def __init__(self, path: str, line: int) -> None:
        super().__init__(path=path, locations=(Location(path, line),))


class UnknownKey(ConfigError):
    """A key that its table does not have.

    `advice` says what to write instead, if that is known.
    """

    code = "unknown-key"
    message = "`{found}` is not a key of {table}"

    def __init__(
        self, found: str, table: str, right: Sequence[str], at: Location, *, advice: str | None = None
    ) -> None:
        super().__init__(
            found=shown(found),
            table=table,
            locations=(at,),
            details=all_of("keys", right),
            hint=advice or did_you_mean(found, right, ALIKE) or "remove it",
        )


class WrongType(ConfigError):
    """A value of another type than its key's.

    `example` is the key with a right value, as TOML.
    """

    code = "wrong-type"
    message = "`{key}` must be {right}, not {found}"

    def __init__(self, key: str, found: str, right: str, at: Location, *, example: str | None = None) -> None:
        super().__init__(
            key=shown(key),
            right=right,
            found=shown(found),
            locations=(at,),
            hint=f"write it as `{without_credentials(example)}`" if example else f"change it to {right}",
        )


class InvalidValue(ConfigError):
    """A value of the right type that its key does not accept: the kind of all such errors."""


class BadValue(InvalidValue):
    """A value that its key does not accept.

    `right` are the accepted ones, if they are few.
    """

    code = "bad-value"

    def __init__(
        self, key: str, found: str, reason: str, at: Location, *, right: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(
            f"invalid value `{shown(found)}` for `{shown(key)}`" + (f": {reason}" if reason else ""),
            locations=(at,),
            details=all_of("values", right) if right else (),
            hint=hint or did_you_mean(found, right, ALIKE) or f"use {listed((f'`{each}`' for each in right), 'or')}",
        )


class BadSource(InvalidValue):
    """A package cannot come from the repository, the folder or the file that is named."""

    code = "bad-source"

    def __init__(self, package: str, key: str, found: str, reason: str, *, hint: str | None = None) -> None:
        self.reason = reason
        super().__init__(
            f"`{shown(package)}` cannot come from `{key} = {shown(found)}`: {reason}",
            hint=hint or 'write `{ path = "libs/common" }`, or `{ git = "https://...", tag = "v1.0" }`',
        )


class BadPythonSpecifier(InvalidValue):
    """A range of Python versions that PEP 440 does not know."""

    code = "bad-python-specifier"
    message = "`{found}` is not a range of Python versions"
    details = ('examples: ">=3.11,<3.13", "3.12" for any 3.12, "3.12.4" for just that one',)
    hint = 'write it as `python = "3.12"`'

    def __init__(self, found: str, at: Location) -> None:
        super().__init__(found=shown(found), locations=(at,))


class BadMarker(InvalidValue):
    """The text after `;` is not an environment marker (PEP 508)."""

    code = "bad-marker"
    message = "`{found}` is not an environment marker: {reason}"
    details = ("examples: `sys_platform == 'linux'`, `python_version < '3.12'`",)
    hint = "write the value as \">=1,<2 ; sys_platform == 'linux'\""

    def __init__(self, found: str, reason: str, at: Location) -> None:
        super().__init__(found=shown(found), reason=reason, locations=(at,))


class BadIndexUrl(InvalidValue):
    """An index that is not the URL of a web server."""

    code = "bad-index-url"
    message = "`{found}` is not the URL of a package index"
    hint = 'write it as "https://index.example/simple/"'

    def __init__(self, found: str, *locations: Location) -> None:
        fault = variable_fault(found)
        super().__init__(
            found=shown(found),
            locations=locations,
            details=(
                *([fault] if fault else ()),
                "a URL begins with https:// or http://, and may have `${VARIABLE}`s from the environment",
            ),
            hint='write it as "https://${USER}:${PASSWORD}@index.example/simple/"' if fault else None,
        )
        self.found = found


class BadChannel(InvalidValue):
    """Not a conda channel: neither a name nor a URL."""

    code = "bad-channel"
    message = "`{found}` is not a conda channel"
    hint = 'write it as "conda-forge", or "https://conda.example/team"'

    def __init__(self, found: str, at: Location | None = None) -> None:
        fault = variable_fault(found)
        is_path = ("/" in found and "://" not in found) or found.startswith("file:")
        super().__init__(
            found=shown(found),
            locations=(at,) if at else (),
            details=(
                *([fault] if fault else ()),
                "a channel is a name, such as `conda-forge` or `conda-forge/label/rc`,",
                "or a URL that begins with https://, http://, s3:// or file:///",
            ),
            hint="write a folder of this machine as `file:///srv/channel`, with `%20` for a space" if is_path else None,
        )


class BadCondaEntry(InvalidValue):
    """A name with a version that is not a requirement of a conda package."""

    code = "bad-conda-requirement"
    message = "`{found}` is not a conda requirement: {reason}"
    details = ("examples: `1.26.4`, `=1.26`, `>=1.26,<2`, `1.4=py310*`; the name may begin with `channel::`",)
    hint = "write a version or a range of versions, or an empty text for any version"

    def __init__(self, name: str, constraint: str, reason: str, at: Location | None = None) -> None:
        found = shown(f"{name} {constraint}".strip())
        super().__init__(found=found, reason=shown(reason, 120), locations=(at,) if at else ())


class BadInstant(InvalidValue):
    """An `exclude-newer` that is not an instant, a day, or a span of time."""

    code = "bad-instant"
    message = "`{found}` is not an instant, a day or a span of time"
    details = ('examples: "2026-11-01", "2026-11-01T12:00:00Z", "7d", "2 weeks", "12 hours"',)
    hint = 'write it as `exclude-newer = "7d"`'

    def __init__(self, found: str, at: Location) -> None:
        super().__init__(found=shown(found), locations=(at,))


class NoSuchSelection(ConfigError):
    """The project does not have the flow, step, environment or arch that was named."""

    code = "no-such-selection"
    message = "this project has no {kind} `{found}`"

    def __init__(self, kind: str, found: str, right: Sequence[str], path: str) -> None:
        """`path` is the project's envlock.toml, as messages name it."""
        super().__init__(
            kind=kind,
            found=found,
            locations=(Location(path),),
            details=(f"{kind}s: {', '.join(right) or 'none'}",),
            hint=did_you_mean(found, right),
        )


class SeveralEnvironments(ConfigError):
    """A command needs one environment, and several were named."""

    code = "several-environments"
    message = "name one environment: several match"

    def __init__(self, names: Sequence[str], key: KeyPath, path: str, *, by_options: bool = True) -> None:
        """`key` is the table of one of them, `path` the project's envlock.toml.

        `by_options` says whether a user names one by options, or else by a reference.
        """
        from envlock.config.selection import options_of

        self.names = tuple(names)
        example = options_of(key) if by_options else self.names[0]
        super().__init__(locations=(Location(path),), details=tuple(names), hint=f"for example: `{example}`")


class StepDisabled(ConfigError):
    """A step is disabled, so it has no environment."""

    code = "step-disabled"
    message = "`{name}` is disabled: it has no environment, and runs in the interpreter that starts the flow"
    hint = "remove `disabled = true` there, or name another step"

    def __init__(self, name: str, location: Location) -> None:
        super().__init__(name=name, locations=(location,))


class NoEnvironments(ConfigError):
    """envlock.toml has no environment."""

    code = "no-environments"
    message = "envlock.toml has no environment"
    hint = "add a `[flow.NAME]` or an `[env.NAME]` table"

    def __init__(self, path: str) -> None:
        super().__init__(locations=(Location(path),))
