"""The authorities whose certificates are trusted, for every request of httpx."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


def trusted() -> ssl.SSLContext:
    """The authorities whose certificates are trusted, as httpx reads them (SSL_CERT_FILE, SSL_CERT_DIR).

    For the `verify` of every request by httpx. To read them takes as long as ten requests to a host nearby (20 ms), so
    each set of them is read once. Raises OSError if they cannot be read.
    """
    return _trusted(os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))


@cache
def _trusted(file: str, folder: str) -> ssl.SSLContext:  # noqa: ARG001  what httpx looks at
    import httpx

    return httpx.create_ssl_context()
