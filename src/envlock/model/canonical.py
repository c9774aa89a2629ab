"""The canonical bytes of a plain value: what the ids are hashes of.

Every field carries its length, so that no two values share their bytes (bare concatenation does not have that
property). The encoding is part of the ids' meaning: it never changes within an id version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias, Union

Plain: TypeAlias = Union[str, int, bool, "Sequence[Plain]", "dict[str, Plain]", None]


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
    return hashlib.sha256(canonical([f"envlock-{purpose}", version, value])).hexdigest()[:40]


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
