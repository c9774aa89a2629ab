"""The start of a task from a large pack: what `task_packs` claims, for an environment with a few very large wheels.

Its pack has 642 MB in 97 parts. It downloads about as much, and packing it takes minutes, so it runs only if it is
named, and each way once.
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
