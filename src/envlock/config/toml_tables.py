"""Whole tables as TOML text, such as a person would write them: on one line while they are short."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from envlock.config.toml_text import key_text, quoted

_WIDEST = 100


def tables_text(path: tuple[str, ...], tables: Mapping[str, Any]) -> str:
    r"""The tables of a level: each on one line while it is short, else as a table of its own.

    >>> print(tables_text(("env", "base"), {"pypi": {"packages": {"rich": ">=13"}}}), end="")
    pypi = { packages = { rich = ">=13" } }
    """
    short, long = "", ""
    for name, value in tables.items():
        line = f"{key_text(name)} = {value_text(value)}\n"
        if len(line) <= _WIDEST or not isinstance(value, dict):
            short += line
        else:
            long += "".join(_long_text((*path, name), value))
    return short + long


def value_text(value: object) -> str:
    """A value on one line.

    >>> value_text({"python": "3.12", "channels": ["conda-forge"], "disabled": False})
    '{ python = "3.12", channels = ["conda-forge"], disabled = false }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        entries = ", ".join(f"{key_text(name)} = {value_text(item)}" for name, item in value.items())
        return f"{{ {entries} }}" if entries else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    return quoted(str(value))


def _long_text(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n[{'.'.join(map(key_text, path))}]\n"
    inner = {name: value for name, value in table.items() if isinstance(value, dict) and value}
    for name, value in table.items():
        if name not in inner:
            yield f"{name} = {value_text(value)}\n"
    for name, value in inner.items():
        yield f"\n[{'.'.join(map(key_text, (*path, name)))}]\n"
        yield from (f"{key_text(key)} = {value_text(item)}\n" for key, item in value.items())
