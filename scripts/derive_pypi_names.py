"""Derive `src/envlock/conda/data/pypi_names.txt.gz` from the mapping that prefix-dev/parselmouth publishes.

    python scripts/derive_pypi_names.py REPOSITORY [COMMIT]

REPOSITORY is a clone of it, bare or not. What is kept, and why, stands in `SOURCE.md` beside the data; the commit is
printed, to be put there.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

PUBLISHED = "files/v0/conda-forge/compressed_mapping.json"
DATA = Path(__file__).resolve().parent.parent / "src" / "envlock" / "conda" / "data" / "pypi_names.txt.gz"


def normalized(name: str) -> str:
    """The name as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def derive(published: Mapping[str, list[str] | None]) -> tuple[list[str], list[str]]:
    """The two sections of the data, lines of words.

    The first has a conda package and the distributions in it, where they are not simply its own name; the second a
    distribution and the conda package that is it, where that is not simply its own name.
    """
    wanted = {conda: sorted({normalized(name) for name in names or ()}) for conda, names in published.items()}
    whole = {names[0] for names in wanted.values() if len(names) == 1}
    whole |= {normalized(conda) for conda, names in wanted.items() if normalized(conda) in names}
    packages, packaged = [], defaultdict(list)
    for conda, names in sorted(wanted.items()):
        own = normalized(conda)
        # What several packages contain was once vendored by some of them; it belongs to the one that is it.
        kept = [name for name in names if name == own or len(names) == 1 or name not in whole]
        kept = kept or [name for name in names if own.startswith(name)]
        if kept != [own]:
            packages.append(" ".join([conda, *kept]))
        for name in kept:
            packaged[name].append((conda != name, own != name, conda.startswith("lib"), len(conda), conda))
    best = {name: min(rows)[-1] for name, rows in packaged.items()}
    return packages, [f"{name} {conda}" for name, conda in sorted(best.items()) if conda != name]


def main() -> None:
    repository, *rest = sys.argv[1:]
    commit = rest[0] if rest else "HEAD"
    git = ["git", "-C", repository]
    text = subprocess.run([*git, "show", f"{commit}:{PUBLISHED}"], capture_output=True, text=True, check=True).stdout
    said = subprocess.run([*git, "log", "-1", "--format=%H %cs", commit], capture_output=True, text=True, check=True)
    packages, distributions = derive(json.loads(text))
    lines = "\n".join([*packages, "", *distributions, ""])
    DATA.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))
    print("commit {} of {}".format(*said.stdout.split()))
    print(f"{len(packages)} packages, {len(distributions)} distributions, {DATA.stat().st_size} bytes")


if __name__ == "__main__":
    main()
