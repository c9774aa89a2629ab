from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from envlock.cache.buckets.errors import BadCacheOption, CacheBackendMissing
from envlock.cache.buckets.store import BucketStore
from envlock.cache.errors import BadCacheUrl
from envlock.cache.open import open_cache, open_store
from envlock.config.read import load_project
from envlock.config.settings import CacheOptions
from envlock.errors import EnvlockError
from envlock.named.lookup import Lookup


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("/srv/cache", "/srv/cache"),
        ("file:///srv/a%20cache", "/srv/a cache"),
        ("file://localhost/srv/cache", "/srv/cache"),
        ("FILE:///srv/cache", "/srv/cache"),
        ("/srv/project/../cache", "/srv/cache"),
        ("/srv/100%25/a#b?c@d:e", "/srv/100%25/a#b?c@d:e"),
    ],
)
def test_folders(url: str, folder: str) -> None:
    assert open_store(url).url == folder


@pytest.mark.parametrize(
    ("url", "shown", "prefix"),
    [
        ("s3://team", "s3://team", ""),
        ("s3://team/", "s3://team", ""),
        ("S3://team/envlock/", "s3://team/envlock", "envlock"),
        ("s3://a.bucket.with-dots/a/b", "s3://a.bucket.with-dots/a/b", "a/b"),
        ("gs://team/x y", "gs://team/x y", "x y"),
        ("gcs://team/x", "gcs://team/x", "x"),
        ("az://container/x", "az://container/x", "x"),
        ("abfs://container/x", "abfs://container/x", "x"),
        ("abfs://container@teamstorage.dfs.core.windows.net/x", "abfs://container/x", "x"),
    ],
)
def test_buckets(url: str, shown: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "somebody")
    store = open_store(url)
    assert store.url == shown
    assert isinstance(store, BucketStore)
    assert store._service.place.prefix == prefix


def test_the_account_may_be_in_the_url() -> None:
    store = open_store("abfs://container@teamstorage.dfs.core.windows.net/x")
    assert isinstance(store, BucketStore)
    assert store._service.place.account == "teamstorage"


@pytest.mark.parametrize(
    ("scheme", "option"),
    [("s3", "account"), ("gs", "region"), ("gs", "profile"), ("gs", "account"), ("az", "region"), ("az", "profile")],
)
def test_options_of_another_service(scheme: str, option: str) -> None:
    with pytest.raises(BadCacheOption, match=f"`{option}` does not exist for") as caught:
        open_store(f"{scheme}://team/x", CacheOptions(**{option: "x"}))
    assert "supported: `a" in (caught.value.hint or "")


def test_an_azure_container_has_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(BadCacheOption, match="storage account"):
        open_store("az://container/x")


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ('cache = "ftp://host/x"', "2 (envlock.cache)"),
        ('cache = "s3://"', "2 (envlock.cache)"),
        ('cache = "s3://team/x"', "2 (envlock.cache)"),
        (
            'cache = "gs://team/x"\n\n[envlock.cache-options]\nregion = "x"',
            "5 (envlock.cache-options.region)",
        ),
        (
            'cache = "az://team/x"\n[envlock.cache-options]\nanonymous = true',
            "3 (envlock.cache-options.account)",
        ),
    ],
)
def test_what_cannot_be_opened_is_found_at_its_line(
    settings: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    (tmp_path / "other.toml").write_text(f"[envlock]\n{settings}\n")
    project = load_project(tmp_path / "other.toml")
    with pytest.raises(EnvlockError) as caught:
        open_cache(project)
    assert [str(each) for each in caught.value.locations] == [f"other.toml:{place}"]
    if "://team" not in settings:
        with pytest.raises(BadCacheUrl) as same:
            _ = Lookup(project).url
        assert same.value.locations == caught.value.locations


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://t", "s3fs", "s3"),
        ("gs://t", "gcsfs", "gcs"),
        ("az://t", "adlfs", "azure"),
        ("abfs://t", "adlfs", "azure"),
    ],
)
class TestBackends:
    def test_one_that_is_not_installed(
        self, url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(CacheBackendMissing, match=f"{package} 20.* is not installed") as caught:
            open_store(url)
        assert caught.value.hint == f'pip install "envlock[{extra}]"'
        assert caught.value.exit_status == 2

    def test_one_that_cannot_be_imported(
        self, url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "somebody")
        store = open_store(url)
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, f"{package}.core", None)
        with pytest.raises(CacheBackendMissing, match=f"cannot be imported: import of {package}") as caught:
            store.read("x")
        assert caught.value.hint == f'pip install --upgrade "envlock[{extra}]"'

    def test_one_that_is_too_old(self, url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Such a release overwrites what it should create."""
        real = importlib.metadata.version
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "2024.10.0" if name == package else real(name))
        with pytest.raises(CacheBackendMissing, match=r"needs .* 2025.* 2024.10.0 is installed"):
            open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host/x", "https://host/x", "foo://x", "file://server/share", "file://", "file:///", "file://relative"),
        *("s3://", "s3:///x", "gs://b/../x", "gs://b/a//b", "az://c/a*b", "s3://b/a[1]", "s3://b/a\\b", "s3://b/a\nb"),
    ],
)
def test_what_is_no_cache(url: str) -> None:
    with pytest.raises(BadCacheUrl, match="cannot be a cache"):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        *("s3://AKIA:s3cret@bucket/x", "az://c/x?sig=s3cret", "file://me:s3cret@localhost/srv", "foo://a/x#s3cret"),
        *("s3://s3cret@bucket/x", "gs://b/x?s3cret", "abfs://c:s3cret@acct.dfs.core.windows.net/x"),
        *("abfs://s3cret@elsewhere.example/x", "abfs://c@acct.dfs.core.windows.net/x?sig=s3cret"),
    ],
)
def test_secrets_have_no_place_in_it(url: str) -> None:
    with pytest.raises(BadCacheUrl) as caught:
        open_store(url)
    assert "s3cret" not in caught.value.render()


def test_opening_touches_nothing(tmp_path: Path) -> None:
    open_store(str(tmp_path / "cache"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_needs_no_fsspec() -> None:
    code = (
        "import sys; from envlock.cache.open import open_store; s = open_store('/nowhere'); s.entry('a')\n"
        "assert not {'fsspec', 'httpx', 'urllib.request'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_a_bucket_imports_no_backend() -> None:
    code = (
        "import sys; from envlock.cache.open import open_store\n"
        "for url in ('s3://b/x', 'gs://b/x', 'abfs://b@a.dfs.core.windows.net/x'): open_store(url)\n"
        "heavy = {'s3fs', 'gcsfs', 'adlfs', 'botocore', 'aiohttp', 'google', 'azure'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_that_is_a_link_to_itself_can_be_named_through_another(tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to("cache")
    assert open_store(f"{tmp_path}/project/../cache").url == f"{tmp_path}/cache"
