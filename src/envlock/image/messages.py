"""What is asked of a registry and what it answers, as values."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO, NamedTuple

import httpx

from envlock.files import json_of

_BLOCK = 1 << 16


class Passing(Exception):
    """A failure that another attempt may overcome."""

    def __init__(self, reason: str, *, pause: float = 0.0, is_slow: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause
        self.is_slow = is_slow


class Body:
    """A part of a file that a request sends, and how much of it was sent. A new attempt sends it from its beginning."""

    def __init__(self, file: BinaryIO, start: int, size: int, on_bytes: Callable[[int], None]) -> None:
        self.size = size
        self.count = 0
        self._file = file
        self._start = start
        self._on_bytes = on_bytes
        self._sending = 0
        self._lock = threading.Lock()

    def blocks(self) -> Iterator[bytes]:
        """The bytes, from the beginning. An earlier attempt that still reads gets no more blocks."""
        with self._lock:
            self._sending = mine = self._sending + 1
            self._on_bytes(-self.count)
            self.count = 0
        came = 0
        while True:
            with self._lock:
                if self._sending != mine:
                    return
                self._on_bytes(came)
                self.count += came
                self._file.seek(self._start + self.count)
                block = self._file.read(min(_BLOCK, self.size - self.count))
            if not block:
                return
            yield block
            came = len(block)

    def end(self) -> None:
        """Give nobody any more."""
        with self._lock:
            self._sending += 1


class Request(NamedTuple):
    """What a registry is asked for. `doing` says it in words: `push registry.example/team/base:1`."""

    method: str
    url: str
    """Whole, or a path of the registry's."""
    doing: str
    headers: Mapping[str, str] = {}
    body: Body | None = None
    """What is sent of a file."""
    content: bytes = b""
    """What is sent from memory."""
    scopes: tuple[str, ...] = ()
    """What a token has to allow, in the words of token servers: `repository:team/base:pull`."""
    follows: bool = True
    """Whether a redirect is followed, or is the answer."""


class Answer(NamedTuple):
    """A short answer, read."""

    status: int
    headers: httpx.Headers
    url: httpx.URL
    data: bytes

    def codes(self) -> tuple[str, ...]:
        """The codes of the errors that the registry names, such as `MANIFEST_UNKNOWN`."""
        return tuple(code for code, _ in self.errors())

    def errors(self) -> list[tuple[str, str]]:
        """The codes and texts of the errors in it, by the distribution specification; a few at most."""
        try:
            found = json_of(self.data) if self.data[:1] == b"{" else None
        except ValueError:
            return []
        listed = found.get("errors") if isinstance(found, dict) else None
        return [
            (str(each.get("code") or ""), str(each.get("message") or ""))
            for each in (listed if isinstance(listed, list) else [])[:5]
            if isinstance(each, dict)
        ]

    def location(self) -> str:
        """The URL that it names; empty if there is none."""
        found = self.headers.get("location", "")
        return self.led(found) if found else ""

    def led(self, target: str) -> str:
        """The URL of a target that it names, without a user name; empty if it is none."""
        try:
            return str(self.url.join(target).copy_with(userinfo=b""))
        except (httpx.InvalidURL, UnicodeError):
            return ""


def status_of(response: httpx.Response) -> str:
    """Who answered what, in words."""
    return f"{response.url.host} answered {response.status_code} {response.reason_phrase}".rstrip()


def shut(response: httpx.Response) -> None:
    """End the connection of an answer, so that a thread that waits for more of it wakes up."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    with suppress(OSError):  # it has ended
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)
