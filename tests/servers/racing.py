"""Sixteen processes that create the same files at the same moment: `python -m tests.servers.racing URL OPTIONS KEYS`.

Prints JSON: for each key, which processes were told that they made it, and what each of them reads afterwards.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
from collections.abc import Callable
from typing import Any

from envlock.cache.open import open_store
from envlock.cache.port import Store
from envlock.config.settings import CacheOptions

PROCESSES = 16
_BACKENDS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}


def race(url: str, options: CacheOptions, run: Callable[[Store, int], object]) -> list[Any]:
    """What `run(store, number)` returns in each of sixteen processes that begin it at the same moment, through JSON.

    They are forked once all is imported, and are connected before they begin.
    """
    scheme = url.partition("://")[0]
    if scheme in _BACKENDS:
        importlib.import_module(_BACKENDS[scheme])  # once, and not in each: it takes a second
    go_out, go_in = os.pipe()
    ready_out, ready_in = os.pipe()
    pipes = []
    for number in range(PROCESSES):
        out, into = os.pipe()
        if os.fork() == 0:
            os.close(go_in)
            status = 1
            try:
                store = open_store(url, options)
                store.entry("aliases/warm")
                os.write(ready_in, b"1")
                os.read(go_out, 1)
                os.write(into, json.dumps(run(store, number)).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(into)
        pipes.append(out)
    for _ in range(PROCESSES):
        assert select.select([ready_out], [], [], 60)[0]
        os.read(ready_out, 1)
    os.close(go_out)
    os.close(go_in)  # everybody's reading ends now
    answers = []
    for out in pipes:
        with os.fdopen(out, "rb") as pipe:
            answers.append(json.loads(pipe.read()))
    for _ in range(PROCESSES):
        os.wait()
    return answers


def creates(url: str, options: CacheOptions, keys: int) -> dict[str, object]:
    """Which processes made each key, and what each of them reads."""

    def run(store: Store, number: int) -> list[tuple[bool, str]]:
        found = []
        for key in range(keys):
            made = store.create(f"aliases/{key}", f"written by {number}".encode())
            found.append((made, store.read(f"aliases/{key}").decode()))
        return found

    answers = race(url, options, run)
    return {
        str(key): {
            "made": [number for number, answer in enumerate(answers) if answer[key][0]],
            "read": [answer[key][1] for answer in answers],
        }
        for key in range(keys)
    }


if __name__ == "__main__":
    print(json.dumps(creates(sys.argv[1], CacheOptions(**json.loads(sys.argv[2])), int(sys.argv[3]))))
