"""A project's first envlock.toml: a commented skeleton, or what the decorators of its flows say."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envlock.config.edit.errors import CannotWrite, ConfigExists, NoFlowInFile, SameFlowTwice
from envlock.config.edit.save import load_text
from envlock.config.edit.toml_edit import header_text, key_text, quoted, tables_text
from envlock.config.flows.decorators import DecoratedFlow, Note, read_decorators
from envlock.config.flows.errors import shown_path
from envlock.config.project import CONFIG_NAME, Project
from envlock.errors import EnvlockError, Location, ManyErrors
from envlock.files import CONFIG_BYTES, FLOW_BYTES, read_file, toml_of, write_atomically

SCHEMA_NAME = ".envlock.schema.json"

_TITLE = """\
# The requirements of each flow. `envlock lock` writes exact locks of them to envlock.lock/: commit both.
"""
_SETTINGS = ("archs", "cache", "exclude-newer", "python-from", "channels", "datastore")
"""Those that a first file shows, as comments."""

_EXAMPLE = """
# A flow, named after its class, with its file. Its steps inherit these requirements.
# [flow.TrainFlow]
# file = "train_flow.py"
# pypi = { python = ">=3.11,<3.13", packages = { pandas = "2.2.3", pyarrow = ">=15,<20" } }

# A step. Its requirements replace the flow's, package by package.
# [flow.TrainFlow.step.train]
# pypi = { packages = { xgboost = ">=2,<3", "requests[socks]" = "" } }
# conda = { libraries = { ffmpeg = ">=6" } }
# sys_packages = { packages = { __cuda = "12.4" } }

# A step without an environment: it runs in the interpreter that started the flow.
# [flow.TrainFlow.step.end]
# disabled = true

# An environment that belongs to no step, for a notebook or a service.
# [env.notebook]
# requirements = "requirements.txt"
"""

_FLOW_EXAMPLE = '# pypi = { python = ">=3.11,<3.13", packages = { pandas = "2.2.3" } }\n'


@dataclass(frozen=True)
class Template:
    """A first envlock.toml, not written yet."""

    text: str
    flows: tuple[DecoratedFlow, ...]
    project: Project


@dataclass(frozen=True)
class Written:
    """What `init` wrote: its files, the copy of the envlock.toml that was there, and which keys of that are gone.

    `dropped` is None where nobody can tell: the old file was no TOML.
    """

    files: tuple[Path, ...]
    old: Path | None = None
    dropped: tuple[str, ...] | None = ()


def make_template(folder: Path, files: Sequence[Path], *, schema: bool = False) -> Template:
    """The envlock.toml for a folder: with the flows of these files, or a skeleton where there are none.

    envlock accepts it; a level that it would refuse becomes a note. Raises FlowFileMissing, FlowFileSyntax,
    NoFlowInFile, SameFlowTwice.
    """
    flows = _flows_of(folder, files)
    for _ in range(1 + sum(1 + len(flow.step_tables) for flow in flows)):
        text = compose(flows, schema=schema)
        try:
            return Template(text, tuple(flows), load_text(folder / CONFIG_NAME, text))
        except EnvlockError as error:
            smaller = _without_refused(flows, error)
            if smaller == flows:
                raise
            flows = smaller
    raise AssertionError("each pass leaves one level out, or ends")


def compose(flows: Sequence[DecoratedFlow], *, schema: bool = False) -> str:
    """The text of an envlock.toml with these flows."""
    from envlock.config.schema import settings_text

    text = (f"#:schema {SCHEMA_NAME}\n" if schema else "") + _TITLE
    text += f"\n[envlock]\n{settings_text(_SETTINGS, commented=True)}\n"
    return text + ("".join(f"\n{_flow_text(flow)}" for flow in flows) or _EXAMPLE)


def write_template(
    folder: Path, template: Template, *, force: bool = False, schema: bool = False, metaflow_default: bool = False
) -> Written:
    """Write envlock.toml into a folder, and what the options ask for beside.

    With `force`, an envlock.toml that exists is copied to `envlock.toml.old`, unless it is a skeleton of envlock's.

    Raises ConfigExists where there is one and `force` is not given, BadMetaflowConfig, CannotWrite; then the
    envlock.toml that was there stays.
    """
    path = folder / CONFIG_NAME
    if path.exists() and not force:
        raise ConfigExists(CONFIG_NAME)
    written = [path]
    try:
        before = read_file(path, CONFIG_BYTES) if path.exists() else b""
        if metaflow_default:
            from envlock.config.edit.metaflow_config import make_default

            written.append(make_default(folder))
        if schema:
            from envlock.config.schema import json_schema_text

            written.append(folder / SCHEMA_NAME)
            write_atomically(written[-1], json_schema_text().encode())
        skeletons = (compose(()).encode(), compose((), schema=True).encode())
        is_lost = before not in (b"", template.text.encode(), *skeletons)
        old = _kept_beside(path, before) if is_lost else None
        write_atomically(Path(os.path.realpath(path)), template.text.encode())
    except OSError as error:
        raise CannotWrite(written[-1].name, error.strerror or str(error)) from None
    return Written(tuple(written), old, _dropped(before, template.text) if is_lost else ())


def _kept_beside(path: Path, data: bytes) -> Path:
    """A new file beside `path` with these bytes, which no fewer people may read and no more. None is overwritten."""
    for number in itertools.count(1):
        old = path.with_name(f"{path.name}.old" + (f".{number}" if number > 1 else ""))
        try:
            old.touch(stat.S_IMODE(path.stat().st_mode), exist_ok=False)
        except FileExistsError:
            continue
        write_atomically(old, data)
        return old
    raise AssertionError("some number is free")


def _dropped(before: bytes, text: str) -> tuple[str, ...] | None:
    """The keys that an envlock.toml had and another lacks, or has with another value. No values: they may be secret."""
    try:
        old = toml_of(before.decode())
    except ValueError:
        return None
    kept = _leaves(toml_of(text))
    return tuple(key for key, value in _leaves(old).items() if key not in kept or kept[key] != value)


def _leaves(table: Mapping[str, object], above: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in table.items():
        key = f"{above}{key_text(name)}"
        found |= _leaves(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return found


def flow_files(folder: Path) -> tuple[Path, ...]:
    """Python files right in a folder that look as if they held a flow, sorted. Reads each once."""
    return tuple(sorted(path for path in folder.glob("*.py") if _may_hold_flow(path, folder)))


def _may_hold_flow(path: Path, folder: Path) -> bool:
    try:
        return b"(FlowSpec" in read_file(path, FLOW_BYTES, within=folder)
    except OSError:  # a folder of that name, a link to nowhere, what this user may not read
        return False


def _flows_of(folder: Path, files: Sequence[Path]) -> list[DecoratedFlow]:
    found: dict[str, DecoratedFlow] = {}
    for path in dict.fromkeys(each.absolute() for each in files):
        flows = read_decorators(path)
        if not flows:
            raise NoFlowInFile(shown_path(path))
        for flow in flows:
            if flow.name in found:
                first = Location(found[flow.name].file, found[flow.name].line)
                raise SameFlowTwice(flow.name, first, Location(shown_path(path), flow.line))
            found[flow.name] = replace(flow, file=Path(os.path.relpath(path, folder.absolute())).as_posix())
    return list(found.values())


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
        Note(
            next((flow.lines[step, each] for each in (table, "") if (step, each) in flow.lines), flow.line),
            f"left out what its decorators ask for: {why}",
            step,
        )
        for step, (table, why) in refused.items()
        if levels.get(step)
    ]
    return replace(
        flow,
        tables={} if "" in refused else flow.tables,
        step_tables={step: tables for step, tables in flow.step_tables.items() if step not in refused},
        notes=(*flow.notes, *notes),
    )


def _flow_text(flow: DecoratedFlow) -> str:
    inherited = () if flow.complete else ("those of a base class in another module",)
    lines = f"{header_text(('flow', flow.name))}\nfile = {quoted(flow.file)}\n"
    lines += f"# steps: {', '.join((*flow.steps, *inherited)) or 'none'}\n"
    lines += _notes_text(flow, "")
    if not flow.tables and not flow.step_tables:
        lines += _FLOW_EXAMPLE
    text = lines + tables_text(("flow", flow.name), flow.tables)
    for step in flow.steps:
        tables = flow.step_tables.get(step, {})
        path = ("flow", flow.name, "step", step)
        notes, level = _notes_text(flow, step), tables_text(path, tables)
        if not notes and level.startswith("\n"):
            text += level
        elif tables:
            text += f"\n{header_text(path)}\n{notes}{level}"
        elif notes:
            text += f"\n# step {step}\n{notes}"
    return text


def _notes_text(flow: DecoratedFlow, step: str) -> str:
    lines = [f"#   {flow.file}:{note.line} {note.message}\n" for note in flow.notes if note.step == step]
    return "# review:\n" + "".join(lines) if lines else ""
