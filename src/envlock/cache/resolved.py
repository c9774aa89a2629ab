"""Who has resolved what: a record for each environment that was pushed, so that nobody has to read every lock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from envlock.cache.layout import ResolvedPlace, resolved_at, resolved_folder, resolved_place

if TYPE_CHECKING:
    from envlock.cache.port import Store
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock

FORMAT = 1


class Resolved:
    """The records of one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, lock: Lock) -> None:
        """Keep that an environment was resolved, which is in the store already. One that says no time is passed by."""
        place = resolved_place(lock)
        if place is not None:
            said = {
                "format": FORMAT,
                "environment": lock.identity,
                "arch": lock.arch,
                "resolved-by": lock.resolved_by,
                "resolved-at": lock.resolved_at,
            }
            self._store.put(place.path, (json.dumps(said, indent=1) + "\n").encode())

    def of(self, req_id: str, arch: Arch) -> tuple[ResolvedPlace, ...]:
        """Who resolved these requirements for an arch, the newest first. One listing."""
        found = (resolved_at(entry.path) for entry in self._store.entries(resolved_folder(req_id, arch)))
        return tuple(sorted((place for place in found if place is not None), reverse=True))
