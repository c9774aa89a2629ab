"""`show`: the environments of a project, or one environment in full. Read-only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.config.past import errors_told_of, shown_path
from envlock.config.project import Environment, Project
from envlock.config.selection import Choice, Selection
from envlock.errors import Location
from envlock.hydration.prefix import find_prefix
from envlock.lockfile.document import parse
from envlock.lockfile.folder import candidates, lock_path, read_lock
from envlock.model.arch import Arch, UnsupportedHost, host_arch
from envlock.model.lock import Lock
from envlock.places import home
from envlock.workflow.check import check_and_read
from envlock.workflow.check_rules import Verdict
from envlock.workflow.find import find
from envlock.workflow.fresh_locks import fresh_locks
from envlock.workflow.needed_locks import locks_of
from envlock.workflow.netflix_id import netflix_id_of

if TYPE_CHECKING:
    from envlock.named.lookup import Lookup, NamedEnvironment
    from envlock.named.move import Move


@dataclass(frozen=True)
class Description:
    """One locked environment, in full."""

    lock: Lock
    place: str
    """The lock's file, relative to envlock.toml, or where it lies in the cache."""
    available_on: tuple[Arch, ...]
    """The archs for which the same requirements are locked in this project, or that an alias is for."""
    used_by: tuple[str, ...]
    """The steps and `[env.*]` tables with these requirements."""
    prefix: Path | None
    """Where it is on this machine, if it is."""
    task: str = ""
    """The pathspec of the task that it was looked up for."""
    netflix_id: str = ""
    """The `req_id` of metaflow-netflixext for the same requirements, as far as it can be known."""
    alias: Move | None = None
    """The move of the alias that it was looked up by."""


@dataclass(frozen=True)
class Disabled:
    """A step that has no environment."""

    name: str
    location: Location


@dataclass(frozen=True)
class Line:
    """One step or named environment in the overview."""

    name: str
    """The step's, or the `[env.*]` table's."""
    state: str
    """`locked`, `disabled`, `fetched` (when the step starts), or a verdict of `check`."""
    lock: Lock | None = None
    prefix: Path | None = None

    @property
    def words(self) -> str:
        """The state, for a person."""
        if isinstance(self.state, Verdict):
            return self.state.words
        return "fetched when the step starts" if self.state == "fetched" else self.state


@dataclass(frozen=True)
class Overview:
    """Every flow and step of a project, and its named environments, for one arch."""

    arch: Arch
    flows: tuple[tuple[str, str, tuple[Line, ...]], ...]
    """Each flow's name, its file, and its steps."""
    named: tuple[Line, ...]

    @property
    def is_fresh(self) -> bool:
        """Whether every environment has a lock for its requirements."""
        steps = [step for _, _, steps in self.flows for step in steps]
        return all(line.state in {"locked", "disabled", "fetched"} for line in (*steps, *self.named))


def overview(project: Project, arch: Arch | None = None) -> Overview:
    """The state of every environment of a project, whatever it is. `arch` is this machine's where none is given."""
    arch = arch or default_arch(project)
    findings: dict[str, str] = {}
    read: Mapping[Path, bytes] = {}
    if arch in project.settings.archs:
        result, read = check_and_read(project, Selection(archs=(arch,)))
        for finding in result.findings:
            findings.setdefault(finding.environment, finding.verdict)
    known: dict[Path, Line] = {}

    def line(name: str, environment: Environment | None) -> Line:
        if environment is None:
            return Line(name, "disabled")
        if environment.is_fetched:
            return Line(name, "fetched")
        state = findings.get(environment.name)
        if state is not None or arch not in project.settings.archs:
            return Line(name, state or Verdict.ARCH_MISSING)
        (path,) = locks_of(project, environment, arch)
        if path not in known:
            lock = parse(read[path], project.shown(path))
            known[path] = Line(name, "locked", lock, find_prefix(lock, home()))
        return Line(name, "locked", known[path].lock, known[path].prefix)

    return Overview(
        arch=arch,
        flows=tuple(
            (
                flow.name,
                project.shown(flow.file),
                tuple(line(step.name, step.environment) for step in flow.steps),
            )
            for flow in project.flows
        ),
        named=tuple(line(environment.name, environment) for environment in project.named),
    )


def describe(project: Project, wanted: str, archs: Sequence[Arch] = ()) -> tuple[Description | Disabled, ...]:
    """The environments that a reference names (`find.find`): a step that several flows have means all of them.

    `archs` are this machine's where none are given; ids are looked up for all archs. Raises as `find`; LockNotFound,
    AliasLacksArch, and what is wrong with a lock.
    """
    found = find(project, wanted, archs)
    project = found.project
    if found.choices:
        by_arch = (_of_choices(project, found.choices, arch) for arch in archs or (default_arch(project),))
        return tuple(dict.fromkeys(chain.from_iterable(by_arch)))
    if found.paths:
        places = [(path, shown_path(project, path)) for path in found.paths]
        locks = [(read_lock(path, shown=shown), shown) for path, shown in places]
        return tuple(_description(project, lock, shown) for lock, shown in locks)
    if found.file is not None:
        shown = os.path.relpath(found.file)
        return (_description(project, read_lock(found.file, shown=shown), shown),)
    assert found.named is not None
    assert found.lookup is not None
    return _of_found(found.lookup, found.named, archs)


def describe_task(project: Project, pathspec: str) -> tuple[Description, ...]:
    """The environment that a task ran in, by its pathspec, from the project's locks or its cache.

    One for each arch that its step is known to have run on. Raises as `Lookup.pathspec` does, LockNotFound, and what is
    wrong with the lock.
    """
    from envlock.named.lookup import Lookup

    lookup = Lookup(project, recalls=True)
    found = lookup.pathspec(pathspec, all_archs=False)
    return _of_found(lookup, found, found.archs)


def default_arch(project: Project) -> Arch:
    """This machine's arch, or the project's first where envlock cannot make environments here."""
    try:
        return host_arch()
    except UnsupportedHost:
        return project.settings.archs[0]


def _of_choices(project: Project, choices: Sequence[Choice], arch: Arch) -> list[Description | Disabled]:
    environments = [each.environment for each in choices if each.environment is not None]
    with errors_told_of(project):
        locks = fresh_locks(project, environments, arch) if environments else {}
    found: list[Description | Disabled] = []
    for each in choices:
        if each.environment is None:
            at = project.locate(each.key)
            found.append(Disabled(each.name, at._replace(path=shown_path(project, project.path))))
        else:
            (path,) = locks_of(project, each.environment, arch)
            found.append(_description(project, locks[each.name], shown_path(project, path)))
    return found


def _of_found(lookup: Lookup, found: NamedEnvironment, archs: Sequence[Arch]) -> tuple[Description, ...]:
    """A named environment, from the project's locks or the cache; for this machine's arch where none are given."""
    if not archs:
        here = default_arch(lookup.project)
        archs = (here if here in found.archs else found.archs[0],)
    descriptions = []
    for arch in archs:
        own = lookup.own_lock(found, arch)
        if own is not None:
            path = lock_path(lookup.project.lock_folder, own)
            description = _description(lookup.project, own, lookup.project.shown(path), found.task)
        else:
            cached = lookup.cached_lock(found, arch)
            description = _description(lookup.project, cached, lookup.url, found.task)
        available = tuple(dict.fromkeys([*found.archs, *description.available_on]))
        descriptions.append(replace(description, alias=found.move, available_on=available))
    return tuple(descriptions)


def _description(project: Project, lock: Lock, place: str, task: str = "") -> Description:
    return Description(
        lock=lock,
        place=place,
        available_on=tuple(
            arch for arch in project.settings.archs if candidates(project.lock_folder, arch, lock.req_id)
        ),
        used_by=tuple(each.name for each in project.environments() if each.requirements.req_id == lock.req_id),
        prefix=find_prefix(lock, home()),
        task=task,
        netflix_id=netflix_id_of(lock, project),
    )
