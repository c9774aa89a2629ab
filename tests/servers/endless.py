"""A server that speaks as much S3 as one large object needs: it forgets what it is sent, and sends zeros."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ZEROS = bytes(1 << 20)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    size: int

    def do_PUT(self) -> None:
        self.swallow()
        self.answer(b"")

    def do_POST(self) -> None:
        self.swallow()
        if self.path.endswith("?uploads"):
            self.answer(b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
        else:
            self.answer(b"<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>")

    def do_HEAD(self) -> None:
        self.begin(self.size)

    def do_GET(self) -> None:
        first, last = 0, self.size - 1
        if wanted := self.headers.get("Range"):
            first, last = (int(each) for each in wanted.removeprefix("bytes=").split("-"))
        left = last + 1 - first
        self.begin(left)
        while left:
            left -= self.wfile.write(_ZEROS[: min(left, len(_ZEROS))])

    def swallow(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            left -= len(self.rfile.read(min(left, len(_ZEROS))))

    def answer(self, data: bytes) -> None:
        self.begin(len(data))
        self.wfile.write(data)

    def begin(self, length: int) -> None:
        self.send_response_only(200)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def endless(size: int) -> Iterator[int]:
    """Such a server, whose objects all have that size. The value is its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"size": size}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
