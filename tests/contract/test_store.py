"""What every store must do, whichever it is."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from envlock.cache.errors import StoredFileTooLarge, UnsafePath
from envlock.cache.format import check_format, prove_exclusive_create
from envlock.cache.open import BUCKETS, open_store
from envlock.cache.port import Entry, Store
from envlock.config.settings import CacheOptions
from tests.forked import run_module
from tests.servers.clouds import BUCKET, CLOUDS, Cloud, forget_sessions

FEW_READS = ("moto-few-reads", "seaweedfs-few-reads")
"""S3 as it is opened for a few reads."""
STORES = ("folder", "file", "memory", *CLOUDS, *FEW_READS)
RACES = ("folder", "seaweedfs", "gcs", "azurite")  # moto looks, then writes, with nothing that holds others off

# What the SDKs do inside of their own threads and loops.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


@pytest.fixture(scope="module")
def sessions() -> Iterator[None]:
    """What an SDK has of a service serves all tests: all of them ask as the same one. To make it takes a second."""
    forget_sessions()
    yield
    forget_sessions()


@pytest.fixture
def url_of(
    tmp_path: Path, clouds: Callable[[str], Cloud], sessions: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[str, CacheOptions]]:
    """Where a store of each kind is for this test: its URL, and its options."""

    def url(name: str) -> tuple[str, CacheOptions]:
        name = name.partition("-")[0]
        if name in CLOUDS:
            cloud = clouds(name)
            for variable, value in cloud.environment.items():
                monkeypatch.setenv(variable, value)
            return cloud.url(f"{tmp_path.parent.name}/{tmp_path.name}/cache"), cloud.options
        root = tmp_path / "a cache"  # a space, so that a URL has to be percent-encoded
        urls = {"folder": str(root), "file": root.as_uri(), "memory": f"memory://{tmp_path.name}/cache"}
        return urls[name], CacheOptions()

    return url


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, url_of: Callable[[str], tuple[str, CacheOptions]]) -> Store:
    url, options = url_of(request.param)
    beside = open_store(f"{url}-of-another", options)
    beside.put("packages/x", b"not ours")
    return cast("Store", Anew(url, options)) if request.param in FEW_READS else open_store(url, options)


class Anew:
    """A store that is opened for a few reads before each call, so that none of its reads is s3fs's."""

    def __init__(self, url: str, options: CacheOptions) -> None:
        self._given = url, options

    def __getattr__(self, name: str) -> object:
        return getattr(open_store(*self._given, few_reads=True), name)


def test_a_store_that_is_not_there_is_empty(store: Store) -> None:
    assert store.entry("packages/a.whl") is None
    assert list(store.entries("packages")) == []
    with pytest.raises(FileNotFoundError):
        store.read("packages/a.whl")
    with pytest.raises(FileNotFoundError):
        store.sha256("packages/a.whl")
    store.delete("packages/a.whl")


@pytest.mark.parametrize("as_file", [True, False])
def test_what_is_put_comes_back(store: Store, tmp_path: Path, as_file: bool) -> None:
    source = tmp_path / "source"
    for size in (0, 1, 3_000_000):
        data = os.urandom(size).replace(b"\r", b"z")  # the stand-in of Google's service loses one at the end
        path = f"packages/ab/x+1!0~@=%41,{size}.whl"
        source.write_bytes(data)
        store.put(path, source if as_file else data)
        assert store.entry(path) == Entry(path, size)
        assert store.read(path) == data
        assert store.sha256(path) == hashlib.sha256(data).hexdigest()
        target = tmp_path / f"target {size}"
        store.fetch(path, target)
        assert target.read_bytes() == data
        assert source.read_bytes() == data


def test_fetching_what_is_not_there(store: Store, tmp_path: Path) -> None:
    store.put("packages/a", b"1")
    with pytest.raises(FileNotFoundError):
        store.fetch("packages/b", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_what_is_larger_than_envlock_writes_is_not_read_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if "memory" in store.url:
        pytest.skip("what is in this process's memory is there already")
    for module in ("folder_store", "buckets.store", "buckets.first_reads"):
        monkeypatch.setattr(f"envlock.cache.{module}.LOCK_BYTES", 1000)
    store.put("envs/a.toml", b"x" * 1000)
    store.put("envs/b.toml", b"x" * 1001)
    assert store.read("envs/a.toml") == b"x" * 1000
    with pytest.raises(StoredFileTooLarge) as caught:
        store.read("envs/b.toml")
    assert caught.value.locations[0].path == f"{store.url}/envs/b.toml"


def test_put_replaces(store: Store) -> None:
    store.put("envs/a.toml", b"longer than the second")
    store.put("envs/a.toml", b"second")
    assert store.read("envs/a.toml") == b"second"
    assert list(store.entries("envs")) == [Entry("envs/a.toml", 6)]


def test_entries_are_the_files_below(store: Store) -> None:
    paths = {"packages/a", "packages/b/c", "packages/b/d/e", "packages2/f", "envs/g"}
    for path in paths:
        store.put(path, path.encode())
    assert {entry.path for entry in store.entries("packages")} == {"packages/a", "packages/b/c", "packages/b/d/e"}
    assert {entry.path: entry.size for entry in store.entries("packages/b")} == {
        "packages/b/c": 12,
        "packages/b/d/e": 14,
    }
    assert store.entry("packages/b") is None, "a folder is no file"


def test_when_a_file_was_written(store: Store) -> None:
    store.put("packages/a", b"1")
    for entry in (store.entry("packages/a"), *store.entries("packages")):
        assert entry is not None
        assert entry.modified is not None
        assert abs(entry.modified - time.time()) < 60


def test_progress_is_reported(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(7_000_000))
    told: list[int] = []
    store.put("packages/a", source, on_bytes=told.append)
    assert sum(told) == 7_000_000
    told.clear()
    store.put("packages/b", b"12345", on_bytes=told.append)
    assert sum(told) == 5
    told.clear()
    store.fetch("packages/a", tmp_path / "target", on_bytes=told.append)
    assert sum(told) == 7_000_000


def test_what_is_there_is_not_fetched_over(store: Store, tmp_path: Path) -> None:
    store.put("packages/a", b"1")
    (tmp_path / "target").write_bytes(b"ours")
    with pytest.raises(FileExistsError):
        store.fetch("packages/a", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"ours"


def test_putting_what_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put("packages/a", tmp_path / "no such source")
    assert store.entry("packages/a") is None


def test_create(store: Store) -> None:
    assert store.create("aliases/a", b"mine, nonce 1") is True
    assert store.create("aliases/a", b"theirs, nonce 2") is False
    assert store.create("aliases/a", b"mine, nonce 1") is True, "as after an answer that was lost"
    assert store.read("aliases/a") == b"mine, nonce 1"
    store.put("aliases/b", b"")
    assert store.create("aliases/b", b"mine") is False
    store.delete("aliases/a")
    assert store.create("aliases/a", b"theirs, nonce 2") is True


def test_exclusive_create_is_proved_once(store: Store) -> None:
    assert check_format(store) is False
    prove_exclusive_create(store)
    assert check_format(store) is True
    record = store.read("CACHE.json")
    prove_exclusive_create(store)
    assert store.read("CACHE.json") == record
    assert list(store.entries("probe")) == []


@pytest.mark.parametrize("name", RACES)
def test_of_sixteen_processes_one_creates_a_file(name: str, url_of: Callable[[str], tuple[str, CacheOptions]]) -> None:
    url, options = url_of(name)
    keys = json.loads(run_module("tests.servers.racing", url, json.dumps(options._asdict()), "5"))
    assert len(keys) == 5
    for key in keys.values():
        (winner,) = key["made"]
        assert key["read"] == [f"written by {winner}"] * 16


def test_delete(store: Store) -> None:
    store.put("packages/a", b"1")
    store.put("packages/b", b"2")
    store.delete("packages/a")
    assert store.entry("packages/a") is None
    assert [entry.path for entry in store.entries("packages")] == ["packages/b"]


def test_no_path_leads_out(store: Store, tmp_path: Path) -> None:
    for path in ("", ".", "..", "../a", "a/../../b", "/a", "a//b", "a/", "a/./b", "a\\b", "a\nb", "a\0b"):
        calls: list[Callable[[str], object]] = [
            store.entry,
            lambda wrong: list(store.entries(wrong)),
            store.read,
            store.sha256,
            lambda wrong: store.fetch(wrong, tmp_path / "target"),
            lambda wrong: store.put(wrong, b"x"),
            lambda wrong: store.create(wrong, b"x"),
            store.delete,
        ]
        for call in calls:
            with pytest.raises(UnsafePath):
                call(path)
    assert not (tmp_path / "target").exists()


def test_a_reader_never_sees_a_part(store: Store) -> None:
    """A file that is replaced again and again is one of its versions at any moment."""
    versions = [bytes([letter]) * 400_000 for letter in b"abcd"]
    store.put("packages/a", versions[0])
    stop = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(store.read("packages/a"))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(24):
        store.put("packages/a", versions[number % 4])
    stop.set()
    for reader in readers:
        reader.join()
    assert seen
    assert all(data in versions for data in seen)


def test_many_threads_write_at_once(store: Store) -> None:
    def write(thread: int) -> None:
        for number in range(6):
            store.put(f"packages/{number}/same", b"%d" % number)
            store.put(f"packages/{number}/{thread}", b"%d" % thread)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(store.entries("packages"))) == 6 * 9
    assert all(store.read(f"packages/{number}/same") == b"%d" % number for number in range(6))


def test_the_url_is_for_messages(store: Store, tmp_path: Path) -> None:
    name = f"{tmp_path.name}/cache"
    schemes = ("memory", *(f"{each}://{BUCKET}/{tmp_path.parent.name}" for each in BUCKETS))
    assert store.url in {str(tmp_path / "a cache"), f"memory://{name}", *(f"{each}/{name}" for each in schemes)}
