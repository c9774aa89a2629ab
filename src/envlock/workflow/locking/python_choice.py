"""From the Python that is required (a range) to the one that is locked, the same for every arch."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from envlock.config.project import Project
from envlock.errors import ConfigError, EnvlockError
from envlock.interpreters import VARIABLE as PYTHONS_VARIABLE
from envlock.interpreters import NoInterpreter, find_interpreter, machine_series, only_chosen
from envlock.model.arch import Arch, UnsupportedHost, host_arch
from envlock.model.lock import Lock, LockedPython
from envlock.model.python_range import OLDEST, python_allows, releases_of
from envlock.model.requirements import Requirements
from envlock.model.url import is_mirror
from envlock.resolve.errors import NoFittingPython
from envlock.workflow.locking.jobs import Job, Upgrade
from envlock.workflow.locking.previous_locks import predecessor
from envlock.workflow.needed_locks import NeededLocks

_WHOLE_SERIES = re.compile(r"==(\d+\.\d+)\.\*\Z")


def choose_python(
    environments: tuple[str, ...],
    requirements: Requirements,
    archs: Sequence[Arch],
    *,
    keep: Iterable[Lock] = (),
    mirror: str = "",
) -> Mapping[Arch, LockedPython]:
    """The locked Python for each arch.

    An older lock's is kept while it fits. Else, from `machine`: the series that runs envlock if no Python is required,
    or the highest that this machine has in the range, or the highest that uv can download. From `uv`: the newest
    build that exists for all archs. Raises NoFittingPython; for `uv`, what `exact_builds` raises.
    """
    required = requirements.python
    if requirements.python_from == "uv":
        kept = _kept_builds(requirements, archs, keep)
        if kept is not None:
            return kept
        from envlock.resolve.python_builds import exact_builds

        return exact_builds(required, archs, mirror=mirror)
    series = next(iter(_candidates(requirements, keep)), None)
    if series is None:
        from envlock.resolve.python_builds import NoPythonBuild, newest_series

        try:
            series = newest_series(required)
        except NoPythonBuild:
            raise NoFittingPython(environments, required, here=machine_series()) from None
    if _numbers(series) < OLDEST:
        raise NoFittingPython(environments, required, oldest="{}.{}".format(*OLDEST))
    oldest = oldest_release(series, required)
    if oldest is None:
        raise NoFittingPython(environments, required, here=machine_series())
    return dict.fromkeys(archs, LockedPython(source="machine", version=oldest))


def pythons_of(
    jobs: Iterable[Job], project: Project, upgrade: Upgrade, known: Sequence[Lock]
) -> tuple[Mapping[str, Mapping[Arch, LockedPython]], list[tuple[Job, EnvlockError]]]:
    """By req_id, the locked Python for each arch of a project; and the jobs without one, with why."""
    chosen: dict[str, Mapping[Arch, LockedPython]] = {}
    failed: list[tuple[Job, EnvlockError]] = []
    for job in jobs:
        req_id, archs = job.requirements.req_id, project.settings.archs
        if req_id in chosen:
            continue
        keep = _to_keep(job, project, upgrade, known)
        try:
            mirror = project.python_mirror if job.requirements.python_from == "uv" else ""
            chosen[req_id] = choose_python(job.names, job.requirements, archs, keep=keep, mirror=mirror)
        except EnvlockError as error:
            mirror = project.settings.python_mirror
            failed.append((job, error.saying(*(_hidden(each, mirror) for each in error.details))))
            chosen[req_id] = {}
    return chosen, failed


def _hidden(text: str, mirror: str) -> str:
    """The text without what variables of the mirror's URL hold."""
    from envlock.addresses import address, hide

    try:
        return hide(text, [address(mirror, fits=is_mirror)])
    except ConfigError:  # the mirror was not used
        return text


def _to_keep(job: Job, project: Project, upgrade: Upgrade, known: Sequence[Lock]) -> tuple[Lock, ...]:
    """The older locks whose Python stays, if the requirements allow it."""
    exact = job.requirements.python_from == "uv"
    if "python" in upgrade.packages or (exact and upgrade.everything):
        return ()
    same = tuple(lock for lock in known if lock.req_id == job.requirements.req_id)
    if same:
        return same
    needed = NeededLocks(project).req_ids
    older = (predecessor(job.environments[0], arch, known, needed) for arch in project.settings.archs)
    return tuple(lock for lock in older if lock is not None)


def absent_here(lock: Lock, archs: Iterable[Arch]) -> tuple[str, ...]:
    """A note where no CPython of this machine serves a lock for its own arch: better known early."""
    required, python = lock.requirements.python, lock.python
    try:
        is_for_here = python.source == "machine" and host_arch() in archs
    except UnsupportedHost:
        is_for_here = False
    if not is_for_here:
        return ()
    is_here = python.series in machine_series()
    if is_here and releases_of(f"{python.series}.0", required) != releases_of(f"{python.series}.0", ""):
        with suppress(NoInterpreter):  # a file's name tells the series; which release it is, only the file itself
            find_interpreter(python.series, lambda version: version in releases_of(python.version, required))
            return ()
    elif is_here:
        return ()
    fails = f"`run` fails here unless ${PYTHONS_VARIABLE} names one"
    then = fails if only_chosen() else "`run` has uv download one"
    return (f"no CPython {python.series} that fits is on this machine: {then}",)


def ahead_of_others(found: Mapping[Job, Lock | None], known: Iterable[Lock]) -> dict[Job, str]:
    """Of these new locks, those whose Python is a conda package of a newer series than another arch has, and which.

    `found` has None for a lock that stayed as it was; `known` are those of before, which other archs may have.
    """
    series: dict[str, dict[Arch, str]] = {}
    for lock in (*known, *filter(None, found.values())):
        if lock.python.source == "conda":
            series.setdefault(lock.req_id, {})[lock.arch] = lock.python.series
    lowest = {req_id: min(by_arch.values(), key=_numbers) for req_id, by_arch in series.items()}
    return {
        job: lowest[lock.req_id]
        for job, lock in found.items()
        if lock is not None and lock.python.series != lowest.get(lock.req_id, lock.python.series)
    }


def oldest_release(series: str, required: str) -> str | None:
    """The oldest release of a series that a specifier allows: what holds for it, holds for the ones after.

    >>> oldest_release("3.12", ">=3.12.4,<3.13"), oldest_release("3.12", ""), oldest_release("3.12", "<3.11")
    ('3.12.4', '3.12.0', None)
    """
    return next(iter(releases_of(f"{series}.0", required)), None)


def _candidates(requirements: Requirements, keep: Iterable[Lock]) -> Iterable[str]:
    required = requirements.python
    whole = _WHOLE_SERIES.match(required)
    if whole is not None:
        return (whole[1],)  # the machine need not be looked at
    before = [lock.python.series for lock in keep if lock.python.source == "machine"]
    running = ["{}.{}".format(*sys.version_info[:2])] if not required else []
    highest_first = sorted(machine_series(), key=_numbers, reverse=True)
    return (series for series in (*before, *running, *highest_first) if oldest_release(series, required) is not None)


def _numbers(series: str) -> tuple[int, ...]:
    return tuple(int(part) for part in series.split("."))


def _kept_builds(
    requirements: Requirements, archs: Sequence[Arch], keep: Iterable[Lock]
) -> Mapping[Arch, LockedPython] | None:
    by_arch = {lock.arch: lock.python for lock in keep if lock.python.source == "uv"}
    pythons = [by_arch[arch] for arch in archs if arch in by_arch]
    same = len({python.version for python in pythons}) == 1
    if len(pythons) == len(archs) and same and python_allows(requirements.python, pythons[0].version):
        return {arch: by_arch[arch] for arch in archs}
    return None
