"""Garbage collection: find and delete what nothing in a cache points to, once it is old enough.

Ages are measured by the server's clock; a file of unknown age stays. Pointers are deleted before what they point to, so
a killed gc leaves no dangling pointer: records of runs and images, then plans, environments, packages, the files of
kits, and parts. Moves of aliases always stay: they are history, and say what was.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from envlock.cache.environments import Environments
from envlock.cache.errors import CacheUnusable, NoClock, UnreadableKept, UnreadableKeptPlan
from envlock.cache.gc_lock import PUSH_LIVES, SWEEP_LIVES, Announced, GcFlag, announcements, is_ahead, is_alive
from envlock.cache.gc_roots import BY_AGE, BY_DOUBT, BY_RUN, Roots, keep_aliases, used_by_runs
from envlock.cache.layout import (
    ALIASES,
    ENVIRONMENTS,
    IMAGES,
    KITS,
    PACKAGES,
    PARTS,
    PATHSPECS,
    PLANS,
    PROBES,
    PUSHES,
    RESOLVED,
    SWEEPS,
    environment_at,
    image_at,
    kit_at,
    package_at,
    part_at,
    probe_path,
    resolved_at,
)
from envlock.cache.packages import BuiltWheels, path_of
from envlock.cache.parallel import all_in_parallel, in_parallel
from envlock.cache.plans import Plans
from envlock.errors import EnvlockError
from envlock.model.artifact import artifacts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from envlock.cache.layout import PlanPlace
    from envlock.cache.port import Entry, Store
    from envlock.model.lock import Lock
    from envlock.reporter import Reporter

ENVIRONMENT = "environment"
PACKAGE = "package"
PLAN = "plan"
KIT = "kit"
"""A file of a kit."""
PART = "part"
"""A part of a pack."""
POINTER = "pointer"
LEFTOVER = "leftover"
KINDS = (POINTER, PLAN, ENVIRONMENT, PACKAGE, KIT, PART, LEFTOVER)
"""In the order in which they are deleted."""
SWEEPING = "sweeping"
_NONCE = re.compile(r"[0-9a-f]+(?:\.json)?")
"""The names that envlock gives them: files with other names are not ours to delete."""
_Read = TypeVar("_Read")
_READING = "reading environments"
_READING_PLANS = "reading plans"


class Limits(NamedTuple):
    """What stays beside what aliases and locks point to. Ages are in seconds."""

    grace: float
    """Younger files stay, whether or not anything points to them."""
    runs: float
    """Younger runs keep the environments of their steps."""
    moves: int | None = None
    """How many of the last moves of a tag keep their environments; None for all of them."""


@dataclass(frozen=True)
class Unneeded:
    """One file that nothing needs."""

    kind: str
    path: str
    size: int
    age: float


@dataclass(frozen=True)
class Total:
    """How much of one kind a cache has."""

    count: int = 0
    size: int = 0


@dataclass(frozen=True)
class Garbage:
    """What gc deletes, and what it keeps."""

    url: str
    doomed: tuple[Unneeded, ...]
    """In the order in which they are deleted."""
    totals: dict[str, Total]
    """Everything in the cache, by kind: environments, packages, plans, files of kits, parts, pointers."""
    kept: dict[str, int]
    """How many environments stay, by reason."""
    pushes: int
    """How many pushes are running."""
    unreadable: tuple[EnvlockError, ...] = ()
    """What could not be read. It may need anything, so nothing that it may need is deleted."""

    def of(self, kind: str) -> tuple[Unneeded, ...]:
        """The unneeded files of one kind."""
        return tuple(each for each in self.doomed if each.kind == kind)

    @property
    def size(self) -> int:
        """Bytes of all unneeded files."""
        return sum(each.size for each in self.doomed)


def find_garbage(store: Store, limits: Limits, locks: Roots, reporter: Reporter) -> Garbage:
    """Find what gc would delete now. `locks` are the roots that locks add.

    Deletes nothing; writes, reads and deletes one probe file to learn the server's time. Raises NoClock.
    """
    return _Look(store, limits, locks, reporter, _now(store)).run()


def delete_garbage(store: Store, limits: Limits, locks: Roots, reporter: Reporter) -> Garbage:
    """Delete what nothing needs, while others may push. Raises what `find_garbage` raises, and GcOverdue."""
    with GcFlag(store) as flag:
        if flag.now is None:
            raise NoClock(store.url)
        found = _Look(store, limits, locks, reporter, flag.now).run()

        def delete(each: Unneeded) -> None:
            with flag.taking():
                store.delete(each.path)

        reporter.began(SWEEPING, len(found.doomed), "files")
        for kind in KINDS:
            for each, _ in all_in_parallel(delete, found.of(kind)):
                reporter.advanced(SWEEPING, each.path.rpartition("/")[2])
        reporter.ended(SWEEPING)
    store.tidy()
    return found


class _Look:
    """One look through a cache. The order matters: what pushes need is read before what they have written."""

    def __init__(self, store: Store, limits: Limits, locks: Roots, reporter: Reporter, now: float) -> None:
        self.store = store
        self.limits = limits
        self.roots = locks
        self.reporter = reporter
        self.now = now
        self.unreadable: list[EnvlockError] = []
        """Each may need any environment."""
        self.unreadable_locks: list[EnvlockError] = []
        """Each may need any package."""
        self.unreadable_plans: list[EnvlockError] = []
        """Each may need any file of a kit, and any part."""
        self.totals: dict[str, Total] = {}

    def run(self) -> Garbage:
        announced = announcements(self.store, self.now)
        self.roots.push(announced.needs)
        self.unreadable += announced.unreadable
        self.unreadable += keep_aliases(self.roots, self.store, self.limits.moves)
        runs = self.runs()
        records = [*self.store.entries(RESOLVED), *self.store.entries(IMAGES)]
        plans = list(Plans(self.store).places())
        for entry, place in plans:
            if self.is_young(entry):  # somebody may be about to start steps with it
                self.roots.environments.setdefault(place.environment.path, BY_AGE)
        environments = [entry for entry in self.store.entries(ENVIRONMENTS) if environment_at(entry.path)]
        staying = [entry for entry in environments if self.stays(entry)]
        going = self.doomed(ENVIRONMENT, environments, {entry.path for entry in staying})
        self.read(staying)
        staying_plans = [(entry, place) for entry, place in plans if self.plan_stays(place)]
        self.read_plans(staying_plans)
        packages = [entry for entry in self.store.entries(PACKAGES) if package_at(entry.path)]
        kits = [entry for entry in self.store.entries(KITS) if kit_at(entry.path)]
        parts = [entry for entry in self.store.entries(PARTS) if part_at(entry.path)]
        self.roots.packages |= BuiltWheels(self.store).packages()
        named = self.named(packages, self.roots.packages, self.unreadable_locks)
        named_kits = self.named(kits, self.roots.kits, self.unreadable_plans)
        if PARTS in self.roots.parts:  # a push is about to name some of them
            self.roots.parts |= {entry.path for entry in parts}
        named_parts = self.named(parts, self.roots.parts, self.unreadable_plans)
        gone = {each.path for each in going}
        there = {entry.path for entry in environments} - gone
        pointers = [(entry, path) for entry, path in runs if path in gone]
        pointers += [
            (entry, path)
            for entry, path in ((each, _pointed(each)) for each in records)
            if path and (path in gone or (path not in there and not self.is_young(entry)))
        ]
        plan_entries = [entry for entry, _ in plans]
        run_entries = [entry for entry, _ in runs]
        self.warn_of_dates([*announced.ahead, *environments, *packages, *plan_entries, *kits, *parts, *run_entries])
        self.count(POINTER, [*records, *run_entries])
        self.count(PLAN, plan_entries)
        self.count(ENVIRONMENT, environments)
        self.count(PACKAGE, packages)
        self.count(KIT, kits)
        self.count(PART, parts)
        return Garbage(
            url=self.store.url,
            doomed=(
                *(self.doom(POINTER, entry) for entry, _ in pointers),
                *self.doomed(PLAN, plan_entries, {entry.path for entry, _ in staying_plans}),
                *going,
                *self.doomed(PACKAGE, packages, named),
                *self.doomed(KIT, kits, named_kits),
                *self.doomed(PART, parts, named_parts),
                *(self.doom(LEFTOVER, entry) for entry in self.leftovers(announced)),
            ),
            totals=self.totals,
            kept=self.roots.reasons(entry.path for entry in staying),
            pushes=announced.pushes,
            unreadable=(*self.unreadable, *self.unreadable_locks, *self.unreadable_plans),
        )

    def warn_of_dates(self, entries: Sequence[Entry]) -> None:
        """Warn of what stays for long because it is dated in the future."""
        ahead = sorted(entry.path for entry in entries if is_ahead(entry, self.now))
        if ahead:
            first = ahead[0] if len(ahead) == 1 else f"{ahead[0]} and {len(ahead) - 1} more"
            self.reporter.warned(
                f"{first} in {self.store.url}: dated more than a day ahead of the cache's clock, so gc keeps it, and "
                "what it needs, until then; if nobody needs it, delete it"
            )

    def runs(self) -> Sequence[tuple[Entry, str]]:
        """The run records; young ones add roots."""
        found: list[tuple[Entry, str]] = []
        for entry, path in used_by_runs(self.store):
            is_young = entry.modified is None or self.now - entry.modified < self.limits.runs
            if not isinstance(path, EnvlockError):
                found.append((entry, path))
                if is_young:
                    self.roots.environments.setdefault(path, BY_RUN)
            elif is_young:
                self.unreadable.append(path)
        return found

    def stays(self, entry: Entry) -> bool:
        """Whether an environment stays; if so, it becomes a root."""
        if self.is_young(entry):
            self.roots.environments.setdefault(entry.path, BY_AGE)
        if self.unreadable:
            self.roots.environments.setdefault(entry.path, BY_DOUBT)
        return entry.path in self.roots.environments

    def plan_stays(self, place: PlanPlace) -> bool:
        """Whether a plan stays: as long as its environment, whether or not that is there already."""
        return bool(self.unreadable) or place.environment.path in self.roots.environments

    def read(self, staying: Sequence[Entry]) -> None:
        """Add the packages of the environments that stay to the roots."""
        environments = Environments(self.store)

        def locked(entry: Entry) -> Lock:
            place = environment_at(entry.path)
            assert place is not None
            return environments.read(place)

        for entry, lock in self.each_read(_READING, "environments", staying, locked):
            if isinstance(lock, EnvlockError):
                kept = self.roots.environments[entry.path]
                self.unreadable_locks.append(UnreadableKept(f"{self.store.url}/{entry.path}", lock, kept))
            else:
                self.roots.packages |= {path_of(artifact) for artifact in artifacts_of(lock)}

    def read_plans(self, staying: Sequence[tuple[Entry, PlanPlace]]) -> None:
        """Add what the plans that stay name to the roots."""
        plans, places = Plans(self.store), dict(staying)
        for entry, plan in self.each_read(_READING_PLANS, "plans", places, lambda entry: plans.read(places[entry])):
            if isinstance(plan, EnvlockError):
                self.unreadable_plans.append(UnreadableKeptPlan(f"{self.store.url}/{entry.path}", plan))
            else:
                self.roots.kits |= plan.kits
                self.roots.parts |= plan.parts
                self.roots.packages |= {file.path for file in plan.files} - plan.kits - plan.parts

    def each_read(
        self, phase: str, unit: str, entries: Collection[Entry], read: Callable[[Entry], _Read]
    ) -> Iterator[tuple[Entry, _Read | EnvlockError]]:
        """Each file with what `read` makes of it, or the error of one that cannot be read.

        Leaves out what another gc has deleted. Raises CacheUnusable.
        """

        def found(entry: Entry) -> _Read | None:
            try:
                return read(entry)
            except FileNotFoundError:
                return None

        self.reporter.began(phase, len(entries), unit)
        for entry, result in in_parallel(found, entries):
            if isinstance(result, CacheUnusable):
                raise result
            if result is not None:
                yield entry, result
            self.reporter.advanced(phase, entry.path)
        self.reporter.ended(phase)

    def named(self, entries: Iterable[Entry], roots: set[str], doubts: Sequence[EnvlockError]) -> set[str]:
        """The paths that stay: those of roots, young ones, and all if what cannot be read may need any."""
        is_doubtful = bool(self.unreadable or doubts)
        return roots | {entry.path for entry in entries if is_doubtful or self.is_young(entry)}

    def leftovers(self, announced: Announced) -> Iterable[Entry]:
        """What killed processes left: files of pushes, gc flags, probes."""
        yield from (entry for entry in self.left(announced) if _NONCE.fullmatch(entry.path.rpartition("/")[2]))

    def left(self, announced: Announced) -> Iterable[Entry]:
        yield from announced.dead
        for entry in self.store.entries(SWEEPS):
            if (entry.modified is not None and not is_alive(entry, self.now, SWEEP_LIVES)) or is_ahead(entry, self.now):
                yield entry
        for entry in self.store.entries(PROBES):
            if entry.modified is not None and self.now - entry.modified >= PUSH_LIVES:
                yield entry

    def is_young(self, entry: Entry) -> bool:
        return entry.modified is None or self.now - entry.modified < self.limits.grace

    def doomed(self, kind: str, entries: Iterable[Entry], staying: set[str]) -> tuple[Unneeded, ...]:
        return tuple(self.doom(kind, entry) for entry in entries if entry.path not in staying)

    def doom(self, kind: str, entry: Entry) -> Unneeded:
        age = 0.0 if entry.modified is None else max(0.0, self.now - entry.modified)
        return Unneeded(kind, entry.path, entry.size, age)

    def count(self, kind: str, entries: Sequence[Entry]) -> None:
        self.totals[kind] = Total(len(entries), sum(entry.size for entry in entries))


def _pointed(entry: Entry) -> str:
    """The path of the environment in the path of a resolution record, or an image's; empty for any other file."""
    resolved, image = resolved_at(entry.path), image_at(entry.path)
    return resolved.environment.path if resolved else image.path if image else ""


def _now(store: Store) -> float:
    """The server's time; in a read-only cache, the time of its last write. Raises NoClock.

    A file that is dated after this machine's clock does not make it later than that clock. Nothing is written into an
    empty cache: it may be a folder that was never meant to be one.
    """
    everything = (ENVIRONMENTS, PUSHES, SWEEPS, PROBES, RESOLVED, PATHSPECS, ALIASES, PLANS, PACKAGES, KITS, PARTS)
    if not any(True for folder in everything for _ in store.entries(folder)):
        return 0.0
    path = probe_path(os.urandom(16).hex())
    try:
        store.put(path, b"")
    except CacheUnusable:  # it can still be read, and an earlier time only keeps more
        folders = (PACKAGES, ENVIRONMENTS, ALIASES, PATHSPECS, PUSHES, PLANS, KITS, PARTS)
        times = [entry.modified for folder in folders for entry in store.entries(folder) if entry.modified is not None]
        return min(max(times, default=0.0), time.time())
    try:
        entry = store.entry(path)
    finally:
        store.delete(path)
    if entry is None or entry.modified is None:
        raise NoClock(store.url)
    return entry.modified
