"""What became of a name: its moves, what each changed, and how two environments differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from envlock.cache.parallel import in_parallel
from envlock.errors import EnvlockError
from envlock.workflow.alias_errors import EnvironmentNotInCache
from envlock.workflow.finding import Finder, Found, found_by
from envlock.workflow.lock_changes import ArchChanges, compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envlock.model.alias import Alias
    from envlock.model.alias_record import AliasRecord
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock


@dataclass(frozen=True)
class LoggedMove:
    """One move of a tag."""

    record: AliasRecord
    changes: tuple[ArchChanges, ...] = ()
    """Against the move before it, for each arch that both are there for."""
    came: tuple[Arch, ...] = ()
    """Archs that the move before it was not there for."""
    went: tuple[Arch, ...] = ()
    is_gone: bool = False
    """Whether a lock that is needed to tell the changes is no longer in the cache."""


@dataclass(frozen=True)
class Comparison:
    """How two environments differ."""

    before: Found
    after: Found
    changes: tuple[ArchChanges, ...]
    """For each arch that both are there for."""
    came: tuple[Arch, ...]
    """Archs that only the second is there for."""
    went: tuple[Arch, ...]

    @property
    def is_same(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.came or self.went or any(each.changes for each in self.changes))


def log(finder: Finder, alias: Alias) -> tuple[LoggedMove, ...]:
    """Every move of a tag, oldest first, its chain of records proved.

    Costs a read for each move, and one for each lock that they point to. Raises AliasNotFound, BrokenAliasChain,
    NewerAliasRecord.
    """
    records = finder.aliases.history(alias)
    if not records:
        raise finder.not_found(alias)
    locks = _locks(finder, map(found_by, records))
    moves = [LoggedMove(records[0], came=found_by(records[0]).archs)]
    for before, after in pairwise(records):
        old, new = dict(before.full_ids), dict(after.full_ids)
        pairs = [
            (locks.get((arch, before.req_id, old[arch])), locks.get((arch, after.req_id, new[arch])))
            for arch in sorted(old.keys() & new.keys())
        ]
        moves.append(
            LoggedMove(
                after,
                changes=tuple(compare(one, other) for one, other in pairs if one and other),
                came=tuple(sorted(new.keys() - old.keys())),
                went=tuple(sorted(old.keys() - new.keys())),
                is_gone=not all(one and other for one, other in pairs),
            )
        )
    return tuple(moves)


def difference(finder: Finder, before: Found, after: Found) -> Comparison:
    """What came, went and changed from one environment to another, for each arch.

    Raises EnvironmentNotInCache, and what reading locks raises.
    """
    changes = [
        compare(finder.lock(before, arch), finder.lock(after, arch)) for arch in before.archs if arch in after.archs
    ]
    return Comparison(
        before=before,
        after=after,
        changes=tuple(changes),
        came=tuple(arch for arch in after.archs if arch not in before.archs),
        went=tuple(arch for arch in before.archs if arch not in after.archs),
    )


def list_aliases(finder: Finder, prefix: str = "") -> tuple[tuple[Alias, AliasRecord | EnvlockError], ...]:
    """Every name that begins with `prefix`, with its newest record or what is wrong with that. Sorted."""
    return tuple(finder.aliases.heads(prefix))


def _locks(finder: Finder, environments: Iterable[Found]) -> Mapping[tuple[Arch, str, str], Lock]:
    """The locks of some environments, each read once; those that are no longer there are left out."""
    wanted = {
        (arch, found.req_id, full_id): (found, arch) for found in environments for arch, full_id in found.full_ids
    }
    read = {}
    for key, lock in in_parallel(lambda key: finder.lock(*wanted[key]), wanted):
        if isinstance(lock, EnvironmentNotInCache):
            continue
        if isinstance(lock, EnvlockError):
            raise lock
        read[key] = lock
    return read
