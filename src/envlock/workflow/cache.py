"""A project's cache: list it, verify and repair it, and delete from it what nothing needs."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.contents import Contents, read_contents
from envlock.cache.environments import Environments
from envlock.cache.errors import BadSpan, CacheFormatDamaged, NewerPlan, NoLockTree, together
from envlock.cache.format import check_format
from envlock.cache.gc import Garbage, Limits, delete_garbage, find_garbage
from envlock.cache.gc_lock import GcFlag, Needs, announced, announcements
from envlock.cache.gc_roots import BY_LOCK, Roots
from envlock.cache.images import Images
from envlock.cache.layout import PARTS, EnvironmentPlace, environment_place, image_at, plan_at, sha256_at
from envlock.cache.local import LocalPackages
from envlock.cache.open import open_cache
from envlock.cache.packages import path_of
from envlock.cache.plans import Plans
from envlock.cache.verify import (
    DAMAGED_IMAGE,
    DAMAGED_KIT,
    DAMAGED_LOCK,
    DAMAGED_PACKAGE,
    DAMAGED_PART,
    DAMAGED_PLAN,
    MISSING_KIT,
    MISSING_PACKAGE,
    MISSING_PART,
    CacheFinding,
    Verification,
    verify,
)
from envlock.config.instants import span_of
from envlock.config.project import LOCK_FOLDER_NAME
from envlock.errors import DamageError, EnvlockError
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.artifact import artifacts_of
from envlock.named.pin import pin_files, read_pin_file
from envlock.places import home
from envlock.reporter import Reporter
from envlock.workflow.artifacts import distinct, mirror

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from envlock.cache.layout import PlanPlace
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.artifact import Artifact
    from envlock.model.lock import Lock

GRACE = "7d"
RUNS = "90d"
_ZERO = re.compile(r"0+\Z")


@dataclass(frozen=True)
class VerifiedCache:
    """What `cache verify` found, and what it repaired."""

    verification: Verification
    repaired: tuple[CacheFinding, ...] = ()
    failures: tuple[EnvlockError, ...] = ()
    """Why packages could not be fetched again."""

    @property
    def findings(self) -> tuple[CacheFinding, ...]:
        """What is still wrong."""
        return tuple(finding for finding in self.verification.findings if finding not in self.repaired)


def list_cache(project: Project) -> Contents:
    """What the project's cache holds. Raises CacheUnusable."""
    return read_contents(open_cache(project))


def verify_cache(project: Project, *, repair: bool = False, reporter: Reporter | None = None) -> VerifiedCache:
    """Read all of the project's cache and find damage; with `repair`, repair it.

    Fetches damaged packages again from upstream, deletes those that no lock names, and writes a damaged lock again if
    this project has it. Deletes damaged plans, damaged files of kits, and plans that name one which is damaged or
    missing: the next push of each project writes the same ones again. Deletes damaged parts too; a plan that names a
    lost part is replaced by one without a pack. Raises CacheUnusable.
    """
    reporter = reporter or Reporter()
    store = open_cache(project)
    verification = verify(store, reporter)
    if not repair or not verification.findings:
        return VerifiedCache(verification)
    return _Repair(project, store, verification, reporter).run()


class _Repair:
    """Repairs one cache."""

    def __init__(self, project: Project, store: Store, verification: Verification, reporter: Reporter) -> None:
        self.project = project
        self.store = store
        self.verification = verification
        self.reporter = reporter
        self.own = {environment_place(lock).path: lock for lock in _readable_locks(project)}

    def run(self) -> VerifiedCache:
        from envlock.hydration.wheels import WheelContents

        findings = self.verification.findings
        locks = [self.own[each.path] for each in findings if each.verdict == DAMAGED_LOCK and each.path in self.own]
        known = self.known()
        wrong = {each.path for each in findings if each.verdict in {DAMAGED_PACKAGE, MISSING_PACKAGE}}
        done = self.discard(wrong - known.keys())
        # The packages of a lock are in the cache before the lock is, always.
        needed = {path_of(each) for lock in locks for each in artifacts_of(lock)}
        needs = Needs(frozenset(environment_place(lock).path for lock in locks), frozenset(needed | wrong))
        with announced(self.store, needs, self.reporter):
            absent = {path for path in needed if self.store.entry(path) is None}
            wanted = [known[path] for path in sorted((wrong | absent) & known.keys())]
            contents = WheelContents(LocalPackages(home()).find)
            _, failed = mirror(wanted, self.store, self.project, contents, self.reporter)
            whole = [lock for lock in locks if not any(path_of(each) in failed for each in artifacts_of(lock))]
            for lock in whole:
                Environments(self.store).write(lock)
        done |= (wrong & known.keys()) - failed.keys()
        done |= self.forget_images({each.path for each in findings if each.verdict == DAMAGED_IMAGE})
        done |= {environment_place(lock).path for lock in whole}
        repaired = tuple(finding for finding in findings if finding.path in done)
        return VerifiedCache(self.verification, repaired, together(failed.values()))

    def forget_images(self, paths: Collection[str]) -> set[str]:
        """Delete damaged records of images, unless somebody has replaced them. Returns what is mended."""
        images = Images(self.store)
        for path in paths:
            place = image_at(path)
            assert place is not None, "it was found there"
            try:
                images.read(place)
            except DamageError:
                self.store.delete(path)
        return set(paths)

    def discard(self, strays: set[str]) -> set[str]:
        """Delete damaged packages that no lock names, and what is of no use of plans, kits and parts.

        Returns what is mended.

        Leaves what a push is about to name, and what a push has replaced since it was verified.
        """
        findings = self.verification.findings
        kits = {each.path for each in findings if each.verdict in {DAMAGED_KIT, MISSING_KIT}}
        parts = {each.path for each in findings if each.verdict in {DAMAGED_PART, MISSING_PART}}
        plans = list(filter(None, (plan_at(each.path) for each in findings if each.verdict == DAMAGED_PLAN)))
        if not (strays or kits or parts or plans):
            return set()
        with GcFlag(self.store) as flag:
            others = announcements(self.store, flag.now)
            if others.unreadable:
                return set()
            files = (strays | kits) - others.needs.packages - others.needs.kits
            files |= set() if PARTS in others.needs.parts else parts - others.needs.parts
            lost = {path for path in files if self.is_wrong(path)}
            useless = [place for place in plans if self.is_plan_wrong(place)]
            useless += [plan.place for plan in self.verification.plans if (plan.kits | plan.parts) & lost]
            gone = {place.path for place in useless if place.environment.path not in others.needs.environments}
            for plan in self.verification.plans:
                if plan.place.path in gone and not plan.kits & lost:
                    Plans(self.store).write(plan.without_pack())
            for path in (*sorted(gone), *sorted(lost)):  # what names others goes first
                with flag.taking():
                    self.store.delete(path)
        left = [plan for plan in self.verification.plans if plan.place.path not in gone]
        mended = {place.path for place in plans if place not in useless} | (files - lost)
        return mended | gone | lost.difference(*(plan.kits | plan.parts for plan in left))

    def is_wrong(self, path: str) -> bool:
        """Whether a package, a file of a kit or a part is still damaged or missing."""
        try:
            return self.store.sha256(path) != sha256_at(path)
        except FileNotFoundError:
            return True

    def is_plan_wrong(self, place: PlanPlace) -> bool:
        """Whether a plan is still damaged."""
        try:
            Plans(self.store).read(place)
        except (FileNotFoundError, NewerPlan):
            return False
        except DamageError:
            return True
        return False

    def known(self) -> dict[str, Artifact]:
        """Every artifact that a lock names, in the cache or in this project, by its path."""
        cached = (artifact for each in self.verification.contents.environments for artifact in each.artifacts)
        own = (artifact for lock in self.own.values() for artifact in artifacts_of(lock))
        return distinct([*cached, *own])


def _readable_locks(project: Project) -> list[Lock]:
    locks = []
    for path in lock_files(project.lock_folder):
        with suppress(EnvlockError):  # `check` says what is wrong with it; here it only cannot help
            locks.append(read_lock(path))
    return locks


def collect_garbage(
    project: Project,
    limits: Limits,
    *,
    trees: Iterable[Path] = (),
    delete: bool = False,
    reporter: Reporter | None = None,
) -> Garbage:
    """Find what nothing needs in the project's cache, and with `delete` delete it.

    `trees` are lock folders of other projects, or folders that hold an envlock.lock; the project's own always counts.
    Raises NoLockTree, and what is wrong with a lock or a pin, before anything is deleted; what `delete_garbage` raises;
    NewerCache and CacheUnusable.
    """
    roots = Roots()
    for folder in (project.lock_folder, *map(_tree, trees)):
        add_roots(roots, folder, project.shown(folder))
    store = open_cache(project)
    try:
        check_format(store)
    except CacheFormatDamaged as error:
        found = find_garbage(store, limits, roots, reporter or Reporter())
        return replace(found, doomed=(), unreadable=(error, *found.unreadable))
    return (delete_garbage if delete else find_garbage)(store, limits, roots, reporter or Reporter())


def limits_of(*, grace: str = GRACE, runs: str = RUNS, moves: int | None = None) -> Limits:
    """Limits from the options of the command line. Raises BadSpan.

    >>> limits_of(grace="0", runs="2 weeks")
    Limits(grace=0.0, runs=1209600.0, moves=None)
    """
    return Limits(_seconds("--grace", grace), _seconds("--pathspecs-younger-than", runs), moves)


def add_roots(roots: Roots, folder: Path, shown: str) -> None:
    """Mark as needed what the locks of a folder name, and the environments of its pins."""
    for path in lock_files(folder):
        roots.lock(read_lock(path, shown=f"{shown}/{path.relative_to(folder)}"))
    for path in sorted(pin_files(folder)):
        pin = read_pin_file(path, folder, f"{shown}/{path.relative_to(folder)}")
        for arch, full_id in pin.full_ids:
            roots.mark(EnvironmentPlace(arch, pin.req_id, full_id), BY_LOCK)


def _tree(folder: Path) -> Path:
    """The lock folder that the user means. Raises NoLockTree."""
    for each in (folder / LOCK_FOLDER_NAME, folder):
        if lock_files(each) or any(pin_files(each)):
            return each
    raise NoLockTree(str(folder))


def _seconds(option: str, text: str) -> float:
    span = span_of(text)
    if _ZERO.match(text):
        return 0.0
    if span is None:
        raise BadSpan(option, text)
    return span.total_seconds()
