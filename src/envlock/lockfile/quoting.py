"""Strings as a lock's TOML spells them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quoted(text: str) -> str:
    r"""A string as TOML spells it.

    >>> print(quoted('a "word"'), quoted("a\tb\0"))
    "a \"word\"" "a\tb\u0000"
    """
    if _UNSAFE.search(text) is None:
        return f'"{text}"'
    return '"' + _UNSAFE.sub(lambda match: _ESCAPES.get(match[0], f"\\u{ord(match[0]):04x}"), text) + '"'


def array(items: Iterable[str]) -> str:
    """Strings as a TOML array on one line.

    >>> print(array(["a", "b"]))
    ["a", "b"]
    """
    return f"[{', '.join(quoted(item) for item in items)}]"
