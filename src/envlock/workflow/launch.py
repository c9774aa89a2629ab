"""What the launcher of a flow asks before anything runs: which lock each step has, or why it must not start.

Only light modules are imported while all is well: this stands between the user and the first task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envlock.config.metaflow_needs import NEEDS, metaflow_requirements
from envlock.config.project import Environment, Flow, Project
from envlock.config.read import find_config, load_project
from envlock.config.selection import Selection
from envlock.errors import ConfigError, EnvlockError, Location, ManyErrors
from envlock.lockfile.folder import candidates, read_lock
from envlock.model.arch import Arch, host_arch
from envlock.model.lock import Lock
from envlock.workflow.check import Finding, check
from envlock.workflow.needed_locks import locks_of


@dataclass(frozen=True)
class Start:
    """A flow that is about to start: what Metaflow knows of it."""

    flow: str
    """The class's name."""
    file: Path
    steps: tuple[str, ...]
    datastore: str = "local"
    remote: Mapping[str, str] = field(default_factory=dict)
    """For each step that a decorator sends to another machine: the decorator's name."""
    command: str = ""
    """The Metaflow command, where it deploys the flow instead of running it (`argo-workflows create`)."""


@dataclass(frozen=True)
class Plan:
    """The environment of each step: its lock for this machine, or None where the step is disabled."""

    project: Project
    arch: Arch
    steps: Mapping[str, Lock | None]
    """Without the steps whose environments are fetched when they start."""
    fetched: Mapping[str, Environment] = field(default_factory=dict)
    """The environments of those."""
    datastore: str = "local"


def plan(start: Start) -> Plan:
    """The lock of every step, all proved fresh and whole.

    Reads envlock.toml (the nearest at or above the flow's file, or what that is a link to), the flow's file and this
    arch's locks; writes nothing and asks no network. Raises ConfigError, StaleError, DamageError, or ManyErrors with
    all that is wrong.
    """
    project = _project(start)
    environments = _environments(project, _flow(project, start), start.steps)
    needed = {step: environment for step, environment in environments.items() if environment is not None}
    _refuse_remote(start, needed)
    arch = host_arch()
    if not needed:
        return Plan(project, arch, dict.fromkeys(environments))
    fetched = {step: environment for step, environment in needed.items() if environment.is_fetched}
    needed = {step: environment for step, environment in needed.items() if step not in fetched}
    locks = locks_by_name(project, tuple(needed.values()), arch) if needed else {}
    steps = {
        step: locks[environment.name] if environment else None
        for step, environment in environments.items()
        if step not in fetched
    }
    refuse_unserved_datastore(project, start.datastore, {each: locks[each.name] for each in needed.values()})
    return Plan(project, arch, steps, fetched, start.datastore)


def fresh_locks(project: Project, environments: Sequence[Environment], arch: Arch) -> dict[str, Lock]:
    """As `locks_by_name`, by req_id: for callers to whom environments that ask for the same are one."""
    locks = locks_by_name(project, environments, arch)
    return {environment.requirements.req_id: locks[environment.name] for environment in environments}


def locks_by_name(project: Project, environments: Sequence[Environment], arch: Arch) -> dict[str, Lock]:
    """The lock of each environment for an arch, after `check` found nothing wrong with any of them.

    Raises ArchNotLocked, NotLocked, StaleLock, TwoLocks, NotYet, FetchedAtExec, BaseLacksArch, DamageError, ConfigError
    for a name that cannot be known; or ManyErrors.
    """
    if arch not in project.settings.archs:
        from envlock.lockfile.errors import ArchNotLocked

        raise ArchNotLocked(environments[0].name, arch, project.settings.archs, in_config=False)
    if any(environment.is_fetched for environment in environments):
        from envlock.named.errors import FetchedAtExec

        fetched = [(each.name, each.base.key) for each in environments if each.base is not None and each.is_fetched]
        raise FetchedAtExec([name for name, _ in fetched], tuple(project.locate(key) for _, key in fetched))
    of_steps = [each.name for each in environments if each.is_step]
    named = [each.name for each in environments if not each.is_step]
    selection = Selection(steps=tuple(of_steps), environments=tuple(named), archs=(arch,))
    findings = check(project, selection).findings
    if findings:
        raise _refusal(project, findings, arch)
    read: dict[Path, Lock] = {}
    locks = {}
    for environment in environments:
        (path,) = locks_of(project, environment, arch)
        if path not in read:
            read[path] = read_lock(path, shown=project.shown(path))
        locks[environment.name] = read[path]
    return locks


def _project(start: Start) -> Project:
    """The project of a flow's file; where that is a link, the first of both places whose envlock.toml has the flow."""
    file = start.file.absolute()
    found: list[Project] = []
    missing: list[ConfigError] = []
    for folder in dict.fromkeys((file.parent, file.resolve().parent)):
        try:
            project = load_project(find_config(folder))
        except ConfigError as error:
            if error.code != "no-config":
                raise
            missing.append(error)
            continue
        if project.flow(start.flow) is not None:
            return project
        found.append(project)
    if not found:
        raise missing[0]
    return found[0]


def _flow(project: Project, start: Start) -> Flow:
    flow = project.flow(start.flow)
    if flow is None:
        from envlock.workflow.errors import FlowNotInConfig

        file = project.shown(start.file)
        raise FlowNotInConfig(start.flow, str(project.path), [each.name for each in project.flows], file)
    return flow


def _environments(project: Project, flow: Flow, steps: Sequence[str]) -> dict[str, Environment | None]:
    known = {step.name: step.environment for step in flow.steps}
    unknown = [step for step in steps if step not in known]
    if unknown:
        from envlock.workflow.errors import StepNotInConfig

        raise StepNotInConfig(flow.name, unknown, tuple(known), project.locate(("flow", flow.name)))
    return {step: known[step] for step in steps}


def _refuse_remote(start: Start, needed: Mapping[str, Environment]) -> None:
    remote = {step: decorator for step, decorator in start.remote.items() if step in needed}
    if remote or (start.command and needed):
        from envlock.workflow.errors import RemoteStepsNotYet

        raise RemoteStepsNotYet(start.flow, remote, start.command)


def refuse_unserved_datastore(project: Project, datastore: str, locks: Mapping[Environment, Lock]) -> None:
    """Raise DatastoreNotLocked for locks without Metaflow's client of the datastore: their steps would always fail."""
    wanted = [each.name for each in metaflow_requirements((datastore,) if datastore in NEEDS else ())]
    lacking: dict[tuple[tuple[str, ...], bool, str], list[str]] = {}
    for environment, lock in locks.items():
        have = {package.name for package in lock.packages}
        missing = tuple(name for name in wanted if name not in have)
        if missing:
            base = environment.base
            named = base.written if base is not None and not base.extends else ""
            added = bool(environment.requirements.metaflow)
            lacking.setdefault((missing, added, named), []).append(environment.name)
    if lacking:
        from envlock.workflow.errors import DatastoreNotLocked

        at = project.locate(("envlock", "datastore"))
        raise _one_of(
            [
                DatastoreNotLocked(names, datastore, missing, at, added=added, named=named)
                for (missing, added, named), names in lacking.items()
            ]
        )


def _refusal(project: Project, findings: Sequence[Finding], arch: Arch) -> EnvlockError:
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.verdict, finding.reasons, finding.repair, finding.location), []).append(finding)
    return _one_of([_error(project, group, arch) for group in groups.values()])


def _error(project: Project, group: Sequence[Finding], arch: Arch) -> EnvlockError:
    """What `check` found of one or several environments, as the error that stops a flow."""
    from envlock.lockfile.errors import ArchNotLocked, DamagedLock, NotLocked, TwoLocks
    from envlock.named.base import trouble
    from envlock.resolve.errors import NotYet
    from envlock.workflow.errors import HostNotAllowed, StaleLock

    first = group[0]
    names = tuple(dict.fromkeys(finding.environment for finding in group))
    named = "`, `".join(names)
    environment = next(each for each in project.environments() if each.name == first.environment)
    paths = locks_of(project, environment, arch)
    unknown = trouble(project, environment) if environment.base is not None else None
    if unknown is not None:
        return unknown
    if first.verdict == "base-lacks-arch":
        from envlock.named.errors import BaseLacksArch

        assert environment.base is not None
        assert environment.base.pin is not None
        return BaseLacksArch(names, environment.base.pin, arch, project.locate(environment.base.key))
    if first.verdict == "not-yet":
        error = NotYet(named, environment.deferred[0][0])
        error.locations = (first.location,) if first.location else ()
        return error
    if first.verdict == "missing":
        return NotLocked(named, location=first.location, command=first.repair)
    if first.verdict == "arch-missing":
        req_id = environment.requirements.req_id
        others = tuple(each for each in project.settings.archs if candidates(project.lock_folder, each, req_id))
        return ArchNotLocked(named, arch, others, in_config=True)
    if first.verdict in {"stale", "restamp"}:
        return StaleLock(names, arch, first.reasons, first.location, first.repair)
    if first.verdict == "two-locks":
        return TwoLocks(named, arch, tuple(project.shown(path) for path in paths))
    if first.verdict == "host-not-allowed":
        return HostNotAllowed(names, first.reasons, first.location, first.repair)
    for path in paths:
        try:
            read_lock(path, shown=project.shown(path))
        except EnvlockError as error:  # noqa: PERF203  what is wrong with the file is this error itself
            return error
    at = first.location or Location(project.shown(paths[0]))
    return DamagedLock(at.path, "; ".join(first.reasons), line=at.line)


def _one_of(errors: Sequence[EnvlockError]) -> EnvlockError:
    return errors[0] if len(errors) == 1 else ManyErrors(tuple(errors))
