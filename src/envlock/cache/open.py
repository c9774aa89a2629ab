"""Open the store that `cache` in envlock.toml names."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.errors import BadCacheUrl, CacheSettingError
from envlock.config.settings import CacheOptions
from envlock.model.url import strip_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.cache.port import Store
    from envlock.config.project import Project

_AZURE_HOST = ".core.windows.net"
BUCKETS = ("s3", "gs", "gcs", "az", "abfs", "abfss")
"""The schemes of buckets."""


class BucketPlace(NamedTuple):
    """A cache in a bucket: `scheme://bucket/prefix`."""

    url: str
    scheme: str
    bucket: str
    prefix: str
    account: str = ""
    """Azure's storage account, if the URL names it."""


def open_cache(project: Project, *, few_reads: bool = False) -> Store:
    """The project's cache. Raises what `open_store` raises, at the line of envlock.toml, and UnsetVariable."""
    with located(project):
        return open_store(project.cache_url, project.cache_options, few_reads=few_reads)


@contextmanager
def located(project: Project) -> Iterator[None]:
    """Add the line of envlock.toml to the error about a setting of the project's cache."""
    try:
        yield
    except CacheSettingError as error:
        raise error.at(project.locate(error.key)) from error.__cause__


def open_store(url: str, options: CacheOptions | None = None, *, few_reads: bool = False) -> Store:
    """The store at an absolute path, or at a URL with `file:`, `memory:` or one of BUCKETS. Sends no request.

    With `few_reads`, it is quick to open for who reads a few small files, and does everything all the same.

    Raises BadCacheUrl; for a bucket, CacheBackendMissing if the library of its service is not installed, and
    BadCacheOption for an option that the service does not have.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        return _folder(Path(url))
    if scheme in BUCKETS:
        return _bucket(url, scheme, rest, options or CacheOptions(), few_reads=few_reads)
    if strip_credentials(url) != url:
        raise BadCacheUrl(url, "it contains credentials, a query or a fragment: credentials come from the environment")
    if scheme == "file":
        return _folder_of_url(url, rest)
    if scheme == "memory":
        from envlock.cache.memory_store import MemoryStore

        return MemoryStore(f"memory://{rest.strip('/')}")
    raise BadCacheUrl(url, f"envlock does not support `{scheme}://`")


def shown_url(url: str) -> str:
    """The `url` that the store would have, without importing its library, which is slow. Raises BadCacheUrl.

    >>> shown_url("s3://team/envlock/")
    's3://team/envlock'
    """
    scheme, _, rest = url.partition("://")
    return _place(url, scheme.lower(), rest).url if scheme.lower() in BUCKETS else open_store(url).url


def _folder(path: Path) -> Store:
    from envlock.cache.folder_store import FolderStore

    return FolderStore(Path(os.path.realpath(path)) if ".." in path.parts else path)


def _folder_of_url(url: str, rest: str) -> Store:
    from urllib.parse import unquote

    name, slash, path = rest.partition("/")
    if name not in {"", "localhost"} or not slash or not path:
        raise BadCacheUrl(url, "a file URL begins with `file:///` and names an absolute folder")
    return _folder(Path("/" + unquote(path)))


def _bucket(url: str, scheme: str, rest: str, options: CacheOptions, *, few_reads: bool) -> Store:
    place = _place(url, scheme, rest)

    from envlock.cache.buckets import open_bucket

    return open_bucket(place, options, few_reads=few_reads)


def _place(url: str, scheme: str, rest: str) -> BucketPlace:
    authority, _, prefix = rest.partition("/")
    bucket, _, host = authority.partition("@")
    account = ""
    if host and scheme in {"abfs", "abfss"} and host.endswith(_AZURE_HOST) and ":" not in authority:
        account = host.partition(".")[0]
    elif strip_credentials(url) != url:
        raise BadCacheUrl(url, "it contains credentials, a query or a fragment: credentials come from the environment")
    prefix = prefix.strip("/")
    parts = prefix.split("/") if prefix else []
    if not bucket or any(part in {"", ".", ".."} for part in parts):
        raise BadCacheUrl(url, f"it names a bucket and a folder in it: `{scheme}://bucket/folder`")
    if not rest.isprintable() or set(prefix + bucket) & set("?#*[]\\"):
        raise BadCacheUrl(url, "a bucket's folder has no `?`, `#`, `*`, `[`, `]` or `\\` in its name")

    # Messages name the container without the account's host: it is no secret, but looks like a user name.
    return BucketPlace(f"{scheme}://{'/'.join([bucket, *parts])}", scheme, bucket, prefix, account)
