"""The ids: hashes over the canonical bytes of plain values. Small, so that verifying a lock imports little.

In the canonical bytes every field carries its length, so that no two values share their bytes (bare concatenation does
not have that property). The encoding is part of the ids' meaning: it never changes within an id version.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

# As `random` of the standard library does: loading OpenSSL takes as long as hashing half a megabyte.
try:
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]  # Python 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256 as _sha256  # type: ignore[import-not-found,no-redef,unused-ignore]
    except ImportError:
        from hashlib import sha256 as _sha256

Plain: TypeAlias = "str | int | bool | Sequence[Plain] | dict[str, Plain] | None"

REQ_ID_VERSION = 1
FULL_ID_VERSION = 1
_DIGITS = 40
_LARGE = 500_000
_PREFIX = "metaflow"


def prefix_name(req_id: str, full_id: str) -> str:
    """The name of the folder of a prefix. The shim has the same rule, in `node/home.py`.

    >>> ids_of_prefix(prefix_name("1" * 40, "2" * 40)) == ("1" * 40, "2" * 40)
    True
    """
    return f"{_PREFIX}_{req_id}_{full_id}"


def ids_of_prefix(name: str) -> tuple[str, str] | None:
    """The req_id and the full_id that the name of a prefix's folder has; None if it is no such name.

    >>> ids_of_prefix("metaflow_1_2"), ids_of_prefix("base")
    (None, None)
    """
    first, *ids = name.split("_")
    if first != _PREFIX or len(ids) != 2 or any(len(each) != _DIGITS or each.strip("0123456789abcdef") for each in ids):
        return None
    return ids[0], ids[1]


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
    rows = sorted(packages)
    document: Plain = {"python": interpreter, "packages": []}
    beginning, _, end = canonical(_document("full_id", FULL_ID_VERSION, document)).partition(b"l0:")
    return _short(b"".join((beginning, b"l%d:" % len(rows), _spelt(rows), end)))


def _spelt(rows: Sequence[tuple[str, str, str, str, str, str]]) -> bytes:
    """The packages in canonical bytes, in a third of the time that `canonical` takes: a lock may have a thousand."""
    spelt = "".join(
        [
            f"l6:s{len(kind)}:{kind}s{len(name)}:{name}s{len(version)}:{version}s{len(build)}:{build}"
            f"s{len(filename)}:{filename}s{len(sha256)}:{sha256}"
            for kind, name, version, build, filename, sha256 in rows
        ]
    )
    return spelt.encode() if spelt.isascii() else b"".join([canonical(row) for row in rows])


def netflix_req_id(
    dependencies: Mapping[str, Sequence[str]],
    sources: Mapping[str, Sequence[str]],
    extras: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The 40 hex digits under which metaflow-netflixext 1.3 files these requirements, for people who come from there.

    Its canonical form is ambiguous and its hash is SHA-1, so envlock's own ids are others.

    Keys are its categories (`conda`, `npconda`, `pypi`, `sys`), values its strings: `name`, or `name==<constraint>`.

    >>> netflix_req_id(
    ...     {"conda": ["python==3.10.*"], "pypi": ["numpy==1.26.4"]}, {"conda": ["conda-forge"]}
    ... )
    '06da9dbba01fb75014f7478be05711377e74d674'
    """
    items = [
        f"{category}::{item}"
        for group in (dependencies, sources, extras or {})
        for category in sorted(group)
        for item in sorted(group[category])
    ]
    import hashlib

    return hashlib.sha1(" ".join(items).encode("ascii"), usedforsecurity=False).hexdigest()


def canonical(value: Plain) -> bytes:
    """The one encoding of `value`; dictionaries are sorted by key, lists keep their order.

    >>> canonical({"b": ["x", 1], "a": None})
    b'd2:s1:ans1:bl2:s1:xi1;'
    >>> canonical(["ab", "c"]) == canonical(["a", "bc"])
    False
    """
    parts: list[str] = []
    _encode(value, parts)
    return "".join(parts).encode()


def short_hash(purpose: str, version: int, value: Plain) -> str:
    """40 hex digits of SHA-256 over the canonical bytes, separated by purpose and version.

    >>> short_hash("req_id", 1, []) == short_hash("full_id", 1, [])
    False
    """
    return _short(canonical(_document(purpose, version, value)))


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes, 64 hex digits.

    >>> sha256(b"")[:16]
    'e3b0c44298fc1c14'
    """
    if len(data) > _LARGE or "hashlib" in sys.modules:
        import hashlib  # a tenth of the time, once it is there

        return hashlib.sha256(data).hexdigest()
    return str(_sha256(data).hexdigest())


def _short(data: bytes) -> str:
    return sha256(data)[:_DIGITS]


def _document(purpose: str, version: int, value: Plain) -> Plain:
    return [f"envlock-{purpose}", version, value]


def _encode(value: Plain, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(_text(value))
    elif value is None:
        parts.append("n")
    elif isinstance(value, bool):
        parts.append("t" if value else "f")
    elif isinstance(value, int):
        parts.append(f"i{value};")
    elif isinstance(value, dict):
        parts.append(f"d{len(value)}:")
        for key in sorted(value):
            parts.append(_text(key))
            _encode(value[key], parts)
    else:
        parts.append(f"l{len(value)}:")
        if set(map(type, value)) == {str}:  # by far the most there is
            texts = "".join([f"s{len(item)}:{item}" for item in value])  # type: ignore[arg-type]
            parts.append(texts if texts.isascii() else "".join([_text(item) for item in value]))  # type: ignore[arg-type]
        else:
            for item in value:
                _encode(item, parts)


def _text(text: str) -> str:
    """A string with its length in UTF-8 bytes."""
    return f"s{len(text) if text.isascii() else len(text.encode())}:{text}"
