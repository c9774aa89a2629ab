"""Channels and match specifications as conda-lock and a conda executable read and write them.

Secrets in channel URLs become variables; a mirror takes the place of its channel.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from envlock.conda.channels import channel_address, channel_base, without_secrets
from envlock.conda.client import Place
from envlock.model.conda_requirement import CondaRequirement, conda_requirement

_TOKEN = re.compile(r"(?<=/t/)[^/]+")


class NamedChannel(NamedTuple):
    """A channel, as conda-lock takes it."""

    name: str
    """As envlock.toml names it, without secrets."""
    base: str
    """Its canonical URL."""
    text: str
    """What conda-lock gets if an executable solves: a name, or a URL with `${VARIABLE}`s for its secrets."""
    variables: Mapping[str, str]
    """The values of those variables."""
    asked: str
    """The URL, without secrets, where the executable finds the channel's files."""


def named_channels(names: Iterable[str], places: Iterable[Place]) -> tuple[NamedChannel, ...]:
    """The channels of an environment, from their names and places, in order.

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
    """The URL with variables for its secrets, and their values."""
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


_TEXT = re.compile(r"(?:(?P<channel>[^\s\[]+)::)?(?P<name>[^\s<>=!~\[]+)(?P<rest>.*)", re.DOTALL)
_FIELD = re.compile(r"(version|build)='?([^',\]]*(?:,[^'=\]]+)*)'?")


class CannotMerge(Exception):
    """No single specification means the same as these two requirements."""

    def __init__(self, name: str, texts: tuple[str, ...]) -> None:
        super().__init__(f"{name}: {texts}")
        self.name = name
        self.texts = texts


def merged(requirements: Iterable[CondaRequirement]) -> tuple[CondaRequirement, ...]:
    """One requirement for each package: of several, conda-lock would use only the last.

    >>> first, second = conda_requirement("python", ">=3.11"), conda_requirement("python", "=3.12|=3.13")
    >>> str(merged([first, second])[0])
    'python >=3.11,=3.12|>=3.11,=3.13'

    Raises CannotMerge.
    """
    by_name: dict[str, list[CondaRequirement]] = {}
    for requirement in requirements:
        by_name.setdefault(requirement.name, []).append(requirement)
    return tuple(_one(name, group) for name, group in by_name.items())


def _one(name: str, group: list[CondaRequirement]) -> CondaRequirement:
    channels = {each.channel for each in group} - {""}
    builds = {each.build for each in group} - {""}
    if len(channels) > 1 or len(builds) > 1 or (len(group) > 1 and any("(" in each.version for each in group)):
        raise CannotMerge(name, tuple(map(str, group)))
    alternatives = [""]
    for version in dict.fromkeys(each.version for each in group if each.version not in {"", "*"}):
        alternatives = [f"{one},{other}".strip(",") for one in alternatives for other in version.split("|")]
    return CondaRequirement(name, "|".join(alternatives), "".join(builds), "".join(channels))


def read_back(text: str) -> CondaRequirement:
    """The requirement that a specification of conda-lock means.

    >>> str(read_back("numpy ==1.26.4 py312*")), str(read_back("numpy 1.26.*")), str(read_back("lower"))
    ('numpy ==1.26.4 py312*', 'numpy 1.26.*', 'lower')
    >>> str(read_back("other::lower[version='>=1,<2',build='h0*']")), str(read_back("other::lower==3"))
    ('other::lower >=1,<2 h0*', 'other::lower ==3')

    Raises BadCondaRequirement.
    """
    match = _TEXT.fullmatch(text.strip())
    assert match is not None, text
    name = f"{match['channel']}::{match['name']}" if match["channel"] else match["name"]
    rest = match["rest"].strip()
    if not rest.startswith("["):
        return conda_requirement(name, rest)
    fields = dict(_FIELD.findall(rest))
    return conda_requirement(name, f"{fields.get('version', '*')} {fields.get('build', '')}".strip())
