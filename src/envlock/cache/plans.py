"""The plans of a store, and which of them is the plan of a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cache.errors import NewerPlan, PlanDamaged
from envlock.cache.layout import (
    PLANS,
    EnvironmentPlace,
    PlanPlace,
    environment_place,
    package_path,
    plan_at,
    plan_folder,
)
from envlock.cache.plan import parse_plan
from envlock.errors import DamageError, EnvlockError, Location
from envlock.lockfile.summary import quick_summary
from envlock.model.python_range import releases_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.cache.plan import Plan
    from envlock.cache.port import Entry, Store
    from envlock.model.lock import Lock


class Plans:
    """The plans of one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def places(self) -> Iterator[tuple[Entry, PlanPlace]]:
        """Every plan in the store, damaged or not. One listing."""
        for entry in self._store.entries(PLANS):
            place = plan_at(entry.path)
            if place is not None:
                yield entry, place

    def of(self, environment: EnvironmentPlace) -> list[PlanPlace]:
        """The plans of an environment, damaged or not, the newest first. One listing."""
        entries = sorted(
            self._store.entries(plan_folder(environment)), key=lambda each: (-(each.modified or 0.0), each.path)
        )
        return [place for entry in entries if (place := plan_at(entry.path)) is not None]

    def has(self, plan: Plan) -> bool:
        """Whether the plan is there, undamaged. One request."""
        try:
            return self._store.read(plan.place.path) == plan.render()
        except (FileNotFoundError, DamageError):
            return False

    def write(self, plan: Plan) -> None:
        """Write a plan. All that it names must be there already."""
        self._store.put(plan.place.path, plan.render())

    def read(self, place: PlanPlace) -> Plan:
        """A plan, verified. Raises PlanDamaged, NewerPlan, FileNotFoundError."""
        return parse_plan(self._store.read(place.path), place, f"{self._store.url}/{place.path}")


def plans_of(store: Store, lock: Lock) -> Iterator[Plan]:
    """The plans of a lock that this envlock can read, the newest first. One listing, and one read for each.

    Raises what is wrong with the others when there are no more: PlanDamaged or NewerPlan. Raises CacheUnusable.
    """
    plans = Plans(store)
    first: EnvlockError | None = None
    for place in plans.of(environment_place(lock)):
        try:
            plan = plans.read(place)
            if not is_of(plan, lock):
                shown = Location(f"{store.url}/{place.path}")
                raise PlanDamaged(reason="it does not install what the lock says", locations=(shown,))
            yield plan
        except FileNotFoundError:  # noqa: PERF203  a gc deleted it since it was listed
            continue
        except (DamageError, NewerPlan) as error:
            first = first or error
    if first is not None:
        raise first


def find_plan(store: Store, lock: Lock, *, with_python: bool = False) -> Plan | None:
    """The newest plan of a lock that this envlock can read; None if there is no plan. One listing, and one read.

    `with_python` passes over those that need the image's own Python. The plan installs what the lock says and nothing
    else: only for its kit and its pack, the cache has to be trusted. Raises what is wrong with the newest one, if no
    other can be used: PlanDamaged or NewerPlan. Raises CacheUnusable.
    """
    return next(
        (plan for plan in plans_of(store, lock) if not with_python or plan.python.build or plan.tools.conda), None
    )


def is_of(plan: Plan, lock: Lock) -> bool:
    """Whether a plan is for exactly the packages and the Python of a lock. Sizes and the kit are its own."""
    python, conda, build = lock.python, plan.tools.conda, plan.python.build
    names = [package_path(package.sha256, package.filename) for package in lock.packages]
    kinds = ["conda" if package.kind == "conda" else "wheel" for package in lock.packages]
    if [(each.kind, each.file.path) for each in plan.packages] != list(zip(kinds, names, strict=True)):
        return False
    if plan.environment != environment_place(lock) or plan.python.series != python.series:
        return False
    if plan.variables != lock.requirements.variables:
        return False
    if python.source == "conda":
        found = quick_summary(plan.lock.encode())
        ids = found and (found.arch, found.req_id, found.full_id)
        return bool(conda and not build and plan.python.image is None) and ids == (lock.arch, lock.req_id, lock.full_id)
    if build is not None and build.executable != executable_of(build.version):
        return False
    if python.url:
        is_its_own = build is not None and build.file.path == package_path(python.sha256, python.filename)
        return is_its_own and plan.python.image is None and conda is None
    is_allowed = build is None or build.version in releases_of(python.version, lock.requirements.python)
    return is_allowed and plan.python.image == image_of(lock) and conda is None


def executable_of(version: str) -> str:
    """Where the archive of a Python build has its interpreter.

    >>> executable_of("3.12.9")
    'python/bin/python3.12'
    """
    return f"python/bin/python{'.'.join(version.split('.')[:2])}"


def image_of(lock: Lock) -> tuple[tuple[int, int | None], ...] | None:
    """The releases that an image's own Python may be of, for a lock without a Python of its own; None for others.

    One range for each run of numbers, first and last; a range that reaches the last possible release has no end.
    """
    if lock.python.source != "machine":
        return None
    releases = releases_of(lock.python.version, lock.requirements.python)
    found: list[tuple[int, int | None]] = []
    for number in (int(release.rpartition(".")[2]) for release in releases):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    if found and releases[-1] == releases_of(releases[-1], "")[-1]:
        found[-1] = (found[-1][0], None)
    return tuple(found)
