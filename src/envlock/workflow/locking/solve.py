"""The locks that `lock` has to make: fetched, taken over, re-stamped, or solved, all at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

from envlock.addresses import mirrors_of
from envlock.config.instants import format_instant, span_of
from envlock.config.project import Project
from envlock.errors import EnvlockError, as_one
from envlock.lockfile.folder import lock_path
from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements
from envlock.model.url import is_local
from envlock.named.bases import Bases
from envlock.places import user
from envlock.reporter import Reporter
from envlock.resolve.errors import IndexUnreachable, merge_archs
from envlock.workflow.check_rules import not_allowed
from envlock.workflow.locking.jobs import Job, Locked, Upgrade, unfit_urls
from envlock.workflow.locking.previous_locks import (
    PreviousLocks,
    built_preferences,
    conda_preferences,
    pypi_preferences,
)
from envlock.workflow.needed_locks import NeededLocks

if TYPE_CHECKING:
    from envlock.resolve.port import FileHashes, Resolver, WheelBuilder

_WORKERS = min(8, max(2, os.cpu_count() or 1))
"""Solves at a time. Each opens up to fifty connections to the index: four at once on two processors were measured to
take twice as long as two at once."""
_CONDA_WORKERS = 8
"""The same where all are of conda packages: they share what is read of the channels, so the archs are read together."""
_PATIENCE = 4.0
"""Seconds without any result, after which a connection to each index is tried, and as long for that."""


class Solver:
    """Makes the locks of the jobs whose lock cannot stay as it is."""

    def __init__(
        self,
        project: Project,
        previous: PreviousLocks,
        bases: Bases,
        upgrade: Upgrade,
        reporter: Reporter,
        *,
        resolver: Resolver | None,
        moment: datetime,
        offline: bool,
    ) -> None:
        """`moment` is when the locks are made; the settings choose a resolver where none is given."""
        self._project = project
        self._folder = project.lock_folder
        self._previous = previous
        self._bases = bases
        self._upgrade = upgrade
        self._reporter = reporter
        self._resolver = resolver
        self._moment = moment
        self._offline = offline
        self._guard = threading.Lock()
        self._file_hashes: FileHashes | None = None
        self._builder: WheelBuilder | None = None

    def run(self, jobs: Sequence[Job]) -> dict[Job, Locked]:
        """The jobs, done. Raises the one error, or ManyErrors with every job that fails."""
        before = {job: self._previous.before(job) for job in jobs}
        done = self._fetch([job for job in jobs if job.pin], before)
        for job in jobs:
            if job not in done and self._upgrade.is_nothing:
                as_it_is = self._previous.settled(job) or self._restamped(job, before[job])
                if as_it_is is not None and self._may_stay(as_it_is.lock, job):
                    done[job] = as_it_is
        self._take([job for job in jobs if job not in done], before, done)
        rest = [job for job in jobs if job not in done]
        raise_all(unfit_urls(self._project, rest))
        solved = self._solve_all([(job, python, "") for job, python in self._pythons(rest)], before)
        self._level(solved, before)
        return {**done, **{job: self._previous.merged(solved[job], job) for job in rest}}

    def _fetch(self, jobs: Sequence[Job], before: Mapping[Job, Lock | None]) -> dict[Job, Locked]:
        """The jobs of named environments: nothing is solved, their locks are here or in the cache."""
        needed = NeededLocks(self._project)
        done: dict[Job, Locked] = {}
        errors: list[EnvlockError] = []
        for job in jobs:
            assert job.pin is not None
            try:
                known = self._previous.verified(job.pin.req_id, job.pin.full_id(job.arch), job.arch)
                lock = known or self._bases.lock(job.pin, job.arch)
            except EnvlockError as error:
                errors.append(self._with_lines(error, job))
                continue
            old = before[job]
            if old is not None and needed.has(lock_path(self._folder, old)):
                old = None
            path = lock_path(self._folder, lock)
            done[job] = Locked(job.names, lock, path, job.arch, "fetched", old, is_named=True)
        raise_all(errors)
        return done

    def _restamped(self, job: Job, before: Lock | None) -> Locked | None:
        """The old lock under the new requirements, if it serves them as it is."""
        if before is None or before.arch != job.arch or not self._previous.is_verified(before):
            return None
        from envlock.lockfile.differences import differences

        if not all(difference.is_satisfied for difference in differences(before, job.requirements)):
            return None
        stamped = replace(before, requirements=job.requirements, asked_by=job.names)
        return Locked(job.names, stamped, lock_path(self._folder, stamped), job.arch, "re-stamped", before)

    def _may_stay(self, lock: Lock | None, job: Job) -> bool:
        """Whether `build` allows what a lock has that was built; what a named environment has, it need not."""
        if lock is None or job.environments[0].base is not None:
            return True
        return not not_allowed(self._project.settings.build, lock.unasked_builds)

    def _take(self, jobs: Sequence[Job], before: dict[Job, Lock | None], done: dict[Job, Locked]) -> None:
        """Take what others have resolved and pushed, where the project wants that; the rest may start from it."""
        if self._project.settings.use_remote_latest == ":none:" or not self._upgrade.is_nothing:
            return
        from envlock.workflow.locking.remote_latest import take

        for job, (lock, note) in take(self._project, jobs, self._instant, self._reporter).items():
            if not self._may_stay(lock, job):
                continue
            path = lock_path(self._folder, lock)
            done[job] = Locked(lock.asked_by, lock, path, lock.arch, "fetched", before[job], (note,))
            self._previous.add(lock)
        before.update({job: self._previous.before(job) for job in jobs if job not in done})

    def _pythons(self, jobs: Sequence[Job]) -> list[tuple[Job, LockedPython | None]]:
        """Each job with its locked Python; None where that is a package, or the base's."""
        if not jobs:
            return []
        from envlock.workflow.locking.python_choice import pythons_of

        choosing = [job for job in jobs if not (job.requirements.has_conda or job.extended)]
        chosen, failed = pythons_of(choosing, self._project, self._upgrade, self._previous.with_pythons())
        raise_all([self._with_lines(error, job) for job, error in failed])
        return [(job, chosen[job.requirements.req_id][job.arch] if job in choosing else None) for job in jobs]

    def _level(self, solved: dict[Job, Locked], before: Mapping[Job, Lock | None]) -> None:
        """Solve those again whose Python is a conda package of a newer series than another arch has.

        A step shall not have one Python on a laptop and another in a pod. Where an arch cannot have the older one, it
        keeps what it has, and a note says so.
        """
        from envlock.workflow.locking.python_choice import ahead_of_others

        found = {job: each.lock for job, each in solved.items() if job.requirements.has_conda and not job.extended}
        ahead = ahead_of_others(found, self._previous.known())
        if not ahead:
            return
        outcomes: Mapping[Job, Locked | EnvlockError] = {}
        with suppress(IndexUnreachable):
            outcomes = self._solve_each([(job, None, series) for job, series in ahead.items()], before)
        for job, series in ahead.items():
            outcome = outcomes.get(job)
            if isinstance(outcome, Locked):
                solved[job] = outcome
            else:
                note = f"CPython {series}, which another arch has, is not available here"
                solved[job] = replace(solved[job], notes=(*solved[job].notes, note))

    def _solve_all(
        self, jobs: Sequence[tuple[Job, LockedPython | None, str]], before: Mapping[Job, Lock | None]
    ) -> dict[Job, Locked]:
        """As `_solve_each`, but raises what fails of them."""
        outcomes = self._solve_each(jobs, before)
        raise_all([outcome for job, _, _ in jobs if isinstance(outcome := outcomes[job], EnvlockError)])
        return {job: outcome for job, outcome in outcomes.items() if isinstance(outcome, Locked)}

    def _solve_each(
        self, jobs: Sequence[tuple[Job, LockedPython | None, str]], before: Mapping[Job, Lock | None]
    ) -> dict[Job, Locked | EnvlockError]:
        """The jobs, solved at once, each for its Python or for a series of it; or why it failed.

        Raises IndexUnreachable.
        """
        ended: dict[Job, Locked | EnvlockError] = {}
        self._reporter.began("locking", len(jobs), "locks")
        if jobs:
            self._the_resolver()  # before there are threads, each of which would make one
        pool = ThreadPoolExecutor(_workers([job for job, _, _ in jobs]))
        try:
            futures = {
                pool.submit(self._solve, job, before[job], python, series, together): job
                for job, python, series, together in self._side_by_side(jobs, before)
            }
            for job, outcome in _outcomes(futures, offline=self._offline):
                ended[job] = self._with_lines(outcome, job) if isinstance(outcome, EnvlockError) else outcome
        except IndexUnreachable as error:  # for one is for all: the others are not waited for
            self._the_resolver().stop()
            raise self._with_lines(error, jobs[0][0]) from None
        except BaseException:  # Ctrl-C, for one: what has begun is ended, what has not never begins
            self._the_resolver().stop()
            if self._builder is not None:
                self._builder.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            self._reporter.ended("locking")
        return ended

    def _side_by_side(
        self, jobs: Sequence[tuple[Job, LockedPython | None, str]], before: Mapping[Job, Lock | None]
    ) -> list[tuple[Job, LockedPython | None, str, tuple[Arch, ...]]]:
        """The jobs, each with the archs for which the same is asked; the first of each such group comes first.

        So several groups are solved at a time, and not several archs that wait for one run.
        """
        groups: dict[object, list[tuple[Job, LockedPython | None, str]]] = {}
        for job, python, series in jobs:
            kept = tuple(sorted(pypi_preferences(before[job], self._upgrade).items()))
            same = (
                None
                if job.requirements.has_conda or job.extended
                else (job.requirements.req_id, python and python.version, kept)
            )
            groups.setdefault(same or job, []).append((job, python, series))
        placed = [
            (place, (*each, tuple(job.arch for job, _, _ in group)))
            for group in groups.values()
            for place, each in enumerate(group)
        ]
        return [each for _, each in sorted(placed, key=lambda item: item[0] > 0)]

    def _solve(
        self, job: Job, before: Lock | None, python: LockedPython | None, series: str, together: tuple[Arch, ...]
    ) -> Locked:
        """One job, solved; without a Python where that is solved for too, maybe of a series. Runs in a thread."""
        from envlock.resolve.port import Request
        from envlock.workflow.locking.python_choice import absent_here

        label = f"{job.names[0]} {job.arch}"
        self._reporter.doing("locking", label)
        instant = self._instant(job.requirements)
        environment = job.environments[0]
        request = Request(
            name=environment.name,
            arch=job.arch,
            requirements=job.requirements,
            python=python.version if python else series,
            base=self._bases.request(job.extended, job.arch) if job.extended else None,
            pins=pypi_preferences(before, self._upgrade),
            conda_pins=conda_preferences(before, job.arch, self._upgrade),
            exclude_newer=instant,
            index_urls=environment.index_urls,
            default_index_url=self._project.asked_default(environment.default_index_url),
            package_index_urls=environment.package_index_urls,
            find_links_urls=environment.find_links_urls,
            link_folders=environment.link_folders(self._project.folder),
            channel_urls=environment.channel_urls,
            channel_mirrors=self._project.settings.channel_mirrors,
            file_hashes=self,
            builder=self._builds(job.requirements),
            may_build=self._project.settings.build,
            built_pins=built_preferences(before, job.requirements, self._upgrade),
            allow_older=self._project.settings.allow_older,
            offline=self._offline,
            together=together,
        )
        resolution = self._the_resolver().resolve(request)
        locked_python = resolution.python or python
        assert locked_python is not None
        new = Lock(
            arch=job.arch,
            requirements=job.requirements,
            python=locked_python,
            packages=resolution.packages,
            exclude_newer=instant,
            asked_by=job.names,
            resolved_by=user(),
            resolved_at=format_instant(self._moment),
        )
        self._reporter.advanced("locking", label)
        notes = (*resolution.notes, *absent_here(new, self._project.settings.archs))
        path = lock_path(self._folder, new)
        same = before is not None and (before.identity, before.arch) == (new.identity, new.arch)
        if before is not None and same and self._previous.is_whole(before):
            return Locked(job.names, before, path, job.arch, "kept", before, notes)
        return Locked(job.names, new, path, job.arch, "locked", self._previous.had(job, before), notes)

    def digests(self, package: LockedPackage, published: Mapping[str, str]) -> tuple[Mapping[str, str], int] | None:
        """As FileHashes has it, with what finds hashes imported when the first one is looked for."""
        with self._guard:
            if self._file_hashes is None:
                from envlock.workflow.artifacts import FetchedHashes

                self._file_hashes = FetchedHashes(self._project, self._reporter, offline=self._offline)
        return self._file_hashes.digests(package, published)

    def _builds(self, requirements: Requirements) -> WheelBuilder | None:
        """What builds wheels, if anything may have to be built."""
        has_places = any(each.url for each in requirements.all_pypi) or any(map(is_local, requirements.find_links))
        if not (self._project.settings.build or has_places or requirements.flagged("no-binary")):
            return None
        with self._guard:
            if self._builder is None:
                from envlock.workflow.builds import Builds

                self._builder = Builds(self._project, self._reporter, offline=self._offline)
            return self._builder

    def _the_resolver(self) -> Resolver:
        if self._resolver is None:
            from envlock.resolve.choose_resolver import resolver_for

            self._resolver = resolver_for(self._project.settings, offline=self._offline)
        return self._resolver

    def _instant(self, requirements: Requirements) -> str:
        """The `exclude-newer` in force: absolute as it is written, or a span before now."""
        span = span_of(self._project.settings.exclude_newer)
        return requirements.exclude_newer if span is None else format_instant(self._moment - span)

    def _with_lines(self, error: EnvlockError, job: Job) -> EnvlockError:
        """The error, with the lines of envlock.toml that cause it."""
        of_python = error.code in {"no-fitting-python", "no-python-build"}
        things = ("python",) if of_python else getattr(error, "packages", ())
        if job.pin is not None:
            things = ("named_env",)
        environment = job.environments[0]
        keys = [key for thing in things for key in environment.all_origins(thing)]
        return error.adding(locations=tuple(dict.fromkeys(self._project.locate(key) for key in keys)))


def raise_all(errors: Sequence[EnvlockError]) -> None:
    """Raise the errors, if there are any; those that differ only in their arch as one."""
    if errors:
        raise as_one(merge_archs(errors))


def _workers(jobs: Sequence[Job]) -> int:
    """How many of the jobs are solved at a time."""
    most = _CONDA_WORKERS if all(job.requirements.type == "conda" for job in jobs) else _WORKERS
    return min(most, len(jobs) or 1)


def _outcomes(futures: Mapping[Future[Locked], Job], *, offline: bool) -> Iterator[tuple[Job, Locked | EnvlockError]]:
    """What becomes of each job, as they end: its result, or why it failed.

    If none ends for a while, each index is tried. Raises IndexUnreachable for all jobs if one does not answer at all.
    """
    jobs = list(futures.values())
    ended, pending = wait(futures, timeout=None if offline else _PATIENCE, return_when=FIRST_COMPLETED)
    if pending and not ended:
        from envlock.resolve.index_check import silent

        quiet = silent(sorted({url for job in jobs for url in job.environments[0].every_index_url}), seconds=_PATIENCE)
        if quiet and not any(future.done() for future in futures):
            raise _unreachable(quiet, jobs)
    for future in chain(ended, as_completed(pending)):
        try:
            yield futures[future], future.result()
        except IndexUnreachable as error:  # noqa: PERF203  each fails for itself; all failures are shown
            if error.nobody_there:
                raise _unreachable(error.packages, jobs, error.details) from None
            yield futures[future], error
        except EnvlockError as error:
            yield futures[future], error


def _unreachable(indexes: Sequence[str], jobs: Sequence[Job], details: tuple[str, ...] = ()) -> IndexUnreachable:
    told = mirrors_of(indexes, (url for job in jobs for url in job.environments[0].every_index_url))
    names = [name for job in jobs for name in job.names]
    return IndexUnreachable.by(names, [job.arch for job in jobs], indexes, (*told, *details))
