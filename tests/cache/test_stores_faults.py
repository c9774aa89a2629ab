"""A bucket whose service stumbles: what is tried again, what is told, how long it takes; nothing is half done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.cache.buckets import store
from envlock.cache.buckets.errors import CacheUnreachable
from envlock.cache.open import open_store
from envlock.cache.port import Store
from tests.servers.clouds import Cloud, forget_sessions
from tests.servers.proxy import Break, Proxy, proxied

DATA = os.urandom(699_999) + b"."  # the stand-in of Google's service loses a line break at the end
ALWAYS = 1000


@pytest.fixture(scope="module")
def moto(clouds: Callable[[str], Cloud]) -> Iterator[tuple[Cloud, Proxy]]:
    """A proxy for all tests, so that what s3fs has of it serves all of them: to make it takes longer than a test."""
    forget_sessions()
    with proxied(clouds("moto").port) as running:
        yield clouds("moto").at(running.port), running
    forget_sessions()


@pytest.fixture
def proxy(moto: tuple[Cloud, Proxy]) -> Proxy:
    moto[1].forget()
    return moto[1]


class Clock:
    """The clock of a store whose pauses take no time: it goes forward by them."""

    def __init__(self) -> None:
        self.paused = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.paused

    def sleep(self, seconds: float) -> None:
        self.paused += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(store, "time", clock := Clock())
    return clock


@pytest.fixture
def bucket(
    proxy: Proxy, moto: tuple[Cloud, Proxy], tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """A cache behind the proxy, whose pauses take no time, and which is less patient than usual."""
    monkeypatch.setattr(store, "PATIENCE", 20.0)
    monkeypatch.setattr("envlock.cache.buckets.s3.ANSWER_SECONDS", 0.5)
    cloud = moto[0]
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(cloud.url(tmp_path.name), cloud.options)


def test_what_has_the_name_already_is_not_read_to_its_end(bucket: Store, proxy: Proxy) -> None:
    bucket.put("aliases/a", DATA)
    assert bucket.create("aliases/a", b"ours") is False
    reads = [headers for (method, _), headers in zip(proxy.passed, proxy.headers, strict=True) if method == "GET"]
    assert [headers.get("Range") for headers in reads] == ["bytes=0-4"]


@pytest.mark.parametrize("how", [Break.SLOW_DOWN, Break.RESET, Break.LOST, Break.STALL])
class TestOnce:
    """One stumble is not seen from outside."""

    def test_put(self, how: Break, bucket: Store, proxy: Proxy, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(DATA)
        told: list[int] = []
        proxy.breaks(how, "PUT")
        bucket.put("packages/a", file, on_bytes=told.append)
        assert proxy.broken == [how]
        assert bucket.read("packages/a") == DATA
        assert sum(told) == len(DATA)

    def test_fetch(self, how: Break, bucket: Store, proxy: Proxy, tmp_path: Path) -> None:
        bucket.put("packages/a", DATA)
        told: list[int] = []
        proxy.breaks(how, "GET")
        bucket.fetch("packages/a", tmp_path / "target", on_bytes=told.append)
        assert proxy.broken == [how]
        assert (tmp_path / "target").read_bytes() == DATA
        assert sum(told) == len(DATA)

    def test_create(self, how: Break, bucket: Store, proxy: Proxy) -> None:
        """After an answer that was lost, the object that is there is known to be ours."""
        proxy.breaks(how, "PUT")
        assert bucket.create("aliases/a", b"ours") is True
        assert proxy.broken == [how]
        assert bucket.create("aliases/a", b"theirs") is False
        assert bucket.read("aliases/a") == b"ours"

    def test_create_where_somebody_was_first(self, how: Break, bucket: Store, proxy: Proxy) -> None:
        bucket.put("aliases/a", b"theirs")
        proxy.breaks(how, "PUT")
        proxy.breaks(how, "GET")
        assert bucket.create("aliases/a", b"ours") is False
        assert proxy.broken == [how, how]

    def test_looking_and_deleting(self, how: Break, bucket: Store, proxy: Proxy) -> None:
        bucket.put("packages/a", DATA)
        proxy.breaks(how, "HEAD")
        entry = bucket.entry("packages/a")
        assert entry is not None
        assert entry.size == len(DATA)
        proxy.breaks(how, "GET", "list-type")
        assert [each.path for each in bucket.entries("packages")] == ["packages/a"]
        proxy.breaks(how, "DELETE")
        bucket.delete("packages/a")
        assert proxy.broken == [how] * 3
        assert bucket.entry("packages/a") is None


@pytest.mark.parametrize("how", [Break.CUT, Break.STALL_HALFWAY])
@pytest.mark.parametrize("times", [1, 3])
def test_a_transfer_that_breaks_goes_on(how: Break, times: int, bucket: Store, proxy: Proxy, tmp_path: Path) -> None:
    bucket.put("packages/a", DATA)
    told: list[int] = []
    proxy.breaks(how, "GET", times=times)
    bucket.fetch("packages/a", tmp_path / "target", on_bytes=told.append)
    assert proxy.broken == [how] * times
    assert (tmp_path / "target").read_bytes() == DATA
    assert sum(told) == len(DATA)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_service_that_is_asked_too_much_is_asked_again_for_as_long_as_there_is_patience(
    method: str, bucket: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many that push at once are refused more often than a service that is ill answers with an error."""
    monkeypatch.setattr(store, "PATIENCE", 120.0)
    monkeypatch.setattr(store, "_LONGEST_PAUSE", 0.5)
    file = tmp_path / "file"
    file.write_bytes(b"ours")
    proxy.breaks(Break.SLOW_DOWN, method, times=9)
    bucket.put("packages/a", file)
    assert bucket.read("packages/a") == b"ours"
    assert proxy.broken == [Break.SLOW_DOWN] * 9


@pytest.mark.parametrize("how", [Break.SLOW_DOWN, Break.RESET, Break.LOST])
@pytest.mark.parametrize("call", ["put", "fetch", "create", "read", "sha256"])
def test_what_does_not_get_better_is_reported(
    how: Break, call: str, bucket: Store, proxy: Proxy, tmp_path: Path, clock: Clock
) -> None:
    bucket.put("packages/a", DATA)
    for method in ("GET", "PUT", "HEAD"):
        proxy.breaks(how, method, times=ALWAYS)
    file = tmp_path / "file"
    file.write_bytes(b"other")
    target = tmp_path / "target"
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: bucket.put("packages/b", file),
        "fetch": lambda: bucket.fetch("packages/a", target),
        "create": lambda: bucket.create("aliases/a", b"ours"),
        "read": lambda: bucket.read("packages/a"),
        "sha256": lambda: bucket.sha256("packages/a"),
    }
    began = clock.monotonic()
    with pytest.raises(CacheUnreachable) as caught:
        calls[call]()
    assert clock.monotonic() - began < store.PATIENCE + 60
    assert len(proxy.broken) >= 4, "it was tried again"
    assert "again" in (caught.value.hint or "")
    if how is Break.SLOW_DOWN and call != "sha256":  # the answer to a HEAD has no words
        assert "503" in caught.value.message
    assert not target.exists()
    assert caught.value.exit_status == 2


def test_a_server_that_says_nothing(bucket: Store, proxy: Proxy, tmp_path: Path) -> None:
    proxy.breaks(Break.STALL, "GET", times=ALWAYS)
    began = time.monotonic()
    with pytest.raises(CacheUnreachable):
        bucket.fetch("packages/a", tmp_path / "target")
    assert time.monotonic() - began < 20
    assert not (tmp_path / "target").exists()


def test_a_transfer_that_the_library_would_wait_for_forever(
    bucket: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's own clock runs beside the library's."""
    monkeypatch.setattr("envlock.cache.buckets.s3.ANSWER_SECONDS", 1000)
    monkeypatch.setattr(store, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(store, "SMALL_SECONDS", 0.1)
    monkeypatch.setattr(store, "_SLOW", 1 << 40)
    proxy.breaks(Break.STALL, "GET", times=ALWAYS)
    proxy.breaks(Break.STALL, "PUT", times=ALWAYS)
    file = tmp_path / "file"
    file.write_bytes(DATA)
    began = time.monotonic()
    for call in (
        lambda: bucket.fetch("packages/a", tmp_path / "target"),
        lambda: bucket.put("packages/a", file),
        lambda: bucket.read("packages/a"),
    ):
        with pytest.raises(CacheUnreachable):
            call()
    assert time.monotonic() - began < 20
    assert not (tmp_path / "target").exists()


def test_a_server_that_sends_a_trickle(
    bucket: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is progress, and the last would come next week."""
    monkeypatch.setattr(store, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(store, "_SLOW", 1 << 40)
    proxy.breaks(Break.DRIP, "GET", times=ALWAYS)
    began = time.monotonic()
    with pytest.raises(CacheUnreachable):
        bucket.fetch("packages/a", tmp_path / "target")
    assert time.monotonic() - began < 120
    assert not (tmp_path / "target").exists()


def test_a_large_file_whose_parts_fail(
    bucket: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that is refused is sent again; when it does not get better, nothing of the object is to be seen."""
    part = 5 << 20
    monkeypatch.setattr("envlock.cache.buckets.s3._PARTS", {"chunksize": part, "max_concurrency": 2})
    file = tmp_path / "file"
    data = os.urandom(2 * part + 100)
    file.write_bytes(data)
    told: list[int] = []
    proxy.breaks(Break.SLOW_DOWN, "PUT", "partNumber=2")
    proxy.breaks(Break.LOST, "POST", "uploadId")  # the object is whole, and nobody told us
    bucket.put("packages/a", file, on_bytes=told.append)
    assert proxy.broken == [Break.SLOW_DOWN, Break.LOST]
    assert bucket.read("packages/a") == data
    assert sum(told) == len(data)
    told.clear()
    proxy.breaks(Break.RESET, "PUT", "partNumber=2", times=ALWAYS)
    with pytest.raises(CacheUnreachable):
        bucket.put("packages/b", file, on_bytes=told.append)
    assert bucket.entry("packages/b") is None


def test_nobody_there(log_in: Callable[[Cloud], Cloud], clouds: Callable[[str], Cloud], clock: Clock) -> None:
    """It is learned once: what comes after does not wait as long."""
    cloud = log_in(clouds("moto").at(9))
    nowhere = open_store(cloud.url("x"), cloud.options)
    with pytest.raises(CacheUnreachable, match="cannot be read"):
        nowhere.read("packages/a")
    first = clock.paused
    assert first >= store.PAUSE
    for number in range(10):
        with pytest.raises(CacheUnreachable):
            nowhere.entry(f"packages/{number}")
    assert clock.paused == first
