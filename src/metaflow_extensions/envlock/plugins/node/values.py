"""Named tuples and JSON for what each task imports on its way into an environment, without `typing` and `re`.

Those two take a third of what such a process costs, and of many tasks that wait for one environment, each pays that.
`envlock.values` is the same class for workstations.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable
    from typing import NamedTuple as NamedTuple

    quoted: Callable[[str], str]
    _scanner: Any
else:
    from collections import namedtuple

    try:
        import _json  # what `json` itself reads and writes with

        quoted, _scanner = _json.encode_basestring_ascii, _json.make_scanner
    except (ImportError, AttributeError):
        _scanner = None

    class _Making(type):
        def __new__(cls, name, _, namespace):
            """The named tuple of the fields that a class body declares, and what else the body has."""
            made = namedtuple(name, namespace.pop("__annotations__"), module=namespace["__module__"])
            for key, value in namespace.items():
                if key != "__module__":
                    setattr(made, key, value)
            return made

    NamedTuple = type.__new__(_Making, "NamedTuple", (), {})


class _Settings:
    """How `json` reads by default."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = parse_constant = float
    parse_int = int


def parse_json(text: str) -> Any:
    """The value of a JSON document, as `json.loads` has it. Raises ValueError, RecursionError.

    >>> parse_json(' {"a": [1, 2.5, null]} '), parse_json("[]")
    ({'a': [1, 2.5, None]}, [])
    >>> parse_json("[1] 2")
    Traceback (most recent call last):
    ValueError: no JSON
    """
    if _scanner is None:
        import json

        return json.loads(text)
    text = text.strip(" \t\n\r")
    try:
        value, end = _scanner(_Settings)(text, 0)
    except StopIteration:
        end = -1
    if end != len(text):
        raise ValueError("no JSON")
    return value
