"""`build`: the wheels of this machine's arch that a project builds: made again, compared, and put into the cache."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from envlock.cache.format import check_format
from envlock.cache.gc_lock import Needs, announced
from envlock.cache.open import open_cache
from envlock.cache.packages import BuiltFor, BuiltWheels, Packages, path_of
from envlock.config.selection import Selection
from envlock.model.arch import host_arch
from envlock.model.artifact import Artifact
from envlock.named.bases import Bases
from envlock.reporter import Reporter
from envlock.resolve.port import Request
from envlock.workflow.builds import Builds
from envlock.workflow.check_rules import not_allowed
from envlock.workflow.errors import BuildNotAllowed, NotThisArch
from envlock.workflow.fresh_locks import sound_lock
from envlock.workflow.locking.jobs import Upgrade, jobs_of
from envlock.workflow.locking.previous_locks import PreviousLocks
from envlock.workflow.locking.solve import Solver
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from envlock.config.project import Environment, Project
    from envlock.model.lock import Lock, LockedPackage
    from envlock.resolve.port import BuiltWheel
    from envlock.workflow.locking.jobs import Job

SAME = "same"
DIFFERENT = "different"
BUILT = "built"


@dataclass(frozen=True)
class BuiltPackage:
    """A package that was built."""

    name: str
    version: str
    source: str
    """What it was built from, in words."""
    outcome: str
    """`same` as what is locked, `different` from it, or `built`, where nothing is locked."""
    filename: str
    sha256: str
    locked: str = ""
    """The SHA-256 in the lock."""


@dataclass(frozen=True)
class BuildResult:
    """What `build` made."""

    arch: str
    packages: tuple[BuiltPackage, ...]
    cache: str = ""
    """Where the wheels were put; empty if they were not."""

    @property
    def different(self) -> tuple[BuiltPackage, ...]:
        """Those that are not what is locked."""
        return tuple(each for each in self.packages if each.outcome == DIFFERENT)


def build_wheels(
    project: Project,
    *,
    selection: Selection | None = None,
    reporter: Reporter | None = None,
    push: bool = False,
    offline: bool = False,
) -> BuildResult:
    """Build what the chosen environments build, for the arch of this machine, and compare it with their locks.

    Where an environment has a lock for this arch, each of its wheels that was built is built again, from the same
    source; what is the same bytes is among this machine's packages then. Elsewhere it is built as `lock` would, and
    nothing is written to the lock folder. What a named environment has was built where it was locked.

    With `push`, the wheels go to the cache, where `lock` finds them on machines of other archs; those that differ from
    a lock do not. Nothing of a lock is run that `check` refuses. Raises what `lock` raises, NotThisArch,
    BuildNotAllowed, HostNotAllowed and DamageError.
    """
    selection, reporter = selection or Selection(), reporter or Reporter()
    arch = host_arch()
    for each in selection.archs:
        if each != arch:
            raise NotThisArch(each, arch)
    chosen = [each for each in selection.choose(project) if not each.is_fetched]
    environments = [each for each in chosen if each.base is None or each.base.extends]
    previous = PreviousLocks(project)
    made: dict[tuple[str, str], tuple[BuiltPackage, LockedPackage, str]] = {}
    for job in jobs_of(environments, [arch]):
        paths = locks_of(project, job.environments[0], arch)
        if len(paths) == 1:
            lock = sound_lock(project, job.environments[0], arch, paths[0])
            found = _again(project, job, lock, reporter, offline=offline)
        else:
            found, lock = _anew(project, job, previous, reporter, offline=offline)
        for one, package in found:
            made.setdefault((one.name, one.sha256), (one, package, lock.python.series))
    packages = tuple(one for one, _, _ in made.values())
    if not push or not made:
        return BuildResult(arch, packages)
    good = [(package, series) for one, package, series in made.values() if one.outcome != DIFFERENT]
    return BuildResult(arch, packages, _put(project, arch, good, reporter))


def _built_in(lock: Lock) -> list[LockedPackage]:
    return [each for each in lock.pypi_packages if each.source is not None and each.source.kind != "wheel"]


def _again(
    project: Project, job: Job, lock: Lock, reporter: Reporter, *, offline: bool
) -> list[tuple[BuiltPackage, LockedPackage]]:
    environment = job.environments[0]
    request = Request(
        name=environment.name,
        arch=job.arch,
        requirements=lock.requirements,
        python=lock.python.version,
        built_pins=lock.pypi_packages,
        exclude_newer=lock.exclude_newer,
        index_urls=environment.index_urls,
        default_index_url=project.asked_default(environment.default_index_url),
        find_links_urls=environment.find_links_urls,
    )
    builds = Builds(project, reporter, offline=offline)
    of_base = set() if environment.base is None else set(lock.packages) - _own(environment, lock)
    packages = [each for each in _built_in(lock) if each not in of_base]
    own = {each.name for each in packages}
    refused = not_allowed(project.settings.build, [name for name in lock.unasked_builds if name in own])
    if refused:  # of what extends a base, which no rule of `check` holds to it
        reasons = [f"{name} was built from source, which `build` does not allow" for name in refused]
        raise BuildNotAllowed(job.names, reasons, None, "envlock lock")
    return [(_compared(package, builds.again(package, request)), package) for package in packages]


def _own(environment: Environment, lock: Lock) -> set[LockedPackage]:
    """The packages of what extends a base that it asks for itself."""
    asked = {root.name for root in environment.base.own.pypi} if environment.base is not None else set()
    return {each for each in lock.pypi_packages if each.name in asked}


def _compared(package: LockedPackage, wheel: BuiltWheel) -> BuiltPackage:
    outcome = SAME if wheel.sha256 == package.sha256 else DIFFERENT
    said = wheel.source.said
    return BuiltPackage(package.name, wheel.version, said, outcome, wheel.filename, wheel.sha256, package.sha256)


def _anew(
    project: Project, job: Job, previous: PreviousLocks, reporter: Reporter, *, offline: bool
) -> tuple[list[tuple[BuiltPackage, LockedPackage]], Lock]:
    moment = datetime.now(timezone.utc)
    solver = Solver(
        project, previous, Bases(project), Upgrade(), reporter, resolver=None, moment=moment, offline=offline
    )
    lock = solver.run([job])[job].lock
    assert lock is not None, "nothing was locked before"
    return [
        (
            BuiltPackage(each.name, each.version, each.source.said, BUILT, each.filename, each.sha256),
            each,
        )
        for each in _built_in(lock)
        if each.source is not None
    ], lock


def _put(project: Project, arch: str, packages: list[tuple[LockedPackage, str]], reporter: Reporter) -> str:
    """Put wheels into the cache, and name each as that of its source."""
    from envlock.workflow.artifacts import mirror

    store = open_cache(project)
    check_format(store)
    artifacts = [Artifact(each.filename, each.sha256, "", each.size) for each, _ in packages]
    with announced(store, Needs(frozenset(), frozenset(map(path_of, artifacts)), frozenset()), reporter):
        lacking = [each for each in artifacts if not Packages(store).has(each)]
        _, failed = mirror(lacking, store, project, None, reporter)
        for error in failed.values():
            raise error
        for package, series in packages:
            name_wheel(BuiltWheels(store), package, arch, series)
    return store.url


def name_wheel(wheels: BuiltWheels, package: LockedPackage, arch: str, series: str) -> None:
    """Name a wheel that is in the cache as that of its source, if it is for one arch alone."""
    source = package.source
    if source is None or source.kind == "wheel" or package.filename.endswith("-any.whl"):
        return
    made = BuiltFor(package.filename, package.version, package.sha256, package.size or 0, source.requires)
    if wheels.find(source.key, arch, series) != made:
        wheels.put(source.key, arch, series, made)
