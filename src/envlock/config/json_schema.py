"""The JSON schema of envlock.toml, made from its models (`schema`), and what is made from that: settings as TOML text.

Editors read it, and the full reader takes names and examples for its errors from it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

from envlock.config.edit.toml_edit import value_text
from envlock.config.schema import Document, MachineTable, ProjectTable
from envlock.config.settings import PLACES

Schema: TypeAlias = dict[str, Any]


@cache
def json_schema() -> Schema:
    """The JSON schema of envlock.toml, for editors: draft 7, which all of them know."""
    made = Document.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions = made.pop("$defs")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_for_editors(made),
        "title": "envlock.toml",
        "definitions": {name: _for_editors(table) for name, table in definitions.items()},
    }


@cache
def settings_schema(*, is_machine: bool) -> Schema:
    """The JSON schema of a settings file of a machine or a user, or else of a team file: `[envlock]` alone."""
    whole = json_schema()
    project = whole["definitions"][ProjectTable.__name__]
    used = ["CacheOptionsTable", "ResolversTable"]
    definitions = {name: whole["definitions"][name] for name in used} | {ProjectTable.__name__: project}
    tables = {"envlock": whole["properties"]["envlock"]}
    if is_machine:
        own = _for_editors(MachineTable.model_json_schema(by_alias=True))
        places = {key: project["properties"][key] for key in PLACES}
        definitions[MachineTable.__name__] = {**project, **own, "properties": {**places, **own["properties"]}}
        of_machine = {"allOf": [{"$ref": f"#/definitions/{MachineTable.__name__}"}], "description": own["description"]}
        tables = {"envlock": of_machine, "init": {**tables["envlock"], "description": _FIRST}}
    return {
        "$schema": whole["$schema"],
        "title": "envlock's config.toml" if is_machine else "envlock's team file",
        "type": "object",
        "additionalProperties": False,
        "properties": tables,
        "definitions": definitions,
    }


_FIRST = "Settings that `envlock init` writes into a first envlock.toml. They count nowhere else."


def settings_text(names: Sequence[str] = (), *, commented: bool = False) -> str:
    """The settings as TOML: each with its meaning, its default and an example; all of them where none is named.

    `commented` turns the keys into comments, too.

    >>> print(settings_text(["compile-bytecode"], commented=True))
    # Compile Python files to bytecode when an environment is made: slower to make, faster to start. Default: `false`.
    # compile-bytecode = true
    """
    known = json_schema()["definitions"][ProjectTable.__name__]["properties"]
    return "\n\n".join(_setting_text(name, known[name], commented) for name in names or known)


def _setting_text(name: str, about: Schema, commented: bool) -> str:
    inner = _resolved(about).get("properties", {})
    example = {key: inner[key]["examples"][0] for key in inner} or about["examples"][0]
    meaning = about["description"] + (f" Default: `{value_text(about['default'])}`." if "default" in about else "")
    line = f"{'# ' if commented else ''}{name} = {value_text(example)}"
    return "\n".join(
        [*textwrap.wrap(meaning, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False), line]
    )


def json_schema_text() -> str:
    """The JSON schema as `schemas/envlock.schema.json` holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def settings_schema_text(*, is_machine: bool) -> str:
    """The JSON schema of a settings file, as text."""
    return json.dumps(settings_schema(is_machine=is_machine), indent=2, ensure_ascii=False) + "\n"


def node_at(path: tuple[str, ...]) -> Schema:
    """The part of the JSON schema that describes the value at `path`; empty where it describes none.

    >>> node_at(("flow", "Train", "conda", "libraries", "ffmpeg"))
    {'type': 'string'}
    >>> node_at(("flow", "Train", "pypi", "packages", "rich", "0", "version"))["examples"]
    ['>=2,<3']
    >>> node_at(("flow", "Train", "pypi", "python"))["examples"]
    ['>=3.11,<3.13']
    >>> node_at(("envlock", "nothing"))
    {}
    """
    node = json_schema()
    if path[:2] == ("envlock", "home"):  # of settings files alone
        return dict(settings_schema(is_machine=True)["definitions"][MachineTable.__name__]["properties"]["home"])
    if path[:1] == ("init",):  # of settings files alone, with the settings of envlock.toml
        path = ("envlock", *path[1:])
    for part in path:
        ways = map(_resolved, node.get("anyOf", [node]))
        known = (way.get("properties", {}).get(part) or _free_child(way, part) for way in ways)
        node = _resolved(next((each for each in known if each), {}))
    return node


def ways_at(path: tuple[str, ...]) -> tuple[Schema, ...]:
    """Each of the schemas of which one describes the value at `path`: mostly a single one.

    >>> [way["type"] for way in ways_at(("flow", "Train", "pypi", "packages", "rich"))]
    ['string', 'object', 'array']
    """
    node = node_at(path)
    return tuple(_resolved(way) for way in node.get("anyOf", [node]))


def _free_child(node: Schema, part: str) -> Schema:
    """What a free key of a table, or an item of a list, is described by."""
    if part.isdecimal() and "items" in node:
        return dict(node["items"])
    free = node.get("additionalProperties")
    return dict(free) if isinstance(free, dict) else {}


def _resolved(node: Schema) -> Schema:
    reference = node.get("$ref") or next((way["$ref"] for way in node.get("allOf", ()) if "$ref" in way), None)
    if reference is None:
        return node
    return {**json_schema()["definitions"][reference.rpartition("/")[2]], **node}


def _for_editors(value: Any) -> Any:
    """A part of pydantic's schema without what TOML has not (null) and readers need not (titles, empty defaults).

    A `$ref` gets an `allOf` of its own where something stands beside it, which draft 7 would not read otherwise.
    """
    if isinstance(value, list):
        return [_for_editors(item) for item in value]
    if not isinstance(value, dict):
        return value
    node = dict(value)
    if isinstance(node.get("title"), str):
        del node["title"]
    if not node.get("default", True) and not isinstance(node["default"], bool):
        del node["default"]
    if "anyOf" in node:
        ways = [way for way in node.pop("anyOf") if way != {"type": "null"}]
        node = {**ways[0], **node} if len(ways) == 1 else {"anyOf": ways, **node}
    if isinstance(node.get("description"), str):
        node["description"] = " ".join(node["description"].split())
    if "$ref" in node and len(node) > 1:
        node = {"allOf": [{"$ref": node.pop("$ref")}], **node}
    kept = {"examples", "default"}
    return {key: inner if key in kept else _for_editors(inner) for key, inner in node.items()}
