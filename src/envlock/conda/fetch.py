"""Download one file of a channel, and find out what a failure means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from envlock.conda import event_loop
from envlock.conda.channels import without_secrets
from envlock.conda.errors import ChannelFailure
from envlock.redaction import URL_IN_TEXT
from envlock.reporter import asking

if TYPE_CHECKING:
    from rattler.networking import Client

    from envlock.conda.client import Place

_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3}) ?([^)]*)\)")
_OF_URL = re.compile(r" for url \(([^)\s]*)\)?|\bchannel '([^']*)'| cache for (\S+)|`(/[^`]*)`")
_ADVICE = re.compile(r" \(os error \d+\)")


class Writer(Protocol):
    """Takes the bytes of a download."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


def fetch(url: str, writer: Writer, client: Client) -> None:
    """Stream the file at `url`, the canonical one, into a writer. The caller checks its hash.

    `client` is one of `client_for`. Raises ChannelFailure; what the writer raises goes through.
    """
    from rattler.package_streaming import download_to_writer

    try:
        with asking("GET", url):
            event_loop.run(download_to_writer(client, url, writer))
    except RuntimeError as error:  # py-rattler has no class for it
        raise failure_of(str(error), url) from None
    except OSError as error:
        if error.errno is not None:  # the writer's own
            raise
        raise ChannelFailure("unreachable", without_secrets(url), "the connection broke") from None


def failure_of(text: str, url: str = "", places: Sequence[Place] = ()) -> ChannelFailure:
    r"""The meaning of py-rattler's error text. If `url` is empty, the channel is found among `places` by the text.

    >>> failure_of("HTTP status client error (401 Unauthorized) for url (https://me:***@channel.example/x)", "").kind
    'unauthorized'
    >>> failure_of("Request failed after 2 retries\nCaused by: Connection refused (os error 111)").reason
    'Connection refused'
    """
    named = url or _named(text, places)
    status = _STATUS.search(text)
    if status is not None:
        answer = f"it answered {status[1]} {status[2]}".strip()
        kinds = {
            "401": "unauthorized",
            "403": "unauthorized",
            "407": "unauthorized",
            "404": "missing",
            "410": "missing",
        }
        return ChannelFailure(kinds.get(status[1], "unreachable"), named, answer)
    reason = clean(text).splitlines()[-1].removeprefix("Caused by: ").strip()
    if "could not find subdir" in text:
        return ChannelFailure("missing", named, "it has no repodata")
    if "failed to parse" in text or "frame descriptor" in text:  # neither JSON nor what zstd makes of it
        return ChannelFailure("unreadable", named, f"its repodata cannot be read: {reason}")
    if "no usable repodata cache" in text:
        return ChannelFailure("uncached", named, "this machine has no cached repodata of it")
    return ChannelFailure("unreachable", named, reason)


def clean(text: str) -> str:
    """The text without secrets and error numbers."""
    return _ADVICE.sub("", URL_IN_TEXT.sub(lambda match: without_secrets(match[0]), text))


def _named(text: str, places: Sequence[Place]) -> str:
    """The canonical URL of the channel that a text mentions; empty if that is not clear.

    It never is where one request served several solves: py-rattler tells only the first of them what went wrong.
    """
    found = [without_secrets(group) for match in _OF_URL.findall(text) for group in match if group]
    found += [f"file://{path}" for path in found if path.startswith("/")]
    for place in places:
        ours = {place.base, place.source, without_secrets(place.url)}
        if any(f"{url}/".startswith(f"{our}/") for url in found for our in ours):
            return place.base
    return places[0].base if len(places) == 1 and "coalesced" not in text else ""
