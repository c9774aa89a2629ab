"""A proxy in front of a server, which breaks what it is told to break, and counts what passes."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

_SIGNER = re.compile(r"Credential=([^/]+)/")


class Break(Enum):
    """What happens to a request."""

    SLOW_DOWN = "503, and the server never sees it"
    COME_BACK = "429 with `Retry-After: 1`, and the server never sees it"
    RESET = "the connection is reset, and the server never sees it"
    LOST = "the server does it, and the connection is reset in place of its answer"
    CUT = "half of the body of the answer comes, then the connection is reset"
    STALL = "nothing comes, and the server never sees it"
    STALL_HALFWAY = "half of the body of the answer comes, then nothing"
    DRIP = "the body of the answer comes byte by byte"
    CUT_REQUEST = "half of the body of the request reaches the server, then both connections are reset"
    MOVED = "301, as S3 answers for a bucket of another region"
    DENIED = "403, as S3 and Google answer to who may not"
    BARRED = "403, with a code that envlock does not know"


_ANSWERS = {
    Break.SLOW_DOWN: (503, "SlowDown"),
    Break.COME_BACK: (429, "TooManyRequests"),
    Break.MOVED: (301, "PermanentRedirect"),
    Break.DENIED: (403, "AccessDenied"),
    Break.BARRED: (403, "InsufficientAccountPermissions"),
}


@dataclass(frozen=True)
class Told:
    """An answer in which the server has no say."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = None
    """What it says its length is, if that is a lie."""


Fate = Callable[["Handler", bytes], None]
"""Does what the test wants with a request and its body."""


@dataclass
class Rule:
    """What to break, and how often."""

    how: Break | Told | Fate
    method: str
    path: str = ""
    """A part of the path that has to be in it."""
    times: int = 1
    after: int = 0
    """How many such requests pass first."""


@dataclass
class Limit:
    """So many requests a second are answered, after a burst of as many as in a tenth of it; the rest is refused."""

    rate: float
    refusals: Sequence[Break] = (Break.SLOW_DOWN,)
    """What becomes of the rest, in turn."""
    _refused: int = 0
    _left: float = 0.0
    _last: float = 0.0

    def fate(self, now: float) -> Break | None:
        self._left = min(self._left + (now - self._last) * self.rate, max(1.0, self.rate / 10))
        self._last = now
        if self._left >= 1:
            self._left -= 1
            return None
        self._refused += 1
        return self.refusals[self._refused % len(self.refusals)]


class Seen(NamedTuple):
    """A request."""

    when: float
    """In seconds of the monotonic clock."""
    who: str
    """The access key that signed it; empty if none did."""
    method: str
    path: str
    fate: Break | Told | Fate | None


@dataclass
class Proxy:
    """A proxy that runs."""

    port: int
    rules: list[Rule] = field(default_factory=list)
    limit: Limit | None = None
    """For what no rule breaks."""
    seen: list[Seen] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)
    """Every request, broken or not: its method, and its path."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    """Those of every request."""
    broken: list[Break | Told | Fate] = field(default_factory=list)
    broke: threading.Event = field(default_factory=threading.Event)
    """Set by the first request that was broken."""
    deaf_to: tuple[str, ...] = ()
    """Headers of requests that the server does not get to see."""
    adds: Mapping[str, str] = field(default_factory=dict)
    """Headers that the server gets to see in addition."""
    rewrites: Callable[[str, str], str] = lambda _, value: value
    """Values of headers that the client gets in place of the server's, by name in lower case."""
    sent: int = 0
    """Bytes of bodies of requests that the server got to see."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    def breaks(self, how: Break | Told | Fate, method: str, path: str = "", *, times: int = 1, after: int = 0) -> None:
        self.rules.append(Rule(how, method, path, times, after))

    def forget(self) -> None:
        """Break nothing more, and know of no request."""
        with self.lock:
            for each in (self.rules, self.seen, self.passed, self.headers, self.broken):
                each.clear()
            self.limit = None
            self.broke.clear()

    def fate(self, method: str, path: str, headers: Mapping[str, str]) -> Break | Told | Fate | None:
        with self.lock:
            self.passed.append((method, path))
            self.headers.append(headers)
            now = time.monotonic()
            found = self._by_rule(method, path)
            if found is None and self.limit is not None:
                found = self.limit.fate(now)
            if found is not None:
                self.broken.append(found)
                self.broke.set()
            signer = _SIGNER.search(headers.get("Authorization", ""))
            self.seen.append(Seen(now, signer[1] if signer else "", method, path, found))
        return found

    def _by_rule(self, method: str, path: str) -> Break | Told | Fate | None:
        for rule in self.rules:
            if rule.times and rule.method == method and rule.path in path:
                if rule.after:
                    rule.after -= 1
                    continue
                rule.times -= 1
                return rule.how
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """What breaks is meant to."""


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, or breaks it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy
    upstream: int

    def handle_one(self) -> None:
        fate = self.proxy.fate(self.command, self.path, dict(self.headers.items()))
        if fate is Break.RESET:
            self.reset()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fate is Break.STALL:
            self.stall()
        elif isinstance(fate, Told):
            self.answer(fate.status, list(fate.headers), fate.body, length=fate.length)
        elif fate in _ANSWERS:
            status, code = _ANSWERS[fate]
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>As the test wants it.</Message></Error>"
            later = [("Retry-After", "1")] if fate is Break.COME_BACK else []
            self.answer(status, [("Content-Type", "application/xml"), *later], text.encode())
        elif fate is None or isinstance(fate, Break):
            self.forward(body, fate)
        else:
            fate(self, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815

    def forward(self, body: bytes, fate: Break | None) -> None:
        """Let the server answer, and break what is to be broken of it."""
        server = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name not in self.proxy.deaf_to}
            if fate is Break.CUT_REQUEST:
                self.cut(server, body, headers)
                return
            server.request(self.command, self.path, body, {**headers, **self.proxy.adds})
            self.proxy.sent += len(body)
            answer = server.getresponse()
            told = [
                (name, self.proxy.rewrites(name.lower(), value))
                for name, value in answer.getheaders()
                if name.lower() not in {"connection", "transfer-encoding"}
            ]
            data = answer.read()
        finally:
            server.close()
        if fate is Break.LOST:
            self.reset()
        elif fate in {Break.CUT, Break.STALL_HALFWAY}:
            self.answer(answer.status, told, data, send=len(data) // 2)
            self.wfile.flush()
            if fate is Break.STALL_HALFWAY:
                self.stall()
            self.reset()
        elif fate is Break.DRIP:
            self.answer(answer.status, told, data, send=0)
            for byte in data:
                if self.proxy.ended.wait(0.05):
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        else:
            self.answer(answer.status, told, data)

    def cut(self, server: http.client.HTTPConnection, body: bytes, headers: Mapping[str, str]) -> None:
        """Let the server have half of the body, and time to keep it."""
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, **self.proxy.adds}.items():
            server.putheader(name, value)
        server.endheaders()
        server.send(body[: len(body) // 2])
        self.proxy.sent += len(body) // 2
        self.proxy.ended.wait(0.2)
        server.close()
        self.reset()

    def answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        data: bytes,
        *,
        send: int | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:send])
        if length is not None and length > len(data):
            self.close_connection = True

    def reset(self) -> None:
        """End the connection as a machine that went away does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()
        self.rfile.close()

    def stall(self) -> None:
        self.close_connection = True
        self.proxy.ended.wait(120)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def proxied(upstream: int) -> Iterator[Proxy]:
    """A proxy to a port of this machine."""
    proxy = Proxy(0)
    server = _Server(("127.0.0.1", 0), type("Handler", (Handler,), {"proxy": proxy, "upstream": upstream}))
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
