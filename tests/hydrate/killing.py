"""A process that makes an environment again and again, each time in a child that it ends at a random moment.

`python -m tests.hydrate.killing PLACE COUNT FILES ROUNDS group|one|interrupt` prints what came of it, as JSON: SIGKILL
for the child and its uv, or for the child alone, or Ctrl-C for both. Children are forked, so a round takes no longer
than the environment does.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.hydrate.making import Making, missing_files, remains


def child(making: Making) -> int:
    """Start a child with a process group of its own that makes the environment; its process id."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        with suppress(BaseException):
            making.ensure()
        os._exit(0)
    return pid


def main() -> None:
    place, count, files, rounds, whom = sys.argv[1:]
    making = Making(Path(place), int(count), int(files))
    assert making.lock
    moments = random.Random(f"{whom} of {rounds}")  # the same each time, so that a failure can be looked at
    began = time.monotonic()
    os.waitpid(child(making), 0)
    span = time.monotonic() - began
    finished, unfinished, broken, left = 0, 0, [], []
    for _ in range(int(rounds)):
        shutil.rmtree(making.prefix, ignore_errors=True)
        began = time.monotonic()
        pid = child(making)
        moment = moments.uniform(0, span)
        while time.monotonic() - began < moment and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        if making.find() is not None:
            span = min(span, time.monotonic() - began)  # kills after that come too late
        try:
            if whom == "one":
                os.kill(pid, signal.SIGKILL)
            else:
                os.killpg(pid, signal.SIGINT if whom == "interrupt" else signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        if making.find() is None:
            unfinished += 1
        else:
            finished += 1
            broken += missing_files(making.prefix)
        if whom == "interrupt":
            left += remains(making.environments)
    print(json.dumps({"finished": finished, "unfinished": unfinished, "broken": broken, "left": left}))


if __name__ == "__main__":
    main()
