"""A project's first envlock.toml: a commented skeleton, or what the decorators of its flows say."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from envlock.config.edit.errors import CannotWrite, NoFlowInFile, NoRequirementFile, SameFlowTwice
from envlock.config.edit.flow_tables import (
    FILE_KEYS,
    Edited,
    add_flows,
    add_steps,
    file_key,
    flow_text,
    take_file,
    with_accepted,
)
from envlock.config.edit.save import load_text
from envlock.config.edit.toml_edit import (
    checked,
    insert,
    key_text,
    quoted,
    replace,
    set_value,
    table_at,
    value_text,
)
from envlock.config.flows.decorator_tables import DecoratedFlow
from envlock.config.flows.errors import shown_path
from envlock.config.flows.repository import flows_in, named_from, read_named, without_bases
from envlock.config.layers import of_first_file
from envlock.config.project import CONFIG_NAME, KeyPath, Project
from envlock.errors import EnvlockError, Location
from envlock.files import CONFIG_BYTES, read_file, toml_of, write_atomically
from envlock.places import UnreadableConfig

SCHEMA_NAME = ".envlock.schema.json"

_NOTHING: Mapping[str, object] = {}
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


@dataclass(frozen=True)
class Template:
    """An envlock.toml, not written yet: a first one, or an existing one with additions."""

    text: str
    flows: tuple[DecoratedFlow, ...]
    project: Project
    before: str | None = None
    """The existing text, to which only additions are made; None for a first one."""
    added: tuple[KeyPath, ...] = ()
    """The tables and keys that are added to an existing one."""
    steps: tuple[tuple[str, str], ...] = ()
    """The steps that it gets in comments, each with its flow."""
    offered: tuple[str, ...] = ()
    """The requirement files of the folder that it does not name."""
    unread: tuple[EnvlockError, ...] = ()
    """Why files of the folder that may have flows cannot be read."""
    settings: tuple[str, ...] = ()
    """The settings that it has from the settings files of the machine and the user (`[init]`)."""

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return self.text != self.before


@dataclass(frozen=True)
class Written:
    """What `init` wrote: its files, the copy of the envlock.toml that was there, and which keys of that are gone.

    `dropped` is None where nobody can tell: the old file was no TOML.
    """

    files: tuple[Path, ...]
    old: Path | None = None
    dropped: tuple[str, ...] | None = ()


def make_template(
    folder: Path,
    files: Sequence[Path] = (),
    *,
    schema: bool = False,
    before: str | None = None,
    take: Sequence[str] = (),
    extends: str = "",
) -> Template:
    """The envlock.toml for a folder: with the flows of these files, else of the folder's own, or a skeleton.

    `before` is the existing text, to be added to. `take` are requirement files that the flows are to name; where
    there are none, `[env.base]` does. `extends` is a team file; without one, a first file has the settings of `[init]`.
    envlock accepts the text; a level that it would refuse becomes a note. Raises FlowFileMissing, FlowFileSyntax,
    NoFlowInFile, SameFlowTwice, NoRequirementFile, BadTeamFile; what is wrong with `before` or with settings files.
    """
    folder = folder.absolute()
    take = [_requirement_file(folder, file) for file in take]
    unread: tuple[EnvlockError, ...] = ()
    if files:
        flows = flows_of(folder, files)
    else:
        found, unread = flows_in(folder, sorted((*folder.glob("*.py"), *folder.glob("*.ipynb"))))
        said = _files_said(before)
        flows = one_of_each(folder, [flow for flow in found if _is_meant(flow, said, found, folder)])
    path = folder / CONFIG_NAME
    settings = of_first_file() if before is None and not extends else _NOTHING
    offered = [name for name in _requirement_files(folder) if name not in take]

    def write(flows: Sequence[DecoratedFlow]) -> Edited:
        added: list[KeyPath] = []
        steps: list[tuple[str, str]] = []
        if before is None:
            text = compose(flows, schema=schema, offered=offered, settings=settings)
        else:
            text, added = add_flows(before, flows, offered=offered)
            text, steps = add_steps(text, flows)
            text = f"#:schema {SCHEMA_NAME}\n{text}" if schema and not text.startswith("#:schema") else text
        if extends:
            text, new = extend(text, Path(os.path.relpath(folder / extends, folder)).as_posix())
            added += new
        for file in take:
            for level in [("flow", flow.name) for flow in flows] or [("env", "base")]:
                text, new = take_file(text, level, file)
                added += new
        return Edited(text, tuple(flows), tuple(added), tuple(steps))

    made = with_accepted(path, flows, write)
    assert made.project is not None
    left = tuple(name for name in offered if not _is_named(made.project, name))
    names = tuple(settings)
    return Template(made.text, made.flows, made.project, before, made.added, made.steps, left, unread, names)


def _files_said(text: str | None) -> dict[str, str]:
    """The file that an envlock.toml names for each flow; nothing for one that is wrong, which is reported elsewhere."""
    try:
        return {name: str(table.get("file")) for name, table in toml_of(text or "").get("flow", {}).items()}
    except (ValueError, AttributeError):
        return {}


def _is_meant(flow: DecoratedFlow, said: Mapping[str, str], found: Sequence[DecoratedFlow], folder: Path) -> bool:
    """Whether a flow is the one that envlock.toml means by its name: false for a copy of that in another file."""
    own = [each for each in found if each.name == flow.name and Path(each.path) == folder / said.get(flow.name, "")]
    return flow in own or not own


def text_there(folder: Path) -> str | None:
    """The text of the folder's envlock.toml, to be added to; None if there is none, or only a skeleton of envlock's.

    Raises what is wrong with it.
    """
    path = folder / CONFIG_NAME
    if not path.exists():
        return None
    try:
        data = read_file(path, CONFIG_BYTES)
        text = data.decode()
    except OSError as error:
        raise UnreadableConfig(CONFIG_NAME, error.strerror or str(error)) from None
    except UnicodeDecodeError:
        from envlock.config.validate import explain

        explain(data, path)
        raise
    if text in _skeletons():
        return None
    load_text(path, text)
    return text


def _skeletons() -> tuple[str, ...]:
    known = (_NOTHING, of_first_file())
    return tuple(compose((), schema=schema, settings=settings) for settings in known for schema in (False, True))


def _requirement_file(folder: Path, file: str) -> str:
    """The name of a requirement file in an envlock.toml of a folder. Raises NoRequirementFile."""
    if not file_key(file):
        raise NoRequirementFile(file, f"its name ends with none of {', '.join(FILE_KEYS)}, and is not pyproject.toml")
    if not (folder / file).is_file():
        raise NoRequirementFile(file, "there is no such file in this folder")
    return Path(os.path.relpath(folder / file, folder)).as_posix()


def _requirement_files(folder: Path) -> list[str]:
    """The requirement files right in a folder, by the names that every tool knows."""
    found = [name for name in ("requirements.txt", "environment.yml", "environment.yaml") if (folder / name).is_file()]
    with suppress(OSError, ValueError):
        table = toml_of(read_file(folder / "pyproject.toml", CONFIG_BYTES, within=folder).decode())
        tool = table.get("tool")
        if table.keys() & {"project", "dependency-groups"} or (isinstance(tool, dict) and "poetry" in tool):
            found.append("pyproject.toml")
    return found


def _is_named(project: Project, file: str) -> bool:
    """Whether any table of envlock.toml names a requirement file."""
    key, document = file_key(file), toml_of(project.text)
    levels = [*document.get("env", {}).values(), *document.get("flow", {}).values()]
    levels += [step for flow in document.get("flow", {}).values() for step in flow.get("step", {}).values()]
    values = [level[key] for level in levels if key in level]
    return file in str(values)


def compose(
    flows: Sequence[DecoratedFlow],
    *,
    schema: bool = False,
    offered: Sequence[str] = (),
    settings: Mapping[str, object] = _NOTHING,
) -> str:
    """The text of an envlock.toml with these flows, each with comments that offer requirement files.

    `settings` are those that it has, as TOML has them.
    """
    from envlock.config.json_schema import settings_text

    text = (f"#:schema {SCHEMA_NAME}\n" if schema else "") + _TITLE
    rows = "".join(f"{key_text(key)} = {value_text(value)}\n" for key, value in settings.items())
    offers = settings_text([name for name in _SETTINGS if name not in settings], commented=True)
    text += f"\n[envlock]\n{rows}{offers}\n"
    return text + ("".join(f"\n{flow_text(flow, offered=offered)}" for flow in flows) or _EXAMPLE)


def extend(text: str, team_file: str) -> tuple[str, list[KeyPath]]:
    """The text of an envlock.toml that extends a team file, and the key, where that is new."""
    place: KeyPath = ("envlock", "extends")
    document = toml_of(text)
    before = table_at(document, place[:1]).get("extends")
    if before == team_file:
        return text, []
    value = quoted(team_file)
    text = replace(text, place, value) if before is not None else insert(text, place, value, header=1)
    set_value(document, place, team_file)
    checked(text, document)
    return text, [place]


def write_template(
    folder: Path, template: Template, *, schema: bool = False, metaflow_default: bool = False
) -> Written:
    """Write envlock.toml into a folder, and what the options ask for beside.

    An envlock.toml that is there and was not added to is copied to `envlock.toml.old`, unless it is a skeleton of
    envlock's. Raises BadMetaflowConfig, CannotWrite; then the envlock.toml that was there stays.
    """
    path = folder / CONFIG_NAME
    written = [path] if template.is_changed else []
    try:
        before = read_file(path, CONFIG_BYTES) if path.exists() else b""
        if metaflow_default:
            from envlock.config.edit.metaflow_config import make_default

            written.append(make_default(folder))
        if schema:
            from envlock.config.json_schema import json_schema_text

            written.append(folder / SCHEMA_NAME)
            write_atomically(written[-1], json_schema_text().encode())
        skeletons = [text.encode() for text in _skeletons()]
        is_added_to = template.before is not None and before == template.before.encode()
        is_lost = not is_added_to and before not in (b"", template.text.encode(), *skeletons)
        old = _kept_beside(path, before) if is_lost else None
        if template.is_changed:
            write_atomically(Path(os.path.realpath(path)), template.text.encode())
    except OSError as error:
        raise CannotWrite((written or [path])[-1].name, error.strerror or str(error)) from None
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


def flows_of(folder: Path, files: Sequence[Path]) -> tuple[DecoratedFlow, ...]:
    """The flows of files that somebody named. Raises FlowFileMissing, FlowFileSyntax, NoFlowInFile, SameFlowTwice."""
    found: list[DecoratedFlow] = []
    for path in dict.fromkeys(each.absolute() for each in files):
        flows = read_named(path, folder)
        if not flows:
            raise NoFlowInFile(shown_path(path))
        found += flows
    return one_of_each(folder, without_bases(found))


def one_of_each(folder: Path, flows: Sequence[DecoratedFlow]) -> tuple[DecoratedFlow, ...]:
    """The flows as an envlock.toml in `folder` names them. Raises SameFlowTwice."""
    found: dict[str, DecoratedFlow] = {}
    for flow in flows:
        if flow.name in found:
            first, second = (Location(shown_path(Path(each.path)), each.line) for each in (found[flow.name], flow))
            raise SameFlowTwice(flow.name, first, second)
        found[flow.name] = named_from(flow, folder)
    return tuple(found.values())
