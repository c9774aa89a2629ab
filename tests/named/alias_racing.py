"""Sixteen processes that give one name at the same moment: `python -m tests.named.alias_racing URL OPTIONS ALIAS SAME`.

Prints JSON: for each, who it is, whether it made a move, and the error that it got. With SAME, all mean the same
environment.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from envlock.cache.port import Store
from envlock.config.settings import CacheOptions
from envlock.errors import EnvlockError
from envlock.named.history import Aliases
from tests.named.alias_drafts import draft
from tests.servers.racing import race


def gives(url: str, options: CacheOptions, alias: str, *, same: bool) -> list[dict[str, object]]:
    """How each process fares."""

    def run(store: Store, number: int) -> dict[str, object]:
        wanted = draft(alias, who=f"user{number}")
        if not same:
            wanted = replace(wanted, req_id=f"{number:040x}")
        answer = {"who": wanted.who, "won": False, "error": "", "said": ""}
        try:
            move, before = Aliases(store).add(wanted)
            answer["won"] = move != before
        except EnvlockError as error:
            answer |= {"error": error.code, "said": error.render()}
        return answer

    return race(url, options, run)


if __name__ == "__main__":
    chosen = CacheOptions(**json.loads(sys.argv[2]))
    print(json.dumps(gives(sys.argv[1], chosen, sys.argv[3], same=sys.argv[4] == "True")))
