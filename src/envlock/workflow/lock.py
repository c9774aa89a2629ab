"""`lock`: every environment resolved for every arch, written so that a failure or a kill changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.config.errors import NoSuchSelection
from envlock.config.project import Environment, LineOfFile, Project
from envlock.config.selection import Selection
from envlock.files import refuse_unwritable
from envlock.lockfile.document import summary_of
from envlock.lockfile.folder import path_of, refuse_leading_out, write_lock
from envlock.lockfile.merge_conflicts import write_attributes
from envlock.model.lock import Lock
from envlock.named.bases import Bases, given_up, lacking_archs
from envlock.named.pin import pin_path, write_pin
from envlock.reporter import Reporter
from envlock.workflow.check_rules import not_allowed, refuse_strange_hosts
from envlock.workflow.locking.jobs import Job, Locked, LockResult, Pinned, Upgrade, jobs_of
from envlock.workflow.locking.previous_locks import PreviousLocks, upgradable
from envlock.workflow.locking.prune import left_over, prune, remove, sweep, unwritable
from envlock.workflow.locking.solve import Solver, raise_all
from envlock.workflow.machine.known_projects import know
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from envlock.resolve.port import Resolver


def lock(
    project: Project,
    *,
    selection: Selection | None = None,
    upgrade: Upgrade | None = None,
    reporter: Reporter | None = None,
    resolver: Resolver | None = None,
    offline: bool = False,
    dry_run: bool = False,
    start: Sequence[Lock] = (),
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> LockResult:
    """Lock the chosen environments for the chosen archs, and prune.

    Everything is resolved before anything is written; each file is written whole, new files before old ones go. Where
    nothing changed, no file is touched and no process started. This machine knows the project from then on. `start` are
    locks to keep packages of, beside those of the project. `dry_run` writes and deletes nothing, and the result is what
    would have been done. Raises ManyErrors with every environment that fails, or the one error.
    """
    selection, upgrade, reporter = selection or Selection(), upgrade or Upgrade(), reporter or Reporter()
    environments, archs = selection.choose(project), selection.choose_archs(project)
    previous = PreviousLocks(project, start)
    _refuse_unknown_packages(project, upgrade, previous, environments)
    for flow in selection.doubtful_flows(project):
        reporter.warned(f"{flow.name} may have steps that are not locked: `envlock check` says why")
    bases = Bases(project)
    project, pinned, errors = bases.pin(environments, upgrade)
    environments = selection.choose(project)
    raise_all([*errors, *lacking_archs(project, environments, archs)])
    previous.repin(project, given_up(project, pinned))

    fetched = [environment for environment in environments if environment.is_fetched]
    jobs = jobs_of([environment for environment in environments if not environment.is_fetched], archs)
    done = {job: kept for job in jobs if (kept := _kept(project, job, upgrade, previous)) is not None}
    if len(done) < len(jobs):
        _say_notes([job for job in jobs if job not in done], reporter)
        solver = Solver(project, previous, bases, upgrade, reporter, resolver=resolver, moment=now(), offline=offline)
        done.update(solver.run([job for job in jobs if job not in done]))
    results = [done[job] for job in jobs]
    for each in results:
        if each.action != "kept" and each.lock is not None and project.settings.hosts:
            refuse_strange_hosts(project, summary_of(each.lock), each.environments)
    if dry_run:
        _refuse_unwritable(project, results)
    else:
        _write(project, results, pinned)
    replaced, pruned = left_over(project, results, everything=selection.is_everything)
    noted = previous.with_left_over(results, [*replaced, *pruned])
    if not dry_run:
        prune(project, [*replaced, *pruned])
        sweep(project.lock_folder)
        know(project)
    return LockResult(noted, replaced, pruned, pinned, len(fetched))


def _say_notes(jobs: Sequence[Job], reporter: Reporter) -> None:
    """Say what the requirement files of new locks have that is without effect, or means what it does not say."""
    notes = (note for job in jobs for environment in job.environments for note in environment.notes)
    for said in dict.fromkeys(f"{key.file}:{key.line}: {text}" for text, key in notes if isinstance(key, LineOfFile)):
        reporter.noted(said)


def _refuse_unknown_packages(
    project: Project, upgrade: Upgrade, previous: PreviousLocks, environments: Sequence[Environment]
) -> None:
    """Refuse to upgrade what is neither locked nor required: a misspelt name would pass for a current package."""
    if upgrade.packages:
        names = upgradable(previous.known(), [each.requirements for each in environments])
        for package in sorted(upgrade.packages - names):
            raise NoSuchSelection("package", package, sorted(names), project.path.name)


def _kept(project: Project, job: Job, upgrade: Upgrade, previous: PreviousLocks) -> Locked | None:
    """The job as done, if its lock is there and may stay."""
    paths = locks_of(project, job.environments[0], job.arch, previous.given_up)
    if len(paths) != 1 or not (upgrade.is_nothing or job.pin):
        return None
    (path,) = paths
    summary = previous.summary_at(path)
    if summary is None or path_of(project.lock_folder, *summary[:3]) != path:
        return None
    if job.environments[0].base is None and not_allowed(project.settings.build, summary.built):
        return None
    refuse_strange_hosts(project, summary, job.names)
    return Locked(job.names, None, path, job.arch, "kept", is_named=job.pin is not None)


def _refuse_unwritable(project: Project, results: Sequence[Locked]) -> None:
    """Raise what writing the new locks would raise, as far as it can be known. Writes nothing."""
    try:
        for each in results:
            if each.action != "kept":
                refuse_leading_out(each.path.parent, project.folder)
                refuse_unwritable(each.path)
    except OSError as error:
        raise unwritable(project, project.lock_folder, error) from None


def _write(project: Project, results: Sequence[Locked], pinned: Sequence[Pinned]) -> None:
    """Write the new locks, then the pins; if one cannot be written, or the user ends it, take back those before."""
    folder = project.lock_folder
    written: list[Path] = []
    try:
        for each in results:
            if each.action != "kept":
                assert each.lock is not None
                if not each.path.exists():
                    written.append(each.path)
                write_lock(folder, each.lock, within=project.folder)
        for new in pinned:
            if new.before is None:
                written.append(pin_path(folder, new.pin.kind, new.pin.reference))
            write_pin(folder, new.pin, within=project.folder)
        if written:
            write_attributes(folder, within=project.folder)
    except BaseException as error:
        for path in written:
            remove(path)
        if isinstance(error, OSError):
            raise unwritable(project, folder, error) from None
        raise
