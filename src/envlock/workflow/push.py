"""`push`: the packages of every lock into the cache, then the locks themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from envlock.cache.environments import Environments
from envlock.cache.errors import together
from envlock.cache.format import check_format
from envlock.cache.gc_lock import Needs, announced
from envlock.cache.layout import environment_place
from envlock.cache.local import LocalPackages
from envlock.cache.open import open_store
from envlock.cache.packages import Packages, path_of
from envlock.cache.parallel import WORKERS, in_parallel
from envlock.cache.resolution_records import Resolved
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, ManyErrors, as_one
from envlock.hydration.wheels import WheelContents
from envlock.model.artifact import Artifact, artifacts_of
from envlock.places import home
from envlock.reporter import Reporter
from envlock.workflow.artifacts import distinct, mirror
from envlock.workflow.fresh_locks import fresh_locks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envlock.cache.port import Store
    from envlock.config.project import Environment, Project
    from envlock.hydration.collisions import Collision
    from envlock.model.arch import Arch
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
    """Environments that were not written, for want of a package: `Train/start on linux-64`."""
    collisions: tuple[tuple[str, tuple[Collision, ...]], ...] = ()
    """For each environment that is in the cache now: the paths that several of its wheels bring, as far as they were
    moved or are on this machine."""
    damaged: tuple[str, ...] = ()
    """Files that were in the cache with other bytes, or with more or fewer: those that could be had were replaced."""
    unread: int = 0
    """Packages that were there in their right size, and whose bytes nobody read."""
    fetched: int = 0
    """How many of the environments are fetched when their step starts, and never pushed."""

    @property
    def moved_nothing(self) -> bool:
        """Whether everything was there already."""
        return not (self.moved or self.written or self.failures)

    def raise_failures(self) -> None:
        """Raise what failed, if anything did: one error as it is, several as ManyErrors."""
        if self.failures:
            raise as_one(self.failures)


def push(
    project: Project,
    *,
    selection: Selection | None = None,
    reporter: Reporter | None = None,
    verify: bool = False,
    workers: int = WORKERS,
) -> PushResult:
    """Mirror the packages of the chosen environments' locks, for every chosen arch, and then the locks.

    What the cache has in its right size is left alone; with `verify` its bytes are read and proved too, and replaced
    where they are wrong. A package that cannot be had does not stop the others: it is among the result's `failures`,
    and only the environments that need it are withheld. Stopped at any moment, it goes on from there the next time.

    Raises StaleError, DamageError or ConfigError for locks that are not fresh and whole, before anything is moved;
    NewerCache; and CacheUnusable when the cache cannot be read or written.
    """
    selection = selection or Selection()
    locks = chosen_locks(project, selection)
    fetched = sum(each.is_fetched for each in selection.choose(project))
    store = open_store(project.cache_url, project.cache_options)
    check_format(store)
    done = push_locks(project, store, locks, reporter=reporter, verify=verify, workers=workers)
    return replace(done, fetched=fetched)


def push_locks(
    project: Project,
    store: Store,
    locks: Sequence[Lock],
    *,
    reporter: Reporter | None = None,
    verify: bool = False,
    workers: int = WORKERS,
) -> PushResult:
    """Mirror the packages of these locks, and then the locks, into a store that is open. As `push` does."""
    return _Pushing(project, store, reporter or Reporter(), workers).run(locks, verify=verify)


def chosen_locks(project: Project, selection: Selection) -> tuple[Lock, ...]:
    """The locks of the chosen environments and archs, each once, proved fresh and whole.

    Raises what is wrong with them, all at once.
    """
    environments = tuple(each for each in selection.choose(project) if not each.is_fetched)
    locks: list[Lock] = []
    errors: list[EnvlockError] = []
    for arch in selection.choose_archs(project) if environments else ():
        found, wrong_here = _locks_for(project, environments, arch)
        locks += found
        errors += wrong_here
    if errors:
        raise as_one(together(errors))
    return tuple(locks)


def _locks_for(
    project: Project, environments: Sequence[Environment], arch: Arch
) -> tuple[Iterable[Lock], Sequence[EnvlockError]]:
    try:
        found = fresh_locks(project, environments, arch).values()
        return {lock.identity: lock for lock in found}.values(), ()
    except ManyErrors as error:
        return (), error.errors
    except EnvlockError as error:
        return (), (error,)


class _Pushing:
    """One push into a store that is open."""

    def __init__(self, project: Project, store: Store, reporter: Reporter, workers: int) -> None:
        self.project = project
        self.store = store
        self.packages = Packages(store)
        self.environments = Environments(store)
        self.resolved = Resolved(store)
        self.reporter = reporter
        self.workers = workers
        self.contents = WheelContents(LocalPackages(home()).find)
        self.damaged: set[str] = set()

    def run(self, locks: Sequence[Lock], *, verify: bool) -> PushResult:
        artifacts = distinct(artifact for lock in locks for artifact in artifacts_of(lock))
        done = PushResult(self.store.url, len(artifacts), moved=0, moved_bytes=0, environments=len(locks), written=0)
        missing = self.missing(artifacts.values(), verify=verify)
        if not missing and self.has_all(locks):
            return replace(done, unread=0 if verify else len(artifacts))
        needs = Needs(frozenset(environment_place(lock).path for lock in locks), frozenset(artifacts))
        with announced(self.store, needs, self.reporter) as announcement:
            # What was there before the announcement, a sweep may have taken away until then.
            wanted = {path_of(each): each for each in missing}
            looked_at = [artifact for path, artifact in artifacts.items() if path not in wanted]
            moved: set[str] = set()
            while True:
                wanted |= {path_of(each): each for each in self.missing(looked_at)}
                moved_bytes, failed = mirror(
                    list(wanted.values()),
                    self.store,
                    self.project,
                    self.contents,
                    self.reporter,
                    workers=self.workers,
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
        return replace(
            done,
            written=written,
            failures=together([*failed.values(), *(error for _, error in wrong)]),
            withheld=tuple(_called(lock) for lock in locks if lock not in complete),
            damaged=tuple(sorted(self.damaged)),
            unread=0 if verify else len(artifacts) - len(missing),
            collisions=tuple((_called(lock), found) for lock in complete if (found := self.contents.collisions(lock))),
        )

    def has_all(self, locks: Sequence[Lock]) -> bool:
        """Whether every environment is in the cache. Raises CacheUnusable."""
        is_there = True
        for _, found in in_parallel(self.environments.has, locks, workers=self.workers):
            if isinstance(found, EnvlockError):
                raise found
            is_there &= found
        return is_there

    def missing(self, artifacts: Iterable[Artifact], *, verify: bool = False) -> list[Artifact]:
        """What the cache lacks, or with `verify` has wrong. Raises CacheUnusable."""
        asked = list(artifacts)
        found = []
        self.reporter.began(LOOKING, len(asked), "packages")
        look = partial(self.packages.look, read=verify)
        for artifact, is_right in in_parallel(look, asked, workers=self.workers):
            if isinstance(is_right, EnvlockError):
                raise is_right
            if not is_right:
                found.append(artifact)
            if is_right is False:
                self.damaged.add(artifact.filename)
            self.reporter.advanced(LOOKING, artifact.filename)
        self.reporter.ended(LOOKING)
        return found

    def write(self, locks: Sequence[Lock]) -> int:
        """Write the locks that the cache lacks, now that it has all of their packages. How many."""
        written = 0
        for _, result in in_parallel(self.write_one, locks, workers=self.workers):
            if isinstance(result, EnvlockError):
                raise result
            written += result
        return written

    def write_one(self, lock: Lock) -> bool:
        if self.environments.has(lock):
            return False
        self.environments.write(lock)
        self.resolved.write(lock)
        return True


def _called(lock: Lock) -> str:
    return f"{', '.join(lock.asked_by) or lock.identity} on {lock.arch}"
