"""A package index on loopback: PEP 503 and 691 pages, PEP 658 metadata, ETag and Cache-Control, ranges, and trouble."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from tests.index.catalogue import CATALOGUE
from tests.index.pages import HTML_PAGE, JSON_PAGE, Link, package_page, root_page
from tests.index.recipe import Artifact, Release
from tests.servers.loopback import LoopbackServer

DROP = 0
"""A status that is none: the connection is closed without an answer."""

_FOREVER = "max-age=365000000, immutable, public"


@dataclass(frozen=True)
class Request:
    """A request that the index was sent, and what it answered."""

    method: str
    path: str
    """Below the index's own root, such as `simple/alpha/`."""
    status: int
    user: str = ""

    @property
    def kind(self) -> str:
        """`page`, `metadata`, or `file` (a package's own bytes, whole or in part)."""
        if self.path.startswith("simple/"):
            return "page"
        return "metadata" if self.path.endswith(".metadata") else "file"


@dataclass
class Trouble:
    """What goes wrong with the requests whose path matches: a status (or `DROP`), or a pause before the answer."""

    pattern: str
    status: int | None = None
    times: int | None = None
    delay: float = 0.0
    method: str = "*"


class Index:
    """An index that serves these releases until it is closed.

    `with Index(...) as index:` starts and stops it. Its URLs hold a random part, so that no cache of an earlier
    index on the same port can answer for it. Releases can be published, withdrawn and corrupted while it runs.
    """

    def __init__(
        self,
        *releases: Release,
        credentials: tuple[str, str] | None = None,
        html_only: bool = False,
        metadata: bool = True,
        hashes: tuple[str, ...] = ("sha256",),
        page_cache_control: str = "max-age=0, must-revalidate",
        port: int = 0,
        link: Callable[[str], str] = str,
    ) -> None:
        self._releases: list[Release] = list(releases or CATALOGUE)
        self._tampered: dict[str, bytes] = {}
        self._troubles: list[Trouble] = []
        self._requests: list[Request] = []
        self._arrivals: list[str] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._credentials = credentials
        self._html_only = html_only
        self._metadata = metadata
        self._hashes = hashes
        self._page_cache_control = page_cache_control
        self._link = link
        self._root = f"/{secrets.token_hex(4)}/"
        self._files: dict[str, Artifact] = {}
        self._pages: dict[tuple[str, bool], bytes] = {}
        self._arrange()
        self._server = _Server(self, port)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    # What a test asks of it.

    @property
    def base(self) -> str:
        """`http://127.0.0.1:<port>/<random>/`: what every URL of the index begins with."""
        return f"http://{self.host}{self._root}"

    @property
    def url(self) -> str:
        """The simple index: what `index-url` is set to. Holds no credentials."""
        return f"{self.base}simple/"

    @property
    def host(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self._server.port}"

    def url_with(self, user: str, password: str) -> str:
        """The simple index, with credentials in the URL."""
        return self.url.replace("http://", f"http://{user}:{password}@")

    def file_url(self, filename: str) -> str:
        """Where a file lies."""
        return f"{self.base}files/{self.artifact(filename).sha256[:8]}/{filename}"

    def artifact(self, filename: str) -> Artifact:
        """The file of that name, as it was published."""
        return self._files[filename]

    def filenames(self, name: str) -> list[str]:
        """Every file of a package."""
        return [filename for filename, artifact in self._files.items() if artifact.release.normalized == name]

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request since the start or the last `forget`, in the order of the answers."""
        with self._lock:
            return tuple(self._requests)

    def downloads(self) -> tuple[Request, ...]:
        """The requests that carried bytes of packages."""
        return tuple(request for request in self.requests if request.kind == "file" and request.status < 300)

    def has_been_asked(self, pattern: str) -> bool:
        """Whether a request came in for a path that matches, answered yet or not."""
        with self._lock:
            return any(fnmatch(path, pattern) for path in self._arrivals)

    def forget(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()
            self._arrivals.clear()

    # What a test does to it.

    def publish(self, *releases: Release) -> None:
        """Add releases; one of the same name and version takes the old one's place."""
        with self._lock:
            new = {(release.normalized, release.version) for release in releases}
            self._releases = [r for r in self._releases if (r.normalized, r.version) not in new] + list(releases)
            self._arrange()

    def withdraw(self, name: str, version: str | None = None) -> None:
        """Take releases away; their files stay where they were, as on real indexes."""
        with self._lock:
            self._releases = [r for r in self._releases if r.normalized != name or version not in {None, r.version}]
            self._arrange()

    def yank(self, name: str, version: str, reason: str = "broken") -> None:
        """Mark a release as yanked."""
        with self._lock:
            self._releases = [
                replace(r, yanked=reason) if (r.normalized, r.version) == (name, version) else r for r in self._releases
            ]
            self._arrange()

    def tamper(self, filename: str, data: bytes | None = None) -> None:
        """Serve other bytes for a file, under the hash that was published."""
        with self._lock:
            self._tampered[filename] = self._files[filename].data + b"\0" if data is None else data

    def fail(self, pattern: str = "*", status: int = 500, times: int | None = None, method: str = "*") -> None:
        """Answer requests whose path matches (`simple/alpha/`, `files/*`) with `status`, or drop them (`DROP`).

        Those of one HTTP method alone, where that is named.
        """
        with self._lock:
            self._troubles.append(Trouble(pattern, status=status, times=times, method=method))

    def slow(self, pattern: str = "*", seconds: float = 1.0) -> None:
        """Answer requests whose path matches only after a pause."""
        with self._lock:
            self._troubles.append(Trouble(pattern, delay=seconds))

    def mend(self) -> None:
        """No more trouble, and every file as it was published."""
        with self._lock:
            self._troubles.clear()
            self._tampered.clear()

    def close(self) -> None:
        """Stop answering and free the port. Closing twice is harmless."""
        self._closing.set()
        self._server.close()

    # What the handler asks.

    def answer(self, method: str, path: str, accept: str, authorization: str) -> Answer:
        """The answer to one request, and a note of it."""
        path = unquote(path)
        below = path.partition("?")[0].removeprefix(self._root) if path.startswith(self._root) else ""
        user = _user(authorization)
        with self._lock:
            self._arrivals.append(below)
        trouble = self._trouble(below, method)
        if trouble is not None and trouble.delay:
            self._closing.wait(trouble.delay)
        if trouble is not None and trouble.status is not None:
            answer = Answer(trouble.status)
        elif self._credentials is not None and user != self._credentials:
            answer = Answer(HTTPStatus.UNAUTHORIZED)
        else:
            answer = self._content(below, accept)
        with self._lock:
            self._requests.append(Request(method, below, answer.status, user[0] if user else ""))
        return answer

    def _trouble(self, path: str, method: str) -> Trouble | None:
        with self._lock:
            for trouble in self._troubles:
                if fnmatch(path, trouble.pattern) and fnmatch(method, trouble.method) and trouble.times != 0:
                    if trouble.times is not None:
                        trouble.times -= 1
                    return replace(trouble)
        return None

    def _content(self, path: str, accept: str) -> Answer:
        if match := re.fullmatch(r"simple/(?:([^/]+)/)?", path):
            as_json = not self._html_only and JSON_PAGE in accept
            page = self._page(match[1], as_json) if match[1] else root_page(self._names(), as_json=as_json)
            if page is None:
                return Answer(HTTPStatus.NOT_FOUND)
            kind = JSON_PAGE if as_json else HTML_PAGE
            return Answer(HTTPStatus.OK, page, kind, self._page_cache_control)
        if match := re.fullmatch(r"files/[0-9a-f]{8}/([^/]+)", path):
            filename = match[1].removesuffix(".metadata")
            artifact = self._files.get(filename)
            if artifact is None or (filename != match[1] and not self._has_metadata(artifact)):
                return Answer(HTTPStatus.NOT_FOUND)
            data = (
                artifact.release.served_metadata
                if filename != match[1]
                else self._tampered.get(filename, artifact.data)
            )
            return Answer(HTTPStatus.OK, data, "application/octet-stream", _FOREVER)
        return Answer(HTTPStatus.NOT_FOUND)

    def _arrange(self) -> None:
        self._pages = {}
        for release in self._releases:
            for artifact in release.artifacts():
                self._files[artifact.filename] = artifact

    def _has_metadata(self, artifact: Artifact) -> bool:
        return self._metadata and artifact.filename.endswith(".whl")

    def _page(self, name: str, as_json: bool) -> bytes | None:
        with self._lock:
            releases = [release for release in self._releases if release.normalized == name]
            if not releases:
                return None
            if (name, as_json) not in self._pages:
                artifacts = [artifact for release in releases for artifact in release.artifacts()]
                links = [Link(each, self._href(each), self._has_metadata(each), self._hashes) for each in artifacts]
                self._pages[name, as_json] = package_page(name, links, as_json=as_json)
            return self._pages[name, as_json]

    def _names(self) -> list[str]:
        with self._lock:
            return sorted({release.normalized for release in self._releases})

    def _href(self, artifact: Artifact) -> str:
        return self._link(f"{self.base}files/{artifact.sha256[:8]}/{artifact.filename}")


@dataclass(frozen=True)
class Answer:
    """Status, bytes and headers of an answer."""

    status: int
    data: bytes = b""
    content_type: str = "text/plain"
    cache_control: str = "no-store"

    @property
    def etag(self) -> str:
        """Names the bytes."""
        return f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'


class _Server(LoopbackServer):
    def __init__(self, index: Index, port: int) -> None:
        self.index = index
        super().__init__(_Handler, port)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed; the index keeps its own log."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        headers = self.headers
        answer = self.server.index.answer(
            self.command, self.path, headers.get("Accept", ""), headers.get("Authorization", "")
        )
        if answer.status == DROP:
            self.close_connection = True
            return
        status, data, extra = answer.status, answer.data, {}
        if status == HTTPStatus.UNAUTHORIZED:
            extra["WWW-Authenticate"] = 'Basic realm="index"'
        elif status == HTTPStatus.OK and headers.get("If-None-Match") == answer.etag:
            status, data = HTTPStatus.NOT_MODIFIED, b""
        elif status == HTTPStatus.OK and (match := re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))):
            total = len(data)
            first = int(match[1]) if match[1] else max(total - int(match[2]), 0)
            last = min(int(match[2]), total - 1) if match[1] and match[2] else total - 1
            status, data = HTTPStatus.PARTIAL_CONTENT, data[first : last + 1]
            extra["Content-Range"] = f"bytes {first}-{last}/{total}"
        self.send_response(status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Cache-Control", answer.cache_control)
        self.send_header("Content-Length", str(len(data)))
        if answer.status == HTTPStatus.OK:
            self.send_header("ETag", answer.etag)
            self.send_header("Accept-Ranges", "bytes")
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _user(authorization: str) -> tuple[str, str] | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    user, _, password = base64.b64decode(value).decode().partition(":")
    return user, password
