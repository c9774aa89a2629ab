from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envlock.cache.errors import BadCacheUrl, CacheNotYet
from envlock.cache.opening import open_store


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


@pytest.mark.parametrize("url", ["s3://team/envlock", "gs://team/x", "gcs://team/x", "az://team/x", "S3://team/x"])
def test_buckets_come_later(url: str) -> None:
    with pytest.raises(CacheNotYet) as caught:
        open_store(url)
    assert f"`{url.partition(':')[0].lower()}://`" in caught.value.message
    assert "later version" in caught.value.message
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "https://host/x", "foo://x", "file://server/share", "file://", "file:///", "file://relative"],
)
def test_what_is_no_cache(url: str) -> None:
    with pytest.raises(BadCacheUrl, match="cannot be a cache"):
        open_store(url)


@pytest.mark.parametrize(
    "url", ["s3://AKIA:s3cret@bucket/x", "az://c/x?sig=s3cret", "file://me:s3cret@localhost/srv", "foo://a/x#s3cret"]
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
        "import sys; from envlock.cache.opening import open_store; s = open_store('/nowhere'); s.entry('a')\n"
        "assert not {'fsspec', 'httpx', 'urllib.request'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
