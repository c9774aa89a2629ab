"""The errors of what does not fit the models of envlock.toml: unknown keys, types, choices, rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import TYPE_CHECKING, Any

from envlock.config import rules
from envlock.config.contradictions import FlowWithoutFile
from envlock.config.edit.toml_edit import key_text, value_text
from envlock.config.errors import (
    ALIKE,
    BadChannel,
    BadIndexUrl,
    BadInstant,
    BadPythonSpecifier,
    BadValue,
    UnknownKey,
    WrongType,
)
from envlock.config.json_schema import Schema, node_at, ways_at
from envlock.config.settings import DOCUMENT, Shape
from envlock.config.shape import Misfit, misfits
from envlock.config.system_packages import VIRTUAL_PACKAGES, packages_of
from envlock.config.toml_source import WrittenFloat, location
from envlock.model.arch import UnknownArch
from envlock.model.requirement import BadPackageName
from envlock.named.errors import BadAlias, BadPathspec
from envlock.redaction import shown
from envlock.words import listed, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from envlock.config.project import KeyPath
    from envlock.errors import ConfigError, Location

_TABLES = ("pypi", "conda", "named_env", "sys_packages")
_PACKAGES = {"pypi": "packages", "conda": "libraries"}
_OF_VERSIONS = ("packages", "libraries", "conda_only", "constraints", "overrides")
"""Tables from packages to versions."""
_ARCH_DEPTH = 3
_ELSEWHERE = {
    ("conda", "pip_packages"): "`pypi.packages`",
    ("conda", "pip_sources"): "`pypi.extra_indices`",
    ("conda", "packages"): "`conda.libraries`",
    ("conda", "sources"): "`conda.channels`",
    ("pypi", "sources"): "`pypi.extra_indices`",
    ("pypi", "libraries"): "`pypi.packages`",
    **{
        (table, key): f"`named_env.{key}`"
        for table in ("conda", "pypi")
        for key in ("name", "pathspec", "fetch_at_exec")
    },
    **{(kind, f"{table}_base"): f"`{table}` of the flow" for kind in ("flow", "step") for table in _TABLES},
    **{(kind, table): "`pypi`" for kind in ("flow", "step", "env") for table in ("pip", "pip_base")},
    ("", "step"): "`[flow.FLOW.step.STEP]`",
    ("envlock", "home"): "`home` of ~/.config/envlock/config.toml, or the variable ENVLOCK_HOME",
    ("step", "file"): "`file` of the flow",
}
"""Where users of the decorators look for a key, and where it is here."""


def shape_errors(document: Mapping[str, Any], text: str, name: str, shape: Shape = DOCUMENT) -> list[ConfigError]:
    """An error for each key that is unknown or missing, and each value that does not fit its key."""
    errors = [_error(each, location(text, name, each.path)) for each in misfits(document, shape)]
    flows = document.get("flow")
    for flow, table in flows.items() if isinstance(flows, dict) else ():
        if isinstance(table, dict) and "file" not in table:
            errors.append(FlowWithoutFile((flow,), (location(text, name, ("flow", flow, "file")),)))
    return errors


def _error(misfit: Misfit, at: Location) -> ConfigError:
    path, value = misfit.path, misfit.value
    if misfit.kind == "unknown":
        return _unknown_key(path, value, at)
    if misfit.kind == "type":
        return _wrong_type(path, value, at)
    if misfit.kind == "rule":
        return _broken_rule(misfit, at)
    if misfit.kind == "empty":
        items = next(way for way in ways_at(path) if "minItems" in way)
        return BadValue(path[-1], "[]", "it is empty", at, hint=f"write it as `{_written(path[-1], items)}`")
    if path[:2] == ("envlock", "archs") or (
        path[:2] == ("envlock", "system-requirements") and len(path) == _ARCH_DEPTH
    ):
        return UnknownArch(shown(value), locations=(at,))
    if misfit.is_key:
        right = packages_of(path[2]) if path[1] == "system-requirements" else VIRTUAL_PACKAGES
        return UnknownKey(value, f"`[{'.'.join(path[:-1])}]`", list(right), at)
    return BadValue(_name(path), value, "", at, right=_choices(node_at(path)))


_OF_RULES: Mapping[Callable[[str], str], Callable[[str, str, Location], ConfigError]] = {
    rules.index_url: lambda found, _, at: BadIndexUrl(found, at),
    rules.index: lambda found, _, at: BadIndexUrl(found, at),
    rules.channel: lambda found, _, at: BadChannel(found, at),
    rules.instant: lambda found, _, at: BadInstant(found, at),
    rules.python: lambda found, _, at: BadPythonSpecifier(found, at),
    rules.conda_python: lambda found, _, at: BadPythonSpecifier(found, at),
    rules.extra: lambda found, _, at: BadPackageName(shown(found), locations=(at,)),
    rules.env_name: lambda found, fault, at: BadAlias(found, fault).at(at),
    rules.pathspec: lambda found, _, at: BadPathspec(found).at(at),
    rules.alias: lambda found, fault, at: BadAlias(found, fault).at(at),
}
"""The rules with an error of their own, which is made from the value, its fault and its place."""


def _broken_rule(misfit: Misfit, at: Location) -> ConfigError:
    if misfit.rule is not None and misfit.rule in _OF_RULES:
        return _OF_RULES[misfit.rule](misfit.value, misfit.fault, at)
    path = misfit.path
    key = path[:-1] if path[-1].isdecimal() or misfit.is_key else path
    about = key if node_at(key).get("examples") else key[:-1]
    hint = f"write it as `{_written(about[-1], node_at(about))}`"
    return BadValue(key[-1], misfit.value, misfit.fault, at, hint=hint)


def _name(path: KeyPath) -> str:
    """The key of a value; for an item, the key of its list."""
    return path[-2] if path[-1].isdecimal() else path[-1]


def _choices(node: Schema) -> Sequence[str]:
    ways = node.get("anyOf", [node])
    words = [word for way in ways for word in way.get("enum", [way["const"]] if "const" in way else [])]
    return [*(["true", "false"] if words and any(way.get("type") == "boolean" for way in ways) else []), *words]


def _unknown_key(path: KeyPath, value: object, at: Location) -> ConfigError:
    *table, key = path
    known: Schema = next((way["properties"] for way in ways_at(tuple(table)) if "properties" in way), {})
    kind = table[-1] if table and table[-1] in {*_TABLES, "envlock", "init"} else (table[-2] if table else "")
    inner = [name for name in known if key in node_at((*table, name)).get("properties", {})]
    advice = None
    if key == "editable" and "path" in known:
        advice = "remove it: an environment is made of wheels, and a change in the folder makes its locks stale"
    elif (kind, key) in _ELSEWHERE:
        advice = f"use {_ELSEWHERE[kind, key]}"
    elif inner:
        advice = f"it belongs in {listed((f'`{name}`' for name in inner), 'or')}"
    elif kind in _PACKAGES and isinstance(value, str | Mapping) and not nearest(key, list(known), ALIKE):
        advice = f"if it is a package, write it into `{kind}.{_PACKAGES[kind]}`; else remove it"
    return UnknownKey(key, f"`[{'.'.join(table)}]`" if table else "envlock.toml", list(known), at, advice=advice)


def _wrong_type(path: KeyPath, value: Any, at: Location) -> ConfigError:
    if path[-1].isdecimal():
        items = node_at(path[:-1])
        return WrongType(
            path[-2], f"one with {_found(value)} in it", _right(items), at, example=_written(path[-2], items)
        )
    node = node_at(path)
    example = _written(path[-1], node, _converted(path, value))
    if path[0] == "flow" and path[2:] == ("steps",) and isinstance(value, dict):
        example = f"[flow.{key_text(path[1])}.step.{key_text(next(iter(value), 'train'))}]"
    return WrongType(path[-1], _found(value), _right(node), at, example=example)


def _written(key: str, node: Schema, value: Any = None) -> str | None:
    """The key with a right value, as TOML: the given one, or the schema's example."""
    example = value if value is not None else next(iter(node.get("examples", ())), None)
    return None if example is None else f"{key_text(key)} = {value_text(example)}"


def _right(node: Schema) -> str:
    """What a value must be, in words.

    >>> _right(node_at(("envlock", "exclude-newer"))), _right(node_at(("envlock", "archs")))
    ('a string, a date and time or a date', 'a list of strings')
    """
    if "$ref" in node:
        return "a table"
    if "anyOf" in node:
        return listed(dict.fromkeys(_right(way) for way in node["anyOf"]), "or")
    formats = {"date": "a date", "date-time": "a date and time"}
    array = "a list of strings or tables" if "anyOf" in node.get("items", {}) else "a list of strings"
    types = {"string": "a string", "boolean": "true or false", "array": array, "object": "a table"}
    return formats.get(node.get("format", "")) or types[node["type"]]


def _converted(path: KeyPath, value: Any) -> Any:
    """The value that was meant by one of a wrong type, if that is plain; else None."""
    kinds = [way.get("type") for way in ways_at(path)]
    kind = kinds[0]
    if kind == "string" and "enum" not in node_at(path):
        if isinstance(value, dict) and isinstance(value.get("version"), str):
            return value["version"]
        if isinstance(value, WrittenFloat):
            return value.written
        if type(value) is int and (path[-1] in {"python", "version"} or path[-2] in _OF_VERSIONS):
            return str(value)
    if kind == "boolean" and isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if kind == "array" and isinstance(value, str) and "enum" not in node_at((*path, "0")):
        return [value]
    return None


def _found(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, WrittenFloat):
        return f"the number {value.written}"
    if isinstance(value, int):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the string {value_text(value)}"
    if isinstance(value, (date, time)):
        return f"the time {value.isoformat()}" if isinstance(value, time) else f"the date {value.isoformat()}"
    return "a list" if isinstance(value, list) else "a table"
