"""Times in one process, as JSON: py-rattler's read of a conda-lock.yml, and an import of it but for channel and disk.

`python -m benchmarks.bare_import FILE PROJECT ROUNDS`. What the channel costs (its repodata is parsed as a whole if it
is not sharded) is measured, and left out of the second. The locks are made and verified, and not written: how long it
takes until they are safe on a disk depends on the disk. All are seconds of the processor, which a busy machine does not
make more.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from rattler.lock import LockFile

from envlock.conda import lock_files
from envlock.workflow.import_locks import Wanted, import_lock


def main(file: Path, project: Path, rounds: int) -> None:
    """Print the medians in seconds."""
    gc.set_threshold(100_000)  # as the command does
    asked: list[float] = []
    ask = lock_files.in_channels

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.process_time()
        try:
            return ask(*arguments, **options)
        finally:
            asked.append(time.process_time() - began)

    lock_files.in_channels = timed
    reads, imports = [], []
    for _ in range(rounds + 1):
        began = time.process_time()
        LockFile.from_path(file).default_environment().conda_repodata_records()
        reads.append(time.process_time() - began)
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir()
        began = time.process_time()
        import_lock(project / "envlock.toml", Wanted(file), dry_run=True)
        imports.append(time.process_time() - began - asked[-1])
    middle = [statistics.median(times[1:]) for times in (reads, imports, asked)]
    print(json.dumps(dict(zip(("read", "import", "channel"), middle, strict=True))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
