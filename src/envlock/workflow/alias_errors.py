"""What can be wrong with a name that a user gives or uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from envlock.errors import ConfigError, HydrateError, Location

if TYPE_CHECKING:
    from envlock.model.alias import Alias, BadAlias
    from envlock.model.arch import Arch


class BadAliasName(ConfigError):
    """A text that is no name which an environment can have."""

    code = "bad-alias"

    def __init__(self, error: BadAlias) -> None:
        super().__init__(
            f"{_shown(error.text)} cannot be the name of an environment: {error.reason}",
            details=(
                "a name has parts of small letters, digits, `-` and `_`, separated by `/`",
                "a tag follows after `:`, and may have dots too; without one, it is `latest`",
            ),
            hint="write it like `ml-team/fraud/base:v1`",
        )


class AmbiguousId(ConfigError):
    """The beginning of an id that several locks have."""

    code = "ambiguous-id"

    def __init__(self, found: str, identities: Sequence[str]) -> None:
        super().__init__(
            f"{len(identities)} environments have an id that begins with `{found}`",
            details=tuple(identities),
            hint="give more of it, or `req_id:full_id`",
        )


class UnsetNameVariable(ConfigError):
    """A name or a pathspec holds a variable that the environment does not."""

    code = "unset-name-variable"

    def __init__(self, text: str, variable: str) -> None:
        super().__init__(
            f"`{text}` names the environment variable `{variable}`, which is not set"
            if variable
            else f"`{text}` names no variable between its braces",
            hint=f"export {variable}=..." if variable else "write it like `team/base:@{VERSION}`",
        )


class AliasNeverMoves(ConfigError):
    """A tag that is given once was to be moved."""

    code = "alias-never-moves"

    def __init__(self, alias: Alias) -> None:
        super().__init__(
            f"`{alias}` has one move and no other: only latest, candidate and stable can be rolled back",
            hint=f"envlock alias log {alias}",
        )


class NoEarlierMove(ConfigError):
    """A tag is to be rolled back, and has moved once only."""

    code = "no-earlier-move"

    def __init__(self, alias: Alias) -> None:
        super().__init__(
            f"`{alias}` was given once, and there is nothing before that to go back to",
            hint=f"give it to another environment: envlock alias {alias} --env NAME",
        )


class AliasLacksArch(ConfigError):
    """A name, or ids, stand for an environment that is not there for the arch that is needed."""

    code = "alias-lacks-arch"

    def __init__(self, said: str, arch: Arch, archs: Sequence[Arch]) -> None:
        super().__init__(
            f"`{said}` is not there for {arch}",
            details=(f"it is there for: {', '.join(archs)}",),
            hint=f"lock it for {arch} too, and give a new tag to that; or name another arch: --arch {archs[0]}",
        )


class EnvironmentNotInCache(HydrateError):
    """An environment that a name or ids stand for is not in the cache, or no longer."""

    code = "environment-not-in-cache"

    def __init__(self, said: str, identity: str, arch: Arch, url: str) -> None:
        super().__init__(
            f"the environment of `{said}` for {arch} is not in the cache at {url}",
            details=(f"its identity is {identity}",),
            hint="run `envlock push` in a checkout whose envlock.lock still has it",
        )


class NothingAsks(ConfigError):
    """An environment was fetched for a project that does not ask for it."""

    code = "nothing-asks"

    def __init__(self, said: str, req_id: str, config: str) -> None:
        super().__init__(
            f"no environment of envlock.toml asks for what `{said}` was made of, so nothing was written",
            locations=(Location(config),),
            details=(f"its req_id is {req_id}", "a lock that nothing asks for would be taken away by the next `lock`"),
            hint="`envlock get --into FOLDER` writes the locks there, `envlock show` tells what is in them, and "
            "`envlock create --name N` makes the environment",
        )


def _shown(text: str) -> str:
    return f"`{text}`" if len(text) <= 80 else f"`{text[:60]}...`, {len(text)} characters long,"
