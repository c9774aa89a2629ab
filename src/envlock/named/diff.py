"""What became of a name: its moves, what each changed, and how two environments differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from envlock.cache.parallel import in_parallel
from envlock.errors import EnvlockError
from envlock.named.errors import EnvironmentNotInCache
from envlock.named.lookup import Lookup, NamedEnvironment, found_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envlock.model.arch import Arch
    from envlock.model.lock import Lock, LockedPackage
    from envlock.named.alias import Alias
    from envlock.named.move import Move


@dataclass(frozen=True)
class LoggedMove:
    """One move of a tag."""

    record: Move
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

    before: NamedEnvironment
    after: NamedEnvironment
    changes: tuple[ArchChanges, ...]
    """For each arch that both are there for."""
    came: tuple[Arch, ...]
    """Archs that only the second is there for."""
    went: tuple[Arch, ...]

    @property
    def is_same(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.came or self.went or any(each.changes for each in self.changes))


def log(lookup: Lookup, alias: Alias) -> tuple[LoggedMove, ...]:
    """Every move of a tag, oldest first, its chain of records proved.

    Costs a read for each move, and one for each lock that they point to. Raises AliasNotFound, BrokenAliasChain,
    NewerMoveFormat.
    """
    records = lookup.aliases.history(alias)
    if not records:
        raise lookup.not_found(alias)
    locks = _locks(lookup, map(found_by, records))
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


def difference(lookup: Lookup, before: NamedEnvironment, after: NamedEnvironment) -> Comparison:
    """What came, went and changed from one environment to another, for each arch.

    Raises EnvironmentNotInCache, and what reading locks raises.
    """
    changes = [
        compare(lookup.lock(before, arch), lookup.lock(after, arch)) for arch in before.archs if arch in after.archs
    ]
    return Comparison(
        before=before,
        after=after,
        changes=tuple(changes),
        came=tuple(arch for arch in after.archs if arch not in before.archs),
        went=tuple(arch for arch in before.archs if arch not in after.archs),
    )


def list_aliases(lookup: Lookup, prefix: str = "") -> tuple[tuple[Alias, Move | EnvlockError], ...]:
    """Every name that begins with `prefix`, with its newest record or what is wrong with that. Sorted."""
    return tuple(lookup.aliases.heads(prefix))


def _locks(lookup: Lookup, environments: Iterable[NamedEnvironment]) -> Mapping[tuple[Arch, str, str], Lock]:
    """The locks of some environments, each read once; those that are no longer there are left out."""
    wanted = {
        (arch, found.req_id, full_id): (found, arch) for found in environments for arch, full_id in found.full_ids
    }
    read = {}
    for key, lock in in_parallel(lambda key: lookup.lock(*wanted[key]), wanted):
        if isinstance(lock, EnvironmentNotInCache):
            continue
        if isinstance(lock, EnvlockError):
            raise lock
        read[key] = lock
    return read


_CALLED = {"conda": "conda", "pypi": "PyPI"}


@dataclass(frozen=True)
class PackageChange:
    """One package that came, went or became another."""

    kind: str
    """`conda` or `pypi`; `python` for the interpreter."""
    name: str
    before: str
    """The version, with the build where versions are equal; empty for one that came."""
    after: str
    """Empty for one that went."""
    of: str = ""
    """Where it is from, `conda` or `PyPI`, where both have one of the name."""

    @property
    def verb(self) -> str:
        """`added`, `removed` or `changed`."""
        return "added" if not self.before else "changed" if self.after else "removed"

    def __str__(self) -> str:
        """`+rich 14.0`, `-rich 13.0`, `rich 13.0 -> 14.0`, or `ninja 1.11 -> 1.13 (conda)` beside PyPI's."""
        said = f"{self.name} {self.before} -> {self.after}"
        if self.verb != "changed":
            said = f"+{self.name} {self.after}" if self.after else f"-{self.name} {self.before}"
        return f"{said} ({self.of})" if self.of else said


@dataclass(frozen=True)
class ArchChanges:
    """What differs on one arch."""

    arch: Arch
    changes: tuple[PackageChange, ...]
    """Python first, then by name."""
    same: int
    """How many packages are the same file in both."""

    def count(self, verb: str) -> int:
        """How many were `added`, `removed` or `changed`."""
        return sum(change.verb == verb for change in self.changes)


def compare(before: Lock | None, after: Lock) -> ArchChanges:
    """What differs from one lock to another of the same arch; everything, where there is none before."""
    changes = []
    if before is not None and python_of(before) != python_of(after):
        changes.append(PackageChange("python", "Python", python_of(before), python_of(after)))
    old = {(package.name, package.kind): package for package in before.packages} if before is not None else {}
    new = {(package.name, package.kind): package for package in after.packages}
    kinds: dict[str, set[str]] = {}
    for name, kind in {*old, *new}:
        kinds.setdefault(name, set()).add(kind)
    same = 0
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        if one and other and one.sha256 == other.sha256:
            same += 1
            continue
        told = one is not None and other is not None and one.version == other.version
        of = _CALLED[key[1]] if len(kinds[key[0]]) > 1 else ""
        changes.append(PackageChange(key[1], key[0], _shown(one, told), _shown(other, told), of))
    return ArchChanges(after.arch, tuple(changes), same)


def _shown(package: LockedPackage | None, with_build: bool) -> str:
    """A version; where both have the same, with what tells the two files apart."""
    if package is None:
        return ""
    return f"{package.version} ({package.build or package.sha256[:12]})" if with_build else package.version


def python_of(lock: Lock) -> str:
    """The interpreter as `full_id` counts it; a conda package is among the packages."""
    if lock.python.source == "conda":
        return "of conda"
    return lock.python.series if lock.python.source == "machine" else f"{lock.python.version} ({lock.python.filename})"
