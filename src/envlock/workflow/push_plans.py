"""The plans of a push: the files of kits into the cache, then the plans that name them.

By then, the packages and the locks are there. So where a kit cannot be got, everything that is for workstations is in
the cache all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from envlock.cache.errors import together
from envlock.cache.layout import kit_at
from envlock.cache.parallel import WORKERS, all_in_parallel
from envlock.cache.plan import Plan
from envlock.cache.plans import Plans, find_plan
from envlock.errors import EnvlockError
from envlock.model.artifact import Artifact
from envlock.remote.kit import REMOTE_ARCHS, Kit, Kits, NoKit, NoKitPython, has_plans, insists, place_of, plan_of
from envlock.words import listed
from envlock.workflow.artifacts import FetchedHashes, mirror

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envlock.cache.gc_lock import Announcement
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.lock import Lock
    from envlock.reporter import Reporter

CHOOSING = "choosing kits"


@dataclass(frozen=True)
class PlansPushed:
    """What a push did for remote steps. Plans are counted for each arch."""

    plans: int = 0
    """Locks of Linux archs, if plans are made at all."""
    written: int = 0
    kits: int = 0
    """Distinct files of all kits."""
    moved: int = 0
    moved_bytes: int = 0
    without: tuple[str, ...] = ()
    """Environments that no plan could be made for: `Train/start on linux-64`."""
    errors: tuple[EnvlockError, ...] = ()
    """Why."""
    is_failure: bool = False
    """Whether the errors are failures of the push, not warnings."""
    warnings: tuple[EnvlockError, ...] = ()
    """Why plans need the image's own Python."""
    damaged: tuple[str, ...] = ()
    """Files of kits that were damaged in the cache, and were replaced."""


@dataclass
class PlansPush:
    """The part of one push that is for remote steps."""

    project: Project
    store: Store
    reporter: Reporter
    workers: int = WORKERS
    locks: list[Lock] = field(default_factory=list)
    kits: dict[str, Kit] = field(default_factory=dict)
    """By the arch and the identity of a lock."""
    errors: list[EnvlockError] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)
    """The files of kits that the cache lacks or has damaged, by path."""
    damaged: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    """Of files of the cache, by path."""
    chooser: Kits = field(init=False)

    def choose(self, locks: Sequence[Lock]) -> None:
        """Choose the kits of these locks. What fails is an error of the result."""
        self.chooser = Kits(self.project, FetchedHashes(self.project, self.reporter))
        if not has_plans(self.project):
            return
        self.locks = [lock for lock in locks if lock.arch in REMOTE_ARCHS]
        self.reporter.began(CHOOSING, len(self.locks), "locks")
        for lock in self.locks:
            try:
                self.kits[_key(lock)] = self.chooser.of(lock)
            except NoKit as error:
                self.errors.append(error)
            self.reporter.advanced(CHOOSING, called(lock))
        self.reporter.ended(CHOOSING)

    @property
    def parts(self) -> dict[str, Artifact | bytes]:
        """The files of all kits by their path in the cache: what is downloaded, and the kernels themselves."""
        found: dict[str, Artifact | bytes] = {}
        for kit in self.kits.values():
            found.update((place_of(artifact), artifact) for artifact in kit.artifacts)
            if kit.kernel is not None:
                found[kit.kernel.file.path] = kit.kernel.data
        return found

    def is_done(self, *, verify: bool) -> bool:
        """Whether the cache has all kits and plans. Costs a request for each. Raises CacheUnusable."""
        self.look(self.parts, verify=verify)
        plans = [(lock, self.plan(lock)) for lock in self.locks if _key(lock) in self.kits]
        if self.wrong or not all(plan for _, plan in plans):
            return False
        return all(there for _, there in all_in_parallel(self.has, plans, workers=self.workers))

    def would_push(self) -> PlansPushed:
        """What `push` would do if nothing failed. Call it after `is_done`. Raises CacheUnusable."""
        plans = [(lock, self.plan(lock)) for lock in self.locks if _key(lock) in self.kits]
        written = sum(not there for _, there in all_in_parallel(self.has, plans, workers=self.workers))
        parts = [part for path, part in self.parts.items() if path in self.wrong]
        sizes = (len(part) if isinstance(part, bytes) else part.size or 0 for part in parts)
        return replace(self.result(), written=written, moved=len(parts), moved_bytes=sum(sizes))

    def push(self, announcement: Announcement, locks: Sequence[Lock]) -> PlansPushed:
        """Move what is missing of the kits of these locks, whose packages are there, and write their plans.

        Call it after `is_done`, where the announcement keeps gc from taking any part. Raises CacheUnusable.
        """
        moved, moved_bytes, failed = self.move(announcement)
        served = [lock for lock in self.locks if lock in locks and self.is_served(lock, failed)]
        plans = [(lock, self.plan(lock)) for lock in served]
        written = 0
        for (_, plan), is_there in all_in_parallel(self.has, plans, workers=self.workers):
            if plan is not None and not is_there:
                Plans(self.store).write(plan)
                written += 1
        done = self.result([lock for lock, plan in plans if plan is not None])
        return replace(done, written=written, moved=moved, moved_bytes=moved_bytes)

    def result(self, ready: Sequence[Lock] | None = None) -> PlansPushed:
        """What there is to say if the locks in `ready` have their plans; without it, all that have a kit."""
        if ready is None:
            ready = [lock for lock in self.locks if _key(lock) in self.kits]
        lacking = [error for lock in ready if (error := self.kits[_key(lock)].lacking) and not self.has_better(lock)]
        return PlansPushed(
            plans=len(self.locks),
            kits=len(self.parts),
            without=tuple(called(lock) for lock in self.locks if lock not in ready),
            errors=together(self.errors),
            is_failure=insists(self.project),
            warnings=tuple(_of_one_cause(lacking)),
            damaged=tuple(sorted(self.damaged)),
        )

    def move(self, announcement: Announcement) -> tuple[int, int, dict[str, EnvlockError]]:
        """Bring all files of kits into the cache. Returns how many moved, their bytes, and why others did not."""
        moved: set[str] = set()
        moved_bytes = 0
        while True:
            self.look({path: part for path, part in self.parts.items() if path not in self.wrong})
            wrong = {path: part for path, part in self.parts.items() if path in self.wrong}
            artifacts = [part for part in wrong.values() if isinstance(part, Artifact)]
            size, failed = mirror(
                artifacts, self.store, self.project, None, self.reporter, workers=self.workers, place=place_of
            )
            for path, part in wrong.items():
                if isinstance(part, bytes):
                    self.store.put(path, part)
                    size += len(part)
            moved |= wrong.keys() - failed.keys()
            moved_bytes += size
            if announcement.stands():
                return len(moved), moved_bytes, failed
            announcement.make()
            self.wrong = set()

    def look(self, parts: Mapping[str, Artifact | bytes], *, verify: bool = False) -> None:
        """Note which of these parts the cache lacks, or has damaged: by size, or with `verify` by their bytes."""

        def is_right(each: tuple[str, Artifact | bytes]) -> bool | None:
            path, part = each
            entry = self.store.entry(path)
            if entry is None:
                return None
            self.sizes[path] = entry.size
            size = part.size if isinstance(part, Artifact) else len(part)
            return size in {None, entry.size} and (not verify or self.store.sha256(path) == (kit_at(path) or ("",))[0])

        for (path, _), there in all_in_parallel(is_right, parts.items(), workers=self.workers):
            if not there:
                self.wrong.add(path)
                self.sizes.pop(path, None)
            if there is False:
                self.damaged.add(path.rpartition("/")[2])

    def is_served(self, lock: Lock, failed: Mapping[str, EnvlockError]) -> bool:
        """Whether the kit of a lock is in the cache, or enough of it. Its errors are noted."""
        kit = self.kits.get(_key(lock))
        if kit is None:
            return False
        lost = [artifact for artifact in kit.artifacts if place_of(artifact) in failed]
        if not lost:
            return True
        self.chooser.forget()
        errors = [_not_moved(lock.arch, artifact, failed[place_of(artifact)]) for artifact in lost]
        if kit.python is not None and lost == [kit.python.artifact]:
            try:
                self.kits[_key(lock)] = self.chooser.without_python(kit, lock, errors[0])
            except NoKit:
                pass
            else:
                return True
        self.errors += errors
        return False

    def plan(self, lock: Lock) -> Plan | None:
        """The plan of a lock that has a kit; None if the cache lacks a file of it whose size only the cache knows."""
        try:
            return plan_of(lock, self.kits[_key(lock)], self.size_of)
        except FileNotFoundError:
            return None

    def size_of(self, path: str) -> int:
        """The size of a file of the cache, asked for once. Raises FileNotFoundError."""
        if path not in self.sizes:
            entry = self.store.entry(path)
            if entry is None:
                raise FileNotFoundError(path)
            self.sizes[path] = entry.size
        return self.sizes[path]

    def has(self, planned: tuple[Lock, Plan | None]) -> bool:
        """Whether the cache has the plan of a lock, or a better one."""
        lock, plan = planned
        if plan is not None and Plans(self.store).has(plan):
            return True
        return self.kits[_key(lock)].lacking is not None and self.has_better(lock)

    def has_better(self, lock: Lock) -> bool:
        """Whether the cache has a plan of a lock with a Python build, which this push could not get."""
        try:
            return find_plan(self.store, lock, with_python=True) is not None
        except EnvlockError:
            return False


def _of_one_cause(errors: Sequence[NoKitPython]) -> Iterator[NoKitPython]:
    """The errors, merged where they have one cause: a host that does not answer has no build of any series."""
    groups: dict[str, list[NoKitPython]] = {}
    for error in errors:
        _, what, why, _ = error.facts
        groups.setdefault(why.render() if why else what, []).append(error)
    for group in groups.values():
        archs = sorted({each.facts[0] for each in group})
        series = sorted({each.series for each in group}, key=lambda each: int(each.partition(".")[2]))
        _, what, why, advice = group[0].facts
        what = "no build of CPython can be got" if why and len(series) > 1 else what
        yield NoKitPython(listed(archs), what, why, advice, series=listed(series, "or"))


def _not_moved(arch: str, artifact: Artifact, error: EnvlockError) -> NoKit:
    return NoKit(arch, f"{artifact.filename} cannot be downloaded", error, "run `envlock push` again")


def _key(lock: Lock) -> str:
    return f"{lock.arch}/{lock.identity}"


def called(lock: Lock) -> str:
    """A lock as messages name it: `Train/start on linux-64`."""
    return f"{', '.join(lock.asked_by) or lock.identity} on {lock.arch}"
