"""Run records: which environment each step of a run ran in.

Metaflow's own metadata says it of every task. The cache says it as well, for those who have other metadata, or no
Metaflow: the launcher writes a record when a step of a run begins. It imports this before the first task starts, so
what needs the cache is imported in functions.
"""

from __future__ import annotations

import json
import os
import re
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from envlock.errors import DamageError, EnvlockError
from envlock.files import json_of
from envlock.model.arch import ARCHS, Arch, parse_arch

if TYPE_CHECKING:
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.lock import Lock

FORMAT = 1
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*\Z")
_IDS = re.compile(r'\["([0-9a-f]{40})", "([0-9a-f]{40})", "([a-z0-9-]+)"\]\Z')
_PATIENCE = 30.0
"""How many seconds the end of a run waits for what is not written yet. Nobody waits for this process then."""


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
        """Its place in a cache. Raises UnsafePath."""
        from envlock.cache.layout import step_folder

        return f"{step_folder(self.flow, self.run, self.step)}/{self.arch}.json"

    def render(self) -> bytes:
        """The bytes of its file: nothing but what it says, so that all tasks of a step write the same."""
        return (json.dumps({"format": FORMAT, **self._asdict()}, indent=1) + "\n").encode()


class RunRecords:
    """The run records in one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, record: RunRecord) -> bool:
        """Write a record. False, and nothing is done, if there is one at its place: the first one counts."""
        return self._store.create(record.path, record.render())

    def read(self, flow: str, run: str, step: str) -> tuple[RunRecord, ...]:
        """The records of a step, one for each arch that it ran on. A read for each of the archs that there are.

        Raises UnsafePath, DamagedRunRecord.
        """
        from envlock.cache.layout import step_folder

        folder = step_folder(flow, run, step)
        records = (self.read_at(f"{folder}/{arch}.json") for arch in ARCHS)
        return tuple(record for record in records if record is not None)

    def read_at(self, path: str) -> RunRecord | None:
        """The record at a path of the store; None if there is none. Raises DamagedRunRecord."""
        from envlock.cache.errors import UnsafePath
        from envlock.named.alias import is_id
        from envlock.named.errors import DamagedRunRecord

        try:
            data = self._store.read(path)
            fields = json_of(data)
            record = RunRecord(**{key: fields[key] for key in RunRecord._fields})
            is_whole = record.render() == data and is_id(record.req_id) and is_id(record.full_id)
            if is_whole and record.arch in ARCHS and record.path == path:
                return record
        except FileNotFoundError:
            return None
        except (DamageError, UnsafePath, ValueError, KeyError, TypeError):
            pass
        raise DamagedRunRecord(f"{self._store.url}/{path}")


class RunRecorder:
    """Writes run records in the background. The first failure ends it: no run fails for a record.

    It does nothing for a project that names no cache, and for a folder that does not exist.
    """

    def __init__(self, project: Project, flow: str) -> None:
        self._project = project
        self._flow = flow
        self._waiting: SimpleQueue[RunRecord | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._has_cache = "cache" in project.settings.written and _is_there(project)

    def record(self, run: str, step: str, lock: Lock) -> None:
        """Record that a step of a run begins in a lock's environment. Does not wait."""
        if self._has_cache:
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
        from envlock.cache.open import open_cache

        with suppress(EnvlockError, OSError):  # the cache is out of reach, read-only, or of a newer format
            store = open_cache(self._project)
            check_format(store)
            records = RunRecords(store)
            while (record := self._waiting.get()) is not None:
                records.write(record)


def _is_there(project: Project) -> bool:
    try:
        url = project.cache_url
    except EnvlockError:  # a variable of its URL is not set here
        return False
    return "://" in url or os.path.isdir(url)  # noqa: PTH112


def recorded_by_metaflow(pathspec: str) -> tuple[str, RunRecord]:
    """What Metaflow's metadata says of a task, or of the newest task of a step, and the pathspec of that task.

    Uses Metaflow's own settings. Costs Metaflow's import, half a second. Raises BadPathspec, PathspecNotFound,
    NothingRecorded, MetaflowMissing.
    """
    from envlock.named.errors import BadPathspec, MetaflowMissing, NothingRecorded, PathspecNotFound

    parts = pathspec.split("/")
    if len(parts) not in {3, 4} or not all(map(_PART.match, parts)):
        raise BadPathspec(pathspec)
    try:
        from metaflow.client.core import Step, Task
        from metaflow.exception import MetaflowException
    except ImportError as error:
        raise MetaflowMissing(reason=error) from None
    try:
        is_task = len(parts) == 4
        task = Task(pathspec, _namespace_check=False) if is_task else Step(pathspec, _namespace_check=False).task
    except MetaflowException as error:
        raise PathspecNotFound(pathspec=pathspec, reason=error) from None
    if task is None:
        raise PathspecNotFound(pathspec=pathspec, reason="the step has no task yet")
    ids = _IDS.match(task.metadata_dict.get("envlock_env_id", ""))
    if ids is None:
        raise NothingRecorded(pathspec=pathspec)
    flow, run, step = parts[:3]
    return task.pathspec, RunRecord(flow, run, step, parse_arch(ids[3]), ids[1], ids[2])
