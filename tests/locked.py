"""Packages of the test channel as a lock would have them, without solving."""

from __future__ import annotations

from fnmatch import fnmatch

from envlock.conda.channels import channel_base
from envlock.model.lock import CondaFacts, LockedPackage
from tests.channel import Channel

CONDA_FORGE = channel_base("conda-forge")


def locked(channel: Channel, *patterns: str, base: str = CONDA_FORGE) -> tuple[LockedPackage, ...]:
    """The packages of `main` whose path matches (`noarch/beta-1.5-*`), one for each pattern, with edges among them."""
    records = channel.records()
    chosen = []
    for pattern in patterns:
        (path,) = [path for path in records if fnmatch(path, pattern)]
        chosen.append((path, records[path]))
    names = {record["name"] for _, record in chosen}
    return tuple(
        LockedPackage(
            kind="conda",
            name=record["name"],
            version=record["version"],
            build=record["build"],
            filename=path.rpartition("/")[2],
            url=f"{base}/{path}",
            sha256=record["sha256"],
            size=record["size"],
            dependencies=tuple(sorted(names & {text.split()[0] for text in record["depends"]})),
            conda=CondaFacts(
                channel=base,
                subdir=record["subdir"],
                build_number=record["build_number"],
                depends=tuple(record["depends"]),
                noarch=record.get("noarch", ""),
            ),
        )
        for path, record in chosen
    )
