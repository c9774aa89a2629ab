"""The run record: which environment a step of a run ran in, as the cache keeps it.

envlock's launcher writes the same records for the steps that it starts (`envlock.named.run_record`). A node writes
those of scheduled runs, which no launcher sees.
"""

from __future__ import annotations

import json
import re
import threading

from .errors import NodeError
from .manifest import Target, manifest_path, read
from .transport import Transport, open_transport

FORMAT = 1
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")


def write(transport: Transport, target: Target, pathspec: str) -> bool:
    """Record that a task, `Flow/run/step/task`, starts in an environment. Whether it was written.

    The first record of a step counts. A cache that may not be written to is no failure, nor is any other: no task
    fails, or waits for long, because of a record.
    """
    parts = pathspec.split("/")[:3]
    if len(parts) != 3 or not all(map(_PART.match, parts)):
        return False
    try:
        return transport.put_new(path_of(parts, target.arch), render(parts, target), attempts=2)
    except NodeError:
        return False


class Recording:
    """Records in the background, from a task that is in its environment, what it runs in.

    If the environment was on the node already, nothing before the task has opened the cache. The task has imported the
    client anyway.
    """

    SECONDS = 5.0
    """How long a task waits at its end."""

    def __init__(self, pathspec: str, identity: list[str]) -> None:
        """`identity` is req_id, full_id and arch. Without a manifest of the flow in a code package, nothing is done."""
        self._pathspec = pathspec
        req_id, full_id, arch = identity
        self._target = Target(arch, req_id, full_id, "")
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait until it is written, but not for long."""
        self._thread.join(self.SECONDS)

    def _write(self) -> None:
        try:
            manifest = read(manifest_path(), self._pathspec.partition("/")[0])
            write(open_transport(manifest), self._target, self._pathspec)
        except Exception:  # noqa: BLE001, S110  the client of the cache may be of another service, and not be here
            pass


def path_of(parts: list[str], arch: str) -> str:
    """The path in a cache of the record of a step: `parts` are flow, run and step."""
    return "pathspecs/%s/%s.json" % ("/".join(parts), arch)


def render(parts: list[str], target: Target) -> bytes:
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
