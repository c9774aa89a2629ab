"""From the `cache` of envlock.toml to a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.errors import BUCKETS, BadCacheUrl, CacheNotYet
from envlock.model.url import strip_credentials

if TYPE_CHECKING:
    from envlock.cache.port import Store


def open_store(url: str) -> Store:
    """The store at an absolute path, a `file:` URL or a `memory:` one. Touches nothing yet.

    Raises CacheNotYet for a bucket, and BadCacheUrl for anything else.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        return _folder(Path(url))
    if strip_credentials(url) != url:
        raise BadCacheUrl(url, "it carries credentials, a query or a fragment, which have no place in envlock.toml")
    if scheme == "file":
        return _folder_of_url(url, rest)
    if scheme == "memory":
        return _memory(url, rest)
    if scheme in BUCKETS:
        raise CacheNotYet(scheme)
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


def _memory(url: str, rest: str) -> Store:
    import fsspec  # type: ignore[import-untyped]

    from envlock.cache.fsspec_store import FsspecStore

    return FsspecStore(fsspec.filesystem("memory"), "/" + rest.strip("/"), url)
