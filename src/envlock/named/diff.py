"""How each move of a tag differs from the one before."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError
from envlock.lockfile.changes import ArchChanges, compare
from envlock.named.errors import EnvironmentNotInCache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envlock.cache.layout import EnvironmentPlace
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock
    from envlock.named.alias import Alias
    from envlock.named.lookup import Lookup, NamedEnvironment
    from envlock.named.move import Move


@dataclass(frozen=True)
class MoveDiff:
    """What a move of a tag changed."""

    before: NamedEnvironment
    """Without any arch, for the first move."""
    after: NamedEnvironment
    changes: tuple[ArchChanges, ...]
    """For each arch that both are locked for."""
    is_complete: bool = True
    """Whether the cache still has all locks that are needed to tell the changes."""

    @property
    def came(self) -> tuple[Arch, ...]:
        """Archs that only the second is locked for."""
        return tuple(arch for arch in self.after.archs if arch not in self.before.archs)

    @property
    def went(self) -> tuple[Arch, ...]:
        """Archs that only the first is locked for."""
        return tuple(arch for arch in self.before.archs if arch not in self.after.archs)

    @property
    def move(self) -> Move:
        """The move itself."""
        assert self.after.move is not None
        return self.after.move


def log(lookup: Lookup, alias: Alias) -> tuple[MoveDiff, ...]:
    """Every move of a tag, oldest first, with what differs from the one before; its history is verified.

    Costs a read for each move, and one for each lock that they point to. Raises AliasNotFound, BrokenAliasChain,
    NewerMoveFormat.
    """
    from envlock.named.lookup import NamedEnvironment

    moves = [NamedEnvironment.of(move) for move in lookup.aliases.history(alias)]
    if not moves:
        raise lookup.not_found(alias)
    locks = _locks(lookup, moves)
    differences = []
    for before, after in pairwise([NamedEnvironment("", "", ()), *moves]):
        pairs = [(locks.get(before.place(arch)), locks.get(after.place(arch))) for arch in _both(before, after)]
        changes = tuple(compare(one, other) for one, other in pairs if one and other)
        differences.append(MoveDiff(before, after, changes, is_complete=len(changes) == len(pairs)))
    return tuple(differences)


def _both(before: NamedEnvironment, after: NamedEnvironment) -> list[Arch]:
    return [arch for arch in before.archs if arch in after.archs]


def _locks(lookup: Lookup, environments: Sequence[NamedEnvironment]) -> Mapping[EnvironmentPlace, Lock]:
    """The locks of some environments, each read once; those that are gone are left out."""
    from envlock.cache.parallel import in_parallel

    wanted = {each.place(arch): (each, arch) for each in environments for arch in each.archs}
    locks = {}
    for place, lock in in_parallel(lambda place: lookup.lock(*wanted[place]), wanted):
        if isinstance(lock, EnvironmentNotInCache):
            continue
        if isinstance(lock, EnvlockError):
            raise lock
        locks[place] = lock
    return locks
