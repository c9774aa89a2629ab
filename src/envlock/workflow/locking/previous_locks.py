"""The locks that a project has before it is locked: what to keep, what to start from, and what to make of several.

Several locks of one environment and arch are there after a merge of two branches. What they agree on is kept, and so is
what only one of them has. Where they differ, the newer version is: as a rule only one branch moved it, and preferences
move upwards; who wants an older one says so in envlock.toml.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.config.project import Environment, Project
from envlock.errors import DamageError, EnvlockError
from envlock.lockfile.document import parse
from envlock.lockfile.errors import ConflictMarkersInLock, DamagedLock
from envlock.lockfile.folder import lock_bytes, lock_files, lock_path
from envlock.lockfile.merge_conflicts import is_unmerged, locks_in, versions_in_git
from envlock.lockfile.summary import Summary, summarize
from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPackage
from envlock.model.requirement import name_in_either
from envlock.model.requirements import Requirements
from envlock.workflow.locking.jobs import Locked
from envlock.workflow.needed_locks import NeededLocks, not_only_pinned

if TYPE_CHECKING:
    from envlock.workflow.locking.jobs import Job, Upgrade


class PreviousLocks:
    """The locks in a project's folder. Each file is read once; in full, if something has to be resolved."""

    def __init__(self, project: Project, start: Sequence[Lock] = ()) -> None:
        """`start` are locks from elsewhere, to be known too."""
        self.project = project
        self.given_up: frozenset[str] = frozenset()
        """The full_ids that references were pinned to, and none is any more."""
        self._folder = project.lock_folder
        self._start = start
        self._needed = NeededLocks(project).req_ids
        self._data: dict[Path, bytes] = {}
        self._files: dict[Lock, list[Path]] | None = None
        self._unverified: set[Lock] = set()

    def repin(self, project: Project, given_up: frozenset[str]) -> None:
        """Go on with the project as its references are pinned now."""
        self.project, self.given_up, self._needed = project, given_up, NeededLocks(project).req_ids

    def summary_at(self, path: Path) -> Summary | None:
        """The summary of a lock file; None where a merge left something else in it.

        Raises as `summarize` for any damage, an inconsistent lock included.
        """
        shown = self.project.shown(path)
        try:
            summary = summarize(self._bytes_at(path), shown)
        except ConflictMarkersInLock:
            return None
        except DamagedLock:
            if is_unmerged(self._folder):
                return None
            raise
        if summary.inconsistency:
            raise DamagedLock(shown, summary.inconsistency)
        return summary

    def _bytes_at(self, path: Path) -> bytes:
        if path not in self._data:
            self._data[path] = lock_bytes(path, shown=self.project.shown(path))
        return self._data[path]

    @property
    def _read(self) -> dict[Lock, list[Path]]:
        """Every lock that can be read, with the files that it was found in: both sides of a conflict too."""
        if self._files is None:
            self._files = {lock: [] for lock in self._start}
            for path in lock_files(self._folder):
                self._read_file(path, self._files)
            # Of a lock that git put together with another, the whole one may have been found too.
            verified = {_made(lock) for lock in self._files.keys() - self._unverified}
            for lock in [lock for lock in self._unverified if _made(lock) in verified]:
                del self._files[lock]
                self._unverified.discard(lock)
        return self._files

    def _read_file(self, path: Path, files: dict[Lock, list[Path]]) -> None:
        shown = self.project.shown(path)
        try:
            lock = parse(self._bytes_at(path), shown)
        except DamageError as error:
            found = [*((lock, True) for lock in self._in_git(path, shown)), *locks_in(path, shown)]
            if not found and isinstance(error, ConflictMarkersInLock):
                raise  # else its packages would change without a word
            self._unverified.update(lock for lock, is_verified in found if not is_verified)
            for lock, _ in found:
                files.setdefault(lock, []).append(path)
        except EnvlockError:  # written by a newer envlock: no start; check says what is wrong with it
            return
        else:
            others = () if lock_path(self._folder, lock) == path else self._in_git(path, shown)
            for each in (lock, *others):
                files.setdefault(each, []).append(path)
        self._data.pop(path, None)

    def _in_git(self, path: Path, shown: str) -> Iterator[Lock]:
        """The lock of a file as git has it, on either side of a merge."""
        for data in versions_in_git(path, self.project.folder):
            with suppress(EnvlockError):
                lock = parse(data, shown)
                if lock_path(self._folder, lock) == path:
                    yield lock

    def known(self) -> tuple[Lock, ...]:
        """Every lock that can be read. Raises ConflictMarkersInLock where neither side of a conflict can."""
        return tuple(self._read)

    def with_pythons(self) -> tuple[Lock, ...]:
        """Those whose Python may be kept: an exact build, file and hash, of a verified lock alone."""
        return tuple(lock for lock in self._read if lock.python.source != "uv" or self.is_verified(lock))

    def add(self, lock: Lock) -> None:
        """Know one more lock."""
        self._read.setdefault(lock, [])

    def is_verified(self, lock: Lock) -> bool:
        """Whether a lock may be used as it is; else it is good for its versions alone."""
        return lock in self._read and lock not in self._unverified

    def is_whole(self, lock: Lock) -> bool:
        """Whether a lock lies at its place, and nothing else in the same file."""
        path = lock_path(self._folder, lock)
        return self.is_verified(lock) and [each for each, files in self._read.items() if path in files] == [lock]

    def verified(self, req_id: str, full_id: str | None, arch: Arch) -> Lock | None:
        """The verified lock with these ids, wherever it was read."""
        ids = (req_id, full_id, arch)
        found = (lock for lock in self._read if (lock.req_id, lock.full_id, lock.arch) == ids)
        return next(filter(self.is_verified, found), None)

    def own(self, job: Job) -> list[Lock]:
        """The locks of a job's requirements; without those that only named environments are pinned to."""
        own = [lock for lock in self._read if (lock.req_id, lock.arch) == (job.requirements.req_id, job.arch)]
        full_ids = (lock.full_id for lock in own)
        kept = not_only_pinned(self.project, job.arch, job.requirements.req_id, full_ids, self.given_up)
        return [lock for lock in own if lock.full_id in kept]

    def branches(self, job: Job) -> list[Lock]:
        """The locks that branches made of a job's environments and arch; more than one where they were merged."""
        own = self.own(job)
        if own:
            return own
        name = job.environments[0].name
        old = (lock for lock in self._read if lock.arch == job.arch and lock.req_id not in self._needed)
        return [lock for lock in old if name in lock.asked_by]

    def before(self, job: Job) -> Lock | None:
        """The lock to start from: that of the branches, one of the same for another arch, or a predecessor."""
        branches = self.branches(job)
        if len(branches) > 1:
            return newest_of_all(branches)
        if branches and branches[0].req_id == job.requirements.req_id:
            return branches[0]
        older = predecessor(job.environments[0], job.arch, self.known(), self._needed)
        same = (lock for lock in self._read if lock.req_id == job.requirements.req_id)
        return older if older is not None else next(same, None)

    def had(self, job: Job, before: Lock | None) -> Lock | None:
        """The lock to start from, if the job's environments had it; None if only others have it, and keep it."""
        others = before is not None and before.req_id in self._needed and before.req_id != job.requirements.req_id
        return None if before is None or (others and not {*before.asked_by} & {*job.names}) else before

    def settled(self, job: Job) -> Locked | None:
        """The job as done, where one of its own locks has all that the others have: two branches were merged."""
        own = self.own(job)
        best = _newest_packages(own)
        own = [lock for lock in own if self._read[lock]]  # locks from elsewhere are started from, not kept
        for lock in sorted(filter(self.is_verified, own), key=_age, reverse=True):
            if all(_version(best[key]) == _version(each) for key, each in _packages(lock)):
                path = lock_path(self._folder, lock)
                return Locked(job.names, lock, path, job.arch, "settled", notes=merge_notes(lock, own))
        return None

    def merged(self, done: Locked, job: Job) -> Locked:
        """What was solved from the locks of several branches, with what each of them had; all others as they are."""
        branches = self.branches(job)
        if len(branches) < 2 or done.lock is None:
            return done
        old = tuple(path for lock in branches for path in self._read[lock])
        notes = (*merge_notes(done.lock, branches), *done.notes)
        return replace(done, action="merged", notes=notes, beside=old)

    def with_left_over(self, results: Sequence[Locked], left_over: Sequence[Path]) -> tuple[Locked, ...]:
        """The results, with what other locks of the same environments had that are about to be deleted."""
        gone = [lock for path in left_over for lock in self._locks_at(path)]

        def noted(each: Locked) -> Locked:
            rivals = [lock for lock in gone if lock.arch == each.arch and set(lock.asked_by) & set(each.environments)]
            if each.action not in {"kept", "settled"} or not rivals:
                return each
            mine = [each.lock] if each.lock is not None else self._locks_at(each.path)
            notes = (note for kept in mine for note in merge_notes(kept, rivals) if note not in each.notes)
            return replace(each, notes=(*notes, *each.notes))

        return tuple(map(noted, results)) if gone else tuple(results)

    def _locks_at(self, path: Path) -> list[Lock]:
        """What can be read in a lock file: its lock, or both sides of a conflict."""
        known = [lock for lock, files in (self._files or {}).items() if path in files]
        if len(known) == 1:
            return known
        shown = self.project.shown(path)
        try:
            return [parse(self._bytes_at(path), shown)]
        except DamageError:
            return [lock for lock, _ in locks_in(path, shown)]
        except EnvlockError:
            return []


def newest_of_all(locks: Sequence[Lock]) -> Lock:
    """What several locks have together: of each package the newest. It is nothing that was resolved."""
    packages = [package for _, package in sorted(_newest_packages(locks).items())]
    return replace(max(locks, key=_age), packages=tuple(packages))


def merge_notes(kept: Lock, branches: Iterable[Lock]) -> tuple[str, ...]:
    """A line for each package that a lock has in another version than one of the branches, with who had which."""
    mine, notes = dict(_packages(kept)), []
    found: dict[tuple[str, str], dict[str, Lock]] = {}
    for lock in branches:
        for key, package in _packages(lock):
            found.setdefault(key, {}).setdefault(_version(package), lock)
    for key, by_version in sorted(found.items()):
        version = _version(mine[key]) if key in mine else ""
        others = [f"{other} of {_said(lock)}" for other, lock in by_version.items() if other != version]
        if version and others:
            whose = f" of {_said(by_version[version])}" if version in by_version and by_version[version] != kept else ""
            notes.append(f"{key[1]} {version}{whose} stays, not {' or '.join(others)}")
    return tuple(notes)


def _made(lock: Lock) -> tuple[str, str, str]:
    """Who made a lock, when, and for which arch."""
    return lock.arch, lock.resolved_by, lock.resolved_at


def _said(lock: Lock) -> str:
    return f"{lock.req_id[:7]} ({lock.resolved_by}, {lock.resolved_at})"


def _newest_packages(locks: Iterable[Lock]) -> dict[tuple[str, str], LockedPackage]:
    best: dict[tuple[str, str], LockedPackage] = {}
    for lock in sorted(locks, key=_age, reverse=True):
        for key, package in _packages(lock):
            if key not in best or _is_newer(package, best[key]):
                best[key] = package
    return best


def _packages(lock: Lock) -> Iterable[tuple[tuple[str, str], LockedPackage]]:
    return (((package.kind, package.name), package) for package in lock.packages)


def _version(package: LockedPackage) -> str:
    return f"{package.version} {package.build}" if package.build else package.version


def _age(lock: Lock) -> tuple[str, str]:
    return lock.resolved_at, lock.full_id


def _is_newer(package: LockedPackage, other: LockedPackage) -> bool:
    if _version(package) == _version(other):
        return False
    if package.kind == "conda":
        from envlock.conda.match_specs import is_newer

        return is_newer(package, other)
    from packaging.version import InvalidVersion, Version

    try:
        return Version(package.version) > Version(other.version)
    except InvalidVersion:
        return False


def predecessor(environment: Environment, arch: Arch, locks: Sequence[Lock], needed: Iterable[str]) -> Lock | None:
    """The lock that a changed environment had before: the best of `locks` to start from, or None.

    No file names an environment's current lock (its requirements do), so after an edit the old lock is one that nothing
    needs any more. One that was made for this environment and that none of the req_ids `needed` calls for comes first;
    then any that was made for this environment; then the one with the most requirements in common, if it has any.
    """
    needed = set(needed)
    required = _names_in(environment.requirements)

    def likeness(lock: Lock) -> tuple[bool, bool, int, str, str]:
        own = environment.name in lock.asked_by
        return (
            own and lock.req_id not in needed,
            own,
            len(required & _names_in(lock.requirements)),
            lock.resolved_at,
            lock.full_id,
        )

    best = max((lock for lock in locks if lock.arch == arch), key=likeness, default=None)
    if best is None or not any(likeness(best)[:3]):
        return None
    return best


def _names_in(requirements: Requirements) -> set[str]:
    """Each requirement twice: by its name, and exactly. A conda package is no PyPI package of that name."""
    return {
        *(root.name for root in requirements.pypi),
        *(root.said for root in requirements.pypi),
        *(f"conda:{each.name}" for each in requirements.all_conda),
        *(f"conda:{each}" for each in requirements.all_conda),
    }


def pypi_preferences(before: Lock | None, upgrade: Upgrade) -> dict[str, str]:
    """The versions of PyPI packages to keep."""
    if before is None or upgrade.everything:
        return {}
    return {each.name: each.version for each in before.pypi_packages if each.name not in upgrade.packages}


def built_preferences(before: Lock | None, required: Requirements, upgrade: Upgrade) -> tuple[LockedPackage, ...]:
    """The packages to keep that were built: those of an index, and those whose requirement is what it was."""
    if before is None or upgrade.everything:
        return ()
    old, new = (
        {each.name: each.url for each in requirements.pypi if each.url}
        for requirements in (before.requirements, required)
    )
    return tuple(
        each
        for each in before.pypi_packages
        if each.source is not None
        and each.name not in upgrade.packages
        and (each.is_of_index_sdist or old.get(each.name) == new.get(each.name))
    )


def conda_preferences(before: Lock | None, arch: Arch, upgrade: Upgrade) -> tuple[LockedPackage, ...]:
    """The conda packages to keep as they are; of another arch's lock, those that are for any arch."""
    if before is None or upgrade.everything:
        return ()
    return tuple(
        package
        for package in before.conda_packages
        if package.conda is not None
        and package.conda.subdir in {arch, "noarch"}
        and upgrade.packages.isdisjoint(_upgradable_names(package))
    )


def _upgradable_names(package: LockedPackage) -> Iterator[str]:
    """The names that `--upgrade-package` may call a locked package by: its own, and for a conda package PyPI's too."""
    yield name_in_either(package.name)
    if package.conda is not None:
        yield from (name for name, _ in package.conda.provides)


def _required_names(requirements: Requirements) -> Iterator[str]:
    """The names of all required packages."""
    yield from (root.name for root in requirements.roots())
    yield from (name_in_either(each.name) for each in requirements.all_conda)


def upgradable(locks: Iterable[Lock], required: Iterable[Requirements]) -> set[str]:
    """Every name that `--upgrade-package` may have."""
    names = {"python"}
    for lock in locks:
        for package in lock.packages:
            names.update(_upgradable_names(package))
    for requirements in required:
        names.update(_required_names(requirements))
    return names
