"""`push`: the packages of the chosen locks into the cache, then the locks themselves, then what remote steps need."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from envlock.cache.environments import Environments
from envlock.cache.errors import together
from envlock.cache.format import check_format
from envlock.cache.gc_lock import Needs, announced
from envlock.cache.immutable_cache import remembered
from envlock.cache.layout import PARTS, environment_place
from envlock.cache.local import LocalPackages
from envlock.cache.open import open_cache, shown_url
from envlock.cache.packages import BuiltWheels, Packages, path_of
from envlock.cache.parallel import WORKERS, all_in_parallel
from envlock.cache.resolution_records import Resolved
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, ManyErrors, as_one
from envlock.hydration.wheels import WheelContents
from envlock.model.artifact import Artifact, artifacts_of
from envlock.places import home
from envlock.reporter import Reporter
from envlock.workflow.artifacts import distinct, mirror
from envlock.workflow.fresh_locks import fresh_locks
from envlock.workflow.packs import called
from envlock.workflow.push_plans import PlansPush, PlansPushed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.hydration.collisions import Collision
    from envlock.model.lock import Lock

LOOKING = "looking into the cache"


@dataclass(frozen=True)
class PushResult:
    """What `push` did. Environments are counted for each arch."""

    cache: str
    packages: int
    """Distinct files that the chosen locks name."""
    moved: int
    moved_bytes: int
    environments: int
    written: int
    failures: tuple[EnvlockError, ...] = ()
    withheld: tuple[str, ...] = ()
    """Environments that were not written, because a package is missing: `Train/start on linux-64`."""
    collisions: tuple[tuple[str, tuple[Collision, ...]], ...] = ()
    """For each environment that is in the cache now: the paths that several of its wheels contain, of those wheels that
    were moved or are on this machine."""
    damaged: tuple[str, ...] = ()
    """Files that were damaged in the cache: those that could be fetched were replaced."""
    unread: int = 0
    """Packages that were there in their right size, whose bytes were not verified."""
    plans: PlansPushed = field(default_factory=PlansPushed)
    """What was done for remote steps."""
    fetched: int = 0
    """How many environments are looked up when their step starts, and so are never pushed."""

    @property
    def moved_nothing(self) -> bool:
        """Whether all of it was there already."""
        plans = self.plans
        did = (self.moved, self.written, plans.moved, plans.written, plans.packs.made)
        return not (any(did) or self.all_failures)

    @property
    def all_failures(self) -> tuple[EnvlockError, ...]:
        """The failures, and those of plans and of packs if somebody asked for them by name."""
        plans, packs = self.plans, self.plans.packs
        return (
            *self.failures,
            *(plans.errors if plans.is_failure else ()),
            *(packs.errors if packs.is_failure else ()),
        )

    def raise_failures(self) -> None:
        """Raise the failures, if there are any."""
        if self.all_failures:
            raise as_one(self.all_failures)


def push(
    project: Project,
    *,
    selection: Selection | None = None,
    reporter: Reporter | None = None,
    verify: bool = False,
    dry_run: bool = False,
    pack: bool | None = None,
    workers: int = WORKERS,
) -> PushResult:
    """Mirror the packages of the chosen environments' locks, for every chosen arch, and then write the locks.

    Leaves alone what the cache has in its right size; `verify` also verifies its bytes, and replaces what is damaged. A
    package that cannot be fetched does not stop the others: it is in the result's `failures`, and only the environments
    that need it are withheld. Then makes a plan for each lock of a Linux arch (see `push_plans`), with a pack if `pack`
    or envlock.toml says so. After an interruption, the next push goes on from there. `dry_run` writes nothing: the
    result is what would be pushed.

    Before it moves anything, raises StaleError, DamageError or ConfigError for locks that are not fresh and whole.
    Raises NewerCache too, and CacheUnusable if the cache cannot be read or written.
    """
    selection = selection or Selection()
    locks = chosen_locks(project, selection)
    fetched = sum(each.is_fetched for each in selection.choose(project))
    store = open_cache(project)
    check_format(store)
    done = push_locks(
        project, store, locks, reporter=reporter, verify=verify, dry_run=dry_run, pack=pack, workers=workers
    )
    return replace(done, fetched=fetched)


def push_locks(
    project: Project,
    store: Store,
    locks: Sequence[Lock],
    *,
    reporter: Reporter | None = None,
    verify: bool = False,
    dry_run: bool = False,
    pack: bool | None = None,
    workers: int = WORKERS,
) -> PushResult:
    """As `push`, for these locks and a store that is open."""
    return _Push(project, store, reporter or Reporter(), workers, pack).run(locks, verify=verify, dry_run=dry_run)


def chosen_locks(project: Project, selection: Selection) -> tuple[Lock, ...]:
    """The locks of the chosen environments and archs, each once, fresh and verified. Raises all errors at once."""
    environments = tuple(each for each in selection.choose(project) if not each.is_fetched)
    locks: dict[tuple[str, str], Lock] = {}
    errors: list[EnvlockError] = []
    for arch in selection.choose_archs(project) if environments else ():
        try:
            found = fresh_locks(project, environments, arch).values()
        except EnvlockError as error:  # noqa: PERF203  all archs are tried
            errors += error.errors if isinstance(error, ManyErrors) else [error]
        else:
            locks.update(((arch, lock.identity), lock) for lock in found)
    if errors:
        raise as_one(together(errors))
    return tuple(locks.values())


@dataclass
class _Push:
    """One push into a store that is open."""

    project: Project
    store: Store
    reporter: Reporter
    workers: int
    pack: bool | None = None
    contents: WheelContents = field(default_factory=lambda: WheelContents(LocalPackages(home()).find))
    damaged: set[str] = field(default_factory=set)

    def run(self, locks: Sequence[Lock], *, verify: bool, dry_run: bool = False) -> PushResult:
        artifacts = distinct(artifact for lock in locks for artifact in artifacts_of(lock))
        done = PushResult(self.store.url, len(artifacts), moved=0, moved_bytes=0, environments=len(locks), written=0)
        missing = self.missing(artifacts.values(), verify=verify)
        plans = PlansPush(self.project, self.store, self.reporter, self.workers, self.pack)
        plans.choose(locks)
        if plans.is_done(verify=verify) and not missing and not self.lacking(locks):
            if not dry_run:
                self.remember(locks)
            return replace(done, unread=0 if verify else len(artifacts), plans=plans.result())
        if dry_run:
            return replace(
                done,
                moved=len(missing),
                moved_bytes=sum(each.size or 0 for each in missing),
                written=len(self.lacking(locks)),
                plans=plans.would_push(),
                damaged=tuple(sorted(self.damaged)),
                unread=0 if verify else len(artifacts) - len(missing),
            )
        environments = frozenset(environment_place(lock).path for lock in locks)
        parts = frozenset({PARTS}) if plans.needs_parts else frozenset[str]()
        needs = Needs(environments, frozenset(artifacts), frozenset(plans.files), parts)
        with announced(self.store, needs, self.reporter) as announcement:
            # Before the announcement, a gc may have deleted what was there: look again, within it.
            wanted = {path_of(each): each for each in missing}
            looked_at = [artifact for path, artifact in artifacts.items() if path not in wanted]
            moved: set[str] = set()
            while True:
                wanted |= {path_of(each): each for each in self.missing(looked_at)}
                moved_bytes, failed = mirror(
                    list(wanted.values()), self.store, self.project, self.contents, self.reporter, workers=self.workers
                )
                moved |= wanted.keys() - failed.keys()
                done = replace(done, moved=len(moved), moved_bytes=done.moved_bytes + moved_bytes)
                if announcement.stands():
                    break
                announcement.make()
                wanted, looked_at = {}, list(artifacts.values())
            complete = [lock for lock in locks if not any(path_of(each) in failed for each in artifacts_of(lock))]
            wrong = [(lock, error) for lock in complete if (error := self.contents.misdescribed(lock)) is not None]
            complete = [lock for lock in complete if lock not in [each for each, _ in wrong]]
            written = self.write(complete)
            self.name_wheels(complete)
            pushed = plans.push(announcement, complete)
        self.remember(complete)
        return replace(
            done,
            written=written,
            plans=pushed,
            failures=together([*failed.values(), *(error for _, error in wrong)]),
            withheld=tuple(called(lock) for lock in locks if lock not in complete),
            damaged=tuple(sorted(self.damaged)),
            unread=0 if verify else len(artifacts) - len(missing),
            collisions=tuple((called(lock), found) for lock in complete if (found := self.contents.collisions(lock))),
        )

    def remember(self, locks: Iterable[Lock]) -> None:
        """Note on this machine that a bucket has these locks: `list` tells it offline."""
        memory = remembered(self.project.cache_url, self.project.cache_options)
        if memory is not None and self.store.url == shown_url(self.project.cache_url):
            for lock in locks:
                if not memory.has(environment_place(lock).path):
                    memory.note_pushed(environment_place(lock))

    def lacking(self, locks: Sequence[Lock]) -> list[Lock]:
        """The environments that are not in the cache. Raises CacheUnusable."""
        has = Environments(self.store).has
        return [lock for lock, is_there in all_in_parallel(has, locks, workers=self.workers) if not is_there]

    def missing(self, artifacts: Iterable[Artifact], *, verify: bool = False) -> list[Artifact]:
        """What the cache lacks, or with `verify` has damaged. Raises CacheUnusable."""
        wanted = list(artifacts)
        found = []
        self.reporter.began(LOOKING, len(wanted), "packages")
        look = partial(Packages(self.store).look, read=verify)
        for artifact, is_right in all_in_parallel(look, wanted, workers=self.workers):
            if not is_right:
                found.append(artifact)
            if is_right is False:
                self.damaged.add(artifact.filename)
            self.reporter.advanced(LOOKING, artifact.filename)
        self.reporter.ended(LOOKING)
        return found

    def name_wheels(self, locks: Sequence[Lock]) -> None:
        """Name the wheels that were built for one arch alone as those of their sources, for machines of other archs."""
        if any(each.source is not None for lock in locks for each in lock.packages):
            from envlock.workflow.build import name_wheel

            wheels = BuiltWheels(self.store)
            for lock in locks:
                for package in lock.pypi_packages:
                    name_wheel(wheels, package, lock.arch, lock.python.series)

    def write(self, locks: Sequence[Lock]) -> int:
        """Write the locks that the cache lacks, now that it has all of their packages. Returns how many."""
        environments, resolved = Environments(self.store), Resolved(self.store)

        def write(lock: Lock) -> bool:
            if environments.has(lock):
                return False
            environments.write(lock)
            resolved.write(lock)
            return True

        return sum(is_new for _, is_new in all_in_parallel(write, locks, workers=self.workers))
