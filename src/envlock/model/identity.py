"""The two hashes themselves, over plain values: small, so that proving a lock imports little."""

from __future__ import annotations

from collections.abc import Iterable

from envlock.model.canonical import Plain, short_hash

REQ_ID_VERSION = 1
FULL_ID_VERSION = 1


def req_id(document: Plain) -> str:
    """The id of a requirements document (`Requirements.document()`).

    >>> req_id({})
    '1c4a61d7d8a0de5d4e7c69825e38ea73ffcc0740'
    """
    return short_hash("req_id", REQ_ID_VERSION, document)


def full_id(
    source: str, version: str, filename: str, sha256: str, packages: Iterable[tuple[str, str, str, str, str, str]]
) -> str:
    """The id of resolved contents: the Python's source, version and (for an exact build) file, and the packages.

    `packages` are (kind, name, version, build, file name, SHA-256), in any order. From `machine`,
    only the series counts.

    >>> full_id("machine", "3.12.0", "", "", []) == full_id("machine", "3.12.4", "", "", [])
    True
    >>> full_id("machine", "3.12.0", "", "", [])
    'c2fb6f9eaaf976c12fa4d53098e51a7dd52e2cac'
    """
    series = ".".join(version.split(".")[:2])
    interpreter = ["machine", series] if source == "machine" else [source, version, filename, sha256]
    return short_hash("full_id", FULL_ID_VERSION, {"python": interpreter, "packages": sorted(packages)})
