"""How the demos tell a story: commands that are shown with what they print, and its turns, which are checked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

MOST_LINES = 14
_TOLD = re.compile(r"envlock: |\(pid \d+\)\] (?!Task is)|Done!|Task failed")


def does(folder: Path, *command: str, status: int = 0, only_stdout: bool = False) -> str:
    """Show a command, run it in a folder, and return what it printed; any other status ends the demo."""
    print(f"\n$ {' '.join(command)}", flush=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    said = done.stdout + done.stderr
    is_run = command[0] == "python" and command[-1] == "run"
    lines = [line for line in said.splitlines() if line.strip() and (not is_run or _TOLD.search(line))]
    print("".join(f"  {line}\n" for line in lines[:MOST_LINES]), end="")
    if len(lines) > MOST_LINES:
        print(f"  ... and {len(lines) - MOST_LINES} lines more")
    sys.stdout.flush()
    if done.returncode != status:
        sys.exit(f"{said}\n`{' '.join(command)}` ended with {done.returncode}, not {status}")
    return done.stdout if only_stdout else said


def wants(is_so: bool, what: str) -> None:
    """Check a turn of the story."""
    if not is_so:
        sys.exit(f"not so: {what}")
    print(f"  [ok] {what}")
