"""Where hydrating takes its artifacts from: this machine, else the cache, else upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cache.errors import CacheUnusable, NotInCache, together
from envlock.cache.local import LocalPackages
from envlock.cache.open import open_store
from envlock.cache.packages import Packages
from envlock.cache.parallel import WORKERS, in_parallel
from envlock.errors import EnvlockError, ManyErrors
from envlock.places import home
from envlock.workflow.upstreams import ProjectUpstream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.artifact import Artifact
    from envlock.reporter import Reporter

FETCHING = "fetching"


class CacheThenUpstream:
    """Implements hydrate's ArtifactSource for a project. Any number of threads and processes may fetch at once.

    An artifact is verified when it enters this machine's packages, and only then has a path there: the same each time.
    """

    def __init__(self, project: Project, reporter: Reporter, offline: bool = False, *, workers: int = WORKERS) -> None:
        """`offline` asks the cache only. Opens nothing yet."""
        self._project = project
        self._reporter = reporter
        self._offline = offline
        self._workers = workers
        self._local = LocalPackages(home())

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        """A local file for each artifact, by SHA-256. What this machine has costs one look at each.

        Raises CacheHashMismatch, UpstreamHashMismatch, UpstreamError, or offline NotInCache; ManyErrors when several
        fail. Nothing is placed that is not verified. OSErrors are those of the local disk.
        """
        found: dict[str, Path] = {}
        missing: list[Artifact] = []
        for artifact in artifacts:
            path = self._local.find(artifact)
            if path is None:
                missing.append(artifact)
            else:
                found[artifact.sha256] = path
        if missing:
            found |= self._bring(list({artifact.sha256: artifact for artifact in missing}.values()))
        return found

    def _bring(self, artifacts: Sequence[Artifact]) -> dict[str, Path]:
        brought: dict[str, Path] = {}
        errors: list[EnvlockError] = []
        absent: list[str] = []
        store = open_store(self._project.cache_url, self._project.cache_options)
        self._reporter.began(FETCHING, sum(artifact.size or 0 for artifact in artifacts), "bytes")
        with ProjectUpstream(self._project) as upstream:
            bringing = _Bringing(self._reporter, store, None if self._offline else upstream, self._local)
            for artifact, result in in_parallel(bringing.place, artifacts, workers=self._workers):
                if isinstance(result, NotInCache):
                    absent.append(artifact.filename)
                elif isinstance(result, EnvlockError):
                    errors.append(result)
                else:
                    brought[artifact.sha256] = result
        self._reporter.ended(FETCHING)
        if absent:
            errors.append(NotInCache(store.url, absent))
        wrong = together(errors)
        if wrong:
            raise wrong[0] if len(wrong) == 1 else ManyErrors(wrong)
        return brought


class _Bringing:
    """Brings one artifact after another to this machine."""

    def __init__(
        self, reporter: Reporter, store: Store, upstream: ProjectUpstream | None, local: LocalPackages
    ) -> None:
        self.reporter = reporter
        self.store = store
        self.packages = Packages(store)
        self.upstream = upstream
        self.local = local
        self.is_warned = False

    def place(self, artifact: Artifact) -> Path:
        self.reporter.doing(FETCHING, artifact.filename)
        return self.local.place(artifact, lambda stage: self.fill(artifact, stage))

    def fill(self, artifact: Artifact, stage: Path) -> None:
        """Make `stage` the artifact's file. Called by one thread and process at a time for each artifact."""
        if self.from_cache(artifact, stage):
            if artifact.size is None:
                size = stage.stat().st_size
                self.reporter.grew(FETCHING, size)
                self.reporter.advanced(FETCHING, artifact.filename, size)
            return
        if self.upstream is None:
            raise NotInCache(self.store.url, (artifact.filename,))
        self.upstream.fetch(
            artifact,
            stage,
            on_bytes=lambda count: self.reporter.advanced(FETCHING, artifact.filename, count),
            on_size=lambda size: self.reporter.grew(FETCHING, size),
        )

    def from_cache(self, artifact: Artifact, stage: Path) -> bool:
        """Whether the cache gave the artifact. One that cannot be reached is passed by, where upstream can serve."""
        moved = 0

        def tell(count: int) -> None:
            nonlocal moved
            if artifact.size is not None:
                moved += count
                self.reporter.advanced(FETCHING, artifact.filename, count)

        try:
            return self.packages.fetch(artifact, stage, on_bytes=tell)
        except CacheUnusable as error:
            tell(-moved)
            if self.upstream is None:
                raise
            if not self.is_warned:
                self.is_warned = True
                self.reporter.warned(f"{error.message}; packages come from upstream instead")
            return False
