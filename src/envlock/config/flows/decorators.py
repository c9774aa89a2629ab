"""The environments that a flow's decorators ask for, read from its text, in the shape of envlock.toml.

Knows the decorators of Metaflow (`@conda`, `@pypi`) and of metaflow-netflixext (`@named_env`, `@sys_packages`, `@pip`,
more parameters). What the text does not fix is left out and noted with its line, never guessed; the flow is never run.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from envlock.config.flows.decorator_tables import SOURCES, DecoratedFlow, Decorator, LevelTables, Note, Place
from envlock.config.flows.errors import FlowFileSyntax
from envlock.config.flows.flow_classes import FlowClass, FlowReader
from envlock.config.flows.flow_reader import TOO_DEEP, parse_tree
from envlock.config.flows.literals import Literals, NotLiteral
from envlock.config.flows.module_names import Class, OfMetaflow, Unknown
from envlock.config.flows.scopes import source_of
from envlock.config.project import DEFAULT_CHANNEL
from envlock.config.pypi_entries import package_name
from envlock.config.tables import TABLES
from envlock.redaction import without_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STEP_DECORATORS = ("conda", "pypi", "pip", "named_env", "sys_packages")
_FLOW_DECORATORS = tuple(f"{name}_base" for name in _STEP_DECORATORS)
_RESOLVED = ("resolved_uv", "resolved_req", "pylock_toml_internal")
_PLAIN = ("staticmethod", "classmethod", "property")


def read_decorators(path: Path, project: Path | None = None) -> tuple[DecoratedFlow, ...]:
    """The flows of a Python file and what their decorators ask for, in the file's order.

    A class that only serves as the base of other flows in the file is not a flow of its own. Steps and decorators come
    from the modules of bases too, where these are files of the project. Raises FlowFileMissing or FlowFileSyntax.
    """
    reader = FlowReader(path, parse_tree(path), project)
    try:
        flows = [flow for flow in reader.flows() if not reader.is_only_a_base(flow.source.name)]
    except RecursionError:
        raise FlowFileSyntax(path, None, TOO_DEEP) from None
    return tuple(_FlowReading(reader, flow).result() for flow in flows)


class _FlowReading:
    """One pass over the decorators of a flow."""

    def __init__(self, reader: FlowReader, flow: FlowClass) -> None:
        self.reader = reader
        self.source = flow.source
        self.lineage = flow.lineage
        self.steps = flow.steps
        self.values: dict[str, Literals] = {}
        self.decorators: list[Decorator] = []

    def result(self) -> DecoratedFlow:
        levels = {"": self.flow_level(), **{step.name: self.step_level(step, owner) for owner, step in self.steps}}
        tables = settle(levels[""])
        step_tables = {name: settle(level, flow=tables) for name, level in levels.items() if name}
        for file, base in self.foreign_bases():
            what = "its decorators" if self.source.complete else "its steps and decorators"
            message = f"base class `{source_of(base)}` comes from another module: {what} are not read"
            levels[""].reading = Place(file, base.lineno)
            levels[""].note(levels[""].reading, message, is_lost=False)  # it stays where it is
        move_lone_python([tables, *step_tables.values()])
        own = self.reader.file.path
        notes = [
            Note(
                said.place.line,
                _one_line(said.message),
                name,
                path="" if said.place.path == own else said.place.path,
                is_lost=said.is_lost,
                of=said.of,
            )
            for name, level in levels.items()
            for said in level.notes
        ]
        return DecoratedFlow(
            name=self.source.name,
            line=self.source.line,
            steps=self.source.step_names(),
            complete=self.source.complete,
            tables=tables,
            step_tables={name: table for name, table in step_tables.items() if table},
            decorators=tuple(sorted(self.decorators, key=lambda each: (each.path != own, each.path, each.line))),
            notes=tuple(sorted(notes, key=lambda note: (note.path, note.line))),
            places={key: place for name, level in levels.items() for key, place in _places(name, level).items()},
            path=own,
            bases=tuple(
                (each.file.path, each.node.name) for each in self.lineage if each.node.name != self.source.name
            ),
            is_started=self.source.name in self.reader.file.called,
        )

    def flow_level(self) -> LevelTables:
        level = LevelTables(is_flow=True)
        nearest: dict[str, Class] = {}
        for each in self.lineage:
            for decorator in each.node.decorator_list:
                place = level.reading = Place(each.file.path, decorator.lineno)
                name = self.decorator_name(decorator, each, level)
                if name is None:
                    continue
                if nearest.setdefault(name, each) is not each:
                    # As Metaflow has it: a class's own @pypi_base replaces the one that it inherits.
                    by = f"@{name} of `{each.node.name}` is replaced by that of `{nearest[name].node.name}`"
                    level.note(place, by, is_lost=False)
                    continue
                level.add(name, place, self.arguments(decorator, name, each, "", level))
        level.reading = None
        return level

    def step_level(self, step: ast.FunctionDef, owner: Class) -> LevelTables:
        level = LevelTables(is_flow=False)
        for decorator in step.decorator_list:
            place = level.reading = Place(owner.file.path, decorator.lineno)
            name = self.decorator_name(decorator, owner, level, step.name)
            if name is not None:
                level.add(name, place, self.arguments(decorator, name, owner, owner.node.name, level))
        level.reading = None
        return level

    def foreign_bases(self) -> Iterator[tuple[str, ast.expr]]:
        """The bases of the flow's classes that cannot be read, each with the file that names it."""
        for each in self.lineage:
            for base in each.node.bases:
                if any(isinstance(one, Unknown) for one in self.reader.names.meanings(base, each.file, each.scopes)):
                    yield each.file.path, base

    def decorator_name(self, decorator: ast.expr, owner: Class, level: LevelTables, step: str = "") -> str | None:
        """The decorator's name, where it is one that can be read; notes those that may ask for packages unseen."""
        origin = owner.file.origin(decorator)
        place = Place(owner.file.path, decorator.lineno)
        module, name = origin or ("", "")
        is_metaflow = module.partition(".")[0] == "metaflow"
        if name in (_FLOW_DECORATORS if level.is_flow else _STEP_DECORATORS):
            end = decorator.end_lineno or decorator.lineno
            self.decorators.append(Decorator(name, owner.file.path, decorator.lineno, end, step))
            if not is_metaflow and not self.is_handed_on(decorator, owner, name):
                level.note(place, f"@{name} comes from `{module}`; read as Metaflow's")
            return name
        if is_metaflow and name in (*_STEP_DECORATORS, *_FLOW_DECORATORS):
            level.note(place, f"@{name} is not for a {'flow' if level.is_flow else 'step'}; not read")
        elif name in _RESOLVED:
            level.note(place, f"@{name} takes its packages from another file; not read")
        elif not (is_metaflow or name == "step" or self.is_harmless(decorator, owner, module)):
            where = f"comes from `{module}`" if origin else "is not a Metaflow decorator"
            message = f"@{source_of(decorator)} {where}; not read, though it may ask for packages"
            level.note(place, message, is_lost=False)  # it stays where it is
        return None

    def is_handed_on(self, decorator: ast.expr, owner: Class, name: str) -> bool:
        """Whether a module of the project hands on Metaflow's own decorator under its name."""
        node = decorator.func if isinstance(decorator, ast.Call) else decorator
        return self.reader.names.meanings(node, owner.file, owner.scopes) == [OfMetaflow(name)]

    def is_harmless(self, decorator: ast.expr, owner: Class, module: str) -> bool:
        if module:
            return module.partition(".")[0] in sys.stdlib_module_names
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not isinstance(name, ast.Name) or self.values_of(owner).defines(name.id):
            return False
        return owner.file.has_metaflow_star or (name.id in _PLAIN and hasattr(builtins, name.id))

    def values_of(self, owner: Class) -> Literals:
        """What reads the literals of a class's file."""
        if owner.file.path not in self.values:
            Literals(owner.file, self.reader.names, self.values)
        return self.values[owner.file.path]

    def arguments(
        self, decorator: ast.expr, name: str, owner: Class, scope: str, level: LevelTables
    ) -> dict[str, object]:
        if not isinstance(decorator, ast.Call):
            return {}
        path = owner.file.path
        if decorator.args:
            message = f"@{name} takes its parameters by name; `{source_of(decorator)}`"
            level.note(Place(path, decorator.lineno), message)
        found: dict[str, object] = {}
        for keyword in decorator.keywords:
            label = f"@{name}({keyword.arg}=…)" if keyword.arg else f"@{name}(**…)"
            try:
                value = self.known_part(keyword.value, owner, scope, label, level)
            except NotLiteral as reason:
                level.note(Place(path, reason.line), f"{label}: {reason}")
                continue
            if keyword.arg is not None:
                found[keyword.arg] = value
            elif isinstance(value, dict):
                found.update((str(key), item) for key, item in value.items())
            else:
                message = f"{label}: `{source_of(keyword.value)}` is not a dict"
                level.note(Place(path, keyword.value.lineno), message)
        return found

    def known_part(self, node: ast.expr, owner: Class, scope: str, label: str, level: LevelTables) -> object:
        """The value of an argument; of a dict or list written out, the entries that are literals, with notes on others.

        Raises NotLiteral where nothing of the value is known.
        """
        values = self.values_of(owner)
        try:
            return values.value(node, scope)
        except NotLiteral:
            if not isinstance(node, (ast.Dict, ast.List, ast.Tuple)):
                raise
        found: list[Any] = []
        for label_of_entry, entry in _entries(node, label):
            try:
                value: Any = values.value(entry, scope)
            except NotLiteral as reason:
                level.note(Place(owner.file.path, reason.line), f"{label_of_entry}: {reason}")
                continue
            found += value.items() if isinstance(value, dict) else value
        return dict(found) if isinstance(node, ast.Dict) else found


def _entries(node: ast.Dict | ast.List | ast.Tuple, label: str) -> Iterator[tuple[str, ast.expr]]:
    """Each entry of a dict or a list as one of its own, with what a note calls it."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            name = f" `{source_of(key)}`" if key is not None else ""
            yield f"{label}{name}", ast.copy_location(ast.Dict([key], [value]), value)
    else:
        yield from ((label, ast.copy_location(ast.List([item]), item)) for item in node.elts)


def settle(level: LevelTables, *, flow: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The level's tables as envlock.toml has them, with notes where its rules leave something out.

    `flow` is the settled flow level, when this is a step's.
    """
    _settle_named(level, flow or {})
    if not level.disabled:
        _settle_channels(level, flow or {})
    tables: dict[str, Any] = {name: level.tables[name] for name in TABLES if name in level.tables}
    flow_is_disabled = bool((flow or {}).get("disabled"))
    if level.disabled:
        # What a disabled flow says of indexes and channels holds for the steps that ask for something all the same.
        kept = _only(tables, SOURCES) if level.is_flow else {}
        level.tables = _without(tables, SOURCES) if level.is_flow else tables
        if level.tables:
            said = ", ".join(level.asked())
            level.note(level.place_of("disabled"), f"disabled, so left out: {said}", is_lost=False)
        return {"disabled": True, **kept}
    if flow_is_disabled and level.disabled is False:
        return {"disabled": False, **tables}
    if flow_is_disabled and tables:
        message = "this step has an environment although its flow is disabled, as in metaflow-netflixext"
        level.note(level.place_of(), message, is_lost=False)
    elif flow_is_disabled and level.bare is not None:
        name, place = level.bare
        message = f"a bare @{name} below a disabled flow: the step stays disabled; `disabled = false` gives it one"
        level.note(place, message, is_lost=False)
    elif flow_is_disabled and level.place:
        level.note(
            level.place,
            "everything that this step asks for was left out, so it stays disabled like its flow; `disabled = false` "
            "gives it an environment",
            is_lost=False,
        )
    return tables


def _only(tables: Mapping[str, Any], places: set[tuple[str, str]]) -> dict[str, Any]:
    kept = {
        name: {key: value for key, value in table.items() if (name, key) in places} for name, table in tables.items()
    }
    return {name: table for name, table in kept.items() if table}


def _without(tables: Mapping[str, Any], places: set[tuple[str, str]]) -> dict[str, Any]:
    return _only(tables, {(name, key) for name, table in tables.items() for key in table} - places)


def _settle_named(level: LevelTables, flow: Mapping[str, Any]) -> None:
    named = level.tables.get("named_env")
    if named is None:
        return
    place = level.place_of("named_env")
    if "name" in named and "pathspec" in named:
        level.note(place, f"`name` and `pathspec` exclude each other; left out `pathspec` {named.pop('pathspec')}")
    if "name" not in named and "pathspec" not in named and flow.get("named_env") is None:
        level.note(place, "`fetch_at_exec` needs a `name` or a `pathspec`; left out")
        level.tables.pop("named_env")
        return
    others = [table for table in ("pypi", "conda") if table in _without(level.tables, SOURCES)]
    if level.is_flow and others:
        left = LevelTables(is_flow=True)
        left.tables = {str(table): level.tables.pop(table) for table in others}
        level.note(
            level.place_of(*others),
            "a flow takes a named environment or packages, not both; left out: " + ", ".join(left.asked()),
        )
        return
    inherited = [table for table in ("pypi", "conda") if table in _without(_tables_of(flow), SOURCES)]
    if named.get("fetch_at_exec") and (others or inherited):
        level.note(place, "`fetch_at_exec` excludes packages beside it; left out")
        named.pop("fetch_at_exec")
        if not named:
            level.tables.pop("named_env")


def _tables_of(level: Mapping[str, Any]) -> dict[str, Any]:
    return {name: level[name] for name in TABLES if name in level}


def _settle_channels(level: LevelTables, flow: Mapping[str, Any]) -> None:
    """Ask for each channel that a package names, as metaflow-netflixext does: it then has a say in others too."""
    levels = (flow, level.tables)
    asked = [channel for tables in levels for channel in tables.get("conda", {}).get("channels", ())]
    named: dict[str, str] = {}
    for tables in levels:
        for table, key in (("conda", "libraries"), ("pypi", "conda_only")):
            for name in tables.get(table, {}).get(key, {}):
                named[package_name(name, is_pypi=False)] = name.rpartition("::")[0]
    missing = sorted({channel for channel in named.values() if channel} - {*asked, DEFAULT_CHANNEL})
    if missing:
        level.tables.setdefault("conda", {}).setdefault("channels", []).extend(missing)
        message = f"packages name the channel {', '.join(missing)}; it was added to `conda.channels`"
        level.note(level.place_of("conda", "pypi"), message, is_lost=False)


def move_lone_python(levels: Iterable[dict[str, Any]]) -> None:
    """Write `python` under `pypi` where a flow asks conda for nothing else: it means the same, and needs no conda."""
    levels = list(levels)
    if any(set(level.get("conda", {})) - {"python"} for level in levels):
        return
    for level in levels:
        python = level.pop("conda", {}).get("python")
        if python is None:
            continue
        table = level.setdefault("pypi", {})
        if table.setdefault("python", python) != python:
            level["conda"] = {"python": python}
    for level in levels:
        ordered = {name: level[name] for name in ("disabled", *TABLES) if name in level}
        level.clear()
        level.update(ordered)


def _places(step: str, level: LevelTables) -> dict[tuple[str, str], Place]:
    places = {(step, table): place for table, place in level.places.items()}
    return {**places, (step, ""): level.place} if level.place else places


def _one_line(message: str) -> str:
    """The message as it can stand in a comment: no credentials, no line breaks."""
    return "".join(letter if letter.isprintable() else " " for letter in without_credentials(message))
