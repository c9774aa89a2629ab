"""What was pushed about an image, as registries list it: by themselves, or below a tag that stands for the list.

Source: OCI distribution specification 1.1, *Listing Referrers* and *Referrers Tag Schema*.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from envlock.image.manifests import OCI_INDEX, Descriptor, Manifest, NotAManifest

if TYPE_CHECKING:
    from envlock.image.connection import Connection
    from envlock.image.messages import Request

_PAGES = 100
"""Pages that are read of a list."""
_NO_LIST = frozenset({400, 404, 405})


def listed(connection: Connection, asked: Request) -> tuple[Descriptor, ...] | None:
    """What the registry's own list has, all pages of it; None if it keeps no list."""
    found: list[Descriptor] = []
    for _ in range(_PAGES):
        answer = connection.ask(asked, {HTTPStatus.OK, *_NO_LIST})
        if answer.status != HTTPStatus.OK:
            return None
        try:
            found += Manifest.read(answer.data, OCI_INDEX).manifests
        except NotAManifest:
            return None  # some answer every path with a page of theirs
        following = re.match(r'<([^>]*)>\s*;\s*rel="?next', answer.headers.get("link", ""))
        url = answer.led(following[1]) if following is not None else ""
        if not url:
            break
        asked = asked._replace(url=url)
    return tuple(found)


def fallback_tag(digest: str) -> str:
    """The tag that lists the referrers of an image where a registry keeps no list.

    >>> fallback_tag("sha256:" + "0" * 64) == "sha256-" + "0" * 64
    True
    """
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm[:32]}-{digits[:64]}"
