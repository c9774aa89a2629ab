"""What the server of channels is asked and answers, as values."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DROP = 0
"""A status that is none: the connection is closed without an answer."""


@dataclass(frozen=True)
class Credentials:
    """What a channel wants to be shown: any one of those that are set."""

    basic: tuple[str, str] | None = None
    token: str | None = None
    """The `<token>` of `http://host/t/<token>/channel`."""
    bearer: str | None = None

    def accept(self, authorization: str, token: str | None) -> bool:
        """Whether this header, or this token of the URL, is one of them."""
        if self.token is not None and token == self.token:
            return True
        scheme, _, value = authorization.partition(" ")
        if self.bearer is not None and (scheme.lower(), value) == ("bearer", self.bearer):
            return True
        shown = base64.b64encode(":".join(self.basic or ()).encode()).decode()
        return self.basic is not None and (scheme.lower(), value) == ("basic", shown)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be written anywhere."""
        password = (self.basic[1],) if self.basic else ()
        return (*password, *filter(None, (self.token, self.bearer)))


@dataclass(frozen=True)
class Request:
    """A request that the server was sent, and what it answered."""

    method: str
    path: str
    """Below the server's own root and without a token, such as `main/noarch/repodata.json.zst`."""
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """By their names in lower case."""
    token: str | None = None

    @property
    def kind(self) -> str:
        """`repodata`, `archive`, or `other`."""
        name = self.path.rpartition("/")[2]
        if name.startswith("repodata"):
            return "repodata"
        return "archive" if name.endswith((".conda", ".tar.bz2")) else "other"


@dataclass
class Trouble:
    """What goes wrong with the requests whose path matches."""

    pattern: str
    status: int | None = None
    times: int | None = None
    delay: float = 0.0
    cut: int | None = None
    """After how many bytes the connection breaks."""
    location: str | None = None
    """Where it is redirected to; the path below the root is added."""


@dataclass(frozen=True)
class Answer:
    """A status, and the file or the bytes to send with it."""

    status: int
    path: Path | None = None
    data: bytes = b""
    cut: int | None = None
    location: str | None = None
