"""A bare py-rattler install: `python -m benchmarks.bare_install RECORDS.json PREFIX CACHE`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from rattler import PackageRecord, RepoDataRecord, install
from rattler.package.build_string import BuildString


def record(row: dict[str, Any]) -> RepoDataRecord:
    """One record, out of what a lock says of a package."""
    package = PackageRecord(
        name=row["name"],
        version=row["version"],
        build=BuildString.new_unchecked(row["build"]),
        build_number=row["number"],
        subdir=row["subdir"],
        noarch=row["noarch"] or None,
        depends=row["depends"],
        constrains=row["constrains"],
        sha256=bytes.fromhex(row["sha256"]),
        python_site_packages_path=row["site-packages"] or None,
    )
    return RepoDataRecord(package, row["filename"], row["url"], row["channel"])


async def installed(records: Path, prefix: Path, cache: Path) -> None:
    """Make the prefix."""
    rows = json.loads(records.read_text())
    await install([record(row) for row in rows], prefix, cache_dir=cache, show_progress=False)
    await asyncio.sleep(0.02)  # py-rattler's thread drops its last Python object; without it, the exit may crash


if __name__ == "__main__":
    asyncio.run(installed(*map(Path, sys.argv[1:4])))
