"""A process that makes an environment again and again, each time in a child that it ends at a random moment.

`python -m tests.hydration.killing PLACE KIND COUNT ROUNDS group|one|interrupt` prints what came of it, as JSON: SIGKILL
for the child and its uv, or for the child alone, or Ctrl-C for both. KIND is `pypi`, COUNT wheels of as many modules,
or `conda`, a few conda packages with COUNT wheels on top, where every other round unpacks everything again. Children
are forked, so a round takes no longer than the environment does.
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

from tests.hydration.conda_making import CondaMaking, wheels, wrong_files
from tests.hydration.making import Making, missing_files, remains


def child(making: Making | CondaMaking) -> int:
    """Start a child with a process group of its own that makes the environment; its process id."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        with suppress(BaseException):
            making.hydrate()
        os._exit(0)
    with suppress(ProcessLookupError):
        os.setpgid(pid, pid)  # whoever of the two comes first: on a busy machine it is ended before it has begun
    return pid


def forget(making: Making | CondaMaking, number: int) -> None:
    """Take away what the round before made."""
    shutil.rmtree(making.prefix, ignore_errors=True)
    if isinstance(making, CondaMaking) and number % 2:
        shutil.rmtree(making.unpacked, ignore_errors=True)


def main() -> None:
    place, kind, count, rounds, whom = sys.argv[1:]
    making: Making | CondaMaking
    if kind == "conda":
        making = CondaMaking(Path(place), ("click", "vintage", "clobber-one"), wheels=wheels(int(count)))
    else:
        making = Making(Path(place), int(count), int(count))
    assert making.lock
    moments = random.Random(f"{whom} of {rounds}")  # the same each time, so that a failure can be looked at
    began = time.monotonic()
    os.waitpid(child(making), 0)
    spans = [time.monotonic() - began] * 2
    finished, unfinished, broken, left = 0, 0, [], []
    for number in range(int(rounds)):
        forget(making, number)
        began = time.monotonic()
        pid = child(making)
        moment = moments.uniform(0, spans[number % 2])
        while time.monotonic() - began < moment and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        if making.find() is not None:
            spans[number % 2] = min(spans[number % 2], time.monotonic() - began)  # kills after that come too late
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
            broken += wrong_files(making.prefix) if isinstance(making, CondaMaking) else missing_files(making.prefix)
        if whom == "interrupt":
            left += remains(making.environments)
    print(json.dumps({"finished": finished, "unfinished": unfinished, "broken": broken, "left": left}))


if __name__ == "__main__":
    main()
