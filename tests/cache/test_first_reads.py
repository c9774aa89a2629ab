"""Who reads a few files from S3 needs no s3fs, as long as nothing is out of the ordinary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.cache.buckets.errors import CacheBucketMissing, CacheForbidden
from envlock.cache.buckets.first_reads import FirstReads
from envlock.cache.buckets.store import BucketStore
from envlock.cache.open import open_store
from envlock.cache.port import Store
from tests.servers.clouds import Cloud, forget_sessions
from tests.servers.proxy import Break, Proxy, proxied


@pytest.fixture
def proxy(clouds: Callable[[str], Cloud]) -> Iterator[Proxy]:
    with proxied(clouds("moto").port) as running:
        yield running
    forget_sessions()


@pytest.fixture
def cloud(clouds: Callable[[str], Cloud], proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    found = clouds("moto").at(proxy.port)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def store(cloud: Cloud, tmp_path: Path) -> Store:
    """With one file in it."""
    url = cloud.url(f"few/{tmp_path.name}")
    open_store(url, cloud.options).put("envs/a", b"whole")
    return open_store(url, cloud.options, few_reads=True)


def is_asking_s3fs(store: Store) -> bool:
    assert isinstance(store, FirstReads)
    return store._store is not None


def test_what_is_there_and_what_is_not_is_read_without_s3fs(store: Store, proxy: Proxy) -> None:
    proxy.forget()
    assert store.read("envs/a") == b"whole"
    with pytest.raises(FileNotFoundError):
        store.read("envs/b")
    assert store.entry("envs/b") is None
    assert [each.path for each in store.entries("envs")] == ["envs/a"]
    assert not is_asking_s3fs(store)
    assert [method for method, _ in proxy.passed] == ["GET", "GET", "HEAD", "GET"], (
        "a bucket is not asked for by itself"
    )


@pytest.mark.parametrize("how", [Break.SLOW_DOWN, Break.CUT, Break.DENIED])
def test_what_goes_wrong_once_is_for_s3fs(how: Break, store: Store, proxy: Proxy) -> None:
    proxy.breaks(how, "GET")
    assert store.read("envs/a") == b"whole"
    assert is_asking_s3fs(store)


def test_a_refusal_is_told_as_ever(store: Store, proxy: Proxy) -> None:
    proxy.breaks(Break.DENIED, "GET", times=100)
    with pytest.raises(CacheForbidden):
        store.read("envs/a")


def test_so_is_a_bucket_that_does_not_exist(cloud: Cloud) -> None:
    with pytest.raises(CacheBucketMissing):
        open_store("s3://no-such-bucket/x", cloud.options, few_reads=True).entry("envs/a")


def test_who_writes_has_s3fs(store: Store) -> None:
    store.put("envs/b", b"")
    assert is_asking_s3fs(store)
    assert store.read("envs/b") == b""


@pytest.mark.parametrize(
    "variable",
    ["AWS_USE_FIPS_ENDPOINT", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"],
)
def test_credentials_that_are_not_at_hand_are_for_s3fs(
    variable: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable.startswith(("AWS_CON", "AWS_WEB")):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(variable, "/of-nobody")
    assert isinstance(open_store("s3://team/x", cloud.options, few_reads=True), BucketStore)
