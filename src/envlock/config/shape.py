"""Where a parsed envlock.toml does not have the shape that the models give it: unknown keys, types, choices, rules.

Both readers stand on it: the light one asks whether there is any misfit, the full one makes an error of each.
"""

from __future__ import annotations

from collections.abc import Iterator

from envlock.config.rules import instant
from envlock.config.settings import DOCUMENT, Shape
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envlock.config.project import KeyPath


class Misfit(NamedTuple):
    """One key or value that does not fit."""

    path: KeyPath
    value: Any
    kind: str
    """`unknown` for a key; `type`, `choice`, `rule` or `empty` for a value."""
    is_key: bool = False
    """Whether it is the last key of the path that does not fit, not the value."""
    rule: Callable[[str], str] | None = None
    """The rule that is broken."""
    fault: str = ""
    """What the rule says is wrong."""


def fits(value: Any, shape: Shape = DOCUMENT) -> bool:
    """Whether a value has a shape: all keys known, all types right, all choices and rules kept.

    >>> fits({"envlock": {"archs": ["linux-64"]}}), fits({"envlock": {"arch": "linux-64"}})
    (True, False)
    >>> fits({"envlock": {"hosts": ["index.example"]}}), fits({"envlock": {"hosts": ["https://index.example"]}})
    (True, False)
    """
    return next(misfits(value, shape), None) is None


def misfits(value: Any, shape: Shape = DOCUMENT, path: KeyPath = ()) -> Iterator[Misfit]:
    """Everything in a value that does not fit a shape, in the order of the file.

    >>> [(misfit.path, misfit.kind) for misfit in misfits({"envlock": {"hosts": ["x"], "cache": 1, "arch": ""}})]
    [(('envlock', 'cache'), 'type'), (('envlock', 'arch'), 'unknown')]
    """
    if not isinstance(shape, tuple):
        yield from _of_known_keys(value, shape, path) if isinstance(shape, dict) else _of_type(value, shape, path)
        return
    kind, *inner = shape
    if kind == "any":
        if not any(fits(value, way) for way in inner):
            way = next((each for each in inner if _has_type(value, each)), None)
            yield from [Misfit(path, value, "type")] if way is None else misfits(value, way, path)
    elif not _has_type(value, shape):
        yield Misfit(path, value, "type")
    elif kind in {"choice", "rule"}:
        yield from _of_text(value, shape, path)
    elif kind == "table":
        for key, item in value.items():
            wrong = [each._replace(is_key=True) for each in misfits(key, inner[0], (*path, key))]
            yield from wrong
            if all(each.kind == "rule" for each in wrong):  # of a key that nobody knows, no value is right
                yield from misfits(item, inner[1], (*path, key))
    elif not value and kind == "filled list":
        yield Misfit(path, value, "empty")
    else:
        for number, item in enumerate(value):
            yield from misfits(item, inner[0], (*path, str(number)))


def _of_text(value: str, shape: tuple[Any, ...], path: KeyPath) -> Iterator[Misfit]:
    kind, *inner = shape
    if kind == "choice" and value not in inner:
        yield Misfit(path, value, "choice")
    if kind == "rule" and (fault := inner[0](value)):
        yield Misfit(path, value, "rule", rule=inner[0], fault=fault)


def _of_known_keys(value: Any, shape: dict[str, Shape], path: KeyPath) -> Iterator[Misfit]:
    if not _has_type(value, shape):
        yield Misfit(path, value, "type")
        return
    for key, item in value.items():
        if key in shape:
            yield from misfits(item, shape[key], (*path, key))
        else:
            yield Misfit((*path, key), item, "unknown")


def _of_type(value: Any, name: str, path: KeyPath) -> Iterator[Misfit]:
    if not _has_type(value, name):
        yield Misfit(path, value, "type")
    elif name == "date" and (fault := instant(value.isoformat())):  # TOML has days that are in no year in UTC
        yield Misfit(path, value.isoformat(), "rule", rule=instant, fault=fault)


def _has_type(value: Any, shape: Shape) -> bool:
    """Whether the outermost type of a value is right."""
    if isinstance(shape, dict):
        return type(value) is dict
    return type(value).__name__ in _TYPES[shape if isinstance(shape, str) else shape[0]]


_TYPES = {
    "string": ("str",),
    "choice": ("str",),
    "rule": ("str",),
    "boolean": ("bool",),
    "date": ("date", "datetime"),
    "list": ("list",),
    "filled list": ("list",),
    "table": ("dict",),
}
"""The types of TOML's values by name: to import datetime takes longer than to look through a whole file."""
