"""Where the packages of conda channels are really asked for: their mirrors, with the credentials of the project.

A lock names canonical URLs. What is configured beside it (credentials in a channel's URL, a mirror) is added here, when
something is fetched.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from envlock.credentials import UnsetVariable, address
from envlock.model.url import host, is_channel, strip_channel_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from envlock.model.artifact import Artifact

MIRRORS_VARIABLE = "ENVLOCK_CHANNEL_MIRRORS"


class ChannelPlaces:
    """From the canonical URL of a channel's package to the one that is asked."""

    def __init__(self, channel_urls: Iterable[str], mirrors: tuple[tuple[str, str], ...]) -> None:
        """`channel_urls` as configured, credentials included; `mirrors` as envlock.toml has them."""
        self._asked: dict[str, str] = {}
        self._unset: dict[str, UnsetVariable] = {}
        for url in channel_urls:
            if "://" not in url and "${" not in url:
                continue
            try:
                found = address(url, fits=is_channel, expected="a conda channel")
            except UnsetVariable as error:
                self._unset[strip_channel_credentials(url).rstrip("/")] = error
            else:
                self._asked[strip_channel_credentials(found.kept).rstrip("/")] = found.asked.rstrip("/")
        self._mirrors: dict[str, str] = {}
        if mirrors or os.environ.get(MIRRORS_VARIABLE):
            from envlock.conda.channels import mirrors_in_force

            self._mirrors = dict(mirrors_in_force(mirrors))

    def of(self, artifact: Artifact) -> str:
        """The URL to ask for a package of a channel. User names and passwords are not in it; a token may be.

        Raises UnsetVariable where the channel's own URL has a variable that is not set.
        """
        channel = artifact.channel.rstrip("/")
        if not artifact.url.startswith(f"{channel}/"):
            return artifact.url
        rest = artifact.url[len(channel) :]
        if channel in self._mirrors:
            return self._mirrors[channel].rstrip("/") + rest
        if channel in self._unset:
            raise self._unset[channel]
        return self._asked.get(channel, channel) + rest


def fetch_from_bucket(artifact: Artifact, at: str, to: Path, on_bytes: Callable[[int], None]) -> None:
    """Make `to`, which does not exist yet, an artifact's file out of an `s3://` channel, its size and SHA-256 proved.

    The bucket is reached as the `AWS_*` variables say. Raises UpstreamHashMismatch, UpstreamUnreachable.
    """
    from envlock.cache.errors import UpstreamHashMismatch, UpstreamUnreachable
    from envlock.conda.client import client_for
    from envlock.conda.errors import ChannelFailure
    from envlock.conda.fetching import fetch

    digest = hashlib.sha256()

    class _Writer:
        def write(self, block: bytes, /) -> int:
            if artifact.size is not None and file.tell() + len(block) > artifact.size:
                raise UpstreamHashMismatch(artifact, expected=f"{artifact.size} bytes", got="more")
            file.write(block)
            digest.update(block)
            on_bytes(len(block))
            return len(block)

    try:
        with to.open("xb") as file:
            fetch(at, _Writer(), client_for((artifact.channel,), {}))
    except ChannelFailure as error:
        to.unlink()
        raise UpstreamUnreachable(host(at) or at, error.reason, (artifact.filename,)) from None
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    if digest.hexdigest() != artifact.sha256:
        to.unlink()
        raise UpstreamHashMismatch(artifact, expected=f"sha256 {artifact.sha256}", got=f"sha256 {digest.hexdigest()}")
