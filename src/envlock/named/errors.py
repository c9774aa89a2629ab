"""What can be wrong with an alias, a reference, a pin or a base."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from envlock.errors import ConfigError, DamageError, HydrateError, Location
from envlock.redaction import shown

if TYPE_CHECKING:
    from envlock.model.arch import Arch
    from envlock.named.alias import Alias, BadAlias
    from envlock.named.move import Move
    from envlock.named.pin import Pin


class BadNamedEnv(ConfigError):
    """A `name` that no environment can have, or a `pathspec` that leads to no step."""

    code = "bad-named-env"

    def __init__(self, kind: str, found: str, reason: str, at: Location) -> None:
        """`kind` is `name`, `pathspec` or `aliases`."""
        what = "the pathspec of a step" if kind == "pathspec" else "the name of an environment"
        example = {
            "name": 'name = "team/base:v1"',
            "pathspec": 'pathspec = "TrainFlow/142/train"',
            "aliases": 'aliases = ["team/base:v1"]',
        }[kind]
        super().__init__(f"`{shown(found)}` is not {what}: {reason}", locations=(at,), hint=f"write it as `{example}`")


class NamedEnvVariableUnset(ConfigError):
    """A name holds `@{VARIABLE}`, and the variable is not set."""

    code = "named-env-variable-unset"

    def __init__(self, written: str, variable: str, at: Location) -> None:
        super().__init__(
            f"the variable `{shown(variable)}` is not set, and `{shown(written)}` needs it",
            locations=(at,),
            details=("`@{VARIABLE}` in a name stands for a variable of the environment",),
            hint=f"export {shown(variable)}=...",
        )


class DamagedPin(DamageError):
    """What a name was locked to was changed after it was written."""

    code = "damaged-pin"

    def __init__(self, path: str, reason: str, *, is_merge: bool = False) -> None:
        super().__init__(
            "the pin of a named environment was changed or cut off after it was written",
            locations=(Location(path),),
            details=(reason, "once envlock.toml is settled, `envlock lock` takes the later move")
            if is_merge
            else (reason,),
            hint="envlock lock"
            if is_merge
            else f"restore it (`git checkout -- {path}`), or delete it and run `envlock lock`",
        )
        self.is_merge = is_merge


class NewerPinFormat(ConfigError):
    """The pin of a named environment was written by a newer envlock."""

    code = "newer-pin-format"

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"this pin has format {found}; this envlock reads up to {known}",
            locations=(Location(path),),
            hint="upgrade envlock (`uv pip install --upgrade envlock`)",
        )


_SHOWN = 8
_SHORT_IDS = re.compile(r"[0-9a-f]{7,40}:[0-9a-f]{7,40}")


class AliasNotFound(ConfigError):
    """No environment has that name in the cache."""

    code = "alias-not-found"

    def __init__(self, alias: Alias, url: str, others: Iterable[Alias]) -> None:
        from difflib import get_close_matches

        names = sorted(map(str, others))
        near = get_close_matches(str(alias), names, n=1, cutoff=0.5)
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        super().__init__(
            f"no environment is called `{alias}`",
            locations=(Location(url),),
            details=(f"names near it: {shown}",) if names else (),
            hint=_instead(str(alias), near),
        )


class AliasTaken(ConfigError):
    """A tag that never moves was given to another environment before."""

    code = "alias-taken"

    def __init__(self, record: Move, *, wanted: str) -> None:
        """`wanted` is the environment that the name was asked for."""
        alias = record.alias
        super().__init__(
            f"`{alias}` is taken: only latest, candidate and stable move, every other tag is given once",
            details=(*_told("given", record), f"not      {wanted}"),
            hint=f"give another tag, such as `{alias.name}:{_next(alias.tag)}`, or `{alias.name}:latest`, which moves",
        )
        self.record = record


class AliasMoved(ConfigError):
    """A tag was moved by somebody else after it was looked at."""

    code = "alias-moved"

    def __init__(self, record: Move, expected: int) -> None:
        super().__init__(
            f"`{record.alias}` moved meanwhile: "
            + (f"it was at move {expected}" if expected else "it was not given yet")
            + f", and is at move {record.sequence}",
            details=_told("moved", record),
            hint=f"look at `envlock alias log {record.alias}`, then run the command again if it is still right",
        )


class AliasBusy(ConfigError):
    """So many move a tag at once that this one never had its turn."""

    code = "alias-busy"

    def __init__(self, alias: Alias) -> None:
        super().__init__(
            f"`{alias}` could not be moved: others move it all the time", hint="run the command again in a while"
        )


class NoSuchMove(ConfigError):
    """A tag has no move of that number."""

    code = "no-such-move"

    def __init__(self, alias: Alias, sequence: int, last: int) -> None:
        super().__init__(
            f"`{alias}` has no move {sequence}",
            details=(f"its moves are numbered from 1 to {last}",),
            hint=f"envlock alias log {alias}",
        )


class BrokenAliasChain(DamageError):
    """A record of a tag's history was changed, or taken away."""

    code = "broken-alias-chain"

    def __init__(self, alias: Alias, place: str, reason: str) -> None:
        super().__init__(
            f"the history of `{alias}` was tampered with or damaged; it was not used",
            locations=(Location(place),),
            details=(reason,),
            hint="restore that file from the store's older versions; where there are none, look who can write there, "
            f"delete everything below {place.rpartition('/')[0]}, and give the name again",
        )


class NewerMoveFormat(ConfigError):
    """A name was given by a newer envlock, in a format that this one does not know."""

    code = "newer-move-format"

    def __init__(self, alias: Alias, place: str, reason: str) -> None:
        super().__init__(
            f"`{alias}` was given by a newer envlock",
            locations=(Location(place),),
            details=(reason,),
            hint="pip install -U envlock",
        )


class DamagedRunRecord(DamageError):
    """The cache's own record of what a step ran in was changed or cut off."""

    code = "damaged-run-record"

    def __init__(self, place: str) -> None:
        super().__init__(
            "the record of the environment that a step ran in was changed or cut off; it was not used",
            locations=(Location(place),),
            hint="delete that file, and ask where Metaflow's own metadata of the run can be read",
        )


class BadPathspec(ConfigError):
    """A pathspec that does not name a step or a task."""

    code = "bad-pathspec"

    def __init__(self, found: str) -> None:
        super().__init__(
            f"`{found}` is not the pathspec of a step or a task",
            details=("a pathspec is `Flow/run/step`, or `Flow/run/step/task`",),
            hint="envlock show --pathspec TrainFlow/142/train",
        )


class PathspecNotFound(ConfigError):
    """Metaflow knows no step or task of that pathspec."""

    code = "pathspec-not-found"

    def __init__(self, pathspec: str, reason: str) -> None:
        super().__init__(
            f"Metaflow does not find `{pathspec}`",
            details=(reason,) if reason else (),
            hint="run this in the folder where the flow was run, with the same METAFLOW_ settings",
        )


class NothingRecorded(ConfigError):
    """A task that did not run in a locked environment."""

    code = "nothing-recorded"

    def __init__(self, pathspec: str) -> None:
        super().__init__(
            f"no environment is recorded for `{pathspec}`",
            details=("its step was disabled, or the flow was not run with --environment=envlock",),
            hint="name a step that is not disabled, of a run with --environment=envlock",
        )


class MetaflowMissing(ConfigError):
    """Metaflow is needed, and is not in the Python that envlock is in."""

    code = "metaflow-missing"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "Metaflow cannot be imported by envlock's Python",
            details=(reason,),
            hint='pip install "envlock[metaflow]"',
        )


class LockNotFound(ConfigError):
    """An environment that ran, or was named by its ids, has no lock in the project or its cache."""

    code = "lock-not-found"

    def __init__(self, wanted: str, where: str, cache: str, *, ran: str = "") -> None:
        """`wanted` are the ids, `where` is the folder they were looked for in, `ran` the pathspec of what ran in it."""
        message = f"the lock of `{ran}` is not here: {wanted}" if ran else f"no lock has the id `{wanted}`"
        super().__init__(
            message,
            locations=(Location(where),),
            details=(f"it is not in the cache {cache} either",),
            hint=f"run `envlock push` where it was locked; it may be in the history: git log --all -- {where}",
        )


def ways_to_have(pin: Pin, arch: Arch) -> str:
    """What helps where a named environment is not there for an arch."""
    less = f"or take {arch} out of `archs`"
    if pin.kind == "name":
        return f"have it locked for {arch} and named anew, {less}"
    return (
        "what ran on one arch counts for that one: where it ran from, "
        f"`envlock alias TEAM/NAME:TAG --pathspec {pin.reference}` names it for each arch that it is locked for; name "
        f"that, {less}"
    )


def target_of(record: Move) -> str:
    """What a record points to, for messages: the ids, shortened, and the archs.

    >>> from envlock.named.move import Move
    >>> from envlock.model.arch import LINUX_64
    >>> target_of(Move("a", "v1", 1, "1" * 40, ((LINUX_64, "2" * 40),), "mia", "", ""))
    '111111111111:222222222222 on linux-64'
    """
    return shown_target(record.req_id, record.full_ids)


def shown_target(req_id: str, full_ids: Sequence[tuple[str, str]]) -> str:
    """An environment, for messages: the ids, shortened, and the archs; a full_id that several share is said once.

    >>> shown_target("1" * 40, (("linux-64", "2" * 40), ("osx-64", "3" * 40), ("osx-arm64", "3" * 40)))
    '111111111111:222222222222 on linux-64; :333333333333 on osx-64, osx-arm64'
    """
    archs: dict[str, list[str]] = {}
    for arch, full_id in full_ids:
        archs.setdefault(full_id[:12], []).append(arch)
    return req_id[:12] + "; ".join(f":{full_id} on {', '.join(on)}" for full_id, on in archs.items())


def _instead(name: str, near: Sequence[str]) -> str:
    """What may help who asked for a name that there is not."""
    if near:
        return f"did you mean `{near[0]}`?"
    if _SHORT_IDS.fullmatch(name):
        told = "`envlock show --json` and `envlock alias ls --json` print them"
        return f"in envlock.toml, ids must have all 40 digits: {told}"
    return f"give it: envlock alias {name} --env NAME"


def _told(verb: str, record: Move) -> tuple[str, ...]:
    """Who gave a name, when, from what, why and to what: each on one line, whatever they wrote."""
    told = [f"{verb}    {record.when} by {record.who}, from {record.source}"]
    if record.why:
        told.append(f"why      {record.why}")
    return (*(" ".join([line[:8], *line[8:].split()]) for line in told), f"it is    {target_of(record)}")


def _next(tag: str) -> str:
    """A tag that may follow another.

    >>> _next("v1"), _next("v2.9"), _next("prod")
    ('v2', 'v2.10', 'prod-2')
    """
    number = re.search(r"[0-9]+\Z", tag)
    return f"{tag[: number.start()]}{int(number[0]) + 1}" if number else f"{tag}-2"


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


class NotNeeded(ConfigError):
    """An environment was fetched for a project that does not ask for it."""

    code = "not-needed"

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


class FetchedAtExec(ConfigError):
    """A lock is needed of a step whose environment is known only when it starts."""

    code = "fetched-at-exec"

    def __init__(self, names: Sequence[str], locations: tuple[Location, ...]) -> None:
        which = ", ".join(f"`{name}`" for name in names)
        super().__init__(
            f"the environment of {which} is fetched when the step starts, and is not locked",
            locations=locations,
            hint="name the environment itself, or take `fetch_at_exec` away and run `envlock lock`",
        )


class BaseLacksArch(ConfigError):
    """A named environment is not there for an arch of the project."""

    code = "base-lacks-arch"

    def __init__(self, names: Sequence[str], pin: Pin, arch: Arch, location: Location) -> None:
        super().__init__(
            f"`{pin.reference}` is not there for {arch}, and {', '.join(f'`{name}`' for name in names)} needs it",
            locations=(location,),
            details=("it is there for: " + ", ".join(each for each, _ in pin.full_ids),),
            hint=ways_to_have(pin, arch),
        )
