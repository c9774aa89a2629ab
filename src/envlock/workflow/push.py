"""`push`: the packages of every lock into the cache, then the locks themselves."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.environments import Environments
from envlock.cache.errors import CacheUnusable, together
from envlock.cache.local import LocalPackages
from envlock.cache.opening import open_store
from envlock.cache.packages import Packages, path_of
from envlock.cache.parallel import WORKERS, in_parallel
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, ManyErrors
from envlock.files import sha256_of
from envlock.model.artifact import Artifact, artifacts_of
from envlock.places import home
from envlock.reporter import Reporter
from envlock.workflow.launch import fresh_locks
from envlock.workflow.upstreams import from_mirror, open_upstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envlock.cache.download import Upstream
    from envlock.cache.port import Store
    from envlock.config.project import Environment, Project
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock

LOOKING = "looking into the cache"
MOVING = "pushing"


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

    @property
    def moved_nothing(self) -> bool:
        """Whether everything was there already."""
        return not (self.moved or self.written or self.failures)

    def raise_failures(self) -> None:
        """Raise what failed, if anything did: one error as it is, several as ManyErrors."""
        if len(self.failures) == 1:
            raise self.failures[0]
        if self.failures:
            raise ManyErrors(self.failures)


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
    where they are wrong. A package that cannot be had does not stop the others: it is among the result's `failures`, and
    only the environments that need it are withheld. Stopped at any moment, it goes on from there the next time.

    Raises StaleError, DamageError or ConfigError for locks that are not fresh and whole, before anything is moved, and
    CacheUnusable when the cache cannot be read or written.
    """
    locks = chosen_locks(project, selection or Selection())
    store = open_store(project.cache_url)
    with (
        open_upstream(project) as upstream,
        tempfile.TemporaryDirectory(prefix="envlock-push-", ignore_cleanup_errors=True) as stage,
    ):
        pushing = _Pushing(project, store, upstream, Path(stage), reporter or Reporter(), workers)
        return pushing.run(locks, verify=verify)


def chosen_locks(project: Project, selection: Selection) -> tuple[Lock, ...]:
    """The locks of the chosen environments and archs, each once, proved fresh and whole.

    Raises what is wrong with them, all at once.
    """
    environments = selection.choose(project)
    locks: list[Lock] = []
    errors: list[EnvlockError] = []
    for arch in selection.choose_archs(project) if environments else ():
        found, wrong_here = _locks_for(project, environments, arch)
        locks += found
        errors += wrong_here
    wrong = together(errors)
    if wrong:
        raise wrong[0] if len(wrong) == 1 else ManyErrors(wrong)
    return tuple(locks)


def _locks_for(
    project: Project, environments: Sequence[Environment], arch: Arch
) -> tuple[Iterable[Lock], Sequence[EnvlockError]]:
    try:
        return fresh_locks(project, environments, arch).values(), ()
    except ManyErrors as error:
        return (), error.errors
    except EnvlockError as error:
        return (), (error,)


def distinct(artifacts: Iterable[Artifact]) -> dict[str, Artifact]:
    """The artifacts by their place in a cache, each once; the one of a known size where locks differ in that.

    Raises UnsafePath.
    """
    found: dict[str, Artifact] = {}
    for artifact in artifacts:
        path = path_of(artifact)
        if path not in found or found[path].size is None:
            found[path] = artifact
    return found


class _Pushing:
    """One push: what it moves through, and what it has counted."""

    def __init__(
        self, project: Project, store: Store, upstream: Upstream, stage: Path, reporter: Reporter, workers: int
    ) -> None:
        self.mirror = project.settings.python_mirror
        self.store = store
        self.packages = Packages(store)
        self.environments = Environments(store)
        self.local = LocalPackages(home())
        self.upstream = upstream
        self.stage = stage
        self.reporter = reporter
        self.workers = workers

    def run(self, locks: Sequence[Lock], *, verify: bool) -> PushResult:
        artifacts = distinct(artifact for lock in locks for artifact in artifacts_of(lock))
        missing = self.missing(artifacts.values(), verify=verify)
        moved, failed = self.move(missing)
        complete = [lock for lock in locks if not any(path_of(each) in failed for each in artifacts_of(lock))]
        return PushResult(
            cache=self.store.url,
            packages=len(artifacts),
            moved=len(missing) - len(failed),
            moved_bytes=moved,
            environments=len(locks),
            written=self.write(complete),
            failures=together(failed.values()),
            withheld=tuple(_called(lock) for lock in locks if lock not in complete),
        )

    def missing(self, artifacts: Iterable[Artifact], *, verify: bool) -> list[Artifact]:
        """What the cache lacks, or with `verify` has wrong. Raises CacheUnusable."""
        asked = list(artifacts)
        found = []
        self.reporter.began(LOOKING, len(asked), "packages")
        looked = in_parallel(self.packages.is_whole if verify else self.packages.has, asked, workers=self.workers)
        for artifact, is_there in looked:
            if isinstance(is_there, EnvlockError):
                raise is_there
            if not is_there:
                found.append(artifact)
            self.reporter.advanced(LOOKING, artifact.filename)
        self.reporter.ended(LOOKING)
        return sorted(found, key=lambda artifact: -(artifact.size or 0))  # the longest first: no long one is left alone

    def move(self, artifacts: Sequence[Artifact]) -> tuple[int, dict[str, EnvlockError]]:
        """Bring artifacts into the cache. The bytes that were moved, and for each place that stays empty, why."""
        if not artifacts:
            return 0, {}
        moved = 0
        failed: dict[str, EnvlockError] = {}
        self.reporter.began(MOVING, sum(artifact.size or 0 for artifact in artifacts), "bytes")
        for artifact, result in in_parallel(self.bring, artifacts, workers=self.workers):
            if isinstance(result, CacheUnusable):
                raise result  # no other package would fare better
            if isinstance(result, EnvlockError):
                failed[path_of(artifact)] = result
            else:
                moved += result
        self.reporter.ended(MOVING)
        return moved, failed

    def bring(self, artifact: Artifact) -> int:
        """Put one artifact into the cache, from this machine's packages or from upstream. Its bytes."""
        self.reporter.doing(MOVING, artifact.filename)
        local = self.local.find(artifact)
        if local is not None and sha256_of(local) == artifact.sha256:
            self.packages.put(artifact, local)
            size = local.stat().st_size
            if artifact.size is None:
                self.reporter.grew(MOVING, size)
            self.reporter.advanced(MOVING, artifact.filename, size)
            return size
        stage = self.stage / artifact.sha256 / artifact.filename
        stage.parent.mkdir()
        self.upstream.fetch(
            from_mirror(artifact, self.mirror),
            stage,
            on_bytes=lambda count: self.reporter.advanced(MOVING, artifact.filename, count),
            on_size=lambda size: self.reporter.grew(MOVING, size),
        )
        self.packages.put(artifact, stage)
        size = stage.stat().st_size
        stage.unlink()
        return size

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
        return True


def _called(lock: Lock) -> str:
    return f"{', '.join(lock.asked_by) or lock.identity} on {lock.arch}"
