"""What is particular to conda in editing envlock.toml: how a package is written, and the channels beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tomli

from envlock.config import toml_text
from envlock.config.conda_errors import BadChannel, BadCondaEntry
from envlock.config.conda_tables import NoChannel, entry_of
from envlock.config.project import KeyPath
from envlock.config.quoting import without_credentials
from envlock.model.conda_requirement import BadCondaRequirement
from envlock.model.url import is_channel, strip_channel_credentials

_PACKAGE = re.compile(r"\s*(?P<name>(?:\S+?::)?[^\s<>=!~:]+)(?P<constraint>\s*(?:[=<>!~*]|\s\d).*)?\Z", re.DOTALL)


@dataclass(frozen=True)
class ChannelChange:
    """A channel that a level now asks for."""

    level: KeyPath
    channel: str

    def __str__(self) -> str:
        """`+ channels: "bioconda"`."""
        return f"+ channels: {toml_text.quoted(without_credentials(self.channel))}"


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


def add_channel(text: str, level: KeyPath, channel: str) -> tuple[str, str, ChannelChange | None]:
    """The text with this channel asked at `level`, the channel as packages then name it, and what changed.

    Nothing is changed where the level, its flow or the project asks for it already, nor where none of them asks for any
    channel: those that packages name are asked then. Raises BadChannel.
    """
    if not is_channel(channel):
        raise BadChannel(channel)
    document = tomli.loads(text)
    path = (*level, "conda", "channels")
    own = _channels(document, path)
    asked = [
        *own,
        *_channels(document, (*level[:2], "conda", "channels")),
        *_channels(document, ("envlock", "channels")),
    ]
    if not asked:
        return text, channel, None
    # One place is enough for credentials: the list of channels.
    name = strip_channel_credentials(channel)
    if name in map(strip_channel_credentials, asked):
        return text, name, None
    if _has(document, path):
        edited = toml_text.append(text, path, toml_text.quoted(channel))
    else:
        edited = toml_text.insert(text, path, f"[{toml_text.quoted(channel)}]", header=len(level))
    if _channels(tomli.loads(edited), path) != [*own, channel]:
        raise AssertionError(f"an edit of {'.'.join(path)} did something else")
    return edited, name, ChannelChange(level, channel)


def _channels(document: Mapping[str, Any], path: KeyPath) -> list[str]:
    table: Any = document
    for name in path:
        table = table.get(name, {})
    return list(table)


def _has(document: Mapping[str, Any], path: KeyPath) -> bool:
    table: Any = document
    for name in path[:-1]:
        table = table.get(name, {})
    return path[-1] in table
