"""How environments differ: two locks of one arch, two environments, and each move of a tag from the one before."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError
from envlock.named.errors import EnvironmentNotInCache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envlock.cache.layout import EnvironmentPlace
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock, LockedPackage
    from envlock.named.alias import Alias
    from envlock.named.lookup import Lookup, NamedEnvironment
    from envlock.named.move import Move

_CALLED = {"conda": "conda", "pypi": "PyPI"}


@dataclass(frozen=True)
class PackageChange:
    """One package that was added, removed or changed."""

    kind: str
    """`conda` or `pypi`; `python` for the interpreter."""
    name: str
    before: str
    """The version, with the build if versions are equal; empty for an added package."""
    after: str
    """Empty for a removed package."""
    of: str = ""
    """`conda` or `PyPI`, if both have a package of the name."""

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
    """How two locks of one arch differ."""

    arch: Arch
    changes: tuple[PackageChange, ...]
    """Python first, then by name."""
    same: int
    """How many packages are the same file in both."""


@dataclass(frozen=True)
class EnvironmentDiff:
    """How two environments differ."""

    before: NamedEnvironment
    """Without any arch, for the first move of a tag."""
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
    def is_same(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.came or self.went or any(each.changes for each in self.changes))

    @property
    def move(self) -> Move:
        """The move that made the difference, in the history of a tag."""
        assert self.after.move is not None
        return self.after.move


def log(lookup: Lookup, alias: Alias) -> tuple[EnvironmentDiff, ...]:
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
        differences.append(EnvironmentDiff(before, after, changes, is_complete=len(changes) == len(pairs)))
    return tuple(differences)


def difference(lookup: Lookup, before: NamedEnvironment, after: NamedEnvironment) -> EnvironmentDiff:
    """How one environment differs from another. Raises EnvironmentNotInCache, and what reading locks raises."""
    archs = _both(before, after)
    changes = tuple(compare(lookup.lock(before, arch), lookup.lock(after, arch)) for arch in archs)
    return EnvironmentDiff(before, after, changes)


def compare(before: Lock | None, after: Lock) -> ArchChanges:
    """How one lock differs from another of the same arch; all packages are added, if there is none before."""
    changes = []
    if before is not None and python_of(before) != python_of(after):
        changes.append(PackageChange("python", "Python", python_of(before), python_of(after)))
    old = {(package.name, package.kind): package for package in before.packages} if before is not None else {}
    new = {(package.name, package.kind): package for package in after.packages}
    kinds: dict[str, set[str]] = {}
    for name, kind in {*old, *new}:
        kinds.setdefault(name, set()).add(kind)
    same = 0
    for name, kind in sorted({*old, *new}):
        one, other = old.get((name, kind)), new.get((name, kind))
        if one and other and one.sha256 == other.sha256:
            same += 1
            continue
        with_build = one is not None and other is not None and one.version == other.version
        of = _CALLED[kind] if len(kinds[name]) > 1 else ""
        changes.append(PackageChange(kind, name, _version(one, with_build), _version(other, with_build), of))
    return ArchChanges(after.arch, tuple(changes), same)


def python_of(lock: Lock) -> str:
    """The interpreter as `full_id` counts it; a conda package is among the packages."""
    if lock.python.source == "conda":
        return "of conda"
    return lock.python.series if lock.python.source == "machine" else f"{lock.python.version} ({lock.python.filename})"


def _version(package: LockedPackage | None, with_build: bool) -> str:
    """A version; if both have the same, with what tells the two files apart."""
    if package is None:
        return ""
    return f"{package.version} ({package.build or package.sha256[:12]})" if with_build else package.version


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
