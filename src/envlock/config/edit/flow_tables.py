"""Flows written into envlock.toml, with what their decorators ask for: into a new text, or into one that is there.

In a text that is there, flows and steps are added and nothing is changed: who wrote a table knows better than a
decorator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from envlock.config.edit import toml_edit
from envlock.config.edit.save import load_text
from envlock.config.edit.toml_edit import checked, header_text, quoted, set_value, table_at, tables_text, value_text
from envlock.config.flows.decorator_tables import DecoratedFlow, Note, Place
from envlock.config.tables import TABLES
from envlock.config.toml_scan import scan
from envlock.errors import EnvlockError, ManyErrors
from envlock.files import toml_of

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import KeyPath, Project

FILE_KEYS = {".txt": "requirements", ".in": "requirements", ".yml": "environment-yml", ".yaml": "environment-yml"}
"""The key that names a requirement file, by how the file's name ends."""
_EXAMPLE = '# pypi = { python = ">=3.11,<3.13", packages = { pandas = "2.2.3" } }\n'
_STEPS = re.compile(r"^# steps: ([^\r\n]*)", re.MULTILINE)


class Edited(NamedTuple):
    """A text of envlock.toml with flows, and what is in it now that was not."""

    text: str
    flows: tuple[DecoratedFlow, ...]
    """The flows, without the levels that envlock refuses, which are notes."""
    added: tuple[KeyPath, ...]
    """The tables and keys that were added."""
    steps: tuple[tuple[str, str], ...]
    """The steps of known flows that were added: to a comment, where they need no table. Each with its flow."""
    project: Project | None = None
    """What the text describes, once envlock has accepted it."""


def with_accepted(
    path: Path, flows: Sequence[DecoratedFlow], write: Callable[[Sequence[DecoratedFlow]], Edited]
) -> Edited:
    """What `write` makes of the flows, without the levels that envlock would refuse at `path`. Raises ConfigError."""
    left = list(flows)
    for _ in range(1 + sum(1 + len(flow.step_tables) for flow in flows)):
        made = write(left)
        try:
            return made._replace(project=load_text(path, made.text), flows=tuple(left))
        except EnvlockError as error:
            smaller = _without_refused(left, error)
            if smaller == left:
                raise
            left = smaller
    raise AssertionError("each pass leaves one level out, or ends")


def file_key(name: str) -> str:
    """The key that names a requirement file; empty for a file of another kind.

    >>> [file_key(name) for name in ("requirements.txt", "env/environment.yaml", "pyproject.toml", "setup.cfg")]
    ['requirements', 'environment-yml', 'pyproject', '']
    """
    base = name.rpartition("/")[2]
    if base == "pyproject.toml":
        return "pyproject"
    return next((key for suffix, key in FILE_KEYS.items() if base.endswith(suffix)), "")


def flow_text(flow: DecoratedFlow, *, offered: Sequence[str] = (), envs: Sequence[str] = ()) -> str:
    """The tables of a flow, with comments that offer requirement files and `[env.*]` tables."""
    inherited = () if flow.complete else ("those of a base class in another module",)
    lines = f"{header_text(('flow', flow.name))}\nfile = {quoted(flow.file)}\n"
    lines += f"# steps: {', '.join((*flow.steps, *inherited)) or 'none'}\n"
    lines += _notes_text(flow, "")
    lines += "".join(f"# {file_key(file)} = {quoted(file)}\n" for file in offered)
    if envs:
        lines += f"# env = {value_text(envs[0] if len(envs) == 1 else list(envs))}\n"
    if not flow.tables and not flow.step_tables:
        lines += _EXAMPLE
    text = lines + tables_text(("flow", flow.name), flow.tables)
    for step in flow.steps:
        text += _step_text(flow, step)
    return text


def add_flows(text: str, flows: Sequence[DecoratedFlow], *, offered: Sequence[str] = ()) -> tuple[str, list[KeyPath]]:
    """The text with each of these flows that it does not have, and with each step that asks for something of its own.

    Also the keys of what was added. A level that the text has stays as it is.
    """
    added: list[KeyPath] = []
    for flow in flows:
        document = toml_of(text)
        key: KeyPath = ("flow", flow.name)
        own = table_at(document, ("flow",)).get(flow.name)
        if own is None:
            section = flow_text(flow, offered=offered, envs=list(table_at(document, ("env",))))
            edited = _with_section(text, key, section, {"file": flow.file, **_said(flow)})
            set_value(document, key, {"file": flow.file, **_said(flow)})
            checked(edited, document)
            text = edited
            added.append(key)
            continue
        if flow.tables and not own.keys() & {*TABLES, "disabled", "env", *FILE_KEYS.values(), "pyproject"}:
            for name, value in flow.tables.items():
                body = tables_text(key, {name: value})
                if body.startswith("\n["):
                    text = _with_section(text, (*key, name), body, value)
                else:
                    text = toml_edit.insert(text, (*key, name), value_text(value), header=2)
                set_value(document, (*key, name), value)
                added.append((*key, name))
        for step, tables in flow.step_tables.items():
            if step in own.get("step", {}):
                continue
            place = (*key, "step", step)
            text = _with_section(text, place, _step_text(flow, step), tables)
            set_value(document, place, tables)
            added.append(place)
        checked(text, document)
    return text, added


def add_steps(text: str, flows: Sequence[DecoratedFlow]) -> tuple[str, list[tuple[str, str]]]:
    """The text with new steps in the comments that list a flow's steps, and these steps, each with its flow."""
    added: list[tuple[str, str]] = []
    for flow in flows:
        nodes = scan(text)
        header = next((node for node in nodes if node.is_header and node.path == ("flow", flow.name)), None)
        if header is None:
            continue
        end = next((node.start for node in nodes if node.is_header and node.start > header.start), len(text))
        found = _STEPS.search(text, header.value[1], end)
        if found is None:
            continue
        listed = found[1].split(", ")
        new = [step for step in flow.steps if step not in listed]
        if new:
            steps = [*flow.steps, *(each for each in listed if " " in each)]
            text = f"{text[: found.start(1)]}{', '.join(steps)}{text[found.end(1) :]}"
            added += [(flow.name, step) for step in new]
    return text, added


def take_file(text: str, level: KeyPath, file: str) -> tuple[str, list[KeyPath]]:
    """The text in which a table names a requirement file, beside those that it names; and the key, where that is new.

    A comment that offered the file goes. A table that is not there is added.
    """
    key = file_key(file)
    place = (*level, key)
    document = toml_of(text)
    before = table_at(document, level).get(key)
    names = before if isinstance(before, list) else [] if before is None else [before]
    if any(file == (each.get("file") if isinstance(each, dict) else each) for each in names):
        return text, []
    if isinstance(before, list):
        text = toml_edit.append(text, place, quoted(file))
        set_value(document, place, [*before, file])
    elif before is not None:
        text = toml_edit.replace(text, place, value_text([before, file]))
        set_value(document, place, [before, file])
    else:
        text = _without_offer(text, level, f"# {key} = {quoted(file)}")
        text = toml_edit.insert(text, place, quoted(file), header=len(level))
        set_value(document, place, file)
    checked(text, document)
    return text, [place]


def _without_offer(text: str, level: KeyPath, comment: str) -> str:
    header = next((node for node in scan(text) if node.is_header and node.path == level), None)
    if header is None:
        return text
    end = next((node.start for node in scan(text) if node.is_header and node.start > header.start), len(text))
    found = re.compile(rf"^{re.escape(comment)}\r?\n", re.MULTILINE).search(text, header.value[1], end)
    return text[: found.start()] + text[found.end() :] if found else text


def _said(flow: DecoratedFlow) -> dict[str, Any]:
    return {**flow.tables, **({"step": flow.step_tables} if flow.step_tables else {})}


def _with_section(text: str, key: KeyPath, section: str, value: Mapping[str, Any]) -> str:
    """The text with a section that has its own headers, after those of its siblings."""
    return toml_edit.insert_section(text, key, f"\n{section}".replace("\n\n[", "\n[", 1), value_text(value))


def _without_refused(flows: list[DecoratedFlow], error: EnvlockError) -> list[DecoratedFlow]:
    """The flows without the levels that the error is about, which become notes."""
    refused: dict[tuple[str, str], tuple[str, str]] = {}
    for one in error.errors if isinstance(error, ManyErrors) else (error,):
        for location in one.locations:
            kind, flow, *rest = (*(location.key or "").split("."), "", "")
            step, table = (rest[1], rest[2]) if rest[0] == "step" else ("", rest[0])
            if kind == "flow":
                refused.setdefault((flow, step), (table, one.message))
    return [
        _leave_out(flow, {step: why for (name, step), why in refused.items() if name == flow.name}) for flow in flows
    ]


def _leave_out(flow: DecoratedFlow, refused: Mapping[str, tuple[str, str]]) -> DecoratedFlow:
    """The flow without the tables of these steps, and of itself where a step is empty; for each the table and why."""
    levels = {"": flow.tables, **flow.step_tables}
    notes = [
        _refusal(flow, step, table, f"left out what its decorators ask for: {why}")
        for step, (table, why) in refused.items()
        if levels.get(step)
    ]
    return replace(
        flow,
        tables={} if "" in refused else flow.tables,
        step_tables={step: tables for step, tables in flow.step_tables.items() if step not in refused},
        notes=(*flow.notes, *notes),
    )


def _refusal(flow: DecoratedFlow, step: str, table: str, message: str) -> Note:
    place = flow.places.get((step, table)) or flow.places.get((step, "")) or Place(flow.path, flow.line)
    path = "" if place.path == flow.path else place.path
    return Note(place.line, message, step, path)


def _step_text(flow: DecoratedFlow, step: str) -> str:
    tables = flow.step_tables.get(step, {})
    path = ("flow", flow.name, "step", step)
    notes, level = _notes_text(flow, step), tables_text(path, tables)
    if not notes and level.startswith("\n"):
        return level
    if tables:
        return f"\n{header_text(path)}\n{notes}{level}"
    return f"\n# step {step}\n{notes}" if notes else ""


def _notes_text(flow: DecoratedFlow, step: str) -> str:
    lines = [f"#   {note.file or flow.file}:{note.line} {note.message}\n" for note in flow.notes if note.step == step]
    return "# review:\n" + "".join(lines) if lines else ""
