"""A stand-in for micromamba where none is installed: it understands the one call that conda-lock makes, and no other.

It solves with py-rattler, over the channels, the platform and the virtual packages that it is given on the command line
and in the variables, as micromamba would; nothing of envlock takes part. What it was given is noted in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from rattler import ChannelPriority, Gateway, MatchSpec, PackageRecord, RepoDataRecord, Subdir, solve
from rattler.exceptions import SolverError

ROOT = Path(__file__).resolve().parent.parent.parent


def write_stand_in(folder: Path, name: str = "micromamba") -> Path:
    """The executable, in `folder`. It notes each call as a line of JSON in `calls.jsonl` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.resolve.stand_in_micromamba import main\n"
        "main()\n"
    )
    path.chmod(0o755)
    return path


def calls_of(executable: Path) -> list[dict[str, Any]]:
    """What it was given so far, call by call: `arguments`, `channels`, `specifications`, `variables`."""
    notes = executable.with_name("calls.jsonl")
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def main() -> None:
    executable, *arguments = sys.argv
    given = _read(arguments)
    variables = {name: value for name, value in os.environ.items() if name.startswith(("CONDA_", "MAMBA_"))}
    with Path(executable).with_name("calls.jsonl").open("a") as notes:
        notes.write(json.dumps({"arguments": arguments, **given, "variables": variables}) + "\n")
    answer = asyncio.run(_solve(given["channels"], given["specifications"]))
    json.dump(answer, sys.stdout)
    sys.exit(0 if answer["success"] else 1)


def _read(arguments: list[str]) -> dict[str, list[str]]:
    assert arguments[0] == "create"
    assert {"--dry-run", "--json", "--override-channels"} <= set(arguments)
    channels, specifications = [], []
    words = iter(arguments[1:])
    for word in words:
        if word == "--channel":
            channels.append(next(words))
        elif word == "--prefix":
            next(words)
        elif not word.startswith("--"):
            specifications.append(word)
    return {"channels": channels, "specifications": specifications}


async def _solve(channels: list[str], specifications: list[str]) -> dict[str, Any]:
    priority = os.environ.get("CONDA_CHANNEL_PRIORITY", "flexible")
    try:
        records = await solve(
            channels,
            [MatchSpec(each) for each in specifications],
            gateway=Gateway(cache_dir=Path(os.environ["CONDA_PKGS_DIRS"])),
            platforms=[Subdir(os.environ["CONDA_SUBDIR"]), Subdir("noarch")],
            channel_priority=ChannelPriority.Strict if priority == "strict" else ChannelPriority.Disabled,
            timeout=timedelta(seconds=60),
        )
    except SolverError as error:
        return {"success": False, "solver_problems": [str(error)]}
    finally:
        await asyncio.sleep(0.05)  # py-rattler's threads are to be done before the interpreter is
    return {"success": True, "actions": {"FETCH": [_fetched(record) for record in records], "LINK": []}}


def _fetched(record: RepoDataRecord) -> dict[str, Any]:
    facts = json.loads(PackageRecord.to_json(record))
    return {**facts, "fn": record.file_name, "url": record.url, "channel": record.channel}


if __name__ == "__main__":
    main()
    time.sleep(0.05)
