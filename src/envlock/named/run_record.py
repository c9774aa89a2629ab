"""Which environment a step of a run ran in, kept in the cache: for whoever has no access to the run's metadata."""

from __future__ import annotations

import json
import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.layout import step_folder
from envlock.errors import DamageError, EnvlockError
from envlock.files import json_of
from envlock.model.arch import ARCHS, Arch, parse_arch
from envlock.named.errors import BadPathspec, DamagedRunRecord, MetaflowMissing, NothingRecorded, PathspecNotFound

if TYPE_CHECKING:
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.lock import Lock

FORMAT = 1
_ID = re.compile(r"[0-9a-f]{40}\Z")


class RunRecord(NamedTuple):
    """The environment that a step of a run ran in, on one arch."""

    flow: str
    run: str
    step: str
    arch: Arch
    req_id: str
    full_id: str

    @property
    def path(self) -> str:
        """Where it is kept. Raises UnsafePath."""
        return f"{step_folder(self.flow, self.run, self.step)}/{self.arch}.json"

    def render(self) -> bytes:
        """What is kept: nothing but what it says, so that all tasks of a step write the same."""
        return (json.dumps({"format": FORMAT, **self._asdict()}, indent=1) + "\n").encode()


class RunRecords:
    """The steps that ran, in one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, ran: RunRecord) -> bool:
        """Keep where a step ran. False, and nothing done, where something else is kept of it: the first word counts."""
        return self._store.create(ran.path, ran.render())

    def read(self, flow: str, run: str, step: str) -> tuple[RunRecord, ...]:
        """What is known of a step, one for each arch that it ran on. A read for each of the archs that there are.

        Raises UnsafePath, DamagedRunRecord.
        """
        folder = step_folder(flow, run, step)
        found = []
        for arch in ARCHS:
            path = f"{folder}/{arch}.json"
            try:
                data = self._store.read(path)
            except FileNotFoundError:
                continue
            except DamageError:
                raise DamagedRunRecord(f"{self._store.url}/{path}") from None
            ran = _parsed(data)
            if ran is None or ran.path != path:
                raise DamagedRunRecord(f"{self._store.url}/{path}")
            found.append(ran)
        return tuple(found)


def _parsed(data: bytes) -> RunRecord | None:
    try:
        fields = json_of(data)
        ran = RunRecord(**{key: fields[key] for key in RunRecord._fields})
        whole = ran.render() == data and _ID.match(ran.req_id) and _ID.match(ran.full_id)
    except (ValueError, KeyError, TypeError):
        return None
    return ran if whole else None


_PATIENCE = 30.0
"""How many seconds the end of a run waits for what is not written yet. Nobody waits for this process then."""


def _is_there(project: Project) -> bool:
    try:
        url = project.cache_url
    except EnvlockError:  # a variable of its URL is not set here
        return False
    return "://" in url or os.path.isdir(url)  # noqa: PTH112


class RunRecorder:
    """Writes what it is told behind everybody's back. The first thing that fails ends it: no run fails for a note.

    It does nothing for a project that names no cache, and for a folder that is not there.
    """

    def __init__(self, project: Project, flow: str) -> None:
        self._project = project
        self._flow = flow
        self._waiting: SimpleQueue[RunRecord | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_wanted = "cache" in project.settings.written and _is_there(project)

    def keep(self, run: str, step: str, lock: Lock) -> None:
        """Note that a step of a run begins in a lock's environment. Does not wait."""
        if not self._is_wanted:
            return
        from envlock.named.run_record import RunRecord

        self._waiting.put(RunRecord(self._flow, run, step, lock.arch, lock.req_id, lock.full_id))
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
        from envlock.cache.open import open_store
        from envlock.named.run_record import RunRecords

        with suppress(EnvlockError, OSError):  # the cache is out of reach, read-only, or of a newer format
            store = open_store(self._project.cache_url, self._project.cache_options)
            check_format(store)
            pathspecs = RunRecords(store)
            while (ran := self._waiting.get()) is not None:
                pathspecs.write(ran)


_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*\Z")
_IDENTITY = re.compile(r'\["([0-9a-f]{40})", "([0-9a-f]{40})", "([a-z0-9-]+)"\]\Z')


@dataclass(frozen=True)
class Recorded:
    """The environment that a task ran in."""

    pathspec: str
    """Of the task."""
    req_id: str
    full_id: str
    arch: Arch


def recorded(pathspec: str) -> Recorded:
    """What Metaflow's metadata says of a task, or of the newest task of a step.

    Uses Metaflow's own settings. Costs Metaflow's import, half a second. Raises BadPathspec, PathspecNotFound,
    NothingRecorded, MetaflowMissing.
    """
    parts = pathspec.split("/")
    if len(parts) not in {3, 4} or not all(map(_PART.match, parts)):
        raise BadPathspec(pathspec)
    try:
        from metaflow.client.core import Step, Task
        from metaflow.exception import MetaflowException
    except ImportError as error:
        raise MetaflowMissing(str(error)) from None
    try:
        whole = len(parts) == 4
        task = Task(pathspec, _namespace_check=False) if whole else Step(pathspec, _namespace_check=False).task
    except MetaflowException as error:
        raise PathspecNotFound(pathspec, str(error)) from None
    if task is None:
        raise PathspecNotFound(pathspec, "the step has no task yet")
    identity = _IDENTITY.match(task.metadata_dict.get("envlock_env_id", ""))
    if identity is None:
        raise NothingRecorded(pathspec)
    return Recorded(task.pathspec, identity[1], identity[2], parse_arch(identity[3]))
