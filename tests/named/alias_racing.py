"""Sixteen processes that give one name at the same moment: `python -m tests.named.alias_racing URL OPTIONS ALIAS SAME`.

Prints JSON: for each, who it is, whether it made a move, and the error that it was told. With SAME, all mean the same
environment.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
from dataclasses import replace

from envlock.cache.open import open_store
from envlock.config.settings import CacheOptions
from envlock.errors import EnvlockError
from envlock.named.history import Aliases
from tests.named.alias_drafts import draft

PROCESSES = 16
_BACKENDS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}


def race(url: str, options: CacheOptions, alias: str, *, same: bool) -> list[dict[str, object]]:
    """Forks once all is imported, so that the sixteen are at it at the same time."""
    scheme = url.partition("://")[0]
    if scheme in _BACKENDS:
        importlib.import_module(_BACKENDS[scheme])
    go_out, go_in = os.pipe()
    ready_out, ready_in = os.pipe()
    told = []
    for number in range(PROCESSES):
        out, into = os.pipe()
        if os.fork() == 0:
            os.close(go_in)
            status = 1
            try:
                wanted = draft(alias, who=f"user{number}")
                if not same:
                    wanted = replace(wanted, req_id=f"{number:040x}")
                store = open_store(url, options)
                store.entry("aliases/warm")  # connected before it begins
                os.write(ready_in, b"1")
                os.read(go_out, 1)
                answer = {"who": wanted.who, "won": False, "error": "", "said": ""}
                try:
                    move, before = Aliases(store).add(wanted)
                    answer["won"] = move != before
                except EnvlockError as error:
                    answer |= {"error": error.code, "said": error.render()}
                os.write(into, json.dumps(answer).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(into)
        told.append(out)
    for _ in range(PROCESSES):
        assert select.select([ready_out], [], [], 60)[0]
        os.read(ready_out, 1)
    os.close(go_out)
    os.close(go_in)  # everybody's reading ends now
    answers = []
    for out in told:
        with os.fdopen(out, "rb") as pipe:
            answers.append(json.loads(pipe.read()))
    for _ in range(PROCESSES):
        os.wait()
    return answers


if __name__ == "__main__":
    chosen = CacheOptions(**json.loads(sys.argv[2]))
    print(json.dumps(race(sys.argv[1], chosen, sys.argv[3], same=sys.argv[4] == "True")))
