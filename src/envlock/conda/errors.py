"""Errors of channels and their mirrors."""

from __future__ import annotations

from envlock.errors import ConfigError


class ChannelFailure(Exception):
    """A channel did not deliver; the caller turns this into an error.

    `kind` is `unauthorized`, `missing`, `unreachable` or `unreadable`; neither `url` nor `reason` holds a secret.
    """

    def __init__(self, kind: str, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.kind = kind
        self.url = url
        self.reason = reason


class BadChannelMirror(ConfigError):
    """The mirror of a channel is not a URL, or the variable that names mirrors cannot be read."""

    code = "bad-channel-mirror"

    def __init__(self, found: str, named_by: str, reason: str) -> None:
        super().__init__(
            f"{named_by}: `{found}` is not a channel mirror",
            details=(reason,),
            hint="write it as `conda-forge=https://mirror.example/conda-forge`"
            if named_by.isupper()
            else 'write it as `"conda-forge" = "https://mirror.example/conda-forge"`',
        )
