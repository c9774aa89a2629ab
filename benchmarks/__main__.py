"""What the documentation claims about speed, measured: `python -m benchmarks [NAME...] [--write]`.

Without a name, all of them. `--write` puts the tables into docs/reference/benchmarks.md, between their markers.
"""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.timing import table

ALL = (
    *("check", "looking", "lock", "conda", "build", "import_locks", "export"),
    *("hydrate", "hydrate_conda", "cache", "shim", "task_start", "packs", "task_packs", "image", "machine"),
)
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "benchmarks.md"
_TABLE = re.compile(r"(<!-- measured: (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Measure, print, and return 1 when a claim does not hold."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode, imports look twice as slow
    chosen = [each for each in arguments if not each.startswith("-")] or list(ALL)
    tables, holds = {}, True
    with tempfile.TemporaryDirectory(prefix="envlock-benchmarks-") as folder:
        for name in chosen:
            rows = importlib.import_module(f"benchmarks.{name}").rows(Path(folder) / name)
            if rows:
                tables[name] = f"{table(rows)}\n\n{_machine()}\n"
                print(f"{name}\n\n{tables[name]}", flush=True)
            holds = holds and all(row.holds for row in rows)
    if "--write" in arguments:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return 0 if holds else 1


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables between their markers; all else stays.

    >>> with_tables("Prose.\\n<!-- measured: lock -->\\nold\\n<!-- end -->\\nProse.\\n", {"lock": "new\\n"})
    'Prose.\\n<!-- measured: lock -->\\n\\nnew\\n\\n<!-- end -->\\nProse.\\n'
    """
    return _TABLE.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n" if found[2] in tables else found[0], page)


def _machine() -> str:
    system = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"Measured on {datetime.datetime.now(tz=datetime.timezone.utc):%Y-%m-%d}: {system}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
