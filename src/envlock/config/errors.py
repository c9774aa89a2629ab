"""What can be wrong with envlock.toml. Each error takes the facts and the places; none ever shows a credential.

Names, versions and architectures have their errors beside what parses them, in `envlock.model`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from envlock.config.quoting import shown, without_credentials
from envlock.errors import ConfigError, DamageError, Location
from envlock.model.url import variable_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def near(found: str, right: Sequence[str], cutoff: float = 0.5) -> str | None:
    """The hint that names the right word which is most like `found`, where one is.

    >>> near("pyip", ["conda", "pypi"])
    'did you mean `pypi`?'
    """
    # Two letters of `pypi` that changed places are half of it.
    alike = get_close_matches(found, right, n=1, cutoff=cutoff)
    return f"did you mean `{alike[0]}`?" if alike else None


def listed(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """The line of details that lists what there is."""
    return (f"{what}: {', '.join(names) or 'none'}",)


class NoConfig(ConfigError):
    """There is no envlock.toml to read. `looked_at` is the folder to begin with, or the file that was named."""

    code = "no-config"

    def __init__(self, looked_at: str) -> None:
        is_file = looked_at.endswith(".toml")
        super().__init__(
            f"there is no file `{looked_at}`" if is_file else f"there is no envlock.toml in `{looked_at}` or above it",
            hint="envlock init",
        )


class UnreadableConfig(ConfigError):
    """envlock.toml is there, and cannot be read."""

    code = "unreadable-config"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"`{path}` cannot be read: {reason}", hint="name the file itself, and let this user read it")


class UnsafeFile(DamageError):
    """What envlock.toml names as a flow file or a file of requirements is nothing that may be read as one."""

    code = "unsafe-file"

    def __init__(self, path: str, reason: str, locations: Sequence[Location] = ()) -> None:
        super().__init__(
            f"`{path}` was not read: {reason}",
            locations=tuple(locations) or (Location(path),),
            hint="put the file itself there",
        )


class NotToml(ConfigError):
    """The file cannot be parsed. `text` is the line where the parser stopped."""

    code = "not-toml"

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
            f"`{path}` is not TOML: {reason}",
            locations=(Location(path, line),),
            details=(f"{line_shown}{pointer}",) if line_shown else (),
            hint=hint,
        )

    def unquoted(self) -> NotToml:
        """The same error without the line: for a file that whoever reads the message may not be allowed to read."""
        return self._with(details=())


class DottedName(ConfigError):
    """A package whose name has a dot, as a key without quotes: TOML makes a table of what stands before the dot."""

    code = "dotted-name"

    def __init__(self, name: str, value: str, at: Location) -> None:
        table, _, key = name.partition(".")
        super().__init__(
            f"`{shown(name)}` without quotes is the key `{shown(key)}` of a table `{shown(table)}`, and no name",
            locations=(at,),
            details=("a dot in a key of TOML makes a table of what stands before it",),
            hint=f'write it as `"{shown(name)}" = {shown(value)}`',
        )


class WrittenTwice(ConfigError):
    """A key or a table that is written twice; TOML has one value for each."""

    code = "written-twice"

    def __init__(self, key: str, places: Sequence[Location]) -> None:
        super().__init__(f"`{shown(key)}` is written twice", locations=tuple(places), hint="put both into one")


class MergeConflict(ConfigError):
    """The file holds the markers of a merge that nobody has settled."""

    code = "merge-conflict"

    def __init__(self, path: str, line: int) -> None:
        super().__init__(
            f"`{path}` has an unsettled merge conflict",
            locations=(Location(path, line),),
            hint="settle it, then run `envlock lock`",
        )


class UnknownKey(ConfigError):
    """A key that means nothing where it stands. `advice` says where its meaning went, when that is known."""

    code = "unknown-key"

    def __init__(
        self, found: str, table: str, right: Sequence[str], at: Location, *, advice: str | None = None
    ) -> None:
        super().__init__(
            f"`{shown(found)}` is not a key of {table}",
            locations=(at,),
            details=listed("keys", right),
            hint=advice or near(found, right) or "remove it",
        )


class WrongType(ConfigError):
    """A value of another type than its key's. `example` is the key with a right value, as TOML."""

    code = "wrong-type"

    def __init__(self, key: str, found: str, right: str, at: Location, *, example: str | None = None) -> None:
        super().__init__(
            f"`{shown(key)}` must be {right}, not {shown(found)}",
            locations=(at,),
            hint=f"write it as `{without_credentials(example)}`" if example else f"change it to {right}",
        )


class BadValue(ConfigError):
    """A value of the right type that its key does not take. `right` are those that it takes, where a list is short."""

    code = "bad-value"

    def __init__(
        self, key: str, found: str, reason: str, at: Location, *, right: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(
            f"`{shown(found)}` is no value of `{shown(key)}`" + (f": {reason}" if reason else ""),
            locations=(at,),
            details=listed("values", right) if right else (),
            hint=hint or near(found, right) or f"change it to one of {', '.join(right)}",
        )


class BadPythonSpecifier(ConfigError):
    """A range of Pythons that PEP 440 does not know."""

    code = "bad-python-specifier"

    def __init__(self, found: str, at: Location) -> None:
        super().__init__(
            f"`{shown(found)}` is not a range of Python versions",
            locations=(at,),
            details=('examples: ">=3.11,<3.13", "3.12" for any 3.12, "3.12.4" for just that one',),
            hint='python = "3.12"',
        )


class BadMarker(ConfigError):
    """What stands after `;` is no environment marker (PEP 508)."""

    code = "bad-marker"

    def __init__(self, found: str, reason: str, at: Location) -> None:
        super().__init__(
            f"`{shown(found)}` is not an environment marker: {reason}",
            locations=(at,),
            details=("examples: `sys_platform == 'linux'`, `python_version < '3.12'`",),
            hint="write the value as \">=1,<2 ; sys_platform == 'linux'\"",
        )


class BadIndexUrl(ConfigError):
    """An index that is no URL of a web server."""

    code = "bad-index-url"

    def __init__(self, found: str, *locations: Location) -> None:
        fault = variable_fault(found)
        super().__init__(
            f"`{shown(found)}` is not the URL of a package index",
            locations=locations,
            details=(
                *([fault] if fault else ()),
                "an index begins with https:// or http://, and may hold ${VARIABLE}s of the environment",
            ),
            hint='write it as "https://${USER}:${PASSWORD}@index.example/simple/"'
            if fault
            else 'write it as "https://index.example/simple/"',
        )
        self.found = found


class BadChannel(ConfigError):
    """What is no conda channel: neither a name nor a URL."""

    code = "bad-channel"

    def __init__(self, found: str, at: Location | None = None) -> None:
        super().__init__(
            f"`{shown(found)}` is not a conda channel",
            locations=(at,) if at else (),
            details=(
                *([fault] if (fault := variable_fault(found)) else ()),
                "a channel is a name, such as `conda-forge` or `conda-forge/label/rc`,",
                "or a URL that begins with https://, http://, s3:// or file:///",
            ),
            hint="a folder of this machine is written as `file:///srv/channel`, a space in it as `%20`"
            if ("/" in found and "://" not in found) or found.startswith("file:")
            else 'write it as "conda-forge", or "https://conda.example/team"',
        )


class BadCondaEntry(ConfigError):
    """A name and a constraint that no conda package can have."""

    code = "bad-conda-requirement"

    def __init__(self, name: str, constraint: str, reason: str, at: Location | None = None) -> None:
        super().__init__(
            f"`{shown(f'{name} {constraint}'.strip())}` asks for no conda package: {shown(reason, 120)}",
            locations=(at,) if at else (),
            details=("examples: `1.26.4`, `=1.26`, `>=1.26,<2`, `1.4=py310*`; the name may begin with `channel::`",),
            hint="write a version or a range of versions; an empty text means any version",
        )


class BadInstant(ConfigError):
    """An `exclude-newer` that is neither an instant, nor a day, nor a span."""

    code = "bad-instant"

    def __init__(self, found: str, at: Location) -> None:
        super().__init__(
            f"`{shown(found)}` is not an instant, a day or a span of time",
            locations=(at,),
            details=('examples: "2026-11-01", "2026-11-01T12:00:00Z", "7d", "2 weeks", "12 hours"',),
            hint='exclude-newer = "7d"',
        )


class FlowWithoutFile(ConfigError):
    """A flow whose file is not named, so that its steps are not known."""

    code = "flow-without-file"

    def __init__(self, flow: str, at: Location) -> None:
        super().__init__(
            f"the flow `{shown(flow)}` does not say which file it is in",
            locations=(at,),
            hint=f'add `file = "..."` to `[flow.{shown(flow)}]`',
        )


class UnknownFlow(ConfigError):
    """A flow that its file does not define."""

    code = "unknown-flow"

    def __init__(self, found: str, right: Sequence[str], at: Location) -> None:
        super().__init__(
            f"the file of the flow `{shown(found)}` does not define it",
            locations=(at,),
            details=listed("flows in the file", right),
            hint=near(found, right) or "name the table after the flow's class",
        )


class UnknownStep(ConfigError):
    """A step that its flow does not have."""

    code = "unknown-step"

    def __init__(self, found: str, flow: str, right: Sequence[str], at: Location) -> None:
        super().__init__(
            f"the flow `{shown(flow)}` has no step `{shown(found)}`",
            locations=(at,),
            details=listed("steps", right),
            hint=near(found, right) or "name the table after one of the steps",
        )


class DisagreeingValues(ConfigError):
    """Two places at one level say different things about one thing."""

    code = "disagreeing-values"

    def __init__(self, values: Sequence[str], places: Sequence[Location]) -> None:
        found = " and ".join(f"`{shown(value)}`" for value in values)
        super().__init__(f"two values that disagree: {found}", locations=tuple(places), hint="keep one of them")


class UnknownIndex(ConfigError):
    """A package that is to come from an index which `[envlock.indexes]` does not name."""

    code = "unknown-index"

    def __init__(self, found: str, right: Sequence[str], at: Location) -> None:
        super().__init__(
            f"a package is asked of the index `{shown(found)}`, which `[envlock.indexes]` does not name",
            locations=(at,),
            details=listed("indexes", [shown(each) for each in right]),
            hint=near(found, right) or f'add `indexes.{shown(found)} = "https://..."` to `[envlock]`, or write the URL',
        )


class NameAndPathspec(ConfigError):
    """A named environment that is named twice over."""

    code = "name-and-pathspec"

    def __init__(self, places: Sequence[Location]) -> None:
        super().__init__(
            "`named_env` takes a `name` or a `pathspec`, not both",
            locations=tuple(places),
            hint="keep one of the two",
        )


class DisabledWithRequirements(ConfigError):
    """A level that is disabled and asks for packages all the same."""

    code = "disabled-with-requirements"

    def __init__(self, places: Sequence[Location]) -> None:
        super().__init__(
            "this is disabled, and asks for something too",
            locations=tuple(places),
            hint="remove `disabled = true`, or what is asked",
        )


class FetchAtExecWithoutName(ConfigError):
    """`fetch_at_exec` with nothing to fetch."""

    code = "fetch-at-exec-without-name"

    def __init__(self, places: Sequence[Location]) -> None:
        super().__init__(
            "`fetch_at_exec` needs the `name` or the `pathspec` of an environment",
            locations=tuple(places),
            hint='named_env = { name = "team/base:v1", fetch_at_exec = true }',
        )


class FetchAtExecWithRequirements(ConfigError):
    """An environment that is fetched when the step starts cannot be extended when it is locked."""

    code = "fetch-at-exec-with-requirements"

    def __init__(self, places: Sequence[Location]) -> None:
        super().__init__(
            "an environment with `fetch_at_exec` cannot ask for anything more",
            locations=tuple(places),
            hint="remove `fetch_at_exec`, or what is asked (here, or by the flow)",
        )


class NamedEnvWithRequirementsAtFlowLevel(ConfigError):
    """A flow that names an environment and asks for packages: which steps would extend it is not said."""

    code = "named-env-with-requirements-at-flow-level"

    def __init__(self, places: Sequence[Location]) -> None:
        super().__init__(
            "a flow takes `named_env`, or packages, not both",
            locations=tuple(places),
            hint="put the packages into the steps that need them: a step may extend a named environment",
        )


class NamedLikeAStep(ConfigError):
    """An `[env.*]` table whose name is that of a step's environment."""

    code = "named-like-a-step"

    def __init__(self, name: str, places: Sequence[Location]) -> None:
        super().__init__(
            f"the environment of a step is called `{shown(name)}` already",
            locations=tuple(places),
            hint=f'rename `[env."{shown(name)}"]`',
        )


class NamedEnvDisabled(ConfigError):
    """An `[env.*]` table that is disabled."""

    code = "named-env-disabled"

    def __init__(self, places: Sequence[Location]) -> None:
        super().__init__(
            "an environment of its own cannot be disabled",
            locations=tuple(places),
            hint="remove `disabled`, or the whole table",
        )


def from_conflict(rule: str, values: tuple[str, ...], locations: tuple[Location, ...]) -> ConfigError:
    """The error of a broken rule of merging: its code, what stands there, and where.

    >>> from_conflict("unknown-step", ("strat", "Train", "start", "end"), (Location("envlock.toml", 4),)).hint
    'did you mean `start`?'
    """
    at = tuple(Location(each.path, each.line, each.key and shown(each.key, 200)) for each in locations)
    if rule == UnknownStep.code:
        return UnknownStep(values[0], values[1], values[2:], at[0])
    if rule == UnknownFlow.code:
        return UnknownFlow(values[0], values[1:], at[0])
    if rule == FlowWithoutFile.code:
        return FlowWithoutFile((at[0].key or "").removeprefix("flow."), at[0])
    if rule == UnknownIndex.code:
        return UnknownIndex(values[0], values[1:], at[0])
    if rule == NamedLikeAStep.code:
        return NamedLikeAStep(values[0], at)
    if rule == DisagreeingValues.code:
        return DisagreeingValues(values, at)
    return _PLAIN[rule](at)


_PLAIN: dict[str, Callable[[Sequence[Location]], ConfigError]] = {
    each.code: each
    for each in (
        NameAndPathspec,
        DisabledWithRequirements,
        FetchAtExecWithoutName,
        FetchAtExecWithRequirements,
        NamedEnvWithRequirementsAtFlowLevel,
        NamedEnvDisabled,
    )
}
