"""What can go wrong when envlock.toml is written."""

from __future__ import annotations

from collections.abc import Sequence

from envlock.errors import ConfigError, Location
from envlock.redaction import shown


class CannotWrite(ConfigError):
    """A file of the project cannot be written."""

    code = "cannot-write"
    message = "cannot write `{path}`: {reason}"
    hint = "nothing was changed"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=path, reason=reason)


class UnclearTarget(ConfigError):
    """Several flows, steps or environments can be meant, and no option says which."""

    code = "unclear-target"

    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__(
            "envlock.toml has more than one place for a package" if choices else "envlock.toml has no flow to add to",
            details=("choices: " + ", ".join(f"`{choice}`" for choice in choices),) if choices else (),
            hint=f"add {choices[0]}, or another of these" if choices else "envlock init FLOW_FILE",
        )


class NotListed(ConfigError):
    """The table does not list the package that you want to remove."""

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
    """The `[env.*]` table that `import` or `lock --from` would write exists already."""

    code = "environment-exists"
    message = "`[env.{name}]` exists already"
    hint = "give another name to `--env`, or remove that table"

    def __init__(self, name: str, at: Location, *, hint: str | None = None) -> None:
        super().__init__(name=name, locations=(at,), hint=hint)


class NamesAnother(ConfigError):
    """The `[env.*]` table for `lock --using` names another environment already."""

    code = "names-another"
    message = "`[env.{name}]` names `{written}` already"
    hint = "change that line and run `envlock lock`, or give another name to `--env`"

    def __init__(self, name: str, written: str, at: Location) -> None:
        super().__init__(name=name, written=written, locations=(at,))


class SettingsDiffer(ConfigError):
    """An environment was locked with settings that this project does not have."""

    code = "settings-differ"
    message = "`{source}` was locked with other settings than this project's, and an `[env.*]` table cannot change them"

    def __init__(self, source: str, config: str, changes: Sequence[str]) -> None:
        super().__init__(
            source=source,
            locations=(Location(config),),
            details=tuple(changes),
            hint=f"in `[envlock]`, {changes[0]}" + ("; and so on" if len(changes) > 1 else ""),
        )


class CannotCopyRequirements(ConfigError):
    """The requirements of the environment cannot be copied into an `[env.*]` table."""

    code = "cannot-copy-requirements"
    message = "cannot copy the requirements of `{source}`: {reason}"
    hint = "to use it as it is: {use}"

    def __init__(self, source: str, reason: str, use: str) -> None:
        super().__init__(source=source, reason=reason, use=use)


class NoRequirementFile(ConfigError):
    """A file that is to be taken over is not there, or is no requirement file."""

    code = "no-requirement-file"
    message = "cannot take over `{path}`: {reason}"
    hint = "name a requirements.txt, an environment.yml or a pyproject.toml, relative to this folder"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=shown(path), reason=reason)


class NoFlowInFile(ConfigError):
    """A Python file has no flow: no class below Metaflow's FlowSpec."""

    code = "no-flow-in-file"
    message = "`{path}` has no flow"
    details = ("a flow is a class below `FlowSpec` of metaflow, or one with steps below a class of another module",)
    hint = "name the file that holds the class; `envlock init` alone takes all flows of the folder"

    def __init__(self, path: str) -> None:
        super().__init__(path=path, locations=(Location(path),))


class SameFlowTwice(ConfigError):
    """Two files have flows of one name, which envlock.toml cannot tell apart."""

    code = "same-flow-twice"
    message = "two flows are called `{name}`"
    hint = "rename one, or leave its file out"

    def __init__(self, name: str, first: Location, second: Location) -> None:
        super().__init__(name=name, locations=(first, second))


class BadMetaflowConfig(ConfigError):
    """Metaflow's settings of the project cannot be read, so nothing can be added to them."""

    code = "bad-metaflow-config"
    message = "`{path}` is not a JSON object: {reason}"
    hint = "correct it, or delete it; Metaflow cannot read it either"

    def __init__(self, path: str, reason: str, line: int | None = None) -> None:
        super().__init__(path=path, reason=reason, locations=(Location(path, line),))


class BadVscodeSettings(ConfigError):
    """VS Code's settings of the project cannot be read, so nothing can be added to them."""

    code = "bad-vscode-settings"
    message = "`{path}` is not JSON with comments: {reason}"
    hint = "correct it, or add this line yourself: {line_to_add}"

    def __init__(self, path: str, reason: str, line: int | None, line_to_add: str) -> None:
        super().__init__(path=path, reason=reason, line_to_add=line_to_add, locations=(Location(path, line),))
