"""A repository moved from decorators to envlock.toml, with a proof that no step's requirements changed.

Flows are read and never run. Everything is worked out and verified before anything is written: the requirements of each
step, as its decorators say them, are those that envlock reads from the envlock.toml that is to be written. A decorator
goes only if all that it asks for is there, for every flow that has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from envlock.config.edit.errors import CannotWrite
from envlock.config.edit.flow_tables import Edited, add_flows, add_steps, with_accepted
from envlock.config.edit.init_template import compose, text_there
from envlock.config.edit.python_source import NotAlone, names_imported_from, patch_of, without_decorators
from envlock.config.flows.decorator_tables import DecoratedFlow, Decorator, Note
from envlock.config.flows.repository import (
    flows_in,
    flows_outside,
    groups_of,
    named_from,
    of_one_name,
    project_of,
    python_files,
    top_of,
    uses_of_other_environments,
)
from envlock.config.inherit import Defaults, defaults_of, inherit
from envlock.config.project import CONFIG_NAME, Environment, KeyPath, Project
from envlock.config.read import levels_of
from envlock.config.tables import Conflict, Level, read_level, refuse_disabled_with_requirements
from envlock.errors import EnvlockError
from envlock.files import FLOW_BYTES, read_file, write_atomically
from envlock.model.requirements import Requirements
from envlock.reporter import Reporter


class Left(NamedTuple):
    """A decorator that stays in its file, or something else that nobody could carry over, and why."""

    path: str
    """The file, absolute."""
    line: int
    flow: str
    step: str
    """Empty for the whole flow."""
    reason: str
    stays: bool
    """Whether it is a decorator that stays; else it is to be looked at."""


@dataclass(frozen=True)
class Proof:
    """What became of one step's requirements."""

    flow: str
    step: str
    verdict: str
    """`same`; `more`, where an envlock.toml that was there requires more than that; `differs`; or `incomplete`, where a
    decorator stays because not all of it could be carried over."""
    packages: int
    """How many packages are required."""
    decorators_id: str
    """The req_id of what the decorators require; empty for a step without an environment."""
    written_id: str
    """The req_id of what envlock.toml requires."""
    changes: tuple[str, ...] = ()
    """What differs."""


@dataclass(frozen=True)
class Config:
    """One envlock.toml, as it is and as it is to be."""

    path: Path
    before: str | None
    edited: Edited

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return self.edited.text != self.before


@dataclass(frozen=True)
class Source:
    """A Python file, as it is and without the decorators that are carried over."""

    path: Path
    before: bytes
    after: bytes
    lines: tuple[int, ...]
    """Where these decorators begin."""


@dataclass(frozen=True)
class Migration:
    """What a migration writes, and what it leaves."""

    folder: Path
    configs: tuple[Config, ...]
    sources: tuple[Source, ...]
    proofs: tuple[Proof, ...]
    left: tuple[Left, ...]
    unread: tuple[EnvlockError, ...] = ()
    """Why files that may have flows cannot be read."""
    is_cut: bool = False
    """Whether there are more Python files than are looked at."""

    @property
    def is_whole(self) -> bool:
        """Whether every decorator is carried over, and envlock.toml requires all that each step required."""
        stays = any(each.stays for each in self.left)
        return not (stays or self.unread or self.is_cut) and all(
            each.verdict in {"same", "more"} for each in self.proofs
        )

    def patch(self, folder: Path) -> bytes:
        """The patch that deletes the decorators, with paths from a folder: for `git apply` or `patch -p1` there."""
        return b"".join(
            patch_of(Path(os.path.relpath(each.path, folder)).as_posix(), each.before, each.after)
            for each in self.sources
        )


def plan(folder: Path, reporter: Reporter | None = None) -> Migration:
    """What migrating a folder would write. Writes nothing.

    Raises what is wrong with an envlock.toml that is there.
    """
    folder = folder.absolute()
    project = project_of(folder)
    paths, is_cut = python_files(folder)
    found, unread = flows_in(top_of(folder) if top_of(folder) != folder else project, paths, reporter)
    flows = [flow for flow in found if flow.decorators]
    parts = [_part(place, group) for place, group in groups_of(project, flows).items()]
    left = [each for part in parts for each in part.left]
    left += [_of_note(flow, note) for flow in found for note in flow.notes if not (note.is_lost and flow.decorators)]
    staying = {(each.path, each.line) for part in parts for each in part.staying}
    for flow in flows_outside(folder) if flows else ():
        for each in flow.decorators:
            if folder in Path(each.path).parents:
                reason = f"{flow.name} of {os.path.relpath(flow.path, folder)} has it too: migrate both together"
                left.append(Left(each.path, each.line, "", each.step, reason, stays=True))
                staying.add((each.path, each.line))
    if flows:
        left += [
            Left(str(path), line, "", "", f"`{option}`: with envlock, it is `--environment=envlock`", stays=False)
            for path, line, option in uses_of_other_environments(folder)
        ]
    sources, stuck = _sources([flow.decorators for flow in flows], staying, paths)
    left += stuck
    left.sort(key=lambda each: (each.path, each.line))
    return Migration(
        folder=folder,
        configs=tuple(part.config for part in parts if part.config is not None),
        sources=sources,
        proofs=tuple(proof for part in parts for proof in part.proofs),
        left=tuple(dict.fromkeys(left)),
        unread=unread,
        is_cut=is_cut,
    )


class _Part(NamedTuple):
    """What becomes of the flows of one envlock.toml."""

    config: Config | None
    proofs: list[Proof]
    left: list[Left]
    staying: set[Decorator]


def _part(place: Path, group: Sequence[DecoratedFlow]) -> _Part:
    part = _Part(None, [], [], set())
    twice = of_one_name(group)
    for flow in twice:
        reason = f"another flow of this folder is called {flow.name} too: rename one of the two"
        part.left.append(Left(flow.path, flow.line, flow.name, "", reason, stays=True))
        part.staying.update(flow.decorators)
    far = [flow for flow in group if any(place not in Path(path).parents for path, _ in flow.bases)]
    for flow in far:
        reason = (
            "a base class is outside of this folder, where its envlock.toml would not find it: migrate both together"
        )
        part.left.append(Left(flow.path, flow.line, flow.name, "", reason, stays=True))
        part.staying.update(flow.decorators)
    flows = [flow for flow in group if flow not in (*twice, *far)]
    if not flows:
        return part
    config = _config(place, flows)
    for flow, accepted in zip(flows, config.edited.flows, strict=True):
        part.staying.update(accepted.not_carried_over())
        part.left.extend(_of_note(flow, note) for note in accepted.notes if note.is_lost)
        for proof in _proofs(config.edited.project, flow, accepted):
            part.proofs.append(proof)
            if proof.verdict == "differs":
                own = [each for each in flow.decorators if each.step in {"", proof.step}]
                part.staying.update(own)
                line = next((each.line for each in own if each.step and each.path == flow.path), flow.line)
                reason = f"{CONFIG_NAME} asks for something else: {', '.join(proof.changes)}"
                part.left.append(Left(flow.path, line, flow.name, proof.step, reason, stays=True))
    return part._replace(config=config)


def write(migration: Migration, *, delete_decorators: bool) -> None:
    """Write the envlock.toml files, then the flow files without their decorators, each whole. Raises CannotWrite."""
    for config in migration.configs:
        if config.is_changed:
            _write(config.path, config.edited.text.encode(), migration.folder)
    for source in migration.sources if delete_decorators else ():
        _write(source.path, source.after, migration.folder)


def _write(path: Path, data: bytes, folder: Path) -> None:
    try:
        write_atomically(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise CannotWrite(os.path.relpath(path, folder), error.strerror or str(error)) from None


def _config(folder: Path, flows: Sequence[DecoratedFlow]) -> Config:
    """The envlock.toml of a folder, with these flows in it. Raises what is wrong with the one that is there."""
    before = text_there(folder)

    def edited(flows: Sequence[DecoratedFlow]) -> Edited:
        if before is None:
            return Edited(compose(flows), tuple(flows), tuple(("flow", flow.name) for flow in flows), ())
        text, added = add_flows(before, flows)
        text, steps = add_steps(text, flows)
        return Edited(text, tuple(flows), tuple(added), tuple(steps))

    path = folder / CONFIG_NAME
    return Config(path, before, with_accepted(path, [named_from(flow, folder) for flow in flows], edited))


def _of_note(flow: DecoratedFlow, note: Note) -> Left:
    return Left(note.path or flow.path, note.line, flow.name, note.step, note.message, stays=note.is_lost)


def _proofs(project: Project | None, flow: DecoratedFlow, accepted: DecoratedFlow) -> Iterator[Proof]:
    """For each step of a flow, whether envlock.toml requires what its decorators do."""
    assert project is not None
    written = project.flow(flow.name)
    assert written is not None
    defaults = defaults_of(project.settings)
    steps = {step.name: step.environment for step in written.steps}
    unsure = {each.step for each in accepted.not_carried_over()}
    for step in flow.steps:
        after, of_decorators = steps.get(step), None
        verdict, changes = "incomplete", tuple[str, ...]()
        if not unsure & {"", step}:
            verdict, of_decorators, changes = _compared(project, flow, step, after, defaults)
        of_file = _requirements(after)
        yield Proof(
            flow.name,
            step,
            verdict,
            len({*of_file.pypi, *of_file.all_conda}) if of_file else 0,
            of_decorators.req_id if of_decorators else "",
            of_file.req_id if of_file else "",
            changes,
        )


def _compared(
    project: Project, flow: DecoratedFlow, step: str, after: Environment | None, defaults: Defaults
) -> tuple[str, Requirements | None, tuple[str, ...]]:
    """The verdict on a step, what its decorators require, and what differs.

    Where envlock.toml requires more, it requires the same with the decorators' tables added to its own.
    """
    key: KeyPath = ("flow", flow.name)
    name, place = f"{flow.name}/{step}", (*key, "step", step)
    try:
        of_flow = read_level(flow.tables, key, {}, project.folder)
        own = read_level(flow.step_tables.get(step, {}), place, {}, project.folder)
        before = inherit(name, of_flow, own, defaults)
        changes = tuple(_changes(before, after))
        if not changes:
            return "same", _requirements(before), ()
        file_flow, file_steps = levels_of(project, flow.name)
        file_flow.add(of_flow, key)
        file_own = file_steps.get(step, Level(place))
        file_own.add(own, place)
        for level in (file_flow, file_own):
            refuse_disabled_with_requirements(level)
        is_more = not any(_changes(inherit(name, file_flow, file_own, defaults), after))
    except (Conflict, EnvlockError):
        return "differs", None, ("it contradicts the decorators",)
    return "more" if is_more else "differs", _requirements(before), changes


def _requirements(environment: Environment | None) -> Requirements | None:
    """A step's own requirements, without those of an environment that it names."""
    if environment is None:
        return None
    return environment.base.own if environment.base is not None else environment.requirements


def _changes(before: Environment | None, after: Environment | None) -> Iterator[str]:
    """What a second environment requires otherwise than a first."""
    if before is None or after is None:
        if before is not after:
            yield "no environment" if after is None else "an environment"
        return
    named = [
        (each.base.kind, each.base.written, each.base.fetch_at_exec) if each.base else None for each in (before, after)
    ]
    if named[0] != named[1]:
        yield "another named environment"
    one, two = _requirements(before), _requirements(after)
    assert one is not None
    assert two is not None
    for field in one._fields:
        old, new = getattr(one, field), getattr(two, field)
        if old == new:
            continue
        if isinstance(old, tuple):
            yield from (f"{each} is gone" for each in map(_text, old) if each not in map(_text, new))
            yield from (f"{each} is new" for each in map(_text, new) if each not in map(_text, old))
            if sorted(map(_text, old)) == sorted(map(_text, new)):
                yield f"another order of {field.replace('_', '-')}"
        else:
            yield f"{field.replace('_', '-')} {new or 'any'}, not {old or 'any'}"


def _text(value: object) -> str:
    return " ".join(map(str, value)) if type(value) is tuple else str(value)


def _sources(
    decorators: Iterable[Sequence[Decorator]], staying: set[tuple[str, int]], paths: Sequence[Path]
) -> tuple[tuple[Source, ...], list[Left]]:
    """The files without the decorators that go, and those that cannot be deleted by themselves."""
    going: dict[str, dict[int, Decorator]] = {}
    for each in (one for of_flow in decorators for one in of_flow):
        if (each.path, each.line) not in staying:
            going.setdefault(each.path, {})[each.line] = each
    needed = _needed(going, paths)
    found: list[Source] = []
    stuck: list[Left] = []
    for path, of_file in sorted(going.items()):
        before = read_file(path, FLOW_BYTES)
        try:
            after = without_decorators(before, of_file.keys(), needed[path])
        except NotAlone:
            reason = "it cannot be deleted by itself: something else is on its lines"
            stuck += [Left(path, line, "", each.step, reason, stays=True) for line, each in of_file.items()]
            continue
        found.append(Source(Path(path), before, after, tuple(sorted(of_file))))
    return tuple(found), stuck


def _needed(going: Mapping[str, object], paths: Sequence[Path]) -> dict[str, set[str]]:
    """For each file, the names that other files import from it, by the name of its module."""
    needed: dict[str, set[str]] = {path: set() for path in going}
    modules: dict[str, list[str]] = {}
    for path in going:
        own = Path(path)
        modules.setdefault(own.parent.name if own.stem == "__init__" else own.stem, []).append(path)
    for other in paths:
        data = b""
        with suppress(OSError):
            data = read_file(other, FLOW_BYTES)
        for module, files in modules.items():
            for file in files:
                if str(other) != file:
                    needed[file] |= names_imported_from(data, module)
    return needed
