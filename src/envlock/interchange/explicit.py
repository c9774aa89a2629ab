"""Explicit lists of conda packages (CEP 23): a URL and a hash in each line, in the order of installing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.interchange.exported import Export, Given

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envlock.lockfile.rows import PackageRow


def write(given: Given) -> Export:
    """The conda packages of one arch, each with its SHA-256."""
    (lock,) = given.locks
    lines = [f"{package.url}#sha256:{package.sha256}\n" for package in in_order(given.packages(lock))]
    return Export(f"{given.header()}# platform: {lock.arch}\n@EXPLICIT\n{''.join(lines)}")


def in_order(packages: Sequence[PackageRow]) -> Iterator[PackageRow]:
    """The packages, each after those that it needs; by name where neither needs the other, or where both do."""
    by_name = {package.name: package for package in packages}
    seen: set[str] = set()
    for first in sorted(by_name):
        waiting = [iter((first,))]
        names: list[str] = []
        while waiting:
            name = next((each for each in waiting[-1] if each in by_name and each not in seen), None)
            if name is None:
                waiting.pop()
                if names:
                    yield by_name[names.pop()]
            else:
                seen.add(name)
                names.append(name)
                waiting.append(iter(by_name[name].dependencies))
