"""References: from any text that names environments to their locks.

A reference is the name of the project's own (a step, `Flow/step`, a flow, an `[env.*]` table), ids, an alias or a move,
a pathspec, the path of a lock file or of a prefix; `REVISION:` before a name or ids means the project as it was at a
revision of git. The first of these that a text names is what it means: the project's names come first, then what is on
this machine, then the cache. `find` has that order, and nothing else does.

Looking at locks has to be fast, so nothing here imports what solves, asks or draws, and a lock is read when it is asked
for: `rows` costs a quarter of a millisecond for 60 packages, `lock` ten times as much.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from envlock.config.past import project_at, project_of_tree
from envlock.config.project import Environment, Project
from envlock.config.selection import Choice, steps_of, tables_of
from envlock.errors import ConfigError, EnvlockError
from envlock.git_objects import NoSuchRevision, NotARepository, ShallowClone, missing, objects_around, tree_of
from envlock.lockfile.folder import full_id_of, lock_bytes, lock_files
from envlock.model.arch import Arch
from envlock.revisions import read_ahead
from envlock.values import NamedTuple
from envlock.words import short_ids
from envlock.workflow.needed_locks import locks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.lockfile.rows import LockRows
    from envlock.model.lock import Lock
    from envlock.named.lookup import Lookup, NamedEnvironment

_IDS = re.compile(r"(?:[0-9a-f]{4,40}:)?[0-9a-f]{4,40}\Z")
_PATHSPEC = re.compile(r"[A-Za-z_]\w*/[A-Za-z0-9][\w.-]*/[A-Za-z_]\w*(?:/[A-Za-z0-9][\w.-]*)?\Z", re.ASCII)
_MISSES = ("no-such-selection", "bad-alias", "alias-not-found")
"""The errors that a text names nothing."""


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
    """An environment that a reference names, and its locks. Each lock is read, and verified, when it is asked for."""

    def __init__(
        self,
        reference: str,
        name: str,
        files: Sequence[LockFile],
        *,
        environment: Environment | None = None,
        project: Project | None = None,
        revision: str = "",
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
        self._rows: dict[Arch, LockRows] = {}
        self._locks: dict[Arch, Lock] = {}

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The archs that it has a lock for."""
        return tuple(self.files)

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
            from envlock.lockfile.rows import rows_in

            self._rows[arch] = rows_in(self.verified(arch))
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


class Found(NamedTuple):
    """What a reference names, before any lock is read: one of the fields has it."""

    project: Project
    """The project that was looked in."""
    choices: tuple[Choice, ...] = ()
    """The project's own steps and tables of that name."""
    paths: tuple[Path, ...] = ()
    """Locks of its lock folder, of one environment."""
    file: Path | None = None
    """A lock file, wherever it is."""
    named: NamedEnvironment | None = None
    """What the cache knows, or a prefix says of itself."""
    lookup: Lookup | None = None
    """What looked it up there."""
    revision: str = ""
    """The revision of git that `project` is of."""
    is_whole: bool = False
    """Whether the choices are all that the project has."""


def find(project: Project, wanted: str, archs: Sequence[Arch] = ()) -> Found:
    """What a text names: the order in which it is looked for.

    1. A step, `Flow/step`, a flow, an `[env.*]` table of the project.
    2. Digits of ids, among the project's locks of these archs.
    3. The path of a lock file or of a prefix: a text that ends in `.toml`, or begins with `.`, `/` or `~`.
    4. Any of the first two at a revision of git, before a `:`.
    5. The pathspec of what ran.
    6. An alias, a move of one, or both ids, in the cache: a text with a `:`, `@` or `/`.

    Raises NoSuchSelection, AmbiguousId, LockNotFound, PrefixGone, what `project_at` raises, and what `Lookup` raises.
    """
    own = _own(project, wanted, archs)
    if own is not None:
        return own
    if wanted.startswith((".", "/", "~")) or wanted.endswith(".toml"):
        return _at_path(project, wanted)
    at_revision = _at_revision(project, wanted, archs)
    if at_revision is not None:
        return at_revision
    if _IDS.match(wanted) and ":" not in wanted:
        from envlock.named.errors import LockNotFound

        raise LockNotFound(wanted, project.lock_folder.name, project.cache_url)
    if _is_pathspec(project, wanted):
        lookup = _lookup(project)
        return Found(project, named=lookup.pathspec(wanted), lookup=lookup)
    if {":", "@"} & set(wanted) or ("/" in wanted and project.flow(wanted.partition("/")[0]) is None):
        lookup = _lookup(project)
        return Found(project, named=lookup.reference(wanted), lookup=lookup)
    raise _no_such(project, wanted)


def _no_such(project: Project, wanted: str) -> EnvlockError:
    from envlock.config.errors import NoSuchSelection

    steps = steps_of(project)
    right = [each.step for each in steps] + [flow.name for flow in project.flows]
    right += [each.name for each in (*steps, *tables_of(project))]
    return NoSuchSelection("environment", wanted, list(dict.fromkeys(right)), project.path.name)


def _own(project: Project, wanted: str, archs: Sequence[Arch]) -> Found | None:
    """What a text names of the project itself; None if that is nothing."""
    choices = choices_of(project, wanted)
    if choices:
        return Found(project, choices=tuple(choices))
    paths = _with_ids(project, wanted, archs) if _IDS.match(wanted) else ()
    return Found(project, paths=paths) if paths else None


def _at_revision(project: Project, wanted: str, archs: Sequence[Arch]) -> Found | None:
    """What `REVISION:name` names; None if it is something else, such as an alias."""
    revision, colon, name = wanted.rpartition(":")
    if not (colon and revision and name):
        return None
    from envlock.named.alias import parse_move_reference
    from envlock.named.errors import BadAlias

    try:
        parse_move_reference(wanted)
        may_be_alias = True
    except BadAlias:
        may_be_alias = False
    try:
        past = project_at(project, revision)
    except (NotARepository, NoSuchRevision, ShallowClone):
        if may_be_alias or _IDS.match(wanted):
            return None
        raise
    found = _own(past, name, archs)
    if found is not None:
        return found._replace(revision=revision)
    if may_be_alias:
        return None
    raise _no_such(past, name).adding(f"at the revision `{revision}`")


def choices_of(project: Project, wanted: str) -> list[Choice]:
    """The `[env.*]` table of that name; else that step of a flow; else that flow's steps; else steps of that name."""
    steps = steps_of(project)
    return (
        [each for each in tables_of(project) if each.name == wanted]
        or [each for each in steps if each.name == wanted]
        or [each for each in steps if each.flow == wanted]
        or [each for each in steps if each.step == wanted]
    )


def _with_ids(project: Project, wanted: str, archs: Sequence[Arch]) -> tuple[Path, ...]:
    """The locks of the one environment whose ids begin so. Raises AmbiguousId."""
    req_id, _, full_id = wanted.rpartition(":")
    paths = tuple(
        path
        for path in lock_files(project.lock_folder)
        if (not archs or path.parent.parent.name in archs)
        and path.parent.name.startswith(req_id)
        and full_id_of(path).startswith(full_id)
    )
    identities = sorted({f"{path.parent.name}:{full_id_of(path)}" for path in paths})
    if len(identities) > 1:
        from envlock.named.errors import AmbiguousId

        raise AmbiguousId(wanted, identities)
    return paths


def _is_pathspec(project: Project, wanted: str) -> bool:
    """Whether a text is the pathspec of what ran; a name in a cache has no capitals, and may have as many parts."""
    if not _PATHSPEC.match(wanted):
        return False
    return wanted != wanted.lower() or project.flow(wanted.partition("/")[0]) is not None


def _lookup(project: Project) -> Lookup:
    from envlock.named.lookup import Lookup

    return Lookup(project, recalls=True)


def _at_path(project: Project, wanted: str) -> Found:
    """A lock file, or what a prefix is made from. Raises PrefixGone."""
    from envlock.places import expanded

    path = Path(expanded(wanted)).absolute()
    if wanted.endswith(".toml") or path.is_file():
        return Found(project, file=path)
    from envlock.hydration.prefix import read_receipt
    from envlock.named.lookup import NamedEnvironment
    from envlock.workflow.errors import PrefixGone

    receipt = read_receipt(path)
    if receipt is None:
        there = path.readlink() if path.is_symlink() else path
        raise PrefixGone(wanted, there.name, is_there=path.is_dir())
    full_ids = ((Arch(receipt.arch), receipt.full_id),)
    return Found(project, named=NamedEnvironment(wanted, receipt.req_id, full_ids), lookup=_lookup(project))


# From what is found to its locks.


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
    ids = {each.environment.requirements.req_id if each.environment else "" for each in found.choices}
    first = found.choices[0]
    if len(ids) > 1:
        from envlock.config.errors import SeveralEnvironments

        raise SeveralEnvironments([each.name for each in found.choices], first.key, project.path.name)
    if first.environment is None:
        from envlock.config.errors import StepDisabled

        raise StepDisabled(first.name, project.locate(first.key))
    return of_environment(project, first.environment, reference, archs, revision=found.revision)


def all_referred(project: Project, reference: str = "", *, archs: Sequence[Arch] = ()) -> tuple[Referred, ...]:
    """Every environment that a text names: of a flow, of a revision, or, by nothing or `.`, of the whole project.

    Environments without a lock are among them, with no files, and those with several locks for one arch have none for
    it: `referred` says what is wrong. Disabled steps, and environments that are fetched when their step starts, are
    not. Raises what `find_all` raises.
    """
    return all_of(find_all(project, reference, archs), reference, archs)


def find_all(project: Project, reference: str = "", archs: Sequence[Arch] = ()) -> Found:
    """As `find`; nothing or `.` is the whole project, and a revision is all of it at that revision."""
    if reference in {"", "."}:
        return whole(project)
    own = _own(project, reference, archs) or _whole_revision(project, reference)
    try:
        return own or find(project, reference, archs)
    except ConfigError as error:
        if error.code not in _MISSES:
            raise
        raise _no_revision_either(project, reference, error) from None


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


def whole(project: Project, revision: str = "") -> Found:
    """All environments of a project, which may be one of a revision."""
    choices = (*steps_of(project), *tables_of(project))
    return Found(project, choices=choices, revision=revision, is_whole=True)


def _whole_revision(project: Project, reference: str) -> Found | None:
    """All of the project at the revision that a text is, with or without a `:` at its end; None if it is none."""
    if reference.startswith((".", "/", "~")):
        return None
    revision = reference.removesuffix(":")
    objects = objects_around(project.folder)
    try:
        tree = tree_of(objects, revision) if objects is not None else None
    except NotARepository:
        return None
    return whole(project_of_tree(project, tree), revision) if tree is not None else None


def _no_revision_either(project: Project, reference: str, error: EnvlockError) -> EnvlockError:
    """The error that a text names nothing, where it may have been meant as a revision of git."""
    objects = objects_around(project.folder)
    if objects is None:
        return error
    why = missing(objects, reference)
    return why if isinstance(why, ShallowClone) or error.code == "bad-alias" else error.adding(f"{why.message} either")


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

        fresh_locks(project, (environment,), missing[0])  # says what is wrong
    return made


def _with_locks(
    project: Project, environment: Environment, reference: str, archs: Sequence[Arch], revision: str
) -> Referred:
    files = []
    for arch in archs or project.settings.archs:
        paths = locks_of(project, environment, arch)
        if len(paths) == 1:
            files.append(_file(project, paths[0], arch, revision))
    name = f"{revision}:{environment.name}" if revision else environment.name
    return Referred(reference or name, name, files, environment=environment, project=project, revision=revision)


def _file(project: Project, path: Path, arch: Arch, revision: str = "") -> LockFile:
    shown = f"{revision}:{project.shown(path)}" if revision else project.shown(path)
    return LockFile(arch, path.parent.name, full_id_of(path), shown, partial(lock_bytes, path, shown=shown), path)


def _of_others(found: Found, reference: str, archs: Sequence[Arch]) -> Referred:
    """What is no environment of the project by its name: ids, a file, and what the cache has."""
    if found.paths:
        files = [_file(found.project, path, Arch(path.parent.parent.name), found.revision) for path in found.paths]
        return Referred(reference, short_ids(reference), files)
    if found.file is not None:
        from envlock.lockfile.document import parse

        shown = os.path.relpath(found.file)
        data = lock_bytes(found.file, shown=shown)
        lock = parse(data, shown)
        return Referred(reference, reference, [LockFile(lock.arch, lock.req_id, lock.full_id, shown, lambda: data)])
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
    return Referred(reference or named.reference, named.reference, files)


def _looked_up(lookup: Lookup, named: NamedEnvironment, arch: Arch) -> bytes:
    from envlock.lockfile.document import render

    return render(lookup.lock(named, arch)).encode()
