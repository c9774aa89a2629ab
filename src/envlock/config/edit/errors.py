"""What can go wrong when envlock.toml is written."""

from __future__ import annotations

from collections.abc import Sequence

from envlock.errors import ConfigError, Location
from envlock.redaction import shown


class CannotWrite(ConfigError):
    """A file of the project cannot be written."""

    code = "cannot-write"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot write `{path}`: {reason}", hint="nothing was changed")


class UnclearTarget(ConfigError):
    """Several flows, steps or environments can be meant, and no option says which."""

    code = "unclear-target"

    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__(
            "envlock.toml has more than one place for a package" if choices else "envlock.toml has no flow to add to",
            details=("choices: " + ", ".join(f"`{choice}`" for choice in choices),) if choices else (),
            hint=f"add {choices[0]}, or another of these" if choices else "envlock init --force FLOW_FILE",
        )


class NotListed(ConfigError):
    """A package is to be removed from a table that does not list it."""

    code = "not-listed"

    def __init__(
        self, package: str, level: str, *, kind: str = "", elsewhere: Sequence[Location] = (), hint: str | None = None
    ) -> None:
        super().__init__(
            f"`{shown(package)}` is not listed{f' as a {kind} package' if kind else ''} in {level}"
            + (", but here:" if elsewhere else ""),
            locations=tuple(elsewhere),
            hint=hint,
        )


class EnvironmentExists(ConfigError):
    """`lock --from` is to write an `[env.*]` table that exists."""

    code = "environment-exists"

    def __init__(self, name: str, at: Location) -> None:
        super().__init__(
            f"`[env.{name}]` exists already",
            locations=(at,),
            hint="give another name to `--env`, or remove that table",
        )


class NamesAnother(ConfigError):
    """`lock --using` is to name an environment in an `[env.*]` table that names another."""

    code = "names-another"

    def __init__(self, name: str, written: str, at: Location) -> None:
        super().__init__(
            f"`[env.{name}]` names `{written}` already",
            locations=(at,),
            hint="change that line and run `envlock lock`, or give another name to `--env`",
        )


class SettingsDiffer(ConfigError):
    """An environment was locked with settings that this project does not have."""

    code = "settings-differ"

    def __init__(self, source: str, config: str, changes: Sequence[str]) -> None:
        super().__init__(
            f"`{source}` was locked with other settings than this project's, and an `[env.*]` table cannot change them",
            locations=(Location(config),),
            details=tuple(changes),
            hint=f"in `[envlock]`, {changes[0]}" + ("; and so on" if len(changes) > 1 else ""),
        )


class CannotCopyRequirements(ConfigError):
    """No `[env.*]` table has the requirements of an environment."""

    code = "cannot-copy-requirements"

    def __init__(self, source: str, reason: str, use: str) -> None:
        super().__init__(f"cannot copy the requirements of `{source}`: {reason}", hint=f"to use it as it is: {use}")


class ConfigExists(ConfigError):
    """`init` finds an envlock.toml, and does not overwrite it without `--force`."""

    code = "config-exists"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"`{path}` exists already",
            locations=(Location(path),),
            hint="`envlock add` adds packages to it; `envlock init --force` replaces it and keeps the old file",
        )


class NoFlowInFile(ConfigError):
    """A Python file has no flow: no class below Metaflow's FlowSpec."""

    code = "no-flow-in-file"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"`{path}` has no flow",
            locations=(Location(path),),
            details=(
                "a flow is a class below `FlowSpec` of metaflow, or one with steps below a class of another module",
            ),
            hint="name the file that holds the class; `envlock init` alone writes an empty envlock.toml",
        )


class SameFlowTwice(ConfigError):
    """Two files have flows of one name, which envlock.toml cannot tell apart."""

    code = "same-flow-twice"

    def __init__(self, name: str, first: Location, second: Location) -> None:
        super().__init__(
            f"two flows are called `{name}`", locations=(first, second), hint="rename one, or leave its file out"
        )


class BadMetaflowConfig(ConfigError):
    """Metaflow's settings of the project cannot be read, so nothing can be added to them."""

    code = "bad-metaflow-config"

    def __init__(self, path: str, reason: str, line: int | None = None) -> None:
        super().__init__(
            f"`{path}` is not a JSON object: {reason}",
            locations=(Location(path, line),),
            hint="correct it, or delete it; Metaflow cannot read it either",
        )
