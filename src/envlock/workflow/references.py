"""References: from any text that names environments to their locks.

A reference is the name of the project's own (a step, `Flow/step`, a flow, an `[env.*]` table), ids, an alias or a move,
a pathspec, the path of a lock file or of a prefix; `REVISION:` before a name or ids means the project as it was at a
revision of git. The first of these that a text names is what it means: the project's names come first, then what is on
this machine, then the cache. `workflow/find.py` has that order, and nothing else does.

Looking at locks has to be fast, so nothing here imports what solves, sends requests or draws, and a lock is read only
when it is needed: `rows` costs a quarter of a millisecond for 60 packages, `lock` ten times as much.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from envlock.config.past import committed, errors_told_of, shown_path
from envlock.config.project import Environment, Project
from envlock.config.selection import one_of
from envlock.errors import EnvlockError
from envlock.lockfile.folder import full_id_of, lock_bytes, path_of
from envlock.model.arch import Arch
from envlock.revisions import read_ahead
from envlock.values import NamedTuple
from envlock.words import short_ids
from envlock.workflow.find import Found, find, find_all
from envlock.workflow.needed_locks import locks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.lockfile.rows import LockRows
    from envlock.model.lock import Lock
    from envlock.named.lookup import Lookup, NamedEnvironment


class LockFile(NamedTuple):
    """One lock that is there: its ids, as its place says them, and its bytes, which nobody has verified yet."""

    arch: Arch
    req_id: str
    full_id: str
    shown: str
    """How messages call it."""
    read: Callable[[], bytes]
    path: Path | None = None
    """Where it is in a lock folder, of the disk or of a revision."""


class Referred:
    """An environment that a reference names, and its locks. Each lock is read, and verified, only when it is needed."""

    def __init__(
        self,
        reference: str,
        name: str,
        files: Sequence[LockFile],
        *,
        environment: Environment | None = None,
        project: Project | None = None,
        revision: str = "",
        several: Sequence[Arch] = (),
        is_of_one_arch: bool = False,
    ) -> None:
        self.reference = reference
        """As it was written."""
        self.name = name
        """For a heading: `Train/start`, `team/base:v1`."""
        self.files: Mapping[Arch, LockFile] = {each.arch: each for each in files}
        """The lock of each arch that has one."""
        self.environment = environment
        """The environment of the project that it is; None for what a cache, a file or a prefix has."""
        self.project = project
        """The project of that environment."""
        self.revision = revision
        """The revision of git that the project is of; empty for the working folder."""
        self.several = tuple(several)
        """Archs for which there are several locks, as after a merge, so that none counts."""
        self.is_of_one_arch = is_of_one_arch
        """Whether it is for one arch by what it is: a lock file, a prefix, what a task ran in."""
        self._rows: dict[Arch, LockRows] = {}
        self._locks: dict[Arch, Lock] = {}

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The archs that it has a lock for."""
        return tuple(self.files)

    def beside(self, other: Referred) -> Referred:
        """The same, for the arch of another one alone, if that is of one arch and this one has a lock for it."""
        if not other.is_of_one_arch or not {*other.archs} <= {*self.archs}:
            return self
        files = [self.files[arch] for arch in other.archs]
        environment, project, revision = self.environment, self.project, self.revision
        return Referred(self.reference, self.name, files, environment=environment, project=project, revision=revision)

    @property
    def full_ids(self) -> Mapping[Arch, str]:
        """The full_id of each arch. Reads nothing."""
        return {arch: file.full_id for arch, file in self.files.items()}

    @property
    def req_id(self) -> str:
        """The id of its requirements: those that the project has, or else the locks; empty if there are no locks."""
        if self.environment is not None:
            return self.environment.requirements.req_id
        return next((file.req_id for file in self.files.values()), "")

    def rows(self, arch: Arch) -> LockRows:
        """The lock of an arch as plain rows, verified by its digest.

        Raises KeyError for an arch without a lock; DamagedLock, ConflictMarkersInLock, NewerLockFormat.
        """
        if arch not in self._rows:
            from envlock.lockfile.rows import verified_rows

            file = self.files[arch]
            self._rows[arch] = verified_rows(file.read(), file.shown)
        return self._rows[arch]

    def verified(self, arch: Arch) -> bytes:
        """The lock file of an arch in canonical spelling, verified by its digest. Raises as `rows`."""
        from envlock.lockfile.rows import verified

        file = self.files[arch]
        return verified(file.read(), file.shown)

    def lock(self, arch: Arch) -> Lock:
        """The lock of an arch, read in full. Raises as `rows`."""
        if arch not in self._locks:
            from envlock.lockfile.document import parse

            file = self.files[arch]
            self._locks[arch] = parse(file.read(), file.shown)
        return self._locks[arch]

    @property
    def locks(self) -> Mapping[Arch, Lock]:
        """All of its locks, read in full."""
        return {arch: self.lock(arch) for arch in self.files}


def referred(project: Project, reference: str, *, archs: Sequence[Arch] = ()) -> Referred:
    """The one environment that a text names, with its locks: of these archs, or of all that it is locked for.

    Steps with the same requirements count as one. Raises what `find` raises; SeveralEnvironments, StepDisabled;
    NotLocked, StaleLock, and what else is wrong with an environment of the project that has no lock for an arch;
    AliasLacksArch, EnvironmentNotInCache, DamagedLock for a file that is no lock.
    """
    found = find(project, reference, archs)
    project = found.project
    if not found.choices:
        return _of_others(found, reference, archs)
    environment = one_of(project, found.choices)
    return of_environment(project, environment, reference, archs, revision=found.revision)


def all_referred(project: Project, reference: str = "", *, archs: Sequence[Arch] = ()) -> tuple[Referred, ...]:
    """Every environment that a text names: of a flow, of a revision, or, by nothing or `.`, of the whole project.

    Environments without a lock are among them, with no files, and those with several locks for one arch have none for
    it: `referred` says what is wrong. Disabled steps, and environments that are fetched when their step starts, are
    not. Raises what `find_all` raises.
    """
    return all_of(find_all(project, reference, archs), reference, archs)


def all_of(found: Found, reference: str = "", archs: Sequence[Arch] = ()) -> tuple[Referred, ...]:
    """The environments that were found, as `all_referred` gives them."""
    if not found.choices and not found.is_whole:
        return (_of_others(found, reference, archs),)
    read_ahead([found.project.lock_folder], depth=2)
    return tuple(
        _with_locks(found.project, each.environment, reference, archs, found.revision)
        for each in found.choices
        if each.environment is not None and not each.environment.is_fetched
    )


def of_environment(
    project: Project,
    environment: Environment,
    reference: str = "",
    archs: Sequence[Arch] = (),
    *,
    revision: str = "",
) -> Referred:
    """An environment of a project, as `referred` gives it. Raises as that, of one that is not locked."""
    made = _with_locks(project, environment, reference, archs, revision)
    missing = [arch for arch in archs or project.settings.archs if arch not in made.files]
    if missing and (archs or not made.files):
        from envlock.workflow.fresh_locks import fresh_locks

        with errors_told_of(project):
            fresh_locks(project, (environment,), missing[0])  # says what is wrong
    return made


def _with_locks(
    project: Project, environment: Environment, reference: str, archs: Sequence[Arch], revision: str
) -> Referred:
    files, several = [], []
    for arch in archs or project.settings.archs:
        paths = locks_of(project, environment, arch)
        if len(paths) == 1:
            files.append(_file(project, paths[0], arch))
        elif paths:
            several.append(arch)
    name = f"{revision}:{environment.name}" if revision else environment.name
    return Referred(
        reference or name, name, files, environment=environment, project=project, revision=revision, several=several
    )


def _file(project: Project, path: Path, arch: Arch) -> LockFile:
    shown = shown_path(project, path)
    return LockFile(arch, path.parent.name, full_id_of(path), shown, partial(lock_bytes, path, shown=shown), path)


def _of_others(found: Found, reference: str, archs: Sequence[Arch]) -> Referred:
    """What is no environment of the project by its name: ids, a file, and what the cache has."""
    if found.paths:
        files = [_file(found.project, path, Arch(path.parent.parent.name)) for path in found.paths]
        return Referred(reference, short_ids(reference), files, is_of_one_arch=len(files) == 1)
    if found.file is not None:
        from envlock.lockfile.document import parse

        shown = os.path.relpath(found.file)
        data = lock_bytes(found.file, shown=shown)
        lock = parse(data, shown)
        file = LockFile(lock.arch, lock.req_id, lock.full_id, shown, lambda: data)
        return Referred(reference, reference, [file], is_of_one_arch=True)
    assert found.named is not None
    assert found.lookup is not None
    return of_named(found.lookup, found.named, reference, archs)


def of_named(lookup: Lookup, named: NamedEnvironment, reference: str = "", archs: Sequence[Arch] = ()) -> Referred:
    """What the cache knows. Raises AliasLacksArch for an arch that it has no lock for."""
    for arch in archs:
        named.place(arch)
    files = [
        LockFile(arch, named.req_id, full_id, named.reference, partial(_looked_up, lookup, named, arch))
        for arch, full_id in named.full_ids
        if not archs or arch in archs
    ]
    is_of_one_arch = named.move is None and len(named.full_ids) == 1
    return Referred(reference or named.reference, named.reference, files, is_of_one_arch=is_of_one_arch)


def _looked_up(lookup: Lookup, named: NamedEnvironment, arch: Arch) -> bytes:
    """The lock of the project, of its cache, or of its history in git."""
    from envlock.lockfile.document import render

    try:
        return render(lookup.lock(named, arch)).encode()
    except EnvlockError:
        project, place = lookup.project, named.place(arch)
        data = committed(project, path_of(project.lock_folder, place.arch, place.req_id, place.full_id))
        if data is None:
            raise
        return data
