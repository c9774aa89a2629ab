"""What can be wrong with a name in the cache, or with giving one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from envlock.cache.layout import alias_folder
from envlock.errors import ConfigError, DamageError, Location

if TYPE_CHECKING:
    from envlock.model.alias import Alias
    from envlock.model.alias_record import AliasRecord

_SHOWN = 8
_SHORT_IDS = re.compile(r"[0-9a-f]{7,40}:[0-9a-f]{7,40}")


class AliasNotFound(ConfigError):
    """No environment has that name in the cache."""

    code = "alias-not-found"

    def __init__(self, alias: Alias, url: str, others: Iterable[Alias]) -> None:
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

    def __init__(self, record: AliasRecord, *, wanted: str) -> None:
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

    def __init__(self, record: AliasRecord, expected: int) -> None:
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
            f"delete everything below {alias_folder(alias)} in the cache, and give the name again",
        )


class NewerAliasRecord(ConfigError):
    """A name was given by a newer envlock, in a format that this one does not know."""

    code = "newer-alias-record"

    def __init__(self, alias: Alias, place: str, reason: str) -> None:
        super().__init__(
            f"`{alias}` was given by a newer envlock",
            locations=(Location(place),),
            details=(reason,),
            hint="pip install -U envlock",
        )


def target_of(record: AliasRecord) -> str:
    """What a record points to, for messages: the ids, shortened, and the archs.

    >>> from envlock.model.alias_record import AliasRecord
    >>> from envlock.model.arch import LINUX_64
    >>> target_of(AliasRecord("a", "v1", 1, "1" * 40, ((LINUX_64, "2" * 40),), "mia", "", ""))
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


def _told(verb: str, record: AliasRecord) -> tuple[str, ...]:
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
