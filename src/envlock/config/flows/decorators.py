"""The environments that a flow's decorators ask for, read from its text, in the shape of envlock.toml.

Knows the decorators of Metaflow (`@conda`, `@pypi`) and of metaflow-netflixext (`@named_env`, `@sys_packages`, `@pip`,
more parameters). What the text does not fix is left out and noted with its line, never guessed; the flow is never run.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envlock.config.flows.decorator_tables import LevelTables, move_lone_python, settle
from envlock.config.flows.flow_reader import FlowModule, FlowSource, parse_module, read_flows, statements
from envlock.config.flows.literals import FixedValues, NotFixed, source_of
from envlock.config.quoting import without_credentials

_STEP_DECORATORS = ("conda", "pypi", "pip", "named_env", "sys_packages")
_FLOW_DECORATORS = tuple(f"{name}_base" for name in _STEP_DECORATORS)
_RESOLVED = ("resolved_uv", "resolved_req", "pylock_toml_internal")
_PLAIN = ("staticmethod", "classmethod", "property")


@dataclass(frozen=True)
class Note:
    """Something in a flow file that envlock.toml does not say, or says differently."""

    line: int
    message: str
    step: str = ""
    """The step that it concerns; empty for the whole flow."""


@dataclass(frozen=True)
class DecoratedFlow:
    """A flow, with what its decorators ask for."""

    name: str
    line: int
    steps: tuple[str, ...]
    complete: bool
    """False where there may be steps that are not seen."""
    tables: dict[str, Any]
    """What `[flow.NAME]` says beside `file`: `pypi`, `conda`, `named_env`, `sys_packages`, `disabled`."""
    step_tables: dict[str, dict[str, Any]]
    """The same for each step that asks for something of its own."""
    decorators: tuple[int, ...]
    """The lines of the decorators that were read: those to be removed."""
    notes: tuple[Note, ...]
    file: str = ""
    """How envlock.toml names its file."""
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """For each step (empty for the flow) and table, the line of the decorator that asks for it; for a table without a
    name, that of the first decorator."""


def read_decorators(path: Path) -> tuple[DecoratedFlow, ...]:
    """The flows of a Python file and what their decorators ask for, in the file's order.

    A class that only serves as the base of other flows in the file is not a flow of its own. The names of steps come
    from the modules of bases too, their decorators do not. Raises FlowFileMissing or FlowFileSyntax.
    """
    module = parse_module(path)
    values = FixedValues(module)
    sources = {source.name: source for source in read_flows(path)}
    return tuple(
        _FlowReading(module, values, flow, sources[flow.name]).result()
        for flow in module.flows()
        if flow.name in sources and not module.is_base(flow)
    )


class _FlowReading:
    """One pass over the decorators of a flow."""

    def __init__(self, module: FlowModule, values: FixedValues, flow: ast.ClassDef, source: FlowSource) -> None:
        self.source = source
        self.module = module
        self.values = values
        self.flow = flow
        self.lines: list[int] = []
        self.notes: list[Note] = []

    def result(self) -> DecoratedFlow:
        steps = self.module.steps(self.flow)
        own = self.flow_level()
        tables = settle(own)
        step_tables = {}
        lines = _lines("", own)
        for step in steps:
            level = self.step_level(step)
            lines |= _lines(step.name, level)
            step_tables[step.name] = settle(level, flow=tables)
            self.note_level(level, step.name)
        self.note_level(own, "")
        for base in self.module.foreign_bases(self.flow):
            text = source_of(base)
            what = "its decorators" if self.source.complete else "its steps and decorators"
            self.note(base, f"base class `{text}` comes from another module: {what} are not read")
        move_lone_python([tables, *step_tables.values()])
        return DecoratedFlow(
            name=self.flow.name,
            line=self.flow.lineno,
            steps=self.source.step_names(),
            complete=self.source.complete,
            tables=tables,
            step_tables={name: table for name, table in step_tables.items() if table},
            decorators=tuple(sorted(self.lines)),
            notes=tuple(sorted(self.notes, key=lambda note: note.line)),
            lines=lines,
        )

    def flow_level(self) -> LevelTables:
        level = LevelTables(is_flow=True)
        nearest: dict[str, str] = {}
        for each in self.module.lineage(self.flow):
            for decorator in each.decorator_list:
                name = self.decorator_name(decorator, _FLOW_DECORATORS, "")
                if name is None:
                    continue
                if nearest.setdefault(name, each.name) != each.name:
                    # As Metaflow has it: a class's own @pypi_base replaces the one that it inherits.
                    self.note(decorator, f"@{name} of `{each.name}` is replaced by that of `{nearest[name]}`")
                    continue
                level.add(name, decorator.lineno, self.arguments(decorator, name, "", ""))
        return level

    def step_level(self, step: ast.FunctionDef) -> LevelTables:
        level = LevelTables(is_flow=False)
        scope = next(each.name for each in self.module.lineage(self.flow) if step in list(statements(each.body)))
        for decorator in step.decorator_list:
            name = self.decorator_name(decorator, _STEP_DECORATORS, step.name)
            if name is not None:
                level.add(name, decorator.lineno, self.arguments(decorator, name, scope, step.name))
        return level

    def decorator_name(self, decorator: ast.expr, right: tuple[str, ...], step: str) -> str | None:
        """The decorator's name, where it is one that can be read; notes those that may ask for packages unseen."""
        origin = self.module.origin(decorator)
        module, name = origin or ("", "")
        is_metaflow = module.partition(".")[0] == "metaflow"
        if name in right:
            self.lines.append(decorator.lineno)
            if not is_metaflow:
                self.note(decorator, f"@{name} comes from `{module}`, and was read as Metaflow's", step)
            return name
        if is_metaflow and name in (*_STEP_DECORATORS, *_FLOW_DECORATORS):
            level = "flow" if name in _STEP_DECORATORS else "step"
            self.note(decorator, f"@{name} is not for a {level}, and was not read", step)
        elif name in _RESOLVED:
            self.note(decorator, f"@{name} takes its packages from another file, and was not read", step)
        elif not (is_metaflow or name == "step" or self.is_harmless(decorator, module)):
            text = source_of(decorator)
            place = f"comes from `{module}`" if origin else "is no decorator of Metaflow"
            self.note(decorator, f"@{text} {place}, and was not read: it may ask for packages", step)
        return None

    def is_harmless(self, decorator: ast.expr, module: str) -> bool:
        if module:
            return module.partition(".")[0] in sys.stdlib_module_names
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not isinstance(name, ast.Name) or self.values.defines(name.id):
            return False
        return self.module.has_metaflow_star or (name.id in _PLAIN and hasattr(builtins, name.id))

    def arguments(self, decorator: ast.expr, name: str, scope: str, step: str) -> dict[str, object]:
        if not isinstance(decorator, ast.Call):
            return {}
        if decorator.args:
            self.note(decorator, f"@{name} takes its parameters by name; `{source_of(decorator)}`", step)
        found: dict[str, object] = {}
        for keyword in decorator.keywords:
            label = f"@{name}({keyword.arg}=…)" if keyword.arg else f"@{name}(**…)"
            try:
                value = self.partly(keyword.value, scope, label, step)
            except NotFixed as reason:
                self.note(reason, f"{label}: {reason}", step)
                continue
            if keyword.arg is not None:
                found[keyword.arg] = value
            elif isinstance(value, dict):
                found.update((str(key), item) for key, item in value.items())
            else:
                self.note(keyword.value, f"{label}: `{source_of(keyword.value)}` is no dict", step)
        return found

    def partly(self, node: ast.expr, scope: str, label: str, step: str) -> object:
        """The value of an argument; of a dict or list written out, the entries that are fixed.

        The other entries are noted. Raises NotFixed where nothing of the value is known.
        """
        try:
            return self.values.value(node, scope)
        except NotFixed:
            if isinstance(node, ast.Dict):
                return dict(self.fixed_entries(node, scope, label, step))
            if isinstance(node, (ast.List, ast.Tuple)):
                return list(self.fixed_items(node, scope, label, step))
            raise

    def fixed_entries(self, node: ast.Dict, scope: str, label: str, step: str) -> Iterator[tuple[object, object]]:
        for key, value in zip(node.keys, node.values, strict=True):
            one = ast.copy_location(ast.Dict([key], [value]), value)
            try:
                made = self.values.value(one, scope)
            except NotFixed as reason:
                entry = f" `{source_of(key)}`" if key is not None else ""
                self.note(reason, f"{label}{entry}: {reason}", step)
                continue
            assert isinstance(made, dict)
            yield from made.items()

    def fixed_items(self, node: ast.List | ast.Tuple, scope: str, label: str, step: str) -> Iterator[object]:
        for item in node.elts:
            try:
                made = self.values.value(ast.copy_location(ast.List([item]), item), scope)
            except NotFixed as reason:
                self.note(reason, f"{label}: {reason}", step)
                continue
            assert isinstance(made, list)
            yield from made

    def note_level(self, level: LevelTables, step: str) -> None:
        self.notes += [Note(line, _one_line(message), step) for line, message in level.notes]

    def note(self, place: ast.expr | NotFixed, message: str, step: str = "") -> None:
        line = place.line if isinstance(place, NotFixed) else place.lineno
        self.notes.append(Note(line, _one_line(message), step))


def _lines(step: str, level: LevelTables) -> dict[tuple[str, str], int]:
    lines = {(step, table): line for table, line in level.lines.items()}
    return {**lines, (step, ""): level.line} if level.line else lines


def _one_line(message: str) -> str:
    """The message as it can stand in a comment: no credentials, no line breaks."""
    return "".join(letter if letter.isprintable() else " " for letter in without_credentials(message))
