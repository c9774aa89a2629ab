"""The four solves of a lock by py-rattler alone: `python -m benchmarks.bare_solves CHANNEL_URL CACHE SPEC...`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rattler import Gateway, GenericVirtualPackage, MatchSpec, PackageName, RepoDataRecord, Version, solve
from rattler.networking import Client, MirrorMiddleware
from rattler.package.build_string import BuildString

SYSTEMS = {
    "linux-64": {"__unix": "0", "__linux": "4.18", "__glibc": "2.28", "__archspec": "1"},
    "linux-aarch64": {"__unix": "0", "__linux": "4.18", "__glibc": "2.28", "__archspec": "1"},
    "osx-64": {"__unix": "0", "__osx": "13.0", "__archspec": "1"},
    "osx-arm64": {"__unix": "0", "__osx": "13.0", "__archspec": "1"},
}
CHANNEL = "conda-forge"


async def solves(url: str, cache: Path, specs: list[str]) -> list[list[RepoDataRecord]]:
    """The packages for each arch."""
    from rattler import Channel

    client = Client([MirrorMiddleware({Channel(CHANNEL).base_url.rstrip("/"): [url]})])
    gateway = Gateway(cache_dir=cache, client=client)
    found = await asyncio.gather(
        *(
            solve(
                [CHANNEL],
                [MatchSpec(spec) for spec in specs],
                gateway=gateway,
                platforms=[arch, "noarch"],
                virtual_packages=[
                    GenericVirtualPackage(PackageName(name), Version(version), BuildString("0"))
                    for name, version in packages.items()
                ],
            )
            for arch, packages in SYSTEMS.items()
        )
    )
    await asyncio.sleep(0.02)  # py-rattler's thread drops its last Python object; without it, the exit may crash
    return found


if __name__ == "__main__":
    _, channel, folder, *asked = sys.argv
    print([len(records) for records in asyncio.run(solves(channel, Path(folder), asked))])
