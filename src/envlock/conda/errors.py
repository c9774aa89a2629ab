"""Why a channel, or what is said of channels, is of no use."""

from __future__ import annotations

from envlock.errors import ConfigError


class ChannelFailure(Exception):
    """A channel did not give what it was asked for; whoever asked makes an error of it.

    `kind` is `unauthorized`, `missing`, `unreachable` or `unreadable`; neither `url` nor `reason` holds a secret.
    """

    def __init__(self, kind: str, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.kind = kind
        self.url = url
        self.reason = reason


class BadChannelMirror(ConfigError):
    """A channel's mirror is no URL, or the variable that names mirrors cannot be read."""

    code = "bad-channel-mirror"

    def __init__(self, found: str, named_by: str, reason: str) -> None:
        super().__init__(
            f"{named_by}: `{found}` is no mirror of a channel",
            details=(reason,),
            hint="write it as `conda-forge=https://mirror.example/conda-forge`"
            if named_by.isupper()
            else 'write it as `"conda-forge" = "https://mirror.example/conda-forge"`',
        )
