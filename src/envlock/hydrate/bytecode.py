"""Python's bytecode, compiled when an environment is made, so that no first import has to."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from envlock.hydrate.errors import disk_full

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.reporter import Reporter

_NO_ROOM = ("No space left on device", "Disk quota exceeded")


def compile_below(folder: Path, python: Path, reporter: Reporter) -> None:
    """Compile every module below a folder with the environment's own interpreter, by all processors.

    A module that does not compile is passed over: packages carry templates, and modules for other Pythons. What is
    written is what Python itself would write at the first import: it is for the source's time and size, so that Python
    sees when somebody edits a module. Raises DiskFull.
    """
    reporter.noted(f"compiling the modules below {folder}")
    completed = _compile(folder, python, workers=0)
    if "Traceback" in completed.stderr:  # where processes cannot share memory, one alone has to do it
        completed = _compile(folder, python, workers=1)
    said = completed.stdout + completed.stderr
    if any(phrase in said for phrase in _NO_ROOM):
        raise disk_full(folder)
    if completed.returncode not in {0, 1} or "Traceback" in completed.stderr:
        last = (said.strip().splitlines() or ["it gave no reason"])[-1]
        reporter.warned(
            f"the bytecode below {folder} could not be compiled ({last}): Python does it at the first import"
        )


def _compile(folder: Path, python: Path, *, workers: int) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "__PYVENV"))}
    command = ["-I", "-m", "compileall", "-q", "-j", str(workers), "--invalidation-mode", "timestamp"]
    return subprocess.run(
        [python, *command, folder],
        env=kept, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
