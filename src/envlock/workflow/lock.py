"""`lock`: every environment resolved for every arch, written so that a failure or a kill changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.config.errors import NoSuchSelection
from envlock.config.instants import format_instant, span_of
from envlock.config.project import Environment, Project
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, as_one
from envlock.lockfile.document import summary_of
from envlock.lockfile.folder import lock_path, path_of, write_lock
from envlock.lockfile.merge_conflicts import write_attributes
from envlock.lockfile.summary import Summary
from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirements import Requirements
from envlock.model.url import strip_credentials
from envlock.named.bases import Bases, given_up, lacking_archs
from envlock.named.pin import pin_path, write_pin
from envlock.reporter import Reporter
from envlock.resolve.errors import IndexUnreachable, merge_archs
from envlock.workflow.lock_jobs import Job, jobs_of, not_yet, outcomes, unfit_urls, workers
from envlock.workflow.lock_result import Locked, LockResult, Pinned, Upgrade
from envlock.workflow.needed_locks import NeededLocks, locks_of
from envlock.workflow.pins import conda_pins, pypi_pins, upgradable
from envlock.workflow.previous_locks import PreviousLocks, proof_at, with_left_over
from envlock.workflow.prune import left_over, prune, remove, sweep, unwritable
from envlock.workflow.user import user

if TYPE_CHECKING:
    from envlock.resolve.port import FileHashes, Resolver


def lock(
    project: Project,
    *,
    selection: Selection | None = None,
    upgrade: Upgrade | None = None,
    reporter: Reporter | None = None,
    resolver: Resolver | None = None,
    offline: bool = False,
    start: Sequence[Lock] = (),
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> LockResult:
    """Lock the chosen environments for the chosen archs, and prune what nothing refers to.

    Everything is resolved before anything is written; each file is written whole, new files before old ones go. Where
    nothing changed, no file is touched and no process started. `start` are locks to keep packages of, beside those of
    the project. Raises ManyErrors with every environment that fails, or the one error.
    """
    return _Locking(
        project, selection or Selection(), upgrade or Upgrade(), reporter or Reporter(), resolver, now(), offline, start
    ).run()


class _Locking:
    def __init__(
        self,
        project: Project,
        selection: Selection,
        upgrade: Upgrade,
        reporter: Reporter,
        resolver: Resolver | None,
        moment: datetime,
        offline: bool,
        start: Sequence[Lock],
    ) -> None:
        self.offline = offline
        self.old = PreviousLocks(project, start)
        self.project = project
        self.selection = selection
        self.upgrade = upgrade
        self.reporter = reporter
        self.resolver = resolver
        self.moment = moment
        self.folder = project.lock_folder
        self.bases = Bases(project)
        self.given_up: frozenset[str] = frozenset()
        self._guard = threading.Lock()
        self._file_hashes: FileHashes | None = None

    def run(self) -> LockResult:
        environments = self.selection.choose(self.project)
        archs = self.selection.choose_archs(self.project)
        _raise_all(not_yet(self.project, environments))
        self.check_upgrade(environments)
        for flow in self.selection.doubtful_flows(self.project):
            self.reporter.warned(f"{flow.name} may have steps that are not locked: `envlock check` says why")
        self.project, pinned, errors = self.bases.pin(environments, self.upgrade)
        self.old.project = self.project
        environments = self.selection.choose(self.project)
        _raise_all([*errors, *lacking_archs(self.project, environments, archs)])
        self.given_up = given_up(self.project, pinned)
        jobs = jobs_of([each for each in environments if not each.is_fetched], archs)
        done: dict[int, Locked] = {}
        todo: list[tuple[int, Job]] = []
        for number, job in enumerate(jobs):
            kept = self.kept(job)
            if kept is None:
                todo.append((number, job))
            else:
                done[number] = kept
        if todo:
            done.update(self.resolve(todo))
        results = tuple(done[number] for number in sorted(done))
        for each in results if self.project.settings.hosts else ():
            if each.action != "kept" and each.lock is not None:
                self.refuse_strange(each.environments, summary_of(each.lock))
        self.write(results, pinned)
        replaced, pruned = left_over(self.project, results, everything=self.selection.is_everything)
        results = with_left_over(self.project, results, [*replaced, *pruned])
        prune(self.project, [*replaced, *pruned])
        sweep(self.folder)
        fetched = sum(each.is_fetched for each in environments)
        return LockResult(results, replaced, pruned, pinned, fetched)

    def refuse_strange(self, environments: Sequence[str], proof: Summary) -> None:
        """Raise HostNotAllowed where a lock names a host that envlock.toml does not allow."""
        if self.project.settings.hosts:
            from envlock.workflow.errors import refuse_strange_hosts

            refuse_strange_hosts(self.project, proof, environments)

    def check_upgrade(self, environments: Sequence[Environment]) -> None:
        """Refuse to upgrade what nothing locks or asks for: a misspelt name would pass for a current package."""
        if not self.upgrade.packages:
            return
        names = upgradable(self.old.known(), [each.requirements for each in environments])
        for package in sorted(self.upgrade.packages - names):
            raise NoSuchSelection("package", package, sorted(names))

    def write(self, results: Sequence[Locked], pinned: Sequence[Pinned]) -> None:
        """Write the new locks, then the pins; when one cannot be, or the user ends it, those before are taken back."""
        written: list[Path] = []
        try:
            for each in results:
                if each.action != "kept":
                    assert each.lock is not None
                    if not each.path.exists():
                        written.append(each.path)
                    write_lock(self.folder, each.lock)
            for new in pinned:
                if new.before is None:
                    written.append(pin_path(self.folder, new.pin.kind, new.pin.reference))
                write_pin(self.folder, new.pin)
            if written:
                write_attributes(self.folder)
        except BaseException as error:
            for path in written:
                remove(path)
            if isinstance(error, OSError):
                raise unwritable(self.project, self.folder, error) from None
            raise

    def kept(self, job: Job) -> Locked | None:
        """The job as done, when its lock is there and may stay."""
        paths = locks_of(self.project, job.environments[0], job.arch, self.given_up)
        if len(paths) != 1 or not (self.upgrade.is_nothing or job.pin):
            return None
        (path,) = paths
        proof = proof_at(self.project, path)
        if proof is None or path_of(self.folder, *proof[:3]) != path:
            return None
        self.refuse_strange(job.names, proof)
        return Locked(job.names, None, path, job.arch, "kept", is_named=job.pin is not None)

    def resolve(self, todo: Sequence[tuple[int, Job]]) -> dict[int, Locked]:
        """The jobs that need more than a look, all at once."""
        before = {number: self.old.before(job, self.given_up) for number, job in todo}
        done = self.fetched([(number, job) for number, job in todo if job.pin], before)
        rest: list[tuple[int, Job]] = []
        for number, job in todo:
            if number in done:
                continue
            stamped = self.settled(job) or self.restamped(job, before[number])
            if stamped is None:
                rest.append((number, job))
            else:
                done[number] = stamped
        rest = self.taken(rest, before, done)
        _raise_all(unfit_urls(self.project, [job for _, job in rest]))
        pythons = self.pythons([job for _, job in rest if not (job.requirements.has_conda or job.extended)])
        done.update(self.solved([(number, job, _python_for(job, pythons), "") for number, job in rest], before))
        self.level(rest, before, done)
        done.update((number, self.old.merged(done[number], job, self.given_up)) for number, job in rest)
        return done

    def settled(self, job: Job) -> Locked | None:
        """The job as done, where branches were merged and one of their locks has all that the others have."""
        return self.old.settled(job, self.given_up) if self.upgrade.is_nothing else None

    def level(
        self, solved: Sequence[tuple[int, Job]], before: Mapping[int, Lock | None], done: dict[int, Locked]
    ) -> None:
        """Solve those again whose Python is a conda package of a newer series than another arch has.

        A step shall not have one Python on a laptop and another in a pod. Where an arch cannot have the older one, it
        keeps what it has, and a note says so.
        """
        from envlock.workflow.python_choice import ahead_of_others

        mine = {number: job for number, job in solved if job.requirements.has_conda and not job.extended}
        found = {number: done[number].lock for number in mine}
        for number, series in ahead_of_others(found, self.old.known()).items():
            job = mine[number]
            try:
                done.update(self.solved([(number, job, None, series)], before))
            except EnvlockError:
                note = f"CPython {series}, which another arch has, cannot be had here"
                done[number] = replace(done[number], notes=(*done[number].notes, note))

    def solved(
        self, rest: Sequence[tuple[int, Job, LockedPython | None, str]], before: Mapping[int, Lock | None]
    ) -> dict[int, Locked]:
        """The jobs, solved at once, each for its Python or for a series of it. Raises what fails of them."""
        done: dict[int, Locked] = {}
        self.reporter.began("locking", len(rest), "environments")
        errors: dict[int, EnvlockError] = {}
        if rest:
            self.the_resolver()  # before there are threads, each of which would make one
        pool = ThreadPoolExecutor(workers([job for _, job, _, _ in rest]))
        try:
            futures = {
                pool.submit(self.solve, job, before[number], python, series): (number, job)
                for number, job, python, series in rest
            }
            for number, job, outcome in outcomes(futures, offline=self.offline):
                if isinstance(outcome, EnvlockError):
                    errors[number] = self.with_lines(outcome, job)
                else:
                    done[number] = outcome
        except IndexUnreachable as error:  # for one is for all: the others are not waited for
            self.the_resolver().stop()
            raise self.with_lines(error, rest[0][1]) from None
        except BaseException:  # Ctrl-C, for one: what has begun is ended, what has not never begins
            self.the_resolver().stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            self.reporter.ended("locking")
        _raise_all([errors[number] for number in sorted(errors)])
        return done

    def fetched(self, todo: Sequence[tuple[int, Job]], before: Mapping[int, Lock | None]) -> dict[int, Locked]:
        """The jobs of named environments: nothing is resolved, their locks are in the cache."""
        claims = NeededLocks(self.project)
        done: dict[int, Locked] = {}
        errors: list[EnvlockError] = []
        for number, job in todo:
            assert job.pin is not None
            try:
                known = self.old.proved(job.pin.req_id, job.pin.full_id(job.arch), job.arch)
                lock = known or self.bases.lock(job.pin, job.arch)
            except EnvlockError as error:
                errors.append(self.with_lines(error, job))
            else:
                old = before[number]
                is_others = old is not None and claims.has(lock_path(self.folder, old))
                path = lock_path(self.folder, lock)
                before_it = None if is_others else old
                done[number] = Locked(job.names, lock, path, job.arch, "fetched", before_it, is_named=True)
        _raise_all(errors)
        return done

    def taken(
        self, todo: Sequence[tuple[int, Job]], before: dict[int, Lock | None], done: dict[int, Locked]
    ) -> list[tuple[int, Job]]:
        """The jobs that are left when what others have resolved and pushed is done, where the project wants that."""
        if self.project.settings.use_remote_latest == ":none:" or not self.upgrade.is_nothing:
            return list(todo)
        from envlock.workflow.remote_latest import take

        for number, (lock, note) in take(self.project, todo, self.instant, self.reporter).items():
            path = lock_path(self.folder, lock)
            done[number] = Locked(lock.asked_by, lock, path, lock.arch, "fetched", before[number], (note,))
            self.old.add(lock)
        left = [(number, job) for number, job in todo if number not in done]
        before.update({number: self.old.before(job, self.given_up) for number, job in left})
        return left

    def restamped(self, job: Job, before: Lock | None) -> Locked | None:
        """The old lock under the new requirements, when it serves them as it is."""
        if before is None or before.arch != job.arch or not self.upgrade.is_nothing or not self.old.is_proved(before):
            return None
        from envlock.lockfile.differences import differences

        if not all(difference.is_satisfied for difference in differences(before, job.requirements)):
            return None
        stamped = replace(before, requirements=job.requirements, asked_by=job.names)
        return Locked(job.names, stamped, lock_path(self.folder, stamped), job.arch, "re-stamped", before)

    def pythons(self, jobs: Sequence[Job]) -> Mapping[str, Mapping[Arch, LockedPython]]:
        """The locked Python of each set of requirements, for all archs of the project, not only the chosen ones."""
        if not jobs:
            return {}
        from envlock.workflow.python_choice import pythons_of

        chosen, failed = pythons_of(jobs, self.project, self.upgrade, self.old.with_pythons())
        _raise_all([self.with_lines(error, job) for job, error in failed])
        return chosen

    def solve(self, job: Job, before: Lock | None, python: LockedPython | None, series: str) -> Locked:
        """One job, resolved; without a Python where that is solved for too, maybe of a series. Runs in a thread."""
        from envlock.resolve.port import Request
        from envlock.workflow.python_choice import absent_here

        label = f"{job.names[0]} {job.arch}"
        self.reporter.doing("locking", label)
        instant = self.instant(job.requirements)
        environment = job.environments[0]
        request = Request(
            name=environment.name,
            arch=job.arch,
            requirements=job.requirements,
            python=python.version if python else series,
            base=self.bases.request(job.extended, job.arch) if job.extended else None,
            pins=pypi_pins(before, self.upgrade),
            conda_pins=conda_pins(before, job.arch, self.upgrade),
            exclude_newer=instant,
            index_urls=environment.index_urls,
            default_index_url=environment.default_index_url,
            package_index_urls=environment.package_index_urls,
            channel_urls=environment.channel_urls,
            channel_mirrors=self.project.settings.channel_mirrors,
            file_hashes=self.file_hashes(),
            allow_older=self.project.settings.allow_older,
            offline=self.offline,
        )
        resolution = self.the_resolver().resolve(request)
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
            resolved_at=format_instant(self.moment),
        )
        self.reporter.advanced("locking", label)
        notes = (*resolution.notes, *absent_here(new, self.project.settings.archs))
        path = lock_path(self.folder, new)
        same = before is not None and (before.identity, before.arch) == (new.identity, new.arch)
        if before is not None and same and self.old.is_whole(before):
            return Locked(job.names, before, path, job.arch, "kept", before, notes)
        return Locked(job.names, new, path, job.arch, "locked", before, notes)

    def file_hashes(self) -> FileHashes:
        with self._guard:
            if self._file_hashes is None:
                from envlock.workflow.file_hashes import FetchedHashes

                self._file_hashes = FetchedHashes(self.project, self.reporter, offline=self.offline)
            return self._file_hashes

    def the_resolver(self) -> Resolver:
        if self.resolver is None:
            from envlock.resolve.choose_resolver import resolver_for

            self.resolver = resolver_for(self.project.settings, offline=self.offline)
        return self.resolver

    def instant(self, requirements: Requirements) -> str:
        """The instant in force: absolute as asked, or a span before now."""
        span = span_of(self.project.settings.exclude_newer)
        return requirements.exclude_newer if span is None else format_instant(self.moment - span)

    def with_lines(self, error: EnvlockError, job: Job) -> EnvlockError:
        """The error, with the lines of envlock.toml that cause it."""
        of_python = error.code in {"no-fitting-python", "no-python-build"}
        things = ("python",) if of_python else getattr(error, "packages", ())
        if job.pin is not None:
            things = ("named_env",)
        environment = job.environments[0]
        keys = [key for thing in things for key in environment.all_origins(thing)]
        if environment.default_index_url and strip_credentials(environment.default_index_url) in things:
            keys.append(("envlock", "index-url"))
        return error.adding(locations=tuple(dict.fromkeys(self.project.locate(key) for key in keys)))


def _python_for(job: Job, pythons: Mapping[str, Mapping[Arch, LockedPython]]) -> LockedPython | None:
    return None if job.requirements.has_conda or job.extended else pythons[job.requirements.req_id][job.arch]


def _raise_all(errors: Sequence[EnvlockError]) -> None:
    """Raise what there is, failures that differ only in their arch put together."""
    if errors:
        raise as_one(merge_archs(errors))
