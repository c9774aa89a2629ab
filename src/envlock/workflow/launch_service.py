"""The other side of the shim: a process beside a flow's launcher that plans the run and makes its environments.

The launcher may have another interpreter than envlock (a flow that a locked step starts), and must go on scheduling
while environments are made. So it speaks with this process, in lines of JSON:

    to it:    {"flow", "file", "steps", "datastore", "remote", "command"}   once, then
              {"hydrate": "<req_id>:<full_id>"}                        for each environment that is needed,
              {"fetch": "<step>", "as": "<name>", "variables"}         for a task whose environment is looked up now,
              {"started": "<step>", "run": "<run_id>"}                 when the first task of a step enters it (with
                                                                       "as" where that was fetched), and
              {"remove": "<folder>"}                                   at the end: nobody has to wait for it
    from it:  {"event": "planned", "steps": {step: [req_id, full_id, arch] or null}, "home",
              "fetched": {step: what its environment is called}}, or
              {"event": "refused", "text"}                                       and the end, then
              {"event": "hydrated", "identity", "ids", "prefix", "variables", "seconds"}, with null for a variable that
              must not be there, or {"event": "failed", "identity", "text"}, and
              {"event": "said", "text"}                                          at any time

It ends when its input does.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from envlock.activation import activated, changes
from envlock.errors import EnvlockError
from envlock.named.run_record import RunRecorder
from envlock.places import folder_in_home, home
from envlock.reporter import Reporter
from envlock.workflow.launch import Plan, Start, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from envlock.model.lock import Lock

_AT_ONCE = 4


class _Said(Reporter):
    """Hands on what a person should know."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    def noted(self, message: str) -> None:
        self._channel.send(event="said", text=message)

    def warned(self, message: str) -> None:
        self._channel.send(event="said", text=f"warning: {message}")


class _Channel:
    """Lines of JSON to the launcher, from any thread."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._lock = threading.Lock()

    def send(self, **message: object) -> None:
        with self._lock:
            self._output.write(json.dumps(message) + "\n")
            self._output.flush()


def serve(lines: Iterable[str], output: TextIO) -> None:
    """Answer a launcher until `lines` end. What fails is told to it, never raised."""
    channel = _Channel(output)
    requests = iter(lines)
    start = next(requests, None)
    request = json.loads(start) if start else {}
    planned = _planned(request, channel) if start else None
    if planned is None:
        return
    keeper = RunRecorder(planned.project, request["flow"])
    # By the name under which the launcher knows each environment: its identity, or that of one fetched task.
    locks = {lock.identity: lock for lock in planned.steps.values() if lock is not None}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for line in requests:
            request = json.loads(line)
            if "remove" in request:
                shutil.rmtree(request["remove"], ignore_errors=True)
            elif "started" in request:
                lock = locks[request["as"]] if "as" in request else planned.steps[request["started"]]
                if lock is not None:
                    keeper.keep(request["run"], request["started"], lock)
            elif "fetch" in request:
                pool.submit(_fetch, planned, request, locks, channel)
            else:
                name = request["hydrate"]
                pool.submit(_hydrate, planned, name, partial(locks.__getitem__, name), channel)
        pool.shutdown(cancel_futures=True)  # the launcher wants nothing more, or is gone
    keeper.end()


def _planned(request: dict[str, Any], channel: _Channel) -> Plan | None:
    try:
        planned = plan(
            Start(
                flow=request["flow"],
                file=Path(request["file"]),
                steps=tuple(request["steps"]),
                datastore=request["datastore"],
                remote=request["remote"],
                command=request["command"],
            )
        )
        place = str(home())
        with suppress(OSError):  # in a home that cannot be written, tasks are slower, and that is all
            folder_in_home("bytecode")
    except EnvlockError as error:
        channel.send(event="refused", text=error.render())
        return None
    fetched = {step: each.base.written for step, each in planned.fetched.items() if each.base is not None}
    steps = {step: [lock.req_id, lock.full_id, lock.arch] if lock else None for step, lock in planned.steps.items()}
    channel.send(event="planned", steps=steps, fetched=fetched, home=place)
    return planned


def _fetch(planned: Plan, request: dict[str, Any], locks: dict[str, Lock], channel: _Channel) -> None:
    """Make the environment that a step's name stands for at this moment."""

    def looked_up() -> Lock:
        from envlock.named.bases import fetch

        lock = fetch(planned, request["fetch"], request["variables"])
        locks[request["as"]] = lock
        return lock

    _hydrate(planned, request["as"], looked_up, channel)


def _hydrate(planned: Plan, name: str, lock_of: Callable[[], Lock], channel: _Channel) -> None:
    from envlock.workflow.hydrate import hydrate

    began = time.monotonic()
    said = _Said(channel)
    try:
        lock = lock_of()
        prefix = hydrate(planned.project, lock, said)
        variables = changes(os.environ, activated(str(prefix), os.environ, warn=said.warned))
    except EnvlockError as error:
        channel.send(event="failed", identity=name, text=error.render())
    except BaseException as error:  # the launcher waits for an answer, whatever happens here
        channel.send(event="failed", identity=name, text=f"envlock failed: {type(error).__name__}: {error}")
        raise
    else:
        channel.send(
            event="hydrated",
            identity=name,
            ids=[lock.req_id, lock.full_id, lock.arch],
            prefix=str(prefix),
            variables=variables,
            seconds=time.monotonic() - began,
        )


def main() -> None:
    """Serve on stdin and stdout; whatever else prints to stdout is sent to stderr."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, output)


if __name__ == "__main__":
    main()
