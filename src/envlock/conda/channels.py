"""Channels: their names and URLs, the canonical URLs in locks, and the URLs that are asked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from envlock.addresses import Address, address
from envlock.conda.errors import BadChannelMirror
from envlock.model.url import is_channel, is_mirror, strip_channel_credentials, strip_credentials

MIRRORS_VARIABLE = "ENVLOCK_CHANNEL_MIRRORS"

_PLAIN = re.compile(r"https?://[A-Za-z0-9./_+-]+")
_SCHEMES = frozenset({"http", "https", "file", "s3"})
_TOKEN = re.compile(r"(?<=/)t/(?!noarch\b|(?:linux|osx|win)-)[^/]*(?:/|\Z)")


def without_secrets(url: str) -> str:
    """The URL of a channel, or of a file in it, without user name, password, query, fragment or conda token.

    >>> without_secrets("https://me:pw@channel.example/t/tk-1234/team/linux-64/a-1-0.conda")
    'https://channel.example/team/linux-64/a-1-0.conda'
    >>> without_secrets("https://channel.example/t/${TOKEN}/team"), without_secrets("conda-forge")
    ('https://channel.example/team', 'conda-forge')

    A token is what `strip_channel_credentials` takes for one; but a channel may be called `t`, with its folders below.

    >>> without_secrets("https://channel.example/api/t/tk-1234/team"), without_secrets("https://channel.example/t/noarch")
    ('https://channel.example/api/team', 'https://channel.example/t/noarch')
    >>> without_secrets("file:///srv/t/x/channel/noarch/a-1-0.conda")
    'file:///srv/t/x/channel/noarch/a-1-0.conda'
    """
    if "/t/" not in url and _PLAIN.fullmatch(url):  # as nearly all are, of which a lock may have thousands
        return url
    scheme, separator, rest = strip_credentials(url).partition("://")
    host, slash, path = rest.partition("/")
    if scheme.lower() in {"http", "https"}:
        path = _TOKEN.sub("", f"/{path}")[1:]
    return f"{scheme}{separator}{host}{slash}{path}"


@lru_cache(maxsize=256)
def channel_base(name_or_url: str) -> str:
    """The canonical URL of a channel, as locks hold it: without credentials, token or final slash.

    >>> channel_base("https://me:pw@Channel.example/t/tk-1234/team/")
    'https://channel.example/team'
    >>> channel_base("s3://bucket/team"), channel_base("file:///srv/channel/")
    ('s3://bucket/team', 'file:///srv/channel')

    A name alone means what it means to py-rattler; only that costs its import.
    """
    if "://" in name_or_url:
        return strip_channel_credentials(name_or_url.strip())
    from rattler import Channel

    return Channel(name_or_url.strip().strip("/")).base_url.rstrip("/")


def channel_address(written: str) -> Address:
    """A channel's URL to ask, and its canonical URL, with the variables of its path unfilled.

    >>> channel_address("https://me:pw@channel.example/t/tk-1234/team/").kept
    'https://channel.example/team'

    Raises UnsetVariable and BadVariable.
    """
    found = address(written.strip(), fits=is_channel, expected="a conda channel")
    return found._replace(kept=channel_base(found.kept))


def mirrors_in_force(configured: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """The mirrors that apply: for each channel with one, its canonical URL and the mirror's.

    `ENVLOCK_CHANNEL_MIRRORS`, such as `conda-forge=https://mirror.example/main other=file:///srv/other`, wins over what
    is configured. Variables are filled in. Raises BadChannelMirror, UnsetVariable and BadVariable.

    >>> dict(mirrors_in_force([("https://channel.example/team/", "https://mirror.example/team/")]))
    {'https://channel.example/team': 'https://mirror.example/team'}
    """
    mirrors = {}
    for channel, mirror in configured:
        mirrors[channel_address(channel).kept] = _checked(mirror, f"{channel} = {mirror}", "channel-mirrors")
    for channel, mirror in _of_the_environment():
        mirrors[channel_address(channel).kept] = mirror
    return mirrors


def _of_the_environment() -> Iterator[tuple[str, str]]:
    for word in os.environ.get(MIRRORS_VARIABLE, "").split():
        channel, separator, mirror = word.partition("=")
        if not channel or not separator:
            raise BadChannelMirror(without_secrets(word), MIRRORS_VARIABLE, "each word is a channel, `=` and a URL")
        yield channel, _checked(mirror, word, MIRRORS_VARIABLE)


def _checked(mirror: str, found: str, named_by: str) -> str:
    mirror = address(mirror.strip(), fits=is_mirror, expected="the URL of a mirror").url
    if not is_mirror(mirror):
        channel = found.partition("=")[0].strip()
        raise BadChannelMirror(
            f"{channel}={without_secrets(mirror)}", named_by, f"a mirror is a URL: {', '.join(sorted(_SCHEMES))}"
        )
    return mirror.rstrip("/")
