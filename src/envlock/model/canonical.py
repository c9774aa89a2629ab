"""The canonical bytes of a plain value: what the ids are hashes of.

Every field carries its length, so that no two values share their bytes (bare concatenation does not have that
property). The encoding is part of the ids' meaning: it never changes within an id version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union

Plain: TypeAlias = Union[str, int, bool, "Sequence[Plain]", "Mapping[str, Plain]", None]


def canonical(value: Plain) -> bytes:
    """The one encoding of `value`; dictionaries are sorted by key, lists keep their order.

    >>> canonical({"b": ["x", 1], "a": None})
    b'd2:s1:ans1:bl2:s1:xi1;'
    >>> canonical(["ab", "c"]) == canonical(["a", "bc"])
    False
    """
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def short_hash(purpose: str, version: int, value: Plain) -> str:
    """40 hex digits of SHA-256 over the canonical bytes, separated by purpose and version.

    >>> short_hash("req_id", 1, []) == short_hash("full_id", 1, [])
    False
    """
    return hashlib.sha256(canonical([f"envlock-{purpose}", version, value])).hexdigest()[:40]


def _encode(value: Plain, parts: list[bytes]) -> None:
    if isinstance(value, str):
        data = value.encode()
        parts.append(b"s%d:%s" % (len(data), data))
    elif value is None:
        parts.append(b"n")
    elif isinstance(value, bool):
        parts.append(b"t" if value else b"f")
    elif isinstance(value, int):
        parts.append(b"i%d;" % value)
    elif isinstance(value, Mapping):
        parts.append(b"d%d:" % len(value))
        for key in sorted(value):
            _encode(key, parts)
            _encode(value[key], parts)
    else:
        parts.append(b"l%d:" % len(value))
        for item in value:
            _encode(item, parts)
