"""The locks in a cache. Each is written after its packages, so a reader who finds a lock finds them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cache.errors import CachedLockDamaged
from envlock.cache.layout import ENVIRONMENTS, EnvironmentPlace, environment_at, environment_place
from envlock.cache.packages import path_of
from envlock.errors import DamageError
from envlock.lockfile.document import parse, render, summary_of
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.summary import quick_summary
from envlock.model.artifact import artifacts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.cache.port import Store
    from envlock.model.lock import Lock


class Environments:
    """The environments of one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def places(self) -> Iterator[EnvironmentPlace]:
        """Every environment that has a lock in the store, damaged or not. One listing."""
        for entry in self._store.entries(ENVIRONMENTS):
            place = environment_at(entry.path)
            if place is not None:
                yield place

    def has(self, lock: Lock) -> bool:
        """Whether the environment's lock is there and undamaged. Who locked it, and when, may differ."""
        place = environment_place(lock)
        try:
            data = self._store.read(place.path)
        except (FileNotFoundError, DamageError):
            return False
        found = quick_summary(data)
        return found is not None and EnvironmentPlace(found.arch, found.req_id, found.full_id) == place

    def write(self, lock: Lock) -> None:
        """Write a lock. Its packages must be there already."""
        self._store.put(environment_place(lock).path, render(lock).encode())

    def read(self, place: EnvironmentPlace) -> Lock:
        """The lock of an environment, verified: undamaged, and of the environment that its path names.

        Raises CachedLockDamaged, NewerLockFormat, FileNotFoundError.
        """
        shown = f"{self._store.url}/{place.path}"
        try:
            lock = parse(self._store.read(place.path), shown)
            for artifact in artifacts_of(lock):
                path_of(artifact)  # raises UnsafePath if it would leave the cache
        except DamageError as error:
            raise CachedLockDamaged(
                shown, "; ".join(error.details if isinstance(error, DamagedLock) else (error.message,))
            ) from None
        if environment_place(lock) != place:
            raise CachedLockDamaged(shown, "it is the lock of another environment")
        inconsistency = summary_of(lock).inconsistency
        if inconsistency:
            raise CachedLockDamaged(shown, inconsistency)
        return lock
