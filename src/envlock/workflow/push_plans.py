"""The plans of a push: the files of kits into the cache, then the plans that name them.

By then, the packages and the locks are there. So where a kit cannot be got, everything that is for workstations is in
the cache all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from envlock.cache.errors import together
from envlock.cache.layout import kit_at
from envlock.cache.open import BUCKETS
from envlock.cache.parallel import WORKERS, all_in_parallel
from envlock.cache.plan import Plan
from envlock.cache.plans import Plans, find_plan
from envlock.errors import EnvlockError
from envlock.model.artifact import Artifact
from envlock.remote.kit import REMOTE_ARCHS, Kit, Kits, NoKit, NoKitPython, place_of, plan_of
from envlock.words import listed
from envlock.workflow.artifacts import FetchedHashes, mirror
from envlock.workflow.packs import called, key_of
from envlock.workflow.push_packs import PacksPush, PacksPushed

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
    """Files of kits, and parts, that were damaged in the cache, and were replaced."""
    packs: PacksPushed = field(default_factory=PacksPushed)


@dataclass
class PlansPush:
    """The part of one push that is for remote steps."""

    project: Project
    store: Store
    reporter: Reporter
    workers: int = WORKERS
    pack: bool | None = None
    """Whether to pack; None to do as envlock.toml says."""
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
    packs: PacksPush = field(init=False)

    @property
    def is_asked(self) -> bool:
        """Whether the command line asks for packs, and so for plans too."""
        return self.pack is True and self.project.settings.remote

    def choose(self, locks: Sequence[Lock]) -> None:
        """Choose the kits of these locks. What fails is an error of the result."""
        self.chooser = Kits(self.project, FetchedHashes(self.project, self.reporter))
        self.packs = PacksPush(self.project, self.store, self.reporter, self.chooser, self.pack)
        if not (has_plans(self.project) or self.is_asked):
            return
        self.locks = [lock for lock in locks if lock.arch in REMOTE_ARCHS]
        self.reporter.began(CHOOSING, len(self.locks), "locks")
        for lock in self.locks:
            try:
                self.kits[key_of(lock)] = self.chooser.of(lock)
            except NoKit as error:
                self.errors.append(error)
            self.reporter.advanced(CHOOSING, called(lock))
        self.reporter.ended(CHOOSING)

    @property
    def files(self) -> dict[str, Artifact | bytes]:
        """The files of all kits by their path in the cache: what is downloaded, and the kernels themselves."""
        found: dict[str, Artifact | bytes] = {}
        for kit in self.kits.values():
            found.update((place_of(artifact), artifact) for artifact in kit.artifacts)
            if kit.kernel is not None:
                found[kit.kernel.file.path] = kit.kernel.data
        return found | {place_of(wheel): wheel for wheel in self.packs.wheels.values()}

    @property
    def needs_parts(self) -> bool:
        """Whether it makes packs, or names some that are there."""
        return bool(self.packs.to_make or self.packs.packs)

    def is_done(self, *, verify: bool) -> bool:
        """Whether the cache has all kits, packs and plans. Costs a request for each. Raises CacheUnusable."""
        self.look(self.files, verify=verify)
        self.packs.verify = verify
        locks = [lock for lock in self.locks if key_of(lock) in self.kits]
        kept = [(lock, self.plan(lock)) for lock in locks if self.packs.wants(lock) is None]
        done = {key_of(lock) for (lock, _), there in all_in_parallel(self.has, kept, workers=self.workers) if there}
        others = [lock for lock in locks if key_of(lock) not in done]
        for lock in others:
            self.packs.find(lock)
        self.look({place_of(wheel): wheel for wheel in self.packs.wheels.values()}, verify=verify)
        plans = [(lock, self.plan(lock)) for lock in others]
        if self.wrong or self.packs.to_make or not all(plan for _, plan in plans):
            return False
        return all(there for _, there in all_in_parallel(self.has, plans, workers=self.workers))

    def would_push(self) -> PlansPushed:
        """What `push` would do if nothing failed. Call it after `is_done`. Raises CacheUnusable."""
        plans = [(lock, self.plan(lock)) for lock in self.locks if key_of(lock) in self.kits]
        there = all_in_parallel(self.has, plans, workers=self.workers)
        made = {*map(key_of, self.packs.to_make)} - self.packs.packs.keys()
        written = sum(not is_there or key_of(lock) in made for (lock, _), is_there in there)
        files = [file for path, file in self.files.items() if path in self.wrong]
        sizes = (len(file) if isinstance(file, bytes) else file.size or 0 for file in files)
        packs = replace(self.packs.result(), made=len(made), packs=len(made) + len(self.packs.packs))
        return replace(self.result(), written=written, moved=len(files), moved_bytes=sum(sizes), packs=packs)

    def push(self, announcement: Announcement, locks: Sequence[Lock]) -> PlansPushed:
        """Move what is missing of the kits of these locks, whose packages are there, pack them, and write their plans.

        Call it after `is_done`, where the announcement keeps gc from taking any of it. Raises CacheUnusable.
        """
        moved, moved_bytes, failed = self.move(announcement)
        self.packs.drop_lost(self.locks)
        served = [lock for lock in self.locks if lock in locks and self.is_served(lock, failed)]
        self.packs.make_all(served)
        if not announcement.stands():  # packing took more than hours
            announcement.make()
            self.wrong = set()
            failed |= self.move(announcement)[2]
            self.packs.drop_lost(served)
            served = [lock for lock in served if self.is_served(lock, failed)]
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
            ready = [lock for lock in self.locks if key_of(lock) in self.kits]
        lacking = [error for lock in ready if (error := self.kits[key_of(lock)].lacking) and not self.has_better(lock)]
        return PlansPushed(
            plans=len(self.locks),
            kits=len(self.files),
            without=tuple(called(lock) for lock in self.locks if lock not in ready),
            errors=together(self.errors),
            is_failure=insists(self.project) or self.is_asked,
            warnings=tuple(_of_one_cause(lacking)),
            damaged=tuple(sorted(self.damaged | self.packs.damaged)),
            packs=self.packs.result(),
        )

    def move(self, announcement: Announcement) -> tuple[int, int, dict[str, EnvlockError]]:
        """Bring all files of kits into the cache. Returns how many moved, their bytes, and why others did not."""
        moved: set[str] = set()
        moved_bytes = 0
        while True:
            self.look({path: file for path, file in self.files.items() if path not in self.wrong})
            wrong = {path: file for path, file in self.files.items() if path in self.wrong}
            artifacts = [file for file in wrong.values() if isinstance(file, Artifact)]
            size, failed = mirror(
                artifacts, self.store, self.project, None, self.reporter, workers=self.workers, place=place_of
            )
            for path, file in wrong.items():
                if isinstance(file, bytes):
                    self.store.put(path, file)
                    size += len(file)
            moved |= wrong.keys() - failed.keys()
            moved_bytes += size
            if announcement.stands():
                return len(moved), moved_bytes, failed
            announcement.make()
            self.wrong = set()

    def look(self, files: Mapping[str, Artifact | bytes], *, verify: bool = False) -> None:
        """Note which of these files the cache lacks, or has damaged: by size, or with `verify` by their bytes."""

        def is_right(each: tuple[str, Artifact | bytes]) -> bool | None:
            path, file = each
            entry = self.store.entry(path)
            if entry is None:
                return None
            self.sizes[path] = entry.size
            size = file.size if isinstance(file, Artifact) else len(file)
            return size in {None, entry.size} and (not verify or self.store.sha256(path) == (kit_at(path) or ("",))[0])

        for (path, _), there in all_in_parallel(is_right, files.items(), workers=self.workers):
            if not there:
                self.wrong.add(path)
                self.sizes.pop(path, None)
            if there is False:
                self.damaged.add(path.rpartition("/")[2])

    def is_served(self, lock: Lock, failed: Mapping[str, EnvlockError]) -> bool:
        """Whether the kit of a lock is in the cache, or enough of it. Its errors are noted."""
        kit = self.kits.get(key_of(lock))
        if kit is None:
            return False
        wheel = self.packs.wheels.get(lock.arch)
        if wheel is not None and place_of(wheel) in failed:
            del self.packs.wheels[lock.arch]
            self.packs.errors.append(_not_moved(lock.arch, wheel, failed[place_of(wheel)]))
        lost = [artifact for artifact in kit.artifacts if place_of(artifact) in failed]
        if not lost:
            return True
        self.chooser.forget()
        errors = [_not_moved(lock.arch, artifact, failed[place_of(artifact)]) for artifact in lost]
        if kit.python is not None and lost == [kit.python.artifact]:
            try:
                self.kits[key_of(lock)] = self.chooser.without_python(kit, lock, errors[0])
            except NoKit:
                pass
            else:
                return True
        self.errors += errors
        return False

    def plan(self, lock: Lock) -> Plan | None:
        """The plan of a lock that has a kit; None if the cache lacks a file of it whose size only the cache knows."""
        try:
            packs, key = self.packs, key_of(lock)
            return plan_of(lock, self.kits[key], self.size_of, packs.packs.get(key), packs.wheels.get(lock.arch))
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
        if plan is not None and Plans(self.store).has(plan) and self.packs.is_newest(lock, plan):
            return True
        return self.kits[key_of(lock)].lacking is not None and self.has_better(lock)

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


def has_plans(project: Project) -> bool:
    """Whether a push makes plans: unless `remote` is false, and for a folder, which no node reads, only if it is true.

    Raises UnsetVariable.
    """
    is_bucket = project.cache_url.partition("://")[0].lower() in BUCKETS
    return project.settings.remote and (is_bucket or insists(project))


def insists(project: Project) -> bool:
    """Whether a plan that cannot be made is a failure, and no warning: envlock.toml asks for it in so many words."""
    return project.settings.remote and ("remote" in project.settings.written or project.settings.push_on_deploy)
