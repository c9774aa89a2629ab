"""py-rattler's HTTP client, set up with mirrors, credentials, S3, and few retries.

The URLs that py-rattler is given hold no secret: it writes them into its repodata cache and into error texts. User
names and passwords go into a header, and a conda token is put into the path by the middleware of mirrors.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from envlock.addresses import Address
from envlock.conda.channels import channel_address
from envlock.credentials import Credentials
from envlock.model.url import host

if TYPE_CHECKING:
    from rattler.networking import Client
    from rattler.networking.middleware import S3Config

TIMEOUT = 600
"""Seconds for one file, even a large one over a slow line. `host_check.py` finds hosts that do not answer sooner."""
RETRIES = 2
"""How often what fails for a moment is asked again; py-rattler pauses before each, and longer each time."""


class Place(NamedTuple):
    """A channel, and where it is asked."""

    base: str
    """Its canonical URL."""
    url: str
    """The URL that is asked: the mirror's, or its own. Without user name and password, with a conda token."""
    header: str = ""
    """The value of `Authorization`, if there are credentials."""

    @property
    def is_file(self) -> bool:
        """Whether it is a folder on this machine, which no middleware can serve."""
        return self.url.startswith("file:")

    @property
    def source(self) -> str:
        """The URL that py-rattler gets: the canonical one, if a middleware can redirect from it."""
        return self.url if self.is_file else self.base

    def canonical(self, url: str) -> str:
        """The URL of a file in the channel, as locks hold it: below the channel's own URL."""
        for source in (self.source, quote(self.source, safe=":/%@$")):  # py-rattler encodes the braces of a variable
            if url.startswith(f"{source}/"):
                return self.base + url[len(source) :]
        return url

    @property
    def bucket(self) -> str:
        """The bucket of a channel on S3; empty for others."""
        return host(self.url) if self.url.startswith("s3://") else ""


def places_of(channel_urls: Sequence[str], mirrors: Mapping[str, str]) -> tuple[Place, ...]:
    """Where each of these channels, and each channel with a mirror, is asked.

    >>> places_of(["https://channel.example/t/tk-1/team"], {})[0].url
    'https://channel.example/t/tk-1/team'
    >>> places_of(["https://channel.example/team"], {"https://channel.example/team": "file:///srv/team"})[0].source
    'file:///srv/team'

    Raises UnsetVariable, BadVariable and BadNetrc.
    """
    channels = [channel_address(url) for url in channel_urls]
    written = {each.kept: each for each in reversed(channels)}
    bases = dict.fromkeys([*(each.kept for each in channels), *mirrors])
    mirrored = {base: Address(url, base) for base, url in mirrors.items()}
    return tuple(_place(base, mirrored.get(base) or written[base]) for base in bases)


def client_for(channel_urls: Sequence[str], mirrors: Mapping[str, str]) -> Client:
    """A client that asks each channel at its place, with its credentials.

    `channel_urls` are as they were configured, with credentials and `${VARIABLE}`s; `mirrors` are those of
    `mirrors_in_force`. The client is asked for canonical URLs. Beside what envlock itself knows of credentials, those
    of RATTLER_AUTH_FILE, of `rattler auth login` and of netrc are used, and for `s3://` those of AWS.

    Raises UnsetVariable, BadVariable and BadNetrc.
    """
    places = places_of(channel_urls, mirrors)
    return client_of(places, places)


def _place(base: str, found: Address) -> Place:
    if "://" not in found.url:
        found = Address(base, base)
    credential = Credentials([found.url]).for_url(found.asked)
    header = ""
    if credential is not None:
        pair = f"{credential.username}:{credential.password}".encode()
        header = f"Basic {base64.b64encode(pair).decode()}"
    return Place(base, found.asked.rstrip("/"), header)


def client_of(known: Sequence[Place], places: Sequence[Place]) -> Client:
    """A client for these places; credentials are looked up at each request."""
    from rattler.networking import (
        AddHeadersMiddleware,
        AuthenticationMiddleware,
        Client,
        MirrorMiddleware,
        RetryMiddleware,
        S3Middleware,
    )

    mirrors = {place.base: [place.url] for place in places if place.source != place.url}
    buckets = {place.bucket for place in places if place.bucket}
    return Client(
        [
            RetryMiddleware(RETRIES),
            *([MirrorMiddleware(mirrors)] if mirrors else []),
            AuthenticationMiddleware(),
            # After it, for what was configured for the channel wins over what is kept for its host.
            AddHeadersMiddleware(authorization(known)),
            S3Middleware(_s3_settings(buckets)),
        ],
        timeout=TIMEOUT,
    )


def authorization(places: Sequence[Place]) -> Callable[[str, str], dict[str, str] | None]:
    """The function that tells py-rattler which headers to send to a host and a path.

    The question names neither scheme nor port. So a place is known by its path too, and where two places that cannot be
    told apart would be told different things, neither is told anything.

    >>> ask = authorization([Place("https://channel.example/team", "https://channel.example/team", "Basic x")])
    >>> ask("channel.example", "/team/noarch/repodata.json"), ask("channel.example", "/teamwork/noarch/repodata.json")
    ({'Authorization': 'Basic x'}, None)
    """

    def ask(name: str, path: str) -> dict[str, str] | None:
        if not any(place.header for place in places):
            return None
        known = [(host(place.url), _path(place.url), place.header) for place in places if not place.is_file]
        fitting = [(prefix, header) for at, prefix, header in known if at == name and path.startswith(prefix)]
        longest = max((len(prefix) for prefix, _ in fitting), default=0)
        headers = {header for prefix, header in fitting if len(prefix) == longest}
        (header,) = headers if len(headers) == 1 else ("",)
        return {"Authorization": header} if header else None

    return ask


def _path(url: str) -> str:
    """The path of a URL, with a slash at its end."""
    return "/" + "".join(f"{part}/" for part in url.partition("://")[2].split("/")[1:] if part)


def _s3_settings(buckets: set[str]) -> dict[str, S3Config]:
    """How to reach S3 if the environment names another server than Amazon's: by path, as such servers need."""
    from rattler.networking.middleware import S3Config

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {bucket: S3Config(endpoint, region, "path") for bucket in buckets} if endpoint else {}
