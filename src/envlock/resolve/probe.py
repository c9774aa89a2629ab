"""Asking an index whether it is there, after a package was not found on it."""

from __future__ import annotations

from envlock.credentials import credentials_for
from envlock.model.url import strip_credentials
from envlock.resolve.port import Request


def missing_index(request: Request) -> str | None:
    """The first of the request's own indexes that does not exist (404 at its root), if one does not.

    One HTTP request an index; only ever asked on the way to an error message.
    """
    import httpx

    for url in (*request.index_urls, request.default_index_url):
        if not url:
            continue
        root = strip_credentials(url).rstrip("/") + "/"
        try:
            answer = httpx.get(root, auth=credentials_for(url), follow_redirects=True, timeout=10)
        except httpx.HTTPError:
            continue
        if answer.status_code == httpx.codes.NOT_FOUND:
            return root
    return None
