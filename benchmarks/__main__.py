"""`python -m benchmarks [check lock hydrate shim] [--write]`: the table of claims, printed, or kept in the docs."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import Row, table

ALL = ("check", "lock", "conda", "hydrate", "hydrate_conda", "cache", "shim")
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "benchmarks.md"


def main(arguments: list[str]) -> int:
    """Measure, print, and return 1 when a claim does not hold."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode, imports look twice as slow
    chosen = [each for each in arguments if not each.startswith("-")] or list(ALL)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="envlock-benchmarks-") as folder:
        for name in chosen:
            rows += importlib.import_module(f"benchmarks.{name}").rows(Path(folder) / name)
    text = table(rows)
    print(text)
    if "--write" in arguments:
        PAGE.write_text(_page(text), encoding="utf-8")
    return 0 if all(row.holds for row in rows) else 1


def _page(text: str) -> str:
    return (
        "# Benchmarks\n\n"
        "Medians of whole processes that take turns in one run (`make bench`). The ratios are what is claimed; the\n"
        f"times are those of one machine ({os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}) and of the network of that day.\n\n"
        f"{text}\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
