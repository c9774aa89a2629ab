"""The repodata of channels: shared by all threads, environments and archs of one command, and cached on disk.

It is kept below envlock's own home, and not where other tools keep theirs: what is deleted there is all that envlock
left, and the tests can hold that no secret is in it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.conda.client import Place, client_of
from envlock.places import folder_in_home

if TYPE_CHECKING:
    from rattler import Gateway


def repodata_folder() -> Path:
    """The folder of cached repodata, created now; it can be deleted any time. Raises NoHome, UntrustedHome."""
    # py-rattler makes the files in it as open as the umask says, and they decide what is locked.
    return folder_in_home("conda", "repodata", is_private=True)


class Gateways:
    """The gateways of one command. Any thread may call it. Data in memory goes with it."""

    def __init__(self, *, offline: bool = False) -> None:
        self._offline = offline
        self._guard = threading.Lock()
        self._known: dict[object, tuple[list[Place], Gateway]] = {}

    def of(self, places: Sequence[Place]) -> Gateway:
        """The gateway of these channels: one for all that use the same middlewares."""
        redirected = frozenset((place.base, place.url) for place in places if place.source != place.url)
        key = (redirected, frozenset(place.bucket for place in places))
        with self._guard:
            if key not in self._known:
                self._known[key] = self._new(places)
            known, gateway = self._known[key]
            known += [place for place in places if place not in known]
        return gateway

    def _new(self, places: Sequence[Place]) -> tuple[list[Place], Gateway]:
        from rattler import Gateway
        from rattler.repo_data.gateway import SourceConfig

        folder = repodata_folder()
        known: list[Place] = []
        # Offline, only what is kept from before is used, however old.
        config = SourceConfig(cache_action="force-cache-only" if self._offline else "cache-or-fetch")
        return known, Gateway(cache_dir=folder, default_config=config, client=client_of(known, places))
