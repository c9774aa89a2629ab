"""Solving and installing with py-rattler alone, without envlock: what the channels are proved with."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from rattler import (
    Client,
    Gateway,
    GenericVirtualPackage,
    MatchSpec,
    PackageName,
    RepoDataRecord,
    Version,
    install,
    solve,
)
from rattler.package.build_string import BuildString

from tests.channel.interpreters import host_subdir

T = TypeVar("T")
FOREIGN = "linux-64" if host_subdir() == "linux-aarch64" else "linux-aarch64"
SYSTEM = {
    "linux": {"__unix": "0", "__linux": "5.10", "__glibc": "2.28"},
    "osx": {"__unix": "0", "__osx": "12.0"},
}


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine of py-rattler gives."""

    async def to_the_end() -> T:
        try:
            return await coroutine
        finally:
            await asyncio.sleep(0.02)  # py-rattler's thread lets go of its last Python object

    return asyncio.run(to_the_end())


def solved(
    url: str, *specs: str, arch: str = "linux-64", system: dict[str, str] | None = None, others: tuple[str, ...] = ()
) -> dict[str, RepoDataRecord]:
    """The records that a solve over these channels gives, by name; `system` adds to the usual virtual packages."""
    known = {**SYSTEM[arch.partition("-")[0]], **(system or {})}
    virtual = {name: value.partition(" ") for name, value in known.items()}
    records = run(
        solve(
            [url, *others],
            [MatchSpec(spec) for spec in specs],
            gateway=Gateway(cache_dir=Path.home() / "repodata", client=Client()),
            platforms=[arch, "noarch"],
            virtual_packages=[
                GenericVirtualPackage(PackageName(name), Version(version), BuildString(build or "0"))
                for name, (version, _, build) in virtual.items()
            ],
        )
    )
    return {record.name.normalized: record for record in records}


def versions(records: dict[str, RepoDataRecord]) -> dict[str, str]:
    """Name to version."""
    return {name: str(record.version) for name, record in records.items()}


def installed(records: dict[str, RepoDataRecord], prefix: Path, **options: Any) -> Path:
    """The prefix, with these packages in it and no others."""
    run(install(list(records.values()), prefix, cache_dir=Path.home() / "pkgs", show_progress=False, **options))
    return prefix
