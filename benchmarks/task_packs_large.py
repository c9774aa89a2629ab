"""The start of a task from a pack of 1.6 GB: what `task_packs` claims, for an environment with a few very large wheels.

It downloads 0.6 GB, and packing it takes minutes, so it runs only if it is named, and each way once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.task_packs import started

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.timing import Row

LARGE = ("tensorflow-cpu", "opencv-python-headless", "polars", "numba", "duckdb", "transformers", "plotly")


def rows(folder: Path) -> list[Row]:
    """The claims about starting tasks from a large pack."""
    return started(folder, *LARGE, rounds=1)
