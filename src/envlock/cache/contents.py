"""The contents of a cache: environments, the packages that they need or that nothing needs, plans, kits and parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envlock.cache.environments import Environments
from envlock.cache.errors import CacheFormatDamaged, CacheUnusable
from envlock.cache.format import check_format
from envlock.cache.layout import (
    KITS,
    PACKAGES,
    PARTS,
    PLANS,
    EnvironmentPlace,
    PlanPlace,
    kit_at,
    package_at,
    part_at,
    plan_at,
)
from envlock.cache.packages import path_of
from envlock.cache.parallel import in_parallel
from envlock.errors import EnvlockError
from envlock.model.artifact import artifacts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envlock.cache.port import Store
    from envlock.model.artifact import Artifact
    from envlock.model.lock import Lock


@dataclass(frozen=True)
class CachedEnvironment:
    """One environment of a cache, for one arch."""

    place: EnvironmentPlace
    lock: Lock | EnvlockError
    """Its lock, or why it cannot be read."""
    size: int = 0
    """Bytes of those of its packages that are there."""
    missing: tuple[Artifact, ...] = ()
    """Artifacts that its lock names and the cache lacks."""
    plans: tuple[PlanPlace, ...] = ()
    """Its plans, read or not."""

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What its lock names; empty if it cannot be read."""
        return () if isinstance(self.lock, EnvlockError) else artifacts_of(self.lock)


@dataclass(frozen=True)
class Contents:
    """A cache, listed."""

    url: str
    environments: tuple[CachedEnvironment, ...]
    """Sorted by arch and identity."""
    packages: Mapping[str, int]
    """The size of each package, by path."""
    strangers: tuple[str, ...]
    """Paths among the packages, plans, kits and parts that envlock never writes."""
    plans: tuple[PlanPlace, ...] = ()
    """Every plan. Sorted."""
    kits: Mapping[str, int] = field(default_factory=dict)
    """The size of each file of a kit, by path."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """The size of each part of a pack, by path."""
    format_error: CacheFormatDamaged | None = None
    """That the file with the format of the cache is damaged; everything else was read."""

    @property
    def errors(self) -> tuple[EnvlockError, ...]:
        """What is wrong with the cache as a whole."""
        return () if self.format_error is None else (self.format_error,)

    @property
    def is_empty(self) -> bool:
        """Whether nobody has pushed anything."""
        return not (self.environments or self.packages or self.plans or self.kits or self.parts)

    @property
    def size(self) -> int:
        """Bytes of all packages."""
        return sum(self.packages.values())

    @property
    def kits_size(self) -> int:
        """Bytes of all files of kits."""
        return sum(self.kits.values())

    @property
    def parts_size(self) -> int:
        """Bytes of all parts of packs."""
        return sum(self.parts.values())

    @property
    def named(self) -> frozenset[str]:
        """The packages that environments need, there or not."""
        return frozenset(path_of(artifact) for each in self.environments for artifact in each.artifacts)

    @property
    def unnamed(self) -> tuple[str, ...]:
        """The packages that no readable environment needs. Sorted."""
        return tuple(sorted(self.packages.keys() - self.named))


def read_contents(store: Store) -> Contents:
    """List a cache: five listings, and each environment's lock. Raises CacheUnusable, NewerCache.

    Others may push and sweep meanwhile: an environment that they write is whole or is not seen, and one that they take
    away is not missed.
    """
    format_error = None
    try:
        check_format(store)
    except CacheFormatDamaged as error:
        format_error = error
    plan_paths = sorted(entry.path for entry in store.entries(PLANS))
    plans = tuple(filter(None, map(plan_at, plan_paths)))
    by_environment: dict[EnvironmentPlace, list[PlanPlace]] = {}
    for plan in plans:
        by_environment.setdefault(plan.environment, []).append(plan)
    locks = [(place, lock) for place, lock in _locks(store) if lock is not None]
    # After what names them: so each was there if it was listed.
    found = {entry.path: entry.size for folder in (PACKAGES, KITS, PARTS) for entry in store.entries(folder)}
    packages = {path: size for path, size in found.items() if package_at(path) is not None}
    kits = {path: size for path, size in found.items() if kit_at(path) is not None}
    parts = {path: size for path, size in found.items() if part_at(path) is not None}
    read = []
    for place, lock in locks:
        artifacts = () if isinstance(lock, EnvlockError) else artifacts_of(lock)
        present = {path_of(artifact) for artifact in artifacts} & packages.keys()
        missing = tuple(artifact for artifact in artifacts if path_of(artifact) not in packages)
        if missing and store.entry(place.path) is None:
            continue
        size = sum(packages[path] for path in present)
        own = tuple(by_environment.get(place, ()))
        read.append(CachedEnvironment(place=place, lock=lock, size=size, missing=missing, plans=own))
    read.sort(key=lambda each: (each.place.arch, each.place.identity))
    known = packages.keys() | kits.keys() | parts.keys() | {place.path for place in plans}
    strangers = tuple(sorted({*found, *plan_paths} - known))
    return Contents(store.url, tuple(read), packages, strangers, plans, kits, parts, format_error)


def _locks(store: Store) -> Iterator[tuple[EnvironmentPlace, Lock | EnvlockError | None]]:
    """Each environment's lock, or why it cannot be read; None if it was deleted after the listing."""
    environments = Environments(store)

    def read(place: EnvironmentPlace) -> Lock | None:
        try:
            return environments.read(place)
        except FileNotFoundError:
            return None

    for place, lock in in_parallel(read, environments.places()):
        if isinstance(lock, CacheUnusable):
            raise lock
        yield place, lock
