"""Artifacts on their way: from the cache or upstream to this machine, and from either into the cache.

Hydrating fetches from a `CacheThenUpstream`; `push` and `cache verify --repair` fill a cache with `mirror`; locking
hashes files that an index publishes without a SHA-256 with `FetchedHashes`.
"""

from __future__ import annotations

import json
import threading
from contextlib import nullcontext, suppress
from dataclasses import replace

from envlock.cache.errors import CacheHashMismatch, CacheUnusable, NotInCache, together
from envlock.cache.local import LocalPackages
from envlock.cache.packages import Packages, path_of
from envlock.cache.parallel import WORKERS, in_parallel
from envlock.cache.port import tell_nobody
from envlock.errors import DamageError, EnvlockError, as_one
from envlock.files import MEMO_BYTES, json_of, read_file, sha256_of, write_atomically
from envlock.model.artifact import Artifact
from envlock.model.identity import sha256
from envlock.places import folder_in_home, home
from envlock.stage import temporary_folder
from envlock.trust import Closed
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from envlock.cache.download import Upstream
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.hydration.wheels import WheelContents
    from envlock.model.lock import LockedPackage
    from envlock.reporter import Reporter

FETCHING = "fetching"
MOVING = "pushing"
_HASHING = "fetching files without a SHA-256"


def artifact_source(project: Project, reporter: Reporter, *, offline: bool = False) -> CacheThenUpstream:
    """Where a project's artifacts come from; `offline` uses its cache alone. Opens nothing yet.

    What is here already needs neither of the two: they are imported once something is not.
    """

    def cache() -> Store:
        from envlock.cache.open import open_cache

        return open_cache(project)

    return CacheThenUpstream(
        cache,
        None if offline else lambda: _upstream_of(project),
        ProjectPackages(project),
        reporter,
    )


class ProjectPackages(LocalPackages):
    """This machine's packages, and the wheels of a project's own folders, which are copied there when one is needed."""

    def __init__(self, project: Project) -> None:
        super().__init__(home())
        self._project = project

    def find(self, artifact: Artifact) -> Path | None:
        """The artifact's file, if it is there, or is a wheel of the project. Raises UnsafePath; OSError."""
        found = super().find(artifact)
        if found is not None or artifact.url:
            return found
        url = f"file+sha256:{artifact.sha256}/{artifact.filename}"
        own = (path for each in self._project.environments() for known, path in each.local if known == url)
        path = next(own, None)
        if path is None:
            return None
        with suppress(DamageError):  # it changed a moment ago
            return LocalPackages(home()).place(
                artifact, lambda stage: _copy(self._project.folder / path, artifact, stage)
            )
        return None


def _copy(file: Path, artifact: Artifact, stage: Path) -> None:
    import shutil

    shutil.copyfile(file, stage)
    if sha256_of(stage) != artifact.sha256:
        raise DamageError(f"{file} changed while it was read")


def _upstream_of(project: Project) -> Upstream:
    from envlock.workflow.upstream import upstream_of

    return upstream_of(project)


class CacheThenUpstream(NamedTuple):
    """Implements hydration's ArtifactSource. Any number of threads and processes may fetch at once.

    An artifact is verified on its way to this machine's packages, and has a path only after that: the same each time.
    """

    open_cache: Callable[[], Store]
    open_upstream: Callable[[], Upstream] | None
    """None to use the cache alone."""
    local: LocalPackages
    reporter: Reporter

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        """A local file for each artifact, by SHA-256. One that is on this machine costs a `stat`.

        Raises CacheHashMismatch, UpstreamHashMismatch, UpstreamError; NotInCache if there is no upstream; ManyErrors if
        several fail. OSErrors are those of the local disk.
        """
        found: dict[str, Path] = {}
        missing: dict[str, Artifact] = {}
        for artifact in artifacts:
            path = self.local.find(artifact)
            if path is None:
                missing[artifact.sha256] = artifact
            else:
                found[artifact.sha256] = path
        return found | self._bring(list(missing.values())) if missing else found

    def _bring(self, artifacts: Sequence[Artifact]) -> dict[str, Path]:
        placed: dict[str, Path] = {}
        errors: list[EnvlockError] = []
        absent: list[str] = []
        store = self.open_cache()
        self.reporter.began(FETCHING, sum(artifact.size or 0 for artifact in artifacts), "bytes")
        with self.open_upstream() if self.open_upstream else nullcontext() as upstream:
            fetching = _Fetching(store, upstream, self.local, self.reporter)
            for artifact, result in in_parallel(fetching.place, artifacts):
                if isinstance(result, NotInCache):
                    absent.append(artifact.filename)
                elif isinstance(result, EnvlockError):
                    errors.append(result)
                else:
                    placed[artifact.sha256] = result
        self.reporter.ended(FETCHING)
        if absent:
            errors.append(NotInCache(store.url, absent))
        if errors:
            raise as_one(together(errors))
        return placed


class _Fetching:
    """Places one artifact after another on this machine."""

    def __init__(self, store: Store, upstream: Upstream | None, local: LocalPackages, reporter: Reporter) -> None:
        self.store = store
        self.upstream = upstream
        self.local = local
        self.reporter = reporter
        self.is_warned = False

    def place(self, artifact: Artifact) -> Path:
        self.reporter.doing(FETCHING, artifact.filename)
        return self.local.place(artifact, lambda stage: self.fill(artifact, stage))

    def fill(self, artifact: Artifact, stage: Path) -> None:
        """Make `stage` the artifact's file. Called by one thread and process at a time for each artifact."""
        progress = _FileProgress(self.reporter, FETCHING, artifact)
        if self.is_from_cache(artifact, stage, progress):
            return
        if self.upstream is None:
            raise NotInCache(self.store.url, (artifact.filename,))
        self.upstream.fetch(artifact, stage, on_bytes=progress.moved, on_size=progress.has_size)

    def is_from_cache(self, artifact: Artifact, stage: Path, progress: _FileProgress) -> bool:
        """Whether the cache had the artifact. A cache that cannot be reached is skipped if upstream can serve."""
        try:
            return Packages(self.store).fetch(artifact, stage, on_bytes=progress.moved)
        except CacheUnusable as error:
            progress.take_back()
            if self.upstream is None:
                raise
            if not self.is_warned:
                self.is_warned = True
                self.reporter.warned(f"{error.message}; packages come from upstream instead")
            return False


class _FileProgress:
    """Tells a reporter how much of one file has moved, also if nobody knows how large it is."""

    def __init__(self, reporter: Reporter, phase: str, artifact: Artifact) -> None:
        self._reporter = reporter
        self._phase = phase
        self._filename = artifact.filename
        self._is_sized = artifact.size is not None
        self._moved = 0

    def has_size(self, size: int) -> None:
        """The size of a file whose lock does not tell it."""
        self._is_sized = True
        self._reporter.grew(self._phase, size)

    def moved(self, count: int) -> None:
        if not self._is_sized:
            self._reporter.grew(self._phase, count)
        self._moved += count
        self._reporter.advanced(self._phase, self._filename, count)

    def take_back(self) -> None:
        """What moved came to nothing."""
        self.moved(-self._moved)


def mirror(
    artifacts: Sequence[Artifact],
    store: Store,
    project: Project,
    contents: WheelContents | None,
    reporter: Reporter,
    *,
    workers: int = WORKERS,
    place: Callable[[Artifact], str] = path_of,
) -> tuple[int, dict[str, EnvlockError]]:
    """Copy artifacts into a store, from this machine's packages or from upstream: each verified, several at once.

    Returns how many bytes were copied; and for each place in the store that stays as it was, why. `contents` reads
    every wheel that is copied; `place` gives each its path. Raises CacheUnusable: no other would fare better then.
    """
    copied = 0
    failed: dict[str, EnvlockError] = {}
    if not artifacts:
        return copied, failed
    largest_first = sorted(artifacts, key=lambda artifact: -(artifact.size or 0))
    reporter.began(MOVING, sum(artifact.size or 0 for artifact in artifacts), "bytes")
    with (
        _upstream_of(project) as upstream,
        temporary_folder("envlock-push-") as stage,  # not below ENVLOCK_HOME, which may be small
    ):
        mirroring = _Mirroring(store, ProjectPackages(project), upstream, stage, contents, reporter, place)
        for artifact, result in in_parallel(mirroring.copy, largest_first, workers=workers):
            if isinstance(result, CacheUnusable):
                raise result
            if isinstance(result, EnvlockError):
                failed[place(artifact)] = result
            else:
                copied += result
    reporter.ended(MOVING)
    return copied, failed


class _Mirroring(NamedTuple):
    """Copies one artifact after another into a store."""

    store: Store
    local: LocalPackages
    upstream: Upstream
    stage: Path
    contents: WheelContents | None
    reporter: Reporter
    place: Callable[[Artifact], str]

    def copy(self, artifact: Artifact) -> int:
        """The artifact's size in bytes, once it is in the store."""
        self.reporter.doing(MOVING, artifact.filename)
        progress = _FileProgress(self.reporter, MOVING, artifact)
        local = self.local.find(artifact)
        if local is not None:
            with suppress(CacheHashMismatch):  # damaged since it was verified: upstream has another
                return self.put(artifact, local, progress.moved)
        file = self.stage / artifact.sha256 / artifact.filename
        file.parent.mkdir(exist_ok=True)
        self.upstream.fetch(artifact, file, on_bytes=progress.moved, on_size=progress.has_size)
        try:
            return self.put(artifact, file, tell_nobody)
        finally:
            file.unlink()

    def put(self, artifact: Artifact, file: Path, on_bytes: Callable[[int], None]) -> int:
        """Put a file into the store. Returns its size."""
        if self.contents is not None:
            self.contents.read(artifact, file)
        Packages(self.store, self.place).put(artifact, file, on_bytes=on_bytes)
        return file.stat().st_size


class FetchedHashes:
    """Implements resolve's FileHashes for files whose index publishes other digests than SHA-256.

    Fetches and hashes a file once, and keeps it among this machine's packages, from where `push` copies it.
    """

    def __init__(self, project: Project, reporter: Reporter, *, offline: bool = False) -> None:
        """`offline` fetches nothing: it knows only the files that were fetched before."""
        self._project = project
        self._offline = offline
        self._reporter = reporter
        self._guard = threading.Lock()
        self._each: dict[Path, threading.Lock] = {}
        self._running = 0

    def digests(self, package: LockedPackage, published: Mapping[str, str]) -> tuple[Mapping[str, str], int] | None:
        """As FileHashes has it. Raises what `Upstream.hash` raises, and OSError of the local disk."""
        memo = _memo_of(package.url, published)
        with self._guard:
            each = self._each.setdefault(memo, threading.Lock())
        with each:  # several archs and environments may need the same file at once
            known = _remembered(memo)
            if known is not None:
                return {**published, "sha256": known[0]}, known[1]
            if self._offline:
                return None
            found, size = self._fetch(package, published)
            if all(found[name] == digest for name, digest in published.items()):
                folder_in_home("hashed")
                with Closed():
                    write_atomically(memo, json.dumps({"sha256": found["sha256"], "size": size}).encode())
            return found, size

    def _fetch(self, package: LockedPackage, published: Mapping[str, str]) -> tuple[Mapping[str, str], int]:
        channel = package.conda.channel if package.conda is not None else ""
        is_source = not package.filename.endswith(".whl") and not channel
        artifact = Artifact(package.filename, "", package.url, package.size, channel, is_source, package.index)
        self._began(package)
        packages = folder_in_home("packages")
        try:
            with temporary_folder(".hashed-", packages) as folder, _upstream_of(self._project) as upstream:
                file = folder / "file"
                progress = _FileProgress(self._reporter, _HASHING, artifact)
                found = upstream.hash(artifact, file, published, on_bytes=progress.moved, on_size=progress.has_size)
                size = file.stat().st_size
                artifact = replace(artifact, sha256=found["sha256"], size=size)

                def move(stage: Path) -> None:
                    file.rename(stage)

                LocalPackages(home()).place(artifact, move)
        finally:
            self._ended()
        return found, size

    def _began(self, package: LockedPackage) -> None:
        with self._guard:
            self._running += 1
            if self._running == 1:
                self._reporter.began(_HASHING, 0, "bytes")
        self._reporter.grew(_HASHING, package.size or 0)
        self._reporter.doing(_HASHING, package.filename)

    def _ended(self) -> None:
        with self._guard:
            self._running -= 1
            if not self._running:
                self._reporter.ended(_HASHING)


def _memo_of(url: str, published: Mapping[str, str]) -> Path:
    """The memo of a file's SHA-256. Its name has the published digests, as the index may change the file."""
    key = json.dumps([url, sorted(published.items())]).encode()
    return home() / "hashed" / f"{sha256(key)}.json"


def _remembered(memo: Path) -> tuple[str, int] | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json_of(read_file(memo, MEMO_BYTES))
        sha256, size = found["sha256"], found["size"]
        if isinstance(sha256, str) and len(bytes.fromhex(sha256)) == 32 and isinstance(size, int):
            return sha256, size
    return None


def distinct(artifacts: Iterable[Artifact]) -> dict[str, Artifact]:
    """The artifacts by their place in a cache, each once; the one of a known size if locks differ in that.

    Raises UnsafePath.
    """
    found: dict[str, Artifact] = {}
    for artifact in artifacts:
        path = path_of(artifact)
        if path not in found or found[path].size is None:
            found[path] = artifact
    return found
