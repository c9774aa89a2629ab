"""Channels as conda-lock and a conda executable take them: secrets by variables, mirrors in their channel's place."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from envlock.conda.channels import channel_address, channel_base, without_secrets
from envlock.conda.client import Place

_TOKEN = re.compile(r"(?<=/t/)[^/]+")


class NamedChannel(NamedTuple):
    """A channel, as it is said to conda-lock."""

    name: str
    """As envlock.toml names it, without secrets."""
    base: str
    """Its canonical URL."""
    text: str
    """What conda-lock is told where an executable solves: a name, or a URL with `${VARIABLE}`s for its secrets."""
    variables: Mapping[str, str]
    """The values of those variables."""
    asked: str
    """The URL without secrets under which the executable finds the channel's files."""


def named_channels(names: Iterable[str], places: Iterable[Place]) -> tuple[NamedChannel, ...]:
    """The channels of an environment, by their names and where they are asked, in order.

    >>> place = Place("https://channel.example/team", "https://channel.example/t/tk-1/team")
    >>> named_channels(["https://channel.example/team"], [place])[0].text
    'https://channel.example/t/${ENVLOCK_CHANNEL_0_TOKEN}/team'
    """
    by_base: dict[str, str] = {}
    for name in names:
        by_base.setdefault(channel_address(name).kept, name)
    found = []
    for number, place in enumerate(places):
        name = by_base[place.base]
        is_plain = place.url == place.base and "://" not in name and not place.header
        text, variables = (name, {}) if is_plain else _with_variables(place, f"ENVLOCK_CHANNEL_{number}")
        found.append(NamedChannel(name, place.base, text, variables, without_secrets(place.url)))
    return tuple(found)


def canonical(url: str, channels: Iterable[NamedChannel]) -> tuple[str, str]:
    """The canonical URL of a channel, and the rest of the URL of one of its files.

    >>> channel = NamedChannel("team", "https://channel.example/team", "", {}, "https://mirror.example/team")
    >>> canonical("https://${U}:${P}@mirror.example/team/noarch/a-1-0.conda", [channel])
    ('https://channel.example/team', 'noarch/a-1-0.conda')
    """
    plain = without_secrets(url)
    for channel in sorted(channels, key=lambda each: len(each.asked), reverse=True):
        for prefix in (channel.asked, channel.base):
            if plain.startswith(f"{prefix}/"):
                return channel.base, plain[len(prefix) + 1 :]
    folder, subdir, filename = plain.rsplit("/", 2)
    return channel_base(folder), f"{subdir}/{filename}"


def _with_variables(place: Place, stem: str) -> tuple[str, dict[str, str]]:
    """The URL that is asked, its secrets put into variables that are named in their place."""
    variables: dict[str, str] = {}
    text = place.url
    token = _TOKEN.search(text)
    if token is not None:
        variables[f"{stem}_TOKEN"] = token[0]
        text = _TOKEN.sub(f"${{{stem}_TOKEN}}", text, count=1)
    if place.header:
        username, _, password = base64.b64decode(place.header.removeprefix("Basic ")).decode().partition(":")
        variables[f"{stem}_USER"], variables[f"{stem}_PASSWORD"] = quote(username, safe=""), quote(password, safe="")
        scheme, _, rest = text.partition("://")
        text = f"{scheme}://${{{stem}_USER}}:${{{stem}_PASSWORD}}@{rest}"
    return text, variables
