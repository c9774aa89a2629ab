from __future__ import annotations

import gzip
import hashlib
import os
import re
import socket
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest

from envlock.cache.download import ATTEMPTS, Upstream
from envlock.cache.errors import (
    UnsupportedUrl,
    UpstreamHashMismatch,
    UpstreamMissing,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from envlock.credentials import Credentials
from envlock.errors import EnvlockError
from envlock.model.artifact import Artifact
from tests.cache.hosts import Handler, Host, Request, Trickle

DATA = os.urandom(1_000_000)
NAME = "demo-1.0-py3-none-any.whl"


def artifact(url: str, data: bytes = DATA, *, size: int | None = len(DATA)) -> Artifact:
    return Artifact(NAME, hashlib.sha256(data).hexdigest(), url, size)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def upstream(*index_urls: str) -> Upstream:
    return Upstream(Credentials(index_urls), pause=0.01)


def failure(kind: type[EnvlockError], wanted: Artifact, target: Path, *index_urls: str) -> EnvlockError:
    """The error that fetching ends with; nothing is left then."""
    with upstream(*index_urls) as hosts, pytest.raises(kind) as caught:
        hosts.fetch(wanted, target)
    assert not target.exists()
    assert NAME in caught.value.render()
    return caught.value


def test_the_bytes_come_and_are_counted(target: Path) -> None:
    counts: list[int] = []
    with Host(lambda handler, _: handler.send(DATA)) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME)), target, on_bytes=counts.append)
    assert target.read_bytes() == DATA
    assert sum(counts) == len(DATA)
    assert host.requests[0].headers["accept-encoding"] == "identity"
    assert "authorization" not in host.requests[0].headers


def test_a_size_that_the_lock_does_not_know_is_passed_on(target: Path) -> None:
    sizes: list[int] = []
    with Host(lambda handler, _: handler.send(DATA)) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME), size=None), target, on_size=sizes.append)
    assert sizes == [len(DATA)]


def test_a_body_without_length(target: Path) -> None:
    def answer(handler: Handler, request: Request) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(DATA[:1000] if len(host.requests) == 1 else DATA)
        handler.close_connection = True

    with Host(answer) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME)), target)
    assert target.read_bytes() == DATA
    assert len(host.requests) == 2


def test_bytes_stay_as_they_are_stored(target: Path) -> None:
    packed = gzip.compress(DATA)
    with Host(lambda handler, _: handler.send(packed, Content_Encoding="gzip")) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME), packed, size=len(packed)), target)
    assert target.read_bytes() == packed


def test_a_name_that_is_percent_encoded(target: Path) -> None:
    with Host(lambda handler, _: handler.send(DATA)) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url("a%2Bb%20c/torch-1.0%2Bcpu.whl")), target)
    assert host.requests[0].path == "/a%2Bb%20c/torch-1.0%2Bcpu.whl"


# What is not what was locked.


def test_other_bytes(target: Path) -> None:
    other = bytes(len(DATA))
    with Host(lambda handler, _: handler.send(other)) as host:
        error = failure(UpstreamHashMismatch, artifact(host.url(NAME, user="me:s3cret")), target)
        assert len(host.requests) == 1, "asking again would not make it right"
    assert error.exit_status == 3
    assert error.render().splitlines()[1:4] == [
        f"  url       {host.url(NAME)}",
        f"  expected  sha256 {hashlib.sha256(DATA).hexdigest()}",
        f"  got       sha256 {hashlib.sha256(other).hexdigest()}",
    ]


def test_fewer_bytes(target: Path) -> None:
    with Host(lambda handler, _: handler.send(DATA[:-1])) as host:
        error = failure(UpstreamHashMismatch, artifact(host.url(NAME)), target)
    assert error.details[1:] == ("expected  1000000 bytes", "got       999999 bytes")


def test_bytes_without_end(target: Path) -> None:
    def answer(handler: Handler, _: Request) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(DATA)

    with Host(answer) as host:
        error = failure(UpstreamHashMismatch, artifact(host.url(NAME)), target)
    assert error.details[2] == "got       more"


# Who we are.


def test_credentials_of_the_index_are_sent(target: Path) -> None:
    with Host(lambda handler, _: handler.send(DATA)) as host:
        index = host.url("simple/", user="me:p%40ss")
        with upstream(index) as hosts:
            hosts.fetch(artifact(host.url("files/" + NAME)), target)
    assert host.requests[0].user == "me:p@ss"


@pytest.mark.parametrize("status", [401, 403])
def test_no_credentials(target: Path, status: int) -> None:
    with Host(lambda handler, _: handler.send(b"", status=status)) as host:
        error = failure(UpstreamUnauthorized, artifact(host.url(NAME)), target)
        assert len(host.requests) == 1
    assert f"it answered {status}" in error.details[0]
    assert "envlock found no credentials for it" in error.details[0]
    assert error.hint is not None
    assert "ENVLOCK_INDEX_127_0_0_1_USERNAME" in error.hint
    assert error.exit_status == 4


def test_wrong_credentials(target: Path) -> None:
    with Host(lambda handler, _: handler.send(b"", status=401)) as host:
        error = failure(UpstreamUnauthorized, artifact(host.url(NAME)), target, host.url("", user="me:wr0ng"))
    assert "to the credentials that envlock found for it" in error.details[0]
    assert "wr0ng" not in error.render() + repr(error) + repr(error.__dict__)


def test_a_redirect_takes_no_credentials_along(target: Path) -> None:
    with Host(lambda handler, _: handler.send(DATA)) as files:
        aim = files.url("store/" + NAME, name="0.0.0.0", user="evil:evil") + "?signature=s3cret"
        with (
            Host(lambda handler, _: handler.send(b"", status=302, Location=aim)) as host,
            upstream(host.url("", user="me:pw")) as hosts,
        ):
            hosts.fetch(artifact(host.url(NAME)), target)
    assert target.read_bytes() == DATA
    assert host.requests[0].user == "me:pw"
    assert files.requests[0].path == f"/store/{NAME}?signature=s3cret"
    assert "authorization" not in files.requests[0].headers


def test_a_redirect_to_a_host_that_knows_us(target: Path) -> None:
    with (
        Host(lambda handler, _: handler.send(DATA)) as files,
        Host(lambda handler, _: handler.send(b"", status=307, Location=files.url(NAME))) as host,
        upstream(host.url("", user="me:pw"), files.url("", user="other:secret")) as hosts,
    ):
        hosts.fetch(artifact(host.url(NAME)), target)
    assert files.requests[0].user == "other:secret"


def test_a_relative_redirect(target: Path) -> None:
    def answer(handler: Handler, request: Request) -> None:
        if request.path == "/a/b":
            handler.send(b"", status=301, Location="../c")
        else:
            handler.send(DATA)

    with Host(answer) as host, upstream(host.url("", user="me:pw")) as hosts:
        hosts.fetch(artifact(host.url("a/b")), target)
    assert [(request.path, request.user) for request in host.requests] == [("/a/b", "me:pw"), ("/c", "me:pw")]


def test_redirects_without_end(target: Path) -> None:
    with Host(lambda handler, request: handler.send(b"", status=302, Location=request.path + "x")) as host:
        error = failure(UpstreamUnreachable, artifact(host.url(NAME)), target)
    assert "redirects" in error.details[0]


def test_a_redirect_to_something_else(target: Path) -> None:
    with Host(lambda handler, _: handler.send(b"", status=302, Location="ftp://index.example/x")) as host:
        failure(UnsupportedUrl, artifact(host.url(NAME)), target)


# What is not there, or stumbles.


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone(target: Path, status: int) -> None:
    with Host(lambda handler, _: handler.send(b"", status=status)) as host:
        failure(UpstreamMissing, artifact(host.url(NAME)), target)
        assert len(host.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_host_that_stumbles_is_requested_again(target: Path, status: int) -> None:
    def answer(handler: Handler, _: Request) -> None:
        if len(host.requests) < 3:
            handler.send(b"not now", status=status, Retry_After="0")
        else:
            handler.send(DATA)

    with Host(answer) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME)), target)
    assert target.read_bytes() == DATA
    assert len(host.requests) == 3


def test_a_host_that_lies_down(target: Path) -> None:
    with Host(lambda handler, _: handler.send(b"", status=500)) as host:
        error = failure(UpstreamUnreachable, artifact(host.url(NAME)), target)
        assert len(host.requests) == ATTEMPTS
    assert "it answered 500" in error.details[0]
    assert error.exit_status == 4


def test_the_pause_that_a_host_wants_in_seconds_or_until_an_instant(target: Path) -> None:
    def answer(handler: Handler, _: Request) -> None:
        if len(host.requests) == 1:
            handler.send(b"", status=429, Retry_After=formatdate(time.time() + 2, usegmt=True))
        else:
            handler.send(DATA)

    began = time.monotonic()
    with Host(answer) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME)), target)
    assert time.monotonic() - began >= 1, "an instant has no fractions of seconds"


def test_a_body_that_breaks_off_goes_on(target: Path) -> None:
    """With an ETag the host can say that it is the same file, and only the rest is asked for."""

    def answer(handler: Handler, request: Request) -> None:
        if len(host.requests) == 1:
            handler.send(DATA[:600_000], length=len(DATA), ETag='"one"')
        else:
            start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
            span = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
            handler.send(DATA[start:], status=206, ETag='"one"', Content_Range=span)

    counts: list[int] = []
    with Host(answer) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME)), target, on_bytes=counts.append)
    assert target.read_bytes() == DATA
    assert (sum(counts), min(counts) > 0) == (len(DATA), True)
    assert [request.headers.get("if-range") for request in host.requests] == [None, '"one"']


@pytest.mark.parametrize("etag", ["", 'W/"weak"', '"changes"'])
def test_a_body_that_breaks_off_starts_over(target: Path, etag: str) -> None:
    """Without an ETag, with a weak one, or when the host does not go on where it stopped."""

    def answer(handler: Handler, request: Request) -> None:
        headers = {"ETag": etag} if etag else {}
        if len(host.requests) == 1:
            handler.send(bytes(600_000), length=len(DATA), **headers)
        else:
            handler.send(DATA, **headers)

    counts: list[int] = []
    with Host(answer) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME)), target, on_bytes=counts.append)
    assert target.read_bytes() == DATA
    assert sum(counts) == len(DATA)
    assert ("range" in host.requests[1].headers) == (etag == '"changes"')


def test_a_host_that_sends_another_part(target: Path) -> None:
    def answer(handler: Handler, _: Request) -> None:
        if len(host.requests) == 1:
            handler.send(DATA[:600_000], length=len(DATA), ETag='"one"')
        elif len(host.requests) == 2:
            handler.send(DATA[7:], status=206, ETag='"one"', Content_Range=f"bytes 7-{len(DATA) - 1}/{len(DATA)}")
        else:
            handler.send(DATA)

    with Host(answer) as host, upstream() as hosts:
        hosts.fetch(artifact(host.url(NAME)), target)
    assert target.read_bytes() == DATA


def test_a_body_that_always_breaks_off(target: Path) -> None:
    with Host(lambda handler, _: handler.send(DATA[:500], length=len(DATA))) as host:
        failure(UpstreamUnreachable, artifact(host.url(NAME)), target)
        assert len(host.requests) == ATTEMPTS


HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()


def test_a_body_that_comes_byte_by_byte(target: Path) -> None:
    """Each byte comes in time, and the last would come next week."""
    trickle = Trickle(HEAD)
    began = time.monotonic()
    with Host(trickle) as host, Upstream(Credentials(), pause=0.01, patience=0.3) as hosts:
        with pytest.raises(UpstreamUnreachable) as caught:
            hosts.fetch(artifact(host.url(NAME)), target)
        trickle.ended.set()
    assert re.search(r"it sent \d+ bytes in \d+ seconds", caught.value.reason)
    assert 0.3 * ATTEMPTS <= time.monotonic() - began < 60
    assert not target.exists()


def test_a_body_that_begins_well_and_then_trickles(target: Path) -> None:
    """What came fast before buys no time."""
    trickle = Trickle(HEAD + DATA[:-1000])
    with Host(trickle) as host, Upstream(Credentials(), pause=0.01, patience=0.2) as hosts:
        with pytest.raises(UpstreamUnreachable):
            hosts.fetch(artifact(host.url(NAME)), target)
        trickle.ended.set()


def test_headers_that_never_end(target: Path) -> None:
    trickle = Trickle(b"HTTP/1.1 200 OK\r\nX-Long: ")
    began = time.monotonic()
    with Host(trickle) as host, Upstream(Credentials(), pause=0.01, patience=0.2) as hosts:
        with pytest.raises(UpstreamUnreachable, match="127"):
            hosts.fetch(artifact(host.url(NAME)), target)
        trickle.ended.set()
    assert time.monotonic() - began < 60
    assert not target.exists()


def test_a_slow_line_is_patient_enough(target: Path) -> None:
    def answer(handler: Handler, _: Request) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        for start in range(0, len(DATA), 100_000):
            handler.wfile.write(DATA[start : start + 100_000])
            time.sleep(0.12)

    with Host(answer) as host, Upstream(Credentials(), patience=1.0) as hosts:
        hosts.fetch(artifact(host.url(NAME)), target)
    assert target.read_bytes() == DATA


def test_a_file_whose_size_is_not_locked_has_an_end(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envlock.cache.download.PACKAGE_BYTES", len(DATA) - 1)
    with Host(lambda handler, _: handler.send(DATA)) as host:
        error = failure(UpstreamHashMismatch, artifact(host.url(NAME), size=None), target)
    assert "its size is not in the lock" in error.details[1]


def test_nobody_listens(target: Path) -> None:
    """The first file waits through every attempt; those after it need not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        wanted = artifact(f"http://127.0.0.1:{taken.getsockname()[1]}/{NAME}")
        with Upstream(Credentials(), pause=0.1) as hosts:
            times = []
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(UpstreamUnreachable, match=r"127\.0\.0\.1"):
                    hosts.fetch(wanted, target)
                times.append(time.monotonic() - began)
    assert times[0] >= 0.7
    assert times[1] < 0.3
    assert not target.exists()


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://index.example/" + NAME, "https://[bad/" + NAME, "git+ssh://me:pw@code.example/x", "s3://bucket/x"),
        *("https://index.example:80a/" + NAME, "https://me:pw@index.example/\0", "https://\u2488.example/x"),
    ],
)
def test_urls_that_nothing_is_fetched_from(target: Path, url: str) -> None:
    error = failure(UnsupportedUrl, artifact(url), target)
    assert "pw" not in error.render()


# The rest.


def test_a_mirror_in_a_folder(tmp_path: Path, target: Path) -> None:
    place = tmp_path / "a mirror" / NAME
    place.parent.mkdir()
    place.write_bytes(DATA)
    with upstream() as hosts:
        hosts.fetch(artifact(place.as_uri()), target)
        assert target.read_bytes() == DATA
    failure(UpstreamMissing, artifact((place.parent / "other.whl").as_uri()), tmp_path / "second")
    place.write_bytes(DATA[1:])
    failure(UpstreamHashMismatch, artifact(str(place)), tmp_path / "third")


def test_one_client_serves_many_threads(tmp_path: Path) -> None:
    with Host(lambda handler, _: handler.send(DATA)) as host, upstream() as hosts, ThreadPoolExecutor(8) as pool:
        targets = [tmp_path / str(number) for number in range(24)]
        list(pool.map(lambda target: hosts.fetch(artifact(host.url(target.name)), target), targets))
    assert all(target.read_bytes() == DATA for target in targets)


def test_closing_ends_what_is_under_way(target: Path) -> None:
    under_way = threading.Event()

    def answer(handler: Handler, _: Request) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        for _ in range(500):
            handler.wfile.write(b"x" * 300_000)
            under_way.set()
            time.sleep(0.02)

    with Host(answer) as host, ThreadPoolExecutor(1) as thread:
        hosts = upstream()
        fetching = thread.submit(hosts.fetch, artifact(host.url(NAME), size=None), target)
        assert under_way.wait(10)
        hosts.close()
        with pytest.raises(CancelledError):
            fetching.result(timeout=10)
    assert not target.exists()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/nowhere/at/all", "/"])
def test_what_is_no_file_of_this_machine_is_not_read(path: str, tmp_path: Path) -> None:
    artifact = Artifact("cpython-3.12.tar.gz", "0" * 64, f"file://{path}")
    with Upstream(Credentials()) as upstream, pytest.raises(UpstreamMissing):
        upstream.fetch(artifact, tmp_path / "stage")
    assert not (tmp_path / "stage").exists()
