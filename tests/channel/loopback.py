"""A threaded HTTP server on loopback for files: ranges, ETag and Last-Modified, and connections that break."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO

from tests.channel.answers import DROP, Answer
from tests.servers.loopback import LoopbackServer


class Server(LoopbackServer):
    """Answers requests by asking `answer(method, path, headers)`, in threads, until it is closed."""

    def __init__(self, answer: Callable[[str, str, Mapping[str, str]], Answer], port: int = 0) -> None:
        self.answer = answer
        super().__init__(_Handler, port)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

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
