"""`use-remote-latest`: take a lock that somebody has resolved and pushed, instead of resolving again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.cache.environments import Environments
from envlock.cache.errors import CachedLockDamaged, CacheUnusable
from envlock.cache.format import check_format
from envlock.cache.layout import user_in_paths
from envlock.cache.open import open_cache
from envlock.cache.resolution_records import Resolved
from envlock.config.instants import span_of
from envlock.lockfile.errors import NewerLockFormat
from envlock.places import user
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock
    from envlock.model.requirements import Requirements
    from envlock.workflow.locking.jobs import Job


def find(
    project: Project,
    store: Store,
    requirements: Requirements,
    arch: Arch,
    *,
    not_after: str = "",
    reporter: Reporter | None = None,
) -> Lock | None:
    """The newest lock of these requirements by a user whom `use-remote-latest` allows; else None.

    One listing, and mostly one read. The newest is the one that was resolved last, by the clock of who resolved it.
    Skips locks that may hold packages later than `not_after` (an instant), damaged ones, with a warning, and those that
    only a newer envlock can read. Raises CacheUnusable.
    """
    users = _users(project)
    if users == frozenset():
        return None
    for place in Resolved(store).of(requirements.req_id, arch):
        if users is not None and place.user not in users:
            continue
        try:
            lock = Environments(store).read(place.environment)
        except (FileNotFoundError, NewerLockFormat):  # it was swept, or is not for us
            continue
        except CachedLockDamaged as error:
            (reporter or Reporter()).warned(f"{error.message}; skipped: {place.environment.path}")
            continue
        if not not_after or "" < lock.exclude_newer <= not_after:
            return lock
    return None


def take(
    project: Project, jobs: Iterable[Job], instant: Callable[[Requirements], str], reporter: Reporter
) -> dict[Job, tuple[Lock, str]]:
    """For each job that such a user has done already: the lock, and where it is from.

    Warns where the cache cannot be reached. Raises what opening one raises, and NewerCache.
    """
    taken: dict[Job, tuple[Lock, str]] = {}
    has_span = span_of(project.settings.exclude_newer) is not None
    store = open_cache(project)
    try:
        check_format(store)
        for job in jobs:
            not_after = instant(job.requirements) if has_span else ""
            found = find(project, store, job.requirements, job.arch, not_after=not_after, reporter=reporter)
            if found is not None:
                note = f"resolved by {found.resolved_by} at {found.resolved_at}, and taken from {store.url}"
                taken[job] = replace(found, asked_by=job.names), note
    except CacheUnusable as error:
        reporter.warned(f"{error.message}; missing locks are resolved here")
    return taken


def _users(project: Project) -> frozenset[str] | None:
    """The users whose locks may be taken, spelt as in paths; None for everybody's."""
    wanted = project.settings.use_remote_latest
    if isinstance(wanted, tuple):
        return frozenset(map(user_in_paths, wanted))
    if wanted == ":username:":
        return frozenset({user_in_paths(user())})
    return None if wanted == ":any:" else frozenset()
