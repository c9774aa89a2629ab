"""What conda packages provide, as an index that uv asks before all others.

uv takes a package from the first index that knows its name. This one knows exactly the provided distributions, each in
its one version and without dependencies, so PyPI's are never seen, and nothing is pulled in for them: what conda
installed is what there is, and a requirement that it does not fit has no solution. Neither wheels nor hashes are behind
the links; uv is told all it wants to know by `dependency-metadata`, and keeps nothing of it in its cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from envlock.resolve.port import Provided

INDEX_NAME = "envlock-provided"
_NOWHERE = "https://conda.invalid/"
"""No such host can exist (RFC 2606): if uv ever wanted one of the files, it would fail."""


def write_index(folder: Path, provided: Iterable[Provided]) -> str:
    """The URL of an index (PEP 503) of what is provided, written below `folder`."""
    for each in provided:
        page = folder / each.name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        link = f'<a href="{_url(each)}#sha256={hashlib.sha256(_filename(each).encode()).hexdigest()}">'
        page.write_text(f"<!DOCTYPE html><html><body>{link}{_filename(each)}</a></body></html>\n", encoding="utf-8")
    return folder.as_uri()


def dependency_metadata(provided: Iterable[Provided]) -> list[dict[str, object]]:
    """What uv is to believe of the provided distributions, as its `dependency-metadata`.

    >>> dependency_metadata([Provided("numpy", "1.26.4", "numpy 1.26.4")])
    [{'name': 'numpy', 'version': '1.26.4', 'requires-dist': [], 'provides-extra': []}]
    """
    return [
        {
            "name": each.name,
            "version": each.version,
            "requires-dist": list(each.extras.requires) if each.extras else [],
            "provides-extra": list(each.extras.names) if each.extras else [],
        }
        for each in provided
    ]


def is_stub(url: str) -> bool:
    """Whether it is the URL of something that conda provides."""
    return url.startswith(_NOWHERE)


def _url(provided: Provided) -> str:
    return _NOWHERE + quote(_filename(provided))


def _filename(provided: Provided) -> str:
    return f"{provided.name.replace('-', '_')}-{provided.version}-py3-none-any.whl"
