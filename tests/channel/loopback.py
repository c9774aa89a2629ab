"""A threaded HTTP server on loopback for files: ranges, ETag and Last-Modified, and connections that break."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

from tests.channel.answers import DROP, Answer


class Server:
    """Answers requests by asking `answer(method, path, headers)`, in threads, until it is closed."""

    def __init__(self, answer: Callable[[str, str, Mapping[str, str]], Answer], port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), answer)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering and free the port. Closing twice is harmless."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """Joins its threads and closes their sockets when it is closed, clients that keep theirs open included."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], answer: Callable[[str, str, Mapping[str, str]], Answer]) -> None:
        super().__init__(address, _Handler)
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error here."""

    def server_close(self) -> None:
        with self._guard:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed; the channel keeps its own log."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.answer(self.command, self.path, headers)
        if answer.status == DROP:
            self.close_connection = True
        elif answer.status == HTTPStatus.OK:
            with answer.path.open("rb") if answer.path is not None else io.BytesIO(answer.data) as body:
                self._send(answer, body, headers)
        else:
            extra = {"WWW-Authenticate": 'Basic realm="channel"'} if answer.status == HTTPStatus.UNAUTHORIZED else {}
            self._head(answer.status, 0, extra if answer.location is None else {"Location": answer.location})

    def _send(self, answer: Answer, body: BinaryIO, headers: Mapping[str, str]) -> None:
        total = body.seek(0, io.SEEK_END)
        known = {"Accept-Ranges": "bytes", "Cache-Control": "max-age=0, must-revalidate", **_validators(answer)}
        seen = headers.get("if-none-match")
        if seen == known["ETag"] or (
            seen is None and headers.get("if-modified-since") == known.get("Last-Modified", "")
        ):
            self._head(HTTPStatus.NOT_MODIFIED, 0, known)
            return
        status, first, last = HTTPStatus.OK, 0, total - 1
        if match := re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", "")):
            status = HTTPStatus.PARTIAL_CONTENT
            first = int(match[1]) if match[1] else max(total - int(match[2]), 0)
            last = min(int(match[2]), total - 1) if match[1] and match[2] else total - 1
            if first >= total or last < first:
                self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, {"Content-Range": f"bytes */{total}"})
                return
            known["Content-Range"] = f"bytes {first}-{last}/{total}"
        length = last - first + 1
        self._head(status, length, known)
        if self.command == "HEAD":
            return
        body.seek(first)
        if answer.cut is not None and answer.cut < length:
            self.wfile.write(body.read(answer.cut))
            self.close_connection = True
        elif length == total:
            shutil.copyfileobj(body, self.wfile, 1 << 20)
        else:
            self.wfile.write(body.read(length))

    def _head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _validators(answer: Answer) -> dict[str, str]:
    if answer.path is None:
        return {"ETag": f'"{hashlib.sha256(answer.data).hexdigest()[:32]}"'}
    status = answer.path.stat()
    return {
        "ETag": f'"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"',
        "Last-Modified": formatdate(status.st_mtime, usegmt=True),
    }
