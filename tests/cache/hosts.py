"""HTTP hosts on loopback that answer as a test tells them to, and remember the requests."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Request:
    """Its path, and its headers with names in lower case."""

    path: str
    headers: dict[str, str]

    @property
    def user(self) -> str:
        """`name:password`; empty where it carried none."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        return base64.b64decode(value).decode() if scheme == "Basic" else ""


class Handler(BaseHTTPRequestHandler):
    """Answers with the host's own function."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        request = Request(self.path, {name.lower(): value for name, value in self.headers.items()})
        self.server.host.requests.append(request)
        self.server.host.answer(self, request)

    def send(self, data: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
        """Answer. With a `length` that is longer than the data, the connection breaks off."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
        if length is not None and length != len(data):
            self.close_connection = True


class Trickle:
    """Answers with `head`, and then a byte at a time, each of which comes in time, until it is `ended`."""

    def __init__(self, head: bytes) -> None:
        self.ended = threading.Event()
        self._head = head

    def __call__(self, handler: Handler, _: Request) -> None:
        handler.close_connection = True
        with suppress(OSError):
            handler.wfile.write(self._head)
            while not self.ended.wait(0.02):
                handler.wfile.write(b"x")


class Host:
    """A host; `with Host(answer) as host:` starts and stops it."""

    def __init__(self, answer: Callable[[Handler, Request], None], tls: ssl.SSLContext | None = None) -> None:
        """With `tls`, over https."""
        self.answer = answer
        self.requests: list[Request] = []
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.host = self
        self._scheme = "http" if tls is None else "https"
        if tls is not None:  # hands are shaken by the thread of each request
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def url(self, path: str, name: str = "127.0.0.1", user: str = "") -> str:
        """The URL of a path there."""
        return f"{self._scheme}://{user}{'@' if user else ''}{name}:{self._server.server_address[1]}/{path}"

    def __enter__(self) -> Host:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    host: Host

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what some tests are about."""
