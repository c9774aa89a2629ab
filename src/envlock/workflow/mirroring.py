"""Bringing artifacts into a cache: what push and repair have in common."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.errors import CacheHashMismatch, CacheUnusable
from envlock.cache.local import LocalPackages
from envlock.cache.packages import Packages, path_of
from envlock.cache.parallel import WORKERS, in_parallel
from envlock.errors import EnvlockError
from envlock.files import temporary_folder
from envlock.hydrate.collisions import collisions, refuse_reserved
from envlock.hydrate.errors import MisdescribedWheel
from envlock.hydrate.wheels import WHEEL, check_metadata, metadata_in, paths_in
from envlock.model.artifact import Artifact
from envlock.places import home
from envlock.workflow.upstreams import ProjectUpstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.hydrate.collisions import Collision
    from envlock.model.lock import Lock
    from envlock.reporter import Reporter

MOVING = "pushing"


class SeenWheels:
    """What wheels bring into an environment: those that were moved, and those that are on this machine."""

    def __init__(self) -> None:
        self._local = LocalPackages(home())
        self._paths: dict[str, Mapping[str, str]] = {}
        self._metadata: dict[str, str] = {}

    def see(self, artifact: Artifact, file: Path) -> None:
        """Remember what a wheel brings; other files are passed by. Raises ReservedPath for what no prefix takes."""
        if artifact.filename.endswith(WHEEL):
            self._metadata[artifact.sha256] = metadata_in(file)
            paths = self._paths[artifact.sha256] = paths_in(file)
            refuse_reserved(artifact.filename.partition("-")[0], paths)

    def misdescribed(self, lock: Lock) -> MisdescribedWheel | None:
        """The first of a lock's wheels, of those that were moved, that is not what it was locked as."""
        moved = {each.name: self._metadata[each.sha256] for each in lock.pypi_packages if each.sha256 in self._metadata}
        try:
            check_metadata(lock, moved)
        except MisdescribedWheel as error:
            return error
        return None

    def collisions(self, lock: Lock) -> tuple[Collision, ...]:
        """The paths that several wheels of a lock bring, as far as they were seen. Reads those of this machine."""
        brought = {}
        for package in lock.pypi_packages:
            artifact = Artifact(package.filename, package.sha256, package.url, package.size)
            local = None if artifact.sha256 in self._paths else self._local.find(artifact)
            if local is not None:
                self._paths[artifact.sha256] = paths_in(local)
            brought[package.name] = self._paths.get(artifact.sha256, {})
        return collisions(brought)


@contextmanager
def mirror_into(
    store: Store, project: Project, reporter: Reporter, *, seen: SeenWheels | None = None, workers: int = WORKERS
) -> Iterator[Mirror]:
    """A mirror from this machine and from the project's upstream into a store, as long as the context lasts."""
    with (
        ProjectUpstream(project) as upstream,
        temporary_folder("envlock-push-") as stage,  # not below ENVLOCK_HOME, which may be small
    ):
        yield Mirror(store, upstream, stage, reporter, seen or SeenWheels(), workers)


class Mirror:
    """Moves artifacts into a store, several at once."""

    def __init__(
        self,
        store: Store,
        upstream: ProjectUpstream,
        stage: Path,
        reporter: Reporter,
        seen: SeenWheels,
        workers: int = WORKERS,
    ) -> None:
        self._packages = Packages(store)
        self._local = LocalPackages(home())
        self._upstream = upstream
        self._stage = stage
        self._reporter = reporter
        self._seen = seen
        self._workers = workers

    def move(self, artifacts: Sequence[Artifact]) -> tuple[int, dict[str, EnvlockError]]:
        """Bring artifacts in, each verified. The bytes that were moved; and for each place that stays as it was, why.

        Raises CacheUnusable: no other artifact would fare better then.
        """
        moved = 0
        failed: dict[str, EnvlockError] = {}
        if not artifacts:
            return moved, failed
        longest_first = sorted(artifacts, key=lambda artifact: -(artifact.size or 0))
        self._reporter.began(MOVING, sum(artifact.size or 0 for artifact in artifacts), "bytes")
        for artifact, result in in_parallel(self._bring, longest_first, workers=self._workers):
            if isinstance(result, CacheUnusable):
                raise result
            if isinstance(result, EnvlockError):
                failed[path_of(artifact)] = result
            else:
                moved += result
        self._reporter.ended(MOVING)
        return moved, failed

    def _bring(self, artifact: Artifact) -> int:
        """Put one artifact in, from this machine's packages or from upstream. Its bytes."""
        self._reporter.doing(MOVING, artifact.filename)
        local = self._local.find(artifact)
        if local is not None:
            with suppress(CacheHashMismatch):  # damaged since it was verified: upstream has another
                return self._put(artifact, local)
        file = self._stage / artifact.sha256 / artifact.filename
        file.parent.mkdir(exist_ok=True)
        self._upstream.fetch(
            artifact,
            file,
            on_bytes=lambda count: self._reporter.advanced(MOVING, artifact.filename, count),
            on_size=lambda size: self._reporter.grew(MOVING, size),
        )
        try:
            self._seen.see(artifact, file)
            self._packages.put(artifact, file)
            return file.stat().st_size
        finally:
            file.unlink()

    def _put(self, artifact: Artifact, file: Path) -> int:
        self._seen.see(artifact, file)
        size = file.stat().st_size
        if artifact.size is None:
            self._reporter.grew(MOVING, size)
        self._packages.put(
            artifact, file, on_bytes=lambda count: self._reporter.advanced(MOVING, artifact.filename, count)
        )
        return size


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
