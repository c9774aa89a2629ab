"""What is wrong with how a bucket is reached, each told in one error; and that no secret is in any."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.cache.buckets import store as bucket_store
from envlock.cache.buckets.errors import CacheBucketMissing, CacheForbidden, CacheUnreachable, CacheWrongRegion
from envlock.cache.errors import (
    CacheFormatDamaged,
    CacheHashMismatch,
    CacheReadOnly,
    CacheUnusable,
    NewerCache,
    StoreNotExclusive,
    together,
)
from envlock.cache.format import check_format, prove_exclusive_create
from envlock.cache.open import open_store
from envlock.cache.packages import Packages, path_of
from envlock.cache.port import Store
from envlock.errors import EnvlockError
from envlock.model.artifact import Artifact
from tests.servers.clouds import AZURE_ACCOUNT, BUCKET, Cloud, ask
from tests.servers.proxy import Break, Proxy, proxied

Clouds = Callable[[str], Cloud]
LogIn = Callable[[Cloud], Cloud]


@pytest.fixture
def proxy(clouds: Clouds) -> Iterator[Proxy]:
    with proxied(clouds("moto").port) as running:
        yield running


@pytest.fixture
def bucket(proxy: Proxy, clouds: Clouds, log_in: LogIn, tmp_path: Path) -> Store:
    cloud = log_in(clouds("moto").at(proxy.port))
    return open_store(cloud.url(tmp_path.name), cloud.options)


def told(call: Callable[[], object], kind: type[EnvlockError], *secrets: str) -> EnvlockError:
    """The error that a call raises; none of the secrets is in it."""
    with pytest.raises(EnvlockError) as caught:
        call()
    assert type(caught.value) is kind, caught.value.render()
    text = caught.value.render() + json.dumps(caught.value.as_dict())
    assert not [secret for secret in secrets if secret in text]
    assert caught.value.hint
    return caught.value


def test_a_name_that_no_bucket_has(clouds: Clouds, log_in: LogIn) -> None:
    cloud = log_in(clouds("moto"))
    error = told(lambda: open_store("s3://Bad_Bucket!/x", cloud.options).read("a"), CacheUnusable, *cloud.secrets)
    assert 'Invalid bucket name "Bad_Bucket!"' in error.message


@pytest.mark.parametrize("name", ["moto", "gcs", "azurite"])  # SeaweedFS makes the buckets that one writes to
def test_no_such_bucket(name: str, clouds: Clouds, log_in: LogIn, tmp_path: Path) -> None:
    cloud = log_in(clouds(name))
    (tmp_path / "file").write_bytes(b"1")
    calls: list[Callable[[Store], object]] = [
        lambda store: store.entry("packages/a"),
        lambda store: store.read("packages/a"),
        lambda store: store.sha256("packages/a"),
        lambda store: store.fetch("packages/a", tmp_path / "target"),
        lambda store: list(store.entries("packages")),
        lambda store: store.put("packages/a", b"1"),
        lambda store: store.put("packages/a", tmp_path / "file"),
        lambda store: store.create("aliases/a", b"1"),
        lambda store: store.delete("packages/a"),
    ]
    for call in calls:
        store = open_store(cloud.url("x", bucket="no-such-bucket"), cloud.options)
        error = told(lambda call=call, store=store: call(store), CacheBucketMissing, *cloud.secrets)
        assert "there is no bucket `no-such-bucket`" in error.message
    assert not (tmp_path / "target").exists()


def test_a_stranger(clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = log_in(clouds("seaweedfs"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-stranger")
    store = open_store(cloud.url("x"), cloud.options)
    for call in (lambda: store.read("a"), lambda: store.entry("a"), lambda: store.put("a", b"1")):
        error = told(call, CacheForbidden, "s3cr3t-of-stranger")
        assert "403" in error.message
        assert "AWS_PROFILE" in (error.hint or "")


def test_a_wrong_secret(clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = log_in(clouds("seaweedfs"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-that-is-wrong")
    store = open_store(cloud.url("x"), cloud.options)
    told(lambda: store.read("a"), CacheForbidden, "s3cr3t-that-is-wrong", "writer-key")


def test_nobody(clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = log_in(clouds("seaweedfs"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = told(lambda: open_store(cloud.url("x"), cloud.options).read("a"), CacheForbidden)
    assert "credentials" in error.message.lower()


def test_a_reader(clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cloud = log_in(clouds("seaweedfs"))
    open_store(cloud.url(tmp_path.name), cloud.options).put("packages/a", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-reader")
    # Another region, and so another filesystem than the writer's, which fsspec remembers.
    store = open_store(cloud.url(tmp_path.name), cloud.options._replace(region="us-west-2"))
    assert store.read("packages/a") == b"1"
    calls: list[Callable[[], object]] = [
        lambda: store.put("packages/b", b"1"),
        lambda: store.create("aliases/b", b"1"),
        lambda: store.delete("packages/a"),
    ]
    for call in calls:
        error = told(call, CacheReadOnly, "s3cr3t-of-reader")
        assert error.locations[0].path.startswith(f"{store.url}/")
    assert store.read("packages/a") == b"1"


def test_an_azure_key_that_is_wrong(clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = log_in(clouds("azurite"))
    secret = "d3Jvbmc" * 8
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", secret)
    store = open_store(cloud.url("x"), cloud.options)
    error = told(lambda: store.read("a"), CacheForbidden, secret)
    assert "az login" in (error.hint or "")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "no base64: s3cr3t")
    told(lambda: open_store(cloud.url("y"), cloud.options).read("a"), CacheUnusable, "s3cr3t")


def test_an_azure_connection_string(clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the tools of Azure read it: endpoint, account and key at once."""
    cloud = log_in(clouds("azurite"))
    key = cloud.environment["AZURE_STORAGE_ACCOUNT_KEY"]
    for name in cloud.environment:
        monkeypatch.delenv(name)
    string = f"BlobEndpoint={cloud.options.endpoint};AccountName={AZURE_ACCOUNT};AccountKey={key};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"DefaultEndpointsProtocol=http;{string}")
    store = open_store(cloud.url("connection-string"))
    store.put("packages/a", b"1")
    assert store.read("packages/a") == b"1"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=s3cr3t;nonsense")
    told(lambda: open_store(cloud.url("another")).read("a"), CacheUnusable, "s3cr3t")


def test_google_without_credentials(
    clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cloud = log_in(clouds("gcs"))
    key = tmp_path / "key.json"
    key.write_text('{"type": "service_account", "private_key": "s3cr3t"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    store = open_store(cloud.url("x"), cloud.options._replace(anonymous=False))
    error = told(lambda: store.read("a"), CacheForbidden, "s3cr3t")
    assert "gcloud auth" in (error.hint or "")


def test_anonymous_reading(
    proxy: Proxy, clouds: Clouds, log_in: LogIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request is signed, though there are credentials."""
    cloud = log_in(clouds("moto").at(proxy.port))
    open_store(cloud.url(tmp_path.name), cloud.options).put("packages/a", b"1")
    signed = proxy.headers[-1]["Authorization"]
    store = open_store(cloud.url(tmp_path.name), cloud.options._replace(anonymous=True))
    told(lambda: store.read("packages/a"), CacheForbidden)
    assert "Authorization" not in proxy.headers[-1]
    open_to_all = f"{cloud.options.endpoint}/{BUCKET}/{tmp_path.name}/packages/a?acl"
    ask("PUT", open_to_all, {"x-amz-acl": "public-read", "Authorization": signed})
    assert store.read("packages/a") == b"1"
    assert "Authorization" not in proxy.headers[-1]


def test_a_profile(
    proxy: Proxy, clouds: Clouds, log_in: LogIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = log_in(clouds("moto").at(proxy.port))
    for name in cloud.environment:
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = AKIAOFTHETEAM\naws_secret_access_key = s3cr3t\n")
    (tmp_path / "config").write_text("[profile team]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = open_store(cloud.url(tmp_path.name), cloud.options._replace(profile="team"))
    store.put("packages/a", b"1")
    signed = proxy.headers[-1]["Authorization"]
    assert "AKIAOFTHETEAM" in signed
    assert "/eu-west-1/s3/" in signed
    missing = open_store(cloud.url(tmp_path.name), cloud.options._replace(profile="nobody"))
    assert "nobody" in told(lambda: missing.read("a"), CacheForbidden, "s3cr3t").message


@pytest.mark.parametrize("by", ["option", "AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_region(by: str, proxy: Proxy, clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = log_in(clouds("moto").at(proxy.port))
    if by != "option":
        monkeypatch.setenv(by, "eu-central-1")
    options = cloud.options._replace(region="eu-central-1" if by == "option" else "")
    open_store(cloud.url("x"), options).entry("a")
    assert "/eu-central-1/s3/" in proxy.headers[0]["Authorization"]


def test_another_region(bucket: Store, proxy: Proxy, tmp_path: Path) -> None:
    for method in ("GET", "HEAD", "PUT"):
        proxy.breaks(Break.MOVED, method, tmp_path.name, times=100)
    for call in (lambda: bucket.read("a"), lambda: bucket.entry("a"), lambda: bucket.put("a", b"1")):
        error = told(call, CacheWrongRegion)
        assert "AWS_DEFAULT_REGION" in (error.hint or "")


def test_google_says_no(clouds: Clouds, log_in: LogIn) -> None:
    with proxied(clouds("gcs").port) as denying:
        cloud = log_in(clouds("gcs").at(denying.port))
        for method in ("GET", "POST"):
            denying.breaks(Break.DENIED, method, times=100)
        store = open_store(cloud.url("x"), cloud.options)
        for call in (lambda: store.read("a"), lambda: store.entry("a"), lambda: store.put("a", b"1")):
            error = told(call, CacheForbidden)
            assert [location.path for location in error.locations] == [f"{store.url}/a"]


def test_one_cause_is_reported_once_with_one_of_its_objects() -> None:
    errors = [CacheForbidden("s3://team/x", "read", "403", place=f"s3://team/x/{name}") for name in "abca"]
    (error,) = together(errors)
    assert [location.path for location in error.locations] == ["s3://team/x/a"]
    assert error.details == ("and 2 more of its files",)
    assert len(together([*errors, CacheForbidden("s3://team/x", "written", "403")])) == 2


def test_nobody_listens_at_azure(clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_store, "PAUSE", 0.01)
    cloud = log_in(clouds("azurite").at(9))
    told(lambda: open_store(cloud.url("x"), cloud.options).read("a"), CacheUnreachable, *cloud.secrets)


def test_nobody_listens_at_google(
    clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Gcsfs alone would take a minute for each."""
    monkeypatch.setattr(bucket_store, "PAUSE", 0.01)
    cloud = log_in(clouds("gcs").at(9))
    began = time.monotonic()
    told(lambda: open_store(cloud.url("x"), cloud.options).read("a"), CacheUnreachable)
    told(lambda: open_store(cloud.url("x"), cloud.options).fetch("a", tmp_path / "a"), CacheUnreachable)
    assert time.monotonic() - began < 10


def test_google_stumbles(clouds: Clouds, log_in: LogIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What gcsfs is kept from trying again, the store does."""
    monkeypatch.setattr(bucket_store, "PAUSE", 0.01)
    with proxied(clouds("gcs").port) as stumbling:
        cloud = log_in(clouds("gcs").at(stumbling.port))
        store = open_store(cloud.url(tmp_path.name), cloud.options)
        for number, how in enumerate((Break.SLOW_DOWN, Break.RESET)):
            stumbling.breaks(how, "POST", times=2)
            store.put(f"a{number}", b"content")
            stumbling.breaks(how, "GET", times=2)
            store.fetch(f"a{number}", tmp_path / f"a{number}")
            assert (tmp_path / f"a{number}").read_bytes() == b"content"
        assert len(stumbling.broken) == 8


def test_a_store_that_does_not_refuse(bucket: Store, proxy: Proxy) -> None:
    proxy.deaf_to = ("If-None-Match",)
    told(lambda: prove_exclusive_create(bucket), StoreNotExclusive)
    assert bucket.entry("CACHE.json") is None
    assert list(bucket.entries("probe")) == []
    proxy.deaf_to = ()
    prove_exclusive_create(bucket)
    assert check_format(bucket) is True


@pytest.mark.parametrize("content", [b'{"format": 2}', b'{"format": 3, "of": "the future"}'])
def test_a_newer_format(content: bytes, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("CACHE.json", content)
    for call in (lambda: check_format(store), lambda: prove_exclusive_create(store)):
        assert "knows format 1" in told(call, NewerCache).message


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"format": "1"}', b'{"format": true}', b'{"format": 0}']
)
def test_a_format_that_says_nothing(content: bytes, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("CACHE.json", content)
    assert told(lambda: check_format(store), CacheFormatDamaged).exit_status == 3


def test_how_many_requests(bucket: Store, proxy: Proxy, tmp_path: Path) -> None:
    """What is there costs one request; so does what is not, and once for each store the question for its bucket."""
    for number in range(5):
        bucket.put(f"packages/{number}", b"1")
    proxy.passed.clear()
    assert all(bucket.entry(f"packages/{number}") for number in range(5))
    assert [method for method, _ in proxy.passed] == ["HEAD"] * 5
    proxy.passed.clear()
    assert not any(bucket.entry(f"packages/{number}") for number in range(5, 10))
    assert [method for method, _ in proxy.passed] == ["HEAD"] * 6
    proxy.passed.clear()
    bucket.read("packages/1")
    bucket.fetch("packages/1", tmp_path / "target")
    bucket.put("packages/1", tmp_path / "target")
    bucket.create("packages/7", b"1")
    bucket.delete("packages/1")
    assert [method for method, _ in proxy.passed] == ["GET", "GET", "PUT", "PUT", "DELETE"]


@pytest.mark.parametrize("name", ["moto", "gcs", "azurite"])  # SeaweedFS takes signatures for its own port alone
def test_what_is_there_costs_one_request(name: str, clouds: Clouds, log_in: LogIn, tmp_path: Path) -> None:
    with proxied(clouds(name).port) as counting:
        cloud = log_in(clouds(name).at(counting.port))
        store = open_store(cloud.url(tmp_path.name), cloud.options)
        store.put("packages/a", b"1")
        counting.passed.clear()
        assert store.entry("packages/a") is not None
        assert len(counting.passed) == 1


@pytest.mark.parametrize("name", ["moto", "gcs", "azurite"])
def test_a_bucket_that_may_not_be_looked_at_is_not_called_missing(
    name: str, clouds: Clouds, log_in: LogIn, tmp_path: Path
) -> None:
    """After an object that is missing, the bucket is requested; a 403 for it does not mean that it is missing too."""
    with proxied(clouds(name).port) as proxy:
        cloud = log_in(clouds(name).at(proxy.port))
        assert open_store(cloud.url(tmp_path.name), cloud.options).entry("packages/a") is None
        (first, _), (second, _) = proxy.passed
        proxy.breaks(Break.BARRED, second, after=int(first == second))
        store = open_store(cloud.url(tmp_path.name), cloud.options)
        assert store.entry("packages/a") is None
        assert proxy.broken == [Break.BARRED]


def test_packages_are_verified_in_and_out(bucket: Store, tmp_path: Path) -> None:
    right, wrong, target = tmp_path / "right", tmp_path / "wrong", tmp_path / "target"
    right.write_bytes(b"right")
    wrong.write_bytes(b"wrong")
    artifact = Artifact("demo-1.0-py3-none-any.whl", hashlib.sha256(b"right").hexdigest(), "https://index.example/x", 5)
    packages = Packages(bucket)
    with pytest.raises(CacheHashMismatch):
        packages.put(artifact, wrong)
    assert not packages.has(artifact)
    packages.put(artifact, right)
    assert packages.is_whole(artifact)
    bucket.put(path_of(artifact), wrong)
    assert not packages.is_whole(artifact)
    with pytest.raises(CacheHashMismatch):
        packages.fetch(artifact, target)
    assert not target.exists()
