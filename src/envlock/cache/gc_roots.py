"""The roots of gc: the environments that aliases, runs, locks and pushes need, and the reason for each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from envlock.cache.errors import CacheUnusable
from envlock.cache.layout import PATHSPECS, EnvironmentPlace, environment_place
from envlock.cache.packages import path_of
from envlock.cache.parallel import in_parallel
from envlock.errors import EnvlockError
from envlock.model.artifact import artifacts_of
from envlock.named.history import Aliases
from envlock.named.run_record import RunRecords

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envlock.cache.gc_lock import Needs
    from envlock.cache.port import Entry, Store
    from envlock.model.lock import Lock

BY_ALIAS = "an alias"
BY_RUN = "a run"
BY_LOCK = "a lock"
BY_PUSH = "a push"
BY_AGE = "its age"
BY_DOUBT = "what cannot be read"


class Roots:
    """The paths that gc keeps. An environment has the first reason that was found for it."""

    def __init__(self) -> None:
        self.environments: dict[str, str] = {}
        self.packages: set[str] = set()
        self.kits: set[str] = set()
        self.parts: set[str] = set()

    def mark(self, place: EnvironmentPlace, reason: str) -> None:
        """Keep one environment."""
        self.environments.setdefault(place.path, reason)

    def lock(self, lock: Lock) -> None:
        """Keep an environment and its packages: they may be in the cache before its lock is."""
        self.mark(environment_place(lock), BY_LOCK)
        self.packages |= {path_of(artifact) for artifact in artifacts_of(lock)}

    def push(self, needs: Needs) -> None:
        """Keep what a running push needs."""
        for path in needs.environments:
            self.environments.setdefault(path, BY_PUSH)
        self.packages |= needs.packages
        self.kits |= needs.kits
        self.parts |= needs.parts

    def reasons(self, paths: Iterable[str]) -> dict[str, int]:
        """How many of these paths are kept for each reason."""
        return dict(Counter(self.environments[path] for path in paths))


def keep_aliases(roots: Roots, store: Store, keep_moves: int | None) -> list[EnvlockError]:
    """Keep the environments of tags: those of every move, or of the last `keep_moves`.

    Returns the errors of histories that cannot be read: such a tag may name any environment. Raises CacheUnusable.
    """
    aliases = Aliases(store)
    unreadable: list[EnvlockError] = []
    for _, history in in_parallel(aliases.history, aliases.names()):
        if isinstance(history, CacheUnusable):
            raise history
        if isinstance(history, EnvlockError):
            unreadable.append(history)
            continue
        for record in history if keep_moves is None else history[-keep_moves:]:
            for arch, full_id in record.full_ids:
                roots.mark(EnvironmentPlace(arch, record.req_id, full_id), BY_ALIAS)
    return unreadable


def used_by_runs(store: Store) -> Iterator[tuple[Entry, str | EnvlockError]]:
    """Each run record, and the path of the environment in it, or what is wrong with the record.

    A listing, and a read for each. Raises CacheUnusable.
    """
    records = RunRecords(store)
    for entry, record in in_parallel(lambda entry: records.read_at(entry.path), store.entries(PATHSPECS)):
        if isinstance(record, CacheUnusable):
            raise record
        if isinstance(record, EnvlockError):
            yield entry, record
        elif record is not None:  # else it is gone since it was listed
            yield entry, EnvironmentPlace(record.arch, record.req_id, record.full_id).path
