"""What can be wrong with an alias, a reference, a pin, a base or a run record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from envlock.errors import ConfigError, DamageError, HydrateError, Location
from envlock.redaction import shown
from envlock.words import did_you_mean, first_of, listed

if TYPE_CHECKING:
    from envlock.model.arch import Arch
    from envlock.named.alias import Alias
    from envlock.named.move import Move
    from envlock.named.pin import Pin

_SHOWN = 8
_SHORT_IDS = re.compile(r"[0-9a-f]{7,40}:[0-9a-f]{7,40}")
_UPGRADE = "upgrade envlock (`uv pip install --upgrade envlock`)"


# References: a text that names an environment.


class BadReference(ConfigError):
    """A reference that names no environment, whatever a cache holds."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text=shown(text), reason=reason)
        self.reason = reason


class BadAlias(BadReference):
    """The text is not a valid alias."""

    code = "bad-alias"
    message = "`{text}` is not a valid alias: {reason}"
    details = (
        "a name has parts of lowercase letters, digits, `-` and `_`, separated by `/`",
        "a tag follows after `:`, and may have dots too; without one, it is `latest`",
    )
    hint = "write it like `ml-team/fraud/base:v1`"


class BadPathspec(BadReference):
    """A pathspec that does not name a step or a task."""

    code = "bad-pathspec"
    message = "`{text}` is not the pathspec of a step or a task"
    details = ("{reason}",)
    hint = "write it like `TrainFlow/142/train`"

    def __init__(self, text: str) -> None:
        super().__init__(text, "a pathspec is `Flow/run/step`, or `Flow/run/step/task`")


class UnsetNameVariable(ConfigError):
    """A reference holds `@{VARIABLE}`, and that environment variable is not set."""

    code = "unset-name-variable"
    message = "`{text}` needs the environment variable `{variable}`, which is not set"
    hint = "export {variable}=..."

    def __init__(self, text: str, variable: str) -> None:
        if variable:
            super().__init__(text=shown(text), variable=shown(variable))
        else:
            super().__init__(
                f"`{shown(text)}` has no variable between its braces", hint="write it like `team/base:@{VERSION}`"
            )


class AmbiguousId(ConfigError):
    """Several locks have ids that begin with these digits."""

    code = "ambiguous-id"

    def __init__(self, text: str, ids: Sequence[str]) -> None:
        super().__init__(
            f"{len(ids)} environments have an id that begins with `{text}`",
            details=tuple(ids),
            hint="give more of its digits, or `req_id:full_id`",
        )


class LockNotFound(ConfigError):
    """An environment that ran, or was named by its ids, has no lock in the project or its cache."""

    code = "lock-not-found"
    details = ("it is not in the cache {cache} either",)
    hint = "run `envlock push` where it was locked; it may be in the history: git log --all -- {where}"

    def __init__(self, ids: str, where: str, cache: str, *, ran: str = "") -> None:
        """`where` is the folder that should have it, `ran` the pathspec of what ran in it."""
        super().__init__(
            f"the lock of `{ran}` is not here: {ids}" if ran else f"no lock has the id `{ids}`",
            locations=(Location(where),),
            cache=cache,
            where=where,
        )


class EnvironmentNotInCache(HydrateError):
    """The cache does not have an environment that an alias or ids name, or no longer."""

    code = "environment-not-in-cache"
    message = "the environment of `{reference}` for {arch} is not in the cache at {url}"
    details = ("its ids are {ids}",)
    hint = "run `envlock push` in a checkout whose envlock.lock still has it"


class AliasLacksArch(ConfigError):
    """The environment of an alias, or of ids, is not locked for the arch that is needed."""

    code = "alias-lacks-arch"

    def __init__(self, reference: str, arch: Arch, archs: Sequence[Arch]) -> None:
        super().__init__(
            f"`{reference}` is not there for {arch}",
            details=(f"it is there for: {', '.join(archs)}",),
            hint=f"lock it for {arch} too, and give it a new tag; or use another arch: --arch {archs[0]}",
        )


class NotNeeded(ConfigError):
    """Nothing in envlock.toml needs the environment that `get` would fetch."""

    code = "not-needed"
    message = "no environment in {config} has the requirements of `{reference}`, so nothing was written"
    details = ("its req_id is {req_id}", "the next `envlock lock` would prune a lock that nothing needs")
    hint = (
        "`envlock get --into FOLDER` writes the locks there, `envlock show` shows what is in them, and "
        "`envlock create --name N` makes the environment"
    )

    def __init__(self, reference: str, req_id: str, config: str) -> None:
        super().__init__(locations=(Location(config),), reference=reference, req_id=req_id, config=config)


# Aliases, and the moves of their tags.


class AliasNotFound(ConfigError):
    """No environment in the cache has that alias."""

    code = "alias-not-found"

    def __init__(self, alias: Alias, url: str, others: Iterable[Alias]) -> None:
        names = sorted(map(str, others))
        super().__init__(
            f"no environment is called `{alias}`",
            locations=(Location(url),),
            details=(f"similar aliases: {first_of(names, _SHOWN)}",) if names else (),
            hint=did_you_mean(str(alias), names, cutoff=0.5) or _how_to_have(str(alias)),
        )


class AliasTaken(ConfigError):
    """A tag that never moves was given to another environment before."""

    code = "alias-taken"

    def __init__(self, move: Move, *, wanted: str) -> None:
        """`wanted` is the environment that the alias was to be given to, for messages."""
        self.move = move
        alias = move.alias
        following = f"{alias.name}:{next_tag(alias.tag)}"
        super().__init__(
            f"`{alias}` is taken: only latest, candidate and stable move, every other tag is given once",
            details=(*_facts("given", move), f"not      {wanted}"),
            hint=f"use another tag, such as `{following}`, or `{alias.name}:latest`, which moves",
        )


class AliasMoved(ConfigError):
    """Somebody else moved a tag after it was read."""

    code = "alias-moved"

    def __init__(self, move: Move, expected: int) -> None:
        super().__init__(
            f"`{move.alias}` moved meanwhile: "
            + (f"it was at move {expected}" if expected else "it was not given yet")
            + f", and is at move {move.sequence}",
            details=_facts("moved", move),
            hint=f"look at `envlock alias log {move.alias}`, then run the command again if it is still right",
        )


class AliasBusy(ConfigError):
    """Too many processes move the tag at the same time."""

    code = "alias-busy"
    message = "`{alias}` could not be moved: others move it all the time"
    hint = "run the command again in a while"


class AliasNeverMoves(ConfigError):
    """A tag that never moves cannot be rolled back."""

    code = "alias-never-moves"
    message = "`{alias}` never moves: only latest, candidate and stable can be rolled back"
    hint = "envlock alias log {alias}"


class NoEarlierMove(ConfigError):
    """The tag has only one move, so it cannot be rolled back."""

    code = "no-earlier-move"
    message = "`{alias}` has one move, so there is none to go back to"
    hint = "give it to another environment: envlock alias {alias} --env NAME"


class NoSuchMove(ConfigError):
    """A tag has no move of that number."""

    code = "no-such-move"
    message = "`{alias}` has no move {sequence}"
    details = ("its moves are numbered from 1 to {last}",)
    hint = "envlock alias log {alias}"


class BrokenAliasChain(DamageError):
    """A move in a tag's history was changed, or taken away."""

    code = "broken-alias-chain"
    message = "the history of `{alias}` was tampered with or damaged; it was not used"
    details = ("{reason}",)
    hint = (
        "restore that file from the store's older versions; if there are none, find out who can write there, delete "
        "everything below {folder}, and give the alias again"
    )

    def __init__(self, alias: Alias, place: str, reason: str) -> None:
        """`place` is the move's file."""
        folder = place.rpartition("/")[0]
        super().__init__(locations=(Location(place),), alias=alias, reason=reason, folder=folder)


class NewerMoveFormat(ConfigError):
    """A newer envlock gave an alias, in a format that this one does not know."""

    code = "newer-move-format"
    message = "a newer envlock gave `{alias}`: this move has {found}, which this envlock does not read"
    hint = _UPGRADE


# Pins and bases.


class DamagedPin(DamageError):
    """A pin was changed after it was written."""

    code = "damaged-pin"

    def __init__(self, path: str, reason: str, *, is_merge: bool = False) -> None:
        """`is_merge` if a merge left its conflict markers in it."""
        by_lock = ("once envlock.toml is settled, `envlock lock` takes the later move",) if is_merge else ()
        restore = f"restore it (`git checkout -- {path}`), or delete it and run `envlock lock`"
        super().__init__(
            "the pin of a named environment was changed or cut off after it was written",
            locations=(Location(path),),
            details=(reason, *by_lock),
            hint="envlock lock" if is_merge else restore,
        )
        self.is_merge = is_merge


class NewerPinFormat(ConfigError):
    """A newer envlock wrote the pin of a named environment."""

    code = "newer-pin-format"
    message = "this pin has format {found}; this envlock reads up to {known}"
    hint = _UPGRADE


class BaseLacksArch(ConfigError):
    """A base is not locked for an arch of the project."""

    code = "base-lacks-arch"

    def __init__(self, names: Sequence[str], pin: Pin, arch: Arch, location: Location) -> None:
        """`names` are the environments that have this base."""
        super().__init__(
            f"`{pin.reference}` is not there for {arch}, and {listed(f'`{name}`' for name in names)} needs it",
            locations=(location,),
            details=(f"it is there for: {', '.join(each for each, _ in pin.full_ids)}",),
            hint=ways_to_have(pin, arch),
        )


def ways_to_have(pin: Pin, arch: Arch) -> str:
    """What helps where a base is not locked for an arch."""
    less = f"or remove {arch} from `archs`"
    if pin.kind == "name":
        return f"have it locked for {arch} and given a new alias, {less}"
    return (
        "a pathspec names what ran on one arch: in the project that it ran from, "
        f"`envlock alias TEAM/NAME:TAG --pathspec {pin.reference}` gives an alias for each arch that it is locked for; "
        f"use that, {less}"
    )


class FetchedAtExec(ConfigError):
    """The step has no lock, because its environment is looked up when the step starts."""

    code = "fetched-at-exec"

    def __init__(self, names: Sequence[str], locations: tuple[Location, ...]) -> None:
        super().__init__(
            f"the environment of {listed(f'`{name}`' for name in names)} is fetched when the step starts, "
            "so it has no lock",
            locations=locations,
            hint="use the alias itself, or remove `fetch_at_exec` and run `envlock lock`",
        )


class ChangedMeanwhile(ConfigError):
    """Somebody else wrote envlock.toml while `lock --using` or `lock --from` locked its new table."""

    code = "changed-meanwhile"
    message = "somebody else changed {config} while its new environment was locked"
    details = ("their change is kept, and nothing was written",)
    hint = "run the command again"

    def __init__(self, config: str) -> None:
        super().__init__(locations=(Location(config),), config=config)


# What steps of runs ran in.


class DamagedRunRecord(DamageError):
    """The cache's record of what a step ran in was changed or cut off."""

    code = "damaged-run-record"
    message = "the record of the environment that a step ran in was changed or cut off; it was not used"
    hint = "delete that file, and run the command where Metaflow's own metadata of the run can be read"

    def __init__(self, place: str) -> None:
        super().__init__(locations=(Location(place),))


class PathspecNotFound(ConfigError):
    """Metaflow knows no step or task of that pathspec."""

    code = "pathspec-not-found"
    message = "Metaflow does not find `{pathspec}`"
    details = ("{reason}",)
    hint = "run this in the folder where the flow was run, with the same METAFLOW_ settings"


class NothingRecorded(ConfigError):
    """A task that did not run in a locked environment."""

    code = "nothing-recorded"
    message = "no environment is recorded for `{pathspec}`"
    details = ("its step was disabled, or the flow was not run with --environment=envlock",)
    hint = "name a step that is not disabled, of a run with --environment=envlock"


class MetaflowMissing(ConfigError):
    """Metaflow is needed, and is not in the Python that envlock is in."""

    code = "metaflow-missing"
    message = "envlock's Python cannot import Metaflow"
    details = ("{reason}",)
    hint = 'pip install "envlock[metaflow]"'


def _how_to_have(alias: str) -> str:
    if _SHORT_IDS.fullmatch(alias):
        return "in envlock.toml, ids must have all 40 digits; `envlock show --json` and `envlock alias ls --json` do"
    return f"to give it to an environment: envlock alias {alias} --env NAME"


def _facts(verb: str, move: Move) -> tuple[str, ...]:
    """Who made a move, when, from what, why and to what: each on one line, whatever they wrote."""
    lines = [f"{verb}    {move.when} by {move.who}, from {move.source}"]
    if move.why:
        lines.append(f"why      {move.why}")
    return (*(" ".join([line[:8], *line[8:].split()]) for line in lines), f"it is    {move.ids}")


def next_tag(tag: str) -> str:
    """A tag that may follow another.

    >>> next_tag("v1"), next_tag("v2.9"), next_tag("prod")
    ('v2', 'v2.10', 'prod-2')
    """
    number = re.search(r"[0-9]+\Z", tag)
    return f"{tag[: number.start()]}{int(number[0]) + 1}" if number else f"{tag}-2"
