"""Verify a cache: hash its packages, files of kits and parts, read its locks, plans and records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.cache.contents import read_contents
from envlock.cache.errors import CacheUnusable
from envlock.cache.images import Images
from envlock.cache.layout import FORMAT, image_path, kit_at, part_at, sha256_at
from envlock.cache.packages import path_of
from envlock.cache.parallel import all_in_parallel, in_parallel
from envlock.cache.plan import Plan
from envlock.cache.plans import Plans
from envlock.errors import DamageError, EnvlockError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envlock.cache.contents import Contents
    from envlock.cache.layout import EnvironmentPlace, PlanPlace
    from envlock.cache.port import Store
    from envlock.reporter import Reporter

VERIFYING = "verifying"
DAMAGED_PACKAGE, MISSING_PACKAGE = "damaged-package", "missing-package"
DAMAGED_KIT, MISSING_KIT = "damaged-kit", "missing-kit"
DAMAGED_PART, MISSING_PART = "damaged-part", "missing-part"
DAMAGED_LOCK, DAMAGED_PLAN, DAMAGED_FORMAT = "damaged-lock", "damaged-plan", "damaged-format"
DAMAGED_IMAGE = "damaged-image"


@dataclass(frozen=True)
class CacheFinding:
    """Something in a cache that is damaged or missing."""

    verdict: str
    """One of the constants above: `damaged-package`, `missing-kit`, ... A file of a kit counts as a kit."""
    path: str
    """Below the cache's root."""
    reason: str
    needed_by: tuple[str, ...] = ()
    """The environments that need the file, as `identity on arch`."""


@dataclass(frozen=True)
class Verification:
    """What was read, and what is wrong with it."""

    contents: Contents
    findings: tuple[CacheFinding, ...]
    unread: tuple[str, ...] = ()
    """Environments that only a newer envlock can read, so nothing is known of them."""
    plans: tuple[Plan, ...] = ()
    """Those that could be read, of environments that are there."""
    unread_plans: tuple[str, ...] = ()
    """Environments with plans that only a newer envlock can read."""


def verify(store: Store, reporter: Reporter) -> Verification:
    """Read a whole cache. Raises CacheUnusable."""
    contents = read_contents(store)
    there = {environment.place for environment in contents.environments}
    found = dict(_plans(store, contents))
    plans = [plan for place, plan in found.items() if isinstance(plan, Plan) and place.environment in there]
    needs = _needs(contents, plans)
    findings = [
        CacheFinding(_damaged(path), path, reason, needs.get(path, ()))
        for path, reason in _hashes(store, {**contents.packages, **contents.kits, **contents.parts}, reporter)
        if reason
    ]
    missing = {path_of(artifact): MISSING_PACKAGE for each in contents.environments for artifact in each.missing}
    # Looked for once more: a push may have put it there since it was listed.
    lost = {path: MISSING_KIT for plan in plans for path in plan.kits - contents.kits.keys()}
    lost |= {path: MISSING_PART for plan in plans for path in plan.parts - contents.parts.keys()}
    missing |= {path: lost[path] for path, entry in all_in_parallel(store.entry, lost) if entry is None}
    findings += [CacheFinding(verdict, path, "it is not there", needs[path]) for path, verdict in missing.items()]
    if contents.format_error is not None:
        findings.append(CacheFinding(DAMAGED_FORMAT, FORMAT, contents.format_error.message))
    unread = []
    for environment in contents.environments:
        if isinstance(environment.lock, DamageError):
            reason = "; ".join(environment.lock.details)
            findings.append(CacheFinding(DAMAGED_LOCK, environment.place.path, reason))
        elif isinstance(environment.lock, EnvlockError):
            unread.append(_called(environment.place))
    findings += [
        CacheFinding(DAMAGED_PLAN, place.path, plan.message, (_called(place.environment),))
        for place, plan in found.items()
        if isinstance(plan, DamageError)
    ]
    findings += _images(store)
    newer = {place.environment for place, plan in found.items() if not isinstance(plan, Plan | DamageError)}
    return Verification(
        contents,
        tuple(sorted(findings, key=lambda each: (each.verdict, each.path))),
        tuple(unread),
        tuple(plans),
        tuple(sorted(map(_called, newer))),
    )


def _plans(store: Store, contents: Contents) -> Iterator[tuple[PlanPlace, Plan | EnvlockError]]:
    """Each plan, or why it cannot be read; without those that were deleted since they were listed."""
    plans = Plans(store)

    def read(place: PlanPlace) -> Plan | None:
        try:
            return plans.read(place)
        except FileNotFoundError:
            return None

    for place, plan in in_parallel(read, contents.plans):
        if isinstance(plan, CacheUnusable):
            raise plan
        if plan is not None:
            yield place, plan


def _images(store: Store) -> Iterator[CacheFinding]:
    """The records of images that are damaged."""
    images = Images(store)
    for place, record in in_parallel(images.read, images.places()):
        if isinstance(record, CacheUnusable):
            raise record
        if isinstance(record, EnvlockError):
            yield CacheFinding(DAMAGED_IMAGE, image_path(place), record.message, (_called(place),))


def _hashes(store: Store, sizes: Mapping[str, int], reporter: Reporter) -> Iterator[tuple[str, str]]:
    """Each file's path, and what is wrong with it, or nothing."""

    def hashed(path: str) -> str | None:
        try:
            return store.sha256(path)
        except FileNotFoundError:  # it was swept since it was listed
            return None

    reporter.began(VERIFYING, sum(sizes.values()), "bytes")
    for path, got in all_in_parallel(hashed, sizes):
        reporter.advanced(VERIFYING, path.rpartition("/")[2], sizes[path])
        if got is None:
            continue
        yield path, "" if got == sha256_at(path) else f"its bytes hash to {got}"
    reporter.ended(VERIFYING)


def _needs(contents: Contents, plans: Iterable[Plan]) -> dict[str, tuple[str, ...]]:
    """The environments that need each package, each file of a kit and each part, by its path."""
    needs: dict[str, dict[str, None]] = {}
    for environment in contents.environments:
        for artifact in environment.artifacts:
            needs.setdefault(path_of(artifact), {})[_called(environment.place)] = None
    for plan in plans:
        for path in plan.kits | plan.parts:
            needs.setdefault(path, {})[_called(plan.environment)] = None
    return {path: tuple(names) for path, names in needs.items()}


def _damaged(path: str) -> str:
    """The verdict on a damaged file."""
    return DAMAGED_KIT if kit_at(path) else DAMAGED_PART if part_at(path) else DAMAGED_PACKAGE


def _called(place: EnvironmentPlace) -> str:
    return f"{place.identity} on {place.arch}"
