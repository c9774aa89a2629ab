"""Records of who resolved what, one for each pushed environment, so that nobody has to read every lock."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from envlock.cache.layout import ResolvedPlace, resolved_at, resolved_folder, resolved_place

if TYPE_CHECKING:
    from envlock.cache.port import Entry, Store
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock

FORMAT = 1


class Resolved:
    """The records of one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, lock: Lock) -> None:
        """Record who resolved a lock that is in the store already. Skips a lock without a time."""
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
        """Who resolved these requirements for an arch, newest first. One listing.

        A record says when by the clock of whoever resolved, and it was resolved before it was written: of one that is
        dated after that, the store's own clock decides. So nobody's stays the newest because a clock was wrong.
        """
        found = ((resolved_at(entry.path), entry) for entry in self._store.entries(resolved_folder(req_id, arch)))
        dated = ((min(place.time, _written(entry) or place.time), place) for place, entry in found if place is not None)
        return tuple(place for _, place in sorted(dated, reverse=True))


def _written(entry: Entry) -> str:
    """When a record was written, in the spelling of records; empty if the store does not say."""
    return "" if entry.modified is None else time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(entry.modified))
