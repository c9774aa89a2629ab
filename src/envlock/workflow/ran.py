"""Keeping, in the cache, which environment each step of a run ran in: at best, and never in anybody's way.

Metaflow's own metadata says so too. The cache says it to those who have other metadata, or no Metaflow.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError

if TYPE_CHECKING:
    from envlock.cache.pathspecs import RanIn
    from envlock.config.project import Project
    from envlock.model.lock import Lock

_PATIENCE = 30.0
"""How many seconds the end of a run waits for what is not written yet. Nobody waits for this process then."""


def _is_there(project: Project) -> bool:
    try:
        url = project.cache_url
    except EnvlockError:  # a variable of its URL is not set here
        return False
    return "://" in url or os.path.isdir(url)  # noqa: PTH112


class Keeper:
    """Writes what it is told behind everybody's back. The first thing that fails ends it: no run fails for a note.

    It does nothing for a project that names no cache, and for a folder that is not there.
    """

    def __init__(self, project: Project, flow: str) -> None:
        self._project = project
        self._flow = flow
        self._waiting: SimpleQueue[RanIn | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_wanted = bool(project.settings.cache) and _is_there(project)

    def keep(self, run: str, step: str, lock: Lock) -> None:
        """Note that a step of a run begins in a lock's environment. Does not wait."""
        if not self._is_wanted:
            return
        from envlock.cache.pathspecs import RanIn

        self._waiting.put(RanIn(self._flow, run, step, lock.arch, lock.req_id, lock.full_id))
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Wait, but not for ever, until all is written."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(_PATIENCE)

    def _write(self) -> None:
        from envlock.cache.format import check_format
        from envlock.cache.opening import open_store
        from envlock.cache.pathspecs import Pathspecs

        with suppress(EnvlockError, OSError):  # the cache is out of reach, read-only, or of a newer format
            store = open_store(self._project.cache_url, self._project.cache_options)
            check_format(store)
            pathspecs = Pathspecs(store)
            while (ran := self._waiting.get()) is not None:
                pathspecs.write(ran)
