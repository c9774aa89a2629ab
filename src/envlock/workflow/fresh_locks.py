"""The locks of environments, after `check` found nothing wrong with them; or the error that says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envlock.config.project import Environment, Project
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, Location, as_one
from envlock.lockfile.document import parse
from envlock.lockfile.folder import candidates, read_lock
from envlock.model.arch import Arch
from envlock.model.lock import Lock
from envlock.workflow.check import check_and_read
from envlock.workflow.check_rules import Finding, Verdict, findings_of
from envlock.workflow.needed_locks import locks_of


def fresh_locks(project: Project, environments: Sequence[Environment], arch: Arch) -> dict[str, Lock]:
    """The lock of each environment for an arch, by the environment's name: fresh and verified.

    Raises ArchNotLocked, NotLocked, StaleLock, TwoLocks, FetchedAtExec, BaseLacksArch, DamageError, ConfigError
    for a name that cannot be known; or ManyErrors.
    """
    if arch not in project.settings.archs:
        from envlock.lockfile.errors import ArchNotLocked

        names = "`, `".join(each.name for each in environments)
        raise ArchNotLocked(names, arch, project.settings.archs, in_config=False)
    if any(environment.is_fetched for environment in environments):
        from envlock.named.errors import FetchedAtExec

        fetched = [(each.name, each.base.key) for each in environments if each.base is not None and each.is_fetched]
        raise FetchedAtExec([name for name, _ in fetched], tuple(project.locate(key) for _, key in fetched))
    of_steps = [each.name for each in environments if each.is_step]
    named = [each.name for each in environments if not each.is_step]
    selection = Selection(steps=tuple(of_steps), environments=tuple(named), archs=(arch,))
    result, read = check_and_read(project, selection)
    if result.findings:
        raise _refusal(project, result.findings, arch)
    locks = {path: parse(data, project.shown(path)) for path, data in read.items()}
    places = {each.name: locks_of(project, each, arch) for each in environments}
    return {name: locks[path] for name, (path,) in places.items()}


def sound_lock(project: Project, environment: Environment, arch: Arch, path: Path) -> Lock:
    """The lock of an environment at a path, which is as envlock.toml allows. Raises as `fresh_locks`."""
    read: dict[Path, bytes] = {}
    found = [each._replace(environment=environment.name) for each in findings_of(project, arch, path, read)]
    if found:
        raise _refusal(project, found, arch)
    return parse(read[path], project.shown(path))


def _refusal(project: Project, findings: Sequence[Finding], arch: Arch) -> EnvlockError:
    """The error for all findings: those that differ only in their environment make one error."""
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.verdict, finding.reasons, finding.repair, finding.location), []).append(finding)
    return as_one([_error(project, group, arch) for group in groups.values()])


def _error(project: Project, group: Sequence[Finding], arch: Arch) -> EnvlockError:
    """The error for one finding, in one or several environments."""
    from envlock.lockfile.errors import ArchNotLocked, DamagedLock, NotLocked, TwoLocks
    from envlock.named.pin import base_error
    from envlock.workflow.errors import BuildNotAllowed, HostNotAllowed, StaleLock

    first = group[0]
    names = tuple(dict.fromkeys(finding.environment for finding in group))
    named = "`, `".join(names)
    environment = next(each for each in project.environments() if each.name == first.environment)
    paths = locks_of(project, environment, arch)
    unknown = base_error(project, environment) if environment.base is not None else None
    if unknown is not None:
        return unknown
    if first.verdict is Verdict.BASE_LACKS_ARCH:
        from envlock.named.errors import BaseLacksArch

        assert environment.base is not None
        assert environment.base.pin is not None
        return BaseLacksArch(names, environment.base.pin, arch, project.locate(environment.base.key))
    if first.verdict is Verdict.MISSING:
        return NotLocked(named, location=first.location, command=first.repair)
    if first.verdict is Verdict.ARCH_MISSING:
        req_id = environment.requirements.req_id
        others = tuple(each for each in project.settings.archs if candidates(project.lock_folder, each, req_id))
        return ArchNotLocked(named, arch, others, in_config=True)
    if first.verdict in {Verdict.STALE, Verdict.RESTAMP}:
        return StaleLock(names, arch, first.reasons, first.location, first.repair)
    if first.verdict is Verdict.TWO_LOCKS:
        return TwoLocks(named, arch, tuple(project.shown(path) for path in paths))
    if first.verdict is Verdict.HOST_NOT_ALLOWED:
        return HostNotAllowed(names, first.reasons, first.location, first.repair)
    if first.verdict is Verdict.BUILD_NOT_ALLOWED:
        return BuildNotAllowed(names, first.reasons, first.location, first.repair)
    for path in paths:
        try:
            read_lock(path, shown=project.shown(path))
        except EnvlockError as error:  # noqa: PERF203  what is wrong with the file is this error itself
            return error
    at = first.location or Location(project.shown(paths[0]))
    return DamagedLock(at.path, "; ".join(first.reasons), line=at.line)
