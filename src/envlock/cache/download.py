"""Download artifacts over HTTP: every byte is hashed as it arrives, and nothing is kept that was not locked."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from envlock.cache.errors import (
    BuiltWheelMissing,
    UnsupportedUrl,
    UpstreamHashMismatch,
    UpstreamMissing,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from envlock.cache.port import tell_nobody
from envlock.certificates import trusted
from envlock.credentials import Credentials
from envlock.files import PACKAGE_BYTES
from envlock.model.url import host, is_local
from envlock.redaction import redact
from envlock.reporter import asking
from metaflow_extensions.envlock.plugins.node.transport import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import httpx

    from envlock.model.artifact import Artifact

ATTEMPTS = 4
_PAUSE = 0.5
"""Seconds before the second attempt; doubled before each further one."""
_LONGEST_PAUSE = 30.0
_REDIRECTS = 10
_CONNECTIONS = 8
_BLOCK = 1 << 18
PATIENCE = 60.0
"""Seconds in which an answer must begin, and after which its speed is checked."""
_SLOWEST = 8 << 10
"""Bytes per second. A slower host delays on purpose, or is of no use."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes that another attempt may change."""


class _Passing(Exception):
    """A failure that another attempt may overcome."""

    def __init__(self, place: str, reason: str, *, pause: float = 0.0, is_silence: bool = False) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason
        self.pause = pause
        self.is_silence = is_silence


class Upstream:
    """The hosts that locks name, with one pool of connections. Any thread may fetch. Close it, or use `with`."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        locate: Callable[[Artifact], str] = lambda artifact: artifact.url,
        pause: float = _PAUSE,
        patience: float = PATIENCE,
    ) -> None:
        """`locate` returns the URL to download an artifact from. It may hold a token, and appears in no message."""
        self._credentials = credentials
        self._locate = locate
        self._pause = pause
        self._patience = patience
        self._lock = threading.Lock()
        self._opened: httpx.Client | None = None
        self._stopped = threading.Event()
        self._silent: set[str] = set()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the running downloads (they raise CancelledError) and close the connections."""
        self._stopped.set()
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def fetch(
        self,
        artifact: Artifact,
        to: Path,
        *,
        on_bytes: Callable[[int], None] = tell_nobody,
        on_size: Callable[[int], None] = tell_nobody,
    ) -> None:
        """Download an artifact to `to`, which does not exist yet, and verify its size and SHA-256.

        `on_bytes` is told of each piece that came (a negative number when pieces were thrown away), `on_size` of the
        size when the lock does not know it and upstream tells it. Connections that break and hosts that stumble are
        tried again; a broken transfer goes on where it stopped if the host allows. When it raises, `to` is not there.

        Raises UpstreamHashMismatch, UpstreamUnauthorized, UpstreamMissing, UpstreamUnreachable, UnsupportedUrl; OSError
        of the local disk.
        """
        got = self.hash(artifact, to, (), on_bytes=on_bytes, on_size=on_size)["sha256"]
        if got != artifact.sha256:
            to.unlink()
            raise UpstreamHashMismatch(artifact, expected=f"sha256 {artifact.sha256}", got=f"sha256 {got}")

    def hash(
        self,
        artifact: Artifact,
        to: Path,
        algorithms: Iterable[str],
        *,
        on_bytes: Callable[[int], None] = tell_nobody,
        on_size: Callable[[int], None] = tell_nobody,
    ) -> dict[str, str]:
        """Download the file at an artifact's URL to `to`, and return its hashes, SHA-256 among them.

        Verifies only the size, if it is known: the caller compares the digests. Otherwise as `fetch`.
        """
        if not artifact.url:
            raise BuiltWheelMissing("", "", (artifact.filename,))
        url = self._locate(artifact)
        with to.open("xb") as file:
            body = _Body(artifact, url, file, on_bytes, on_size, ("sha256", *algorithms))
            try:
                self._transfer(body)
                body.prove_size()
            except BaseException:
                to.unlink()
                raise
        return body.digests()

    def _transfer(self, body: _Body) -> None:
        artifact = body.artifact
        if is_local(body.url):
            self._copy(artifact, body)
        elif body.url.lower().startswith(("https://", "http://")) and host(body.url):
            self._download(artifact, body)
        elif artifact.channel and body.url.startswith("s3://"):
            _from_bucket(artifact, body)
        else:
            raise UnsupportedUrl(artifact.filename, artifact.url)

    def _copy(self, artifact: Artifact, body: _Body) -> None:
        """Copy from a folder on this machine, as a mirror of Python builds may be."""
        from urllib.parse import unquote

        path = Path(unquote(body.url.removeprefix("file://")))
        if not path.is_file():  # a device never ends, and a pipe never begins
            raise UpstreamMissing(str(path.parent), "there is no such file", (artifact.filename,))
        try:
            source = path.open("rb")
        except OSError as error:
            raise UpstreamMissing(str(path.parent), f"{error.strerror}", (artifact.filename,)) from None
        with source:
            while block := source.read(_BLOCK):
                body.write(block)

    def _download(self, artifact: Artifact, body: _Body) -> None:
        place = host(body.url)
        pause = self._pause
        attempts = 1 if place in self._silent else ATTEMPTS
        while (failure := self._attempt(artifact, body)) is not None:
            attempts -= 1
            if not attempts:
                if failure.is_silence:
                    self._silent.add(place)  # the next file of this host need not wait as long to learn it
                raise UpstreamUnreachable(failure.place, failure.reason, (artifact.filename,))
            if self._stopped.wait(min(max(pause, failure.pause), _LONGEST_PAUSE)):
                raise CancelledError
            pause *= 2

    def _attempt(self, artifact: Artifact, body: _Body) -> _Passing | None:
        """None once the whole body is here, or the reason why another attempt may help."""
        import httpx

        try:
            self._receive(artifact, body)
        except _Passing as failure:
            return failure
        except (httpx.InvalidURL, UnicodeError):  # the latter for a host that is no name, after a redirect too
            raise UnsupportedUrl(artifact.filename, artifact.url) from None
        except httpx.TransportError as error:
            silence = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
            return _Passing(host(body.url), redact(str(error)) or type(error).__name__, is_silence=silence)
        return None

    def _receive(self, artifact: Artifact, body: _Body) -> None:
        response, was_known = self._answer(artifact, body)
        try:
            self._check(artifact, response, was_known=was_known)
            body.begin(response)
            began, before = time.monotonic(), body.count
            for block in response.iter_raw():  # as it comes: whoever waits for a whole block waits for a trickle, too
                if self._stopped.is_set():
                    raise CancelledError
                body.write(block)
                seconds = time.monotonic() - began
                if seconds >= self._patience:
                    came = body.count - before
                    if came < _SLOWEST * seconds:
                        raise _Passing(response.url.host, f"it sent {came} bytes in {seconds:.0f} seconds")
                    began, before = time.monotonic(), body.count
        finally:
            response.close()
        if body.is_cut_off("content-length" in response.headers):
            raise _Passing(response.url.host, f"the transfer stopped after {body.count} of {artifact.size} bytes")

    def _check(self, artifact: Artifact, response: httpx.Response, *, was_known: bool) -> None:
        status = response.status_code
        if status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return
        place = response.url.host
        reason = f"it answered {status} {response.reason_phrase}".rstrip()
        if status in _PASSING:
            raise _Passing(place, reason, pause=retry_after(response.headers.get("retry-after", "")))
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            known = " to the credentials that envlock found for it"
            reason += known if was_known else "; envlock found no credentials for it"
            raise UpstreamUnauthorized(place, reason, (artifact.filename,))
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise UpstreamMissing(place, reason, (artifact.filename,))
        raise UpstreamUnreachable(place, reason, (artifact.filename,))

    def _answer(self, artifact: Artifact, body: _Body) -> tuple[httpx.Response, bool]:
        """The answer after all redirects, with its body unread, and whether credentials were sent for it.

        Each host is sent its own credentials only, and none at all once a redirect left https.
        """
        import httpx

        client = self._client()
        url = httpx.URL(body.url)
        is_safe = True
        for _ in range(_REDIRECTS):
            headers = body.wanted_headers()
            authorization = self._credentials.authorization(str(url)) if is_safe else None
            if authorization is not None:
                headers["Authorization"] = authorization
            with asking("GET", str(url)) as told:
                response = self._sent(client, client.build_request("GET", url, headers=headers))
                told.ended(response.status_code)
            if not response.has_redirect_location:
                return response, authorization is not None
            response.close()
            target = url.join(response.headers["location"]).copy_with(userinfo=b"")
            if target.scheme not in {"https", "http"}:
                raise UnsupportedUrl(artifact.filename, str(target))
            is_safe = is_safe and not (url.scheme == "https" and target.scheme == "http")
            url = target
        raise UpstreamUnreachable(url.host, f"more than {_REDIRECTS} redirects", (artifact.filename,))

    def _sent(self, client: httpx.Client, request: httpx.Request) -> httpx.Response:
        """The head of the answer. httpx limits only the time between two bytes of it, so its thread may be left."""
        answer: Future[httpx.Response] = Future()

        def send() -> None:
            try:
                answer.set_result(client.send(request, stream=True))
            except BaseException as error:  # noqa: BLE001  raised where it is waited for
                answer.set_exception(error)

        threading.Thread(target=send, daemon=True).start()
        try:
            return answer.result(self._patience)
        except FutureTimeout:
            if answer.done():  # what was sent timed out itself
                raise
            answer.add_done_callback(_close)
            reason = f"it did not start to answer within {self._patience:.0f} seconds"
            raise _Passing(request.url.host, reason, is_silence=True) from None

    def _client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._stopped.is_set():
                raise CancelledError
            if self._opened is None:
                self._opened = httpx.Client(
                    timeout=httpx.Timeout(30.0, connect=10.0, pool=None),
                    limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
                    verify=trusted(),
                )
            return self._opened


def _from_bucket(artifact: Artifact, body: _Body) -> None:
    """Copy from an `s3://` channel, with the `AWS_*` variables."""
    from envlock.conda.client import client_for
    from envlock.conda.errors import ChannelFailure
    from envlock.conda.fetch import fetch

    try:
        fetch(body.url, body, client_for((artifact.channel,), {}))
    except ChannelFailure as error:
        raise UpstreamUnreachable(host(body.url) or body.url, error.reason, (artifact.filename,)) from None


def _close(answer: Future[httpx.Response]) -> None:
    if answer.exception() is None:
        answer.result().close()


class _Body:
    """The bytes of one artifact that have arrived so far."""

    def __init__(
        self,
        artifact: Artifact,
        url: str,
        file: BinaryIO,
        on_bytes: Callable[[int], None],
        on_size: Callable[[int], None],
        algorithms: tuple[str, ...],
    ) -> None:
        self.artifact = artifact
        self.url = url
        self.count = 0
        self._file = file
        self._algorithms = algorithms
        self._hashes = _hashes(algorithms)
        self._on_bytes = on_bytes
        self._on_size = on_size
        self._size_is_told = artifact.size is not None
        self._etag = ""

    def wanted_headers(self) -> dict[str, str]:
        """The request's headers: bytes as stored, and only the rest if that is certain to be of the same file."""
        headers = {"Accept-Encoding": "identity"}
        if self.count and self._etag:
            headers |= {"Range": f"bytes={self.count}-", "If-Range": self._etag}
        return headers

    def begin(self, response: httpx.Response) -> None:
        """Continue with a partial answer, or start over."""
        goes_on = response.headers.get("content-range", "").startswith(f"bytes {self.count}-")
        if response.status_code != HTTPStatus.PARTIAL_CONTENT or not goes_on:
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                raise _Passing(response.url.host, "it sent another part of the file than requested")
            self._start_over()
        etag = response.headers.get("etag", "")
        self._etag = "" if etag.startswith("W/") else etag
        length = response.headers.get("content-length", "")
        if not self._size_is_told and length.isdigit():
            self._size_is_told = True
            self._on_size(self.count + int(length))

    def write(self, block: bytes, /) -> int:
        """Take a piece. Raises UpstreamHashMismatch as soon as there are more bytes than allowed."""
        self._file.write(block)
        for each in self._hashes.values():
            each.update(block)
        self.count += len(block)
        self._on_bytes(len(block))
        size = self.artifact.size
        if self.count > (PACKAGE_BYTES if size is None else size):
            unsized = f"at most {PACKAGE_BYTES} bytes, because its size is not in the lock"
            raise UpstreamHashMismatch(self.artifact, expected=unsized if size is None else f"{size} bytes", got="more")
        return len(block)

    def is_cut_off(self, length_was_told: bool) -> bool:
        """Whether bytes are missing although the connection ended normally: only if the length was unknown."""
        size = self.artifact.size
        return size is not None and self.count < size and not length_was_told

    def digests(self) -> dict[str, str]:
        """The hashes so far, in hex digits, by algorithm."""
        return {name: each.hexdigest() for name, each in self._hashes.items()}

    def prove_size(self) -> None:
        """Raise UpstreamHashMismatch unless the size is the locked one."""
        size = self.artifact.size
        if size is not None and self.count != size:
            raise UpstreamHashMismatch(self.artifact, expected=f"{size} bytes", got=f"{self.count} bytes")

    def _start_over(self) -> None:
        if not self.count:
            return
        self._on_bytes(-self.count)
        self._file.seek(0)
        self._file.truncate()
        self._hashes = _hashes(self._algorithms)
        self.count = 0


def _hashes(algorithms: Iterable[str]) -> dict[str, hashlib._Hash]:
    return {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
