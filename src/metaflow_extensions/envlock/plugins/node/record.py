"""The run record: which environment a step of a run ran in, as the cache keeps it.

envlock's launcher writes the same records for the steps that it starts (`envlock.named.run_record`). A node writes
those of scheduled runs, which no launcher sees. No task fails, or waits for long, because of a record.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from typing import Callable, Sequence

from .errors import NodeError
from .home import ENVIRONMENTS
from .manifest import Target, manifest_path, read
from .transport import Transport, open_transport

FORMAT = 1
MARKS = "recorded"
"""The folder of a home with an empty file for each record that this node has tried to write."""
SECONDS = 5
"""How long a task waits for the cache to answer."""
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")
_OLD = 30 * 86400.0


def write(transport: Transport, target: Target, pathspec: str) -> bool:
    """Record that a task, `Flow/run/step/task`, starts in an environment. Whether it was written.

    The first record of a step counts. A cache that may only be read is no failure, nor is any other.
    """
    parts = pathspec.split("/")[:3]
    if len(parts) != 3 or not all(map(_PART.match, parts)):
        return False
    try:
        return transport.put_new(path_of(parts, target.arch), render(parts, target), attempts=2)
    except NodeError:
        return False


def write_once(opened: Callable[[], Transport], target: Target, pathspec: str, prefix: str) -> None:
    """As `write`, once for each step on this node. `prefix` is the environment; `opened` gives the transport."""
    marks = Marks(prefix)
    if not marks.has(pathspec, target.arch):
        marks.add(pathspec, target.arch)
        # The library of the bucket may be the environment's own, in whatever version that has it.
        with contextlib.suppress(Exception):
            write(opened(), target, pathspec)


def write_from_task(pathspec: str, identity: Sequence[str], prefix: str) -> None:
    """As `write_once`, from the task itself. `identity` is req_id, full_id and arch.

    For tasks whose environment was there already, so that nothing has opened the cache before. In this thread: one in
    the background would import while the task's own code forks.
    """
    req_id, full_id, arch = identity

    def opened() -> Transport:
        return open_transport(read(manifest_path(), pathspec.partition("/")[0]), answer_seconds=SECONDS)

    write_once(opened, Target(arch, req_id, full_id, ""), pathspec, prefix)


class Marks:
    """The records that a node has tried to write, in the home that keeps an environment; nothing without a home."""

    def __init__(self, prefix: str, now: Callable[[], float] = time.time) -> None:
        home, name = os.path.split(os.path.dirname(prefix))
        self._folder = os.path.join(home, MARKS) if name == ENVIRONMENTS else ""
        self._now = now

    def has(self, pathspec: str, arch: str) -> bool:
        """Whether it has tried that of a task's step."""
        return bool(self._folder) and os.path.exists(self._file(pathspec, arch))

    def add(self, pathspec: str, arch: str) -> None:
        """Remember one, if the home can be written to, and forget those that are a month old."""
        if not self._folder:
            return
        with contextlib.suppress(OSError):
            os.makedirs(self._folder, exist_ok=True)
            with open(self._file(pathspec, arch), "wb"):
                pass
            for entry in list(os.scandir(self._folder)):
                if entry.stat().st_mtime < self._now() - _OLD:
                    os.unlink(entry.path)

    def _file(self, pathspec: str, arch: str) -> str:
        path = path_of(pathspec.split("/")[:3], arch)
        return os.path.join(self._folder, hashlib.sha256(path.encode()).hexdigest()[:32])


def path_of(parts: Sequence[str], arch: str) -> str:
    """The path in a cache of the record of a step: `parts` are flow, run and step."""
    return "pathspecs/%s/%s.json" % ("/".join(parts), arch)


def render(parts: Sequence[str], target: Target) -> bytes:
    """The bytes of a record: nothing but what it says, so that all tasks of a step write the same."""
    flow, run, step = parts
    fields = {
        "format": FORMAT,
        "flow": flow,
        "run": run,
        "step": step,
        "arch": target.arch,
        "req_id": target.req_id,
        "full_id": target.full_id,
    }
    return (json.dumps(fields, indent=1) + "\n").encode()
