"""`cache ls` and `cache verify`: what a project's cache holds, whether it is whole, and making it so."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.cache.contents import Contents, read_contents
from envlock.cache.environments import Environments
from envlock.cache.errors import together
from envlock.cache.gc_lock import GcFlag, Needs, announced, announcements
from envlock.cache.layout import environment_place
from envlock.cache.open import open_store
from envlock.cache.packages import path_of
from envlock.cache.verify import CacheFinding, Verification, verify
from envlock.errors import EnvlockError
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.artifact import artifacts_of
from envlock.reporter import Reporter
from envlock.workflow.mirroring import distinct, mirror_into

if TYPE_CHECKING:
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.artifact import Artifact
    from envlock.model.lock import Lock


@dataclass(frozen=True)
class VerifyResult:
    """What `cache verify` found, and what it repaired."""

    verification: Verification
    repaired: tuple[CacheFinding, ...] = ()
    failures: tuple[EnvlockError, ...] = ()
    """Why packages could not be fetched again."""

    @property
    def findings(self) -> tuple[CacheFinding, ...]:
        """What is wrong still."""
        return tuple(finding for finding in self.verification.findings if finding not in self.repaired)


def list_cache(project: Project) -> Contents:
    """What the project's cache holds. Raises CacheUnusable."""
    return read_contents(open_store(project.cache_url, project.cache_options))


def verify_cache(project: Project, *, repair: bool = False, reporter: Reporter | None = None) -> VerifyResult:
    """Read all of the project's cache and say what is wrong; with `repair`, put it right.

    Packages are fetched again from upstream; a damaged one that nothing names is taken away. A damaged lock is written
    again where this project has it. Raises CacheUnusable.
    """
    reporter = reporter or Reporter()
    store = open_store(project.cache_url, project.cache_options)
    verification = verify(store, reporter)
    if not repair or not verification.findings:
        return VerifyResult(verification)
    return _Repair(project, store, verification, reporter).run()


class _Repair:
    """Puts right what was found in one cache."""

    def __init__(self, project: Project, store: Store, verification: Verification, reporter: Reporter) -> None:
        self.project = project
        self.store = store
        self.verification = verification
        self.reporter = reporter
        self.own = {environment_place(lock).path: lock for lock in _readable_locks(project)}

    def run(self) -> VerifyResult:
        findings = self.verification.findings
        locks = [self.own[each.path] for each in findings if each.verdict == "damaged-lock" and each.path in self.own]
        known = self.known()
        wrong = {each.path for each in findings if each.verdict.endswith("-package")}
        done = self.discard(wrong - known.keys())
        # What a lock that is written again names comes first, as always.
        needed = {path_of(each) for lock in locks for each in artifacts_of(lock)}
        needs = Needs(frozenset(environment_place(lock).path for lock in locks), frozenset(needed | wrong))
        with announced(self.store, needs, self.reporter):
            absent = {path for path in needed if self.store.entry(path) is None}
            with mirror_into(self.store, self.project, self.reporter) as mirror:
                _, failed = mirror.move([known[path] for path in sorted((wrong | absent) & known.keys())])
            whole = [lock for lock in locks if not any(path_of(each) in failed for each in artifacts_of(lock))]
            for lock in whole:
                Environments(self.store).write(lock)
        done |= (wrong & known.keys()) - failed.keys()
        done |= {environment_place(lock).path for lock in whole}
        repaired = tuple(finding for finding in findings if finding.path in done)
        return VerifyResult(self.verification, repaired, together(failed.values()))

    def discard(self, strays: set[str]) -> set[str]:
        """Take away damaged packages that nothing names, but those that a push is about to name. What went."""
        if not strays:
            return set()
        with GcFlag(self.store) as flag:
            others = announcements(self.store, flag.now)
            gone = set() if others.unreadable else strays - others.needs.packages
            for path in sorted(gone):
                with flag.taking():
                    self.store.delete(path)
        return gone

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
