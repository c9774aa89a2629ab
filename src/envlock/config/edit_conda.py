"""What is particular to conda in editing envlock.toml: how a package is written, and its channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tomli

from envlock.config.conda_tables import NoChannel, entry_of
from envlock.config.errors import BadChannel, BadCondaEntry
from envlock.config.project import KeyPath
from envlock.model.conda_requirement import BadCondaRequirement
from envlock.model.url import is_channel, strip_channel_credentials

_PACKAGE = re.compile(r"\s*(?P<name>(?:\S+?::)?[^\s<>=!~:]+)(?P<constraint>\s*(?:[=<>!~*]|\s\d).*)?\Z", re.DOTALL)


def conda_entry(text: str, channel: str = "") -> tuple[str, str]:
    """Key and value of a conda package as people write it in one line, of that channel if one is given.

    >>> conda_entry("numpy >= 1.26, < 2"), conda_entry("bioconda::samtools=1.2"), conda_entry("numpy 1.26 py312*")
    (('numpy', '>=1.26,<2'), ('bioconda::samtools', '=1.2'), ('numpy', '1.26 py312*'))
    >>> conda_entry("samtools", "bioconda")
    ('bioconda::samtools', '')

    Raises BadCondaEntry, BadChannel.
    """
    match = _PACKAGE.match(text)
    if match is None:
        raise BadCondaEntry(text.strip(), "", "write a name, and a version or a range after it")
    constraint = " ".join((match["constraint"] or "").split())
    name = f"{channel}::{match['name']}" if channel else match["name"]
    try:
        requirement, _ = entry_of(name, constraint)
        short = "".join(constraint.split())
        return name, short if entry_of(name, short)[0] == requirement else constraint
    except BadCondaRequirement as bad:
        raise BadCondaEntry(name, constraint, bad.reason) from None
    except NoChannel as bad:
        raise BadChannel(bad.channel) from None


def channel_name(text: str, level: KeyPath, channel: str) -> str:
    """The channel as a package of `level` names it. Raises BadChannel.

    Where the level, its flow or the project asks for it already, without its secrets: one place is enough for them.
    """
    if not is_channel(channel):
        raise BadChannel(channel)
    document = tomli.loads(text)
    asked = [
        *_channels(document, (*level, "conda", "channels")),
        *_channels(document, (*level[:2], "conda", "channels")),
        *_channels(document, ("envlock", "channels")),
    ]
    name = strip_channel_credentials(channel)
    return name if name in map(strip_channel_credentials, asked) else channel


def _channels(document: Mapping[str, Any], path: KeyPath) -> list[str]:
    table: Any = document
    for name in path:
        table = table.get(name, {})
    return list(table)
