"""From the `cache` of envlock.toml to a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.errors import BadCacheUrl
from envlock.config.project import CacheOptions
from envlock.model.url import strip_credentials

if TYPE_CHECKING:
    from envlock.cache.port import Store

_AZURE_HOST = ".core.windows.net"
BUCKETS = ("s3", "gs", "gcs", "az", "abfs", "abfss")
"""The schemes of buckets."""


def open_store(url: str, options: CacheOptions | None = None) -> Store:
    """The store at an absolute path, or at a URL of `file:`, `memory:` or one of BUCKETS. Touches nothing yet.

    Raises BadCacheUrl, and for a bucket CacheBackendMissing where what speaks with its service is not installed, and
    BadCacheOption for an option that means nothing to it.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        return _folder(Path(url))
    if scheme in BUCKETS:
        return _bucket(url, scheme, rest, options or CacheOptions())
    if strip_credentials(url) != url:
        raise BadCacheUrl(url, "it carries credentials, a query or a fragment, which have no place in envlock.toml")
    if scheme == "file":
        return _folder_of_url(url, rest)
    if scheme == "memory":
        from envlock.cache.memory_store import MemoryStore

        return MemoryStore(f"memory://{rest.strip('/')}")
    raise BadCacheUrl(url, f"envlock does not know `{scheme}://`")


def _folder(path: Path) -> Store:
    from envlock.cache.folder_store import FolderStore

    return FolderStore(path.resolve() if ".." in path.parts else path)


def _folder_of_url(url: str, rest: str) -> Store:
    from urllib.parse import unquote

    name, slash, path = rest.partition("/")
    if name not in {"", "localhost"} or not slash or not path:
        raise BadCacheUrl(url, "a file URL begins with `file:///` and names an absolute folder")
    return _folder(Path("/" + unquote(path)))


def _bucket(url: str, scheme: str, rest: str, options: CacheOptions) -> Store:
    authority, _, prefix = rest.partition("/")
    bucket, _, host = authority.partition("@")
    account = ""
    if host and scheme in {"abfs", "abfss"} and host.endswith(_AZURE_HOST) and ":" not in authority:
        account = host.partition(".")[0]
    elif strip_credentials(url) != url:
        raise BadCacheUrl(url, "it carries credentials, a query or a fragment, which have no place in envlock.toml")
    prefix = prefix.strip("/")
    parts = prefix.split("/") if prefix else []
    if not bucket or any(part in {"", ".", ".."} for part in parts):
        raise BadCacheUrl(url, f"it names a bucket and a folder in it: `{scheme}://bucket/folder`")
    if not rest.isprintable() or set(prefix + bucket) & set("?#*[]\\"):
        raise BadCacheUrl(url, "a bucket's folder has no `?`, `#`, `*`, `[`, `]` or `\\` in its name")

    from envlock.cache.buckets.opening import open_bucket
    from envlock.cache.buckets.service import BucketPlace

    # Messages name the container and not the account's host, which is no secret but reads as a user's name.
    shown = f"{scheme}://{'/'.join([bucket, *parts])}"
    return open_bucket(BucketPlace(shown, scheme, bucket, prefix, account), options)
