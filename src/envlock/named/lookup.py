"""From what a user says to the environment that is meant: a name in the cache, its ids, or a task that ran in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from envlock.cache.environments import Environments
from envlock.cache.errors import UnsafePath
from envlock.cache.format import check_format
from envlock.cache.immutable_cache import remembered
from envlock.cache.layout import EnvironmentPlace, environment_place
from envlock.cache.open import open_store, shown_url
from envlock.cache.parallel import in_parallel
from envlock.errors import DamageError, EnvlockError
from envlock.lockfile.errors import NotLocked
from envlock.lockfile.folder import candidates, lock_files, path_of, read_lock
from envlock.model.arch import ARCHS, Arch
from envlock.named.alias import Alias, BadAlias, MissingVariable, parse_alias, parse_reference, substituted
from envlock.named.errors import (
    AliasLacksArch,
    AliasNotFound,
    AmbiguousId,
    BadAliasName,
    EnvironmentNotInCache,
    LockNotFound,
    MetaflowMissing,
    NothingRecorded,
    PathspecNotFound,
    UnsetNameVariable,
)
from envlock.named.history import Aliases
from envlock.named.run_record import RunRecords, recorded
from envlock.workflow.fresh_locks import fresh_locks
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from envlock.cache.immutable_cache import Remembered
    from envlock.cache.port import Store
    from envlock.config.project import Environment, Project
    from envlock.model.lock import Lock
    from envlock.named.move import Move

_IDENTITY = re.compile(r"([0-9a-f]{4,40}):([0-9a-f]{4,40})\Z")


_WHOLE = 40
"""Hex digits of an id."""


@dataclass(frozen=True)
class NamedEnvironment:
    """An environment that was named, for the archs that it is there for."""

    reference: str
    """How it was named: `Train/start`, `team/base:candidate@4`, `Train/142/start`, or its ids."""
    req_id: str
    full_ids: tuple[tuple[Arch, str], ...]
    """Sorted by arch; at least one."""
    move: Move | None = None
    """Where a name in the cache led to it."""
    task: str = ""
    """The pathspec of the task that it was looked up for."""

    @property
    def archs(self) -> tuple[Arch, ...]:
        """What it is there for."""
        return tuple(arch for arch, _ in self.full_ids)

    def place(self, arch: Arch) -> EnvironmentPlace:
        """Where its lock lies in a cache. Raises AliasLacksArch."""
        full_id = dict(self.full_ids).get(arch)
        if full_id is None:
            raise AliasLacksArch(self.reference, arch, self.archs)
        return EnvironmentPlace(arch, self.req_id, full_id)


def spelt_out(text: str) -> str:
    """The text with the value of each `@{VARIABLE}` of this process's environment. Raises UnsetNameVariable."""
    try:
        return substituted(text, os.environ)
    except MissingVariable as error:
        raise UnsetNameVariable(text, error.variable) from None


def alias_of(text: str) -> Alias:
    """The name that a text spells, variables put in. Raises BadAliasName, UnsetNameVariable."""
    try:
        return parse_alias(spelt_out(text))
    except BadAlias as error:
        raise BadAliasName(error) from None


def is_identity(text: str) -> bool:
    """Whether it is `req_id:full_id`, or may be the beginnings of both, as `show` prints them.

    >>> is_identity("a" * 40 + ":" + "b" * 40), is_identity("3f2a90c1d4e5:77b0"), is_identity("team:v1")
    (True, True, False)
    """
    return _IDENTITY.match(text) is not None


def found_of(said: str, locks: Sequence[Lock]) -> NamedEnvironment:
    """The environment of locks that differ in their arch alone."""
    return NamedEnvironment(said, locks[0].req_id, tuple(sorted((lock.arch, lock.full_id) for lock in locks)))


class Lookup:
    """Looks for environments in a project and its cache, which is opened when it is first asked.

    One that `recalls` asks a bucket once for what never changes, names that do not move and locks by their ids, and
    this machine from then on. That is for those who only read; who writes into the cache asks it.
    """

    def __init__(self, project: Project, *, recalls: bool = False) -> None:
        self.project = project
        self._recalls = recalls

    @cached_property
    def _memory(self) -> Remembered | None:
        return remembered(self.project.cache_url, self.project.cache_options) if self._recalls else None

    @cached_property
    def url(self) -> str:
        """The project's cache, without credentials: for messages. Opens nothing."""
        return shown_url(self.project.cache_url)

    @cached_property
    def store(self) -> Store:
        """The project's cache. Raises what opening one raises, and NewerCache."""
        store = open_store(self.project.cache_url, self.project.cache_options)
        check_format(store)
        return store

    @cached_property
    def aliases(self) -> Aliases:
        """The names in the cache."""
        return Aliases(self.store)

    def environment(self, environment: Environment) -> NamedEnvironment:
        """What is locked for an environment of the project, for every arch that it is locked for, fresh and whole.

        Raises NotLocked and what else `fresh_locks` raises.
        """
        locks = [
            fresh_locks(self.project, (environment,), arch)[environment.name]
            for arch in self.project.settings.archs
            if environment.deferred or locks_of(self.project, environment, arch)
        ]
        if not locks:
            fresh_locks(self.project, (environment,), self.project.settings.archs[0])
            raise NotLocked(environment.name)
        return found_of(environment.name, locks)

    def reference(self, text: str, *, exact: bool = False) -> NamedEnvironment:
        """What a name (`team/base:stable`, `team/base:stable@3`) or `req_id:full_id` stands for.

        Of ids, the beginnings of both are enough, unless it has to be `exact`: those of the project come first, then a
        name that looks like that.
        Costs the same number of requests whatever the cache holds, or a listing for beginnings of ids that only the
        cache knows. Raises BadAliasName, UnsetNameVariable, AliasNotFound, LockNotFound, AmbiguousId, and what reading
        an alias raises.
        """
        text = spelt_out(text)
        match = _IDENTITY.match(text)
        if match and (not exact or len(text) == 2 * _WHOLE + 1):
            found = self._of_ids(text, match[1], match[2])
            if found is None:
                raise LockNotFound(text, self.project.lock_folder.name, self.url)
            return found
        try:
            alias, sequence = parse_reference(text)
        except BadAlias as error:
            raise BadAliasName(error) from None
        record = self._head(alias) if sequence is None else self.aliases.at(alias, sequence)
        if record is None:
            raise self.not_found(alias)
        return found_by(record)

    def _of_ids(self, text: str, req_id: str, full_id: str) -> NamedEnvironment | None:
        """What both ids, or the beginnings of both, stand for: in the project, as a name, or in the cache."""
        if len(req_id) == len(full_id) == _WHOLE:
            return self._widened(NamedEnvironment(text, req_id, ()), full_id)
        paths = lock_files(self.project.lock_folder)
        known = [(path.parent.name, path.name.split(".")[1]) for path in paths]
        ids = _beginning(text, req_id, full_id, known)
        if ids is None:
            try:
                record = self._head(parse_alias(text))
            except BadAlias:  # with all digits of one of them
                record = None
            if record is not None:
                return found_by(record)
            places = Environments(self.store).places()
            ids = _beginning(text, req_id, full_id, [(place.req_id, place.full_id) for place in places])
        return ids and self._widened(NamedEnvironment(":".join(ids), ids[0], ()), ids[1])

    def pathspec(self, pathspec: str, *, widened: bool = True) -> NamedEnvironment:
        """What a task ran in, as Metaflow recorded it; where it did not, as the launcher did in the cache.

        `widened` to all archs that are known to have been locked with it. Raises BadPathspec, UnsetNameVariable;
        PathspecNotFound, NothingRecorded or MetaflowMissing where nobody knows.
        """
        pathspec = spelt_out(pathspec)
        try:
            task = recorded(pathspec)
        except (MetaflowMissing, NothingRecorded, PathspecNotFound) as error:
            found = self._kept(pathspec, error)
        else:
            found = NamedEnvironment(task.pathspec, task.req_id, ((task.arch, task.full_id),), task=task.pathspec)
        return (self._widened(found, found.full_ids[0][1]) if widened else None) or found

    def not_found(self, alias: Alias) -> AliasNotFound:
        """The error that nothing has a name, with its other tags, or else names of its team. At most two listings."""
        team, slash, _ = alias.name.partition("/")
        others = self.aliases.names(f"{alias.name}:") or (self.aliases.names(f"{team}/") if slash else ())
        return AliasNotFound(alias, self.store.url, others)

    def lock(self, found: NamedEnvironment, arch: Arch) -> Lock:
        """The lock of what was found, of this project or else of its cache, proved whole.

        Raises AliasLacksArch, EnvironmentNotInCache, and what reading a lock raises.
        """
        return self.own_lock(found, arch) or self.cached_lock(found, arch)

    def own_lock(self, found: NamedEnvironment, arch: Arch) -> Lock | None:
        """The lock of what was found, where this project has it."""
        place = found.place(arch)
        path = path_of(self.project.lock_folder, arch, place.req_id, place.full_id)
        if not path.is_file():
            return None
        lock = read_lock(path, shown=self.project.shown(path))
        return lock if environment_place(lock) == place else None

    def cached_lock(self, found: NamedEnvironment, arch: Arch) -> Lock:
        """The lock of what was found, of the cache."""
        place = found.place(arch)
        recalled = self._memory.lock(place) if self._memory else None
        return recalled or self._asked_for(found, Environments(self.store), place)

    def cached_locks(self, found: NamedEnvironment, archs: Sequence[Arch]) -> tuple[Lock, ...]:
        """As `cached_lock`, for each arch, those that are not remembered at once."""
        places = [found.place(arch) for arch in archs]
        locks = {place: lock for place in places if self._memory and (lock := self._memory.lock(place))}
        missing = [place for place in places if place not in locks]
        ask = partial(self._asked_for, found, Environments(self.store)) if missing else None
        for place, read in in_parallel(ask, missing) if ask else ():
            if isinstance(read, EnvlockError):
                raise read
            locks[place] = read
        return tuple(locks[place] for place in places)

    def _asked_for(self, found: NamedEnvironment, environments: Environments, place: EnvironmentPlace) -> Lock:
        try:
            lock = environments.read(place)
        except FileNotFoundError:
            if found.task and len(found.full_ids) == 1:
                where = f"{self.project.lock_folder.name}/{place.arch}/{place.req_id}"
                raise LockNotFound(place.identity, where, self.url, ran=found.task) from None
            raise EnvironmentNotInCache(found.reference, place.identity, place.arch, self.store.url) from None
        if self._memory:
            self._memory.keep_lock(lock)
        return lock

    def _head(self, alias: Alias) -> Move | None:
        """The newest record of a tag."""
        if alias.moves or self._memory is None:
            return self.aliases.head(alias)
        record = self._memory.record(alias)
        if record is None:
            record = self.aliases.head(alias)
            if record is not None:
                self._memory.keep_record(record)
        return record

    def _widened(self, found: NamedEnvironment, full_id: str) -> NamedEnvironment | None:
        """The same for all archs that are known to belong together, or None where none is.

        Those of the project, where it has that very lock; else those for which the cache has just that full_id.
        """
        own: dict[Arch, str] = {}
        for arch in ARCHS:
            paths = candidates(self.project.lock_folder, arch, found.req_id)
            if len(paths) == 1:
                own[arch] = paths[0].name.split(".")[1]
        known = dict(found.full_ids)
        if full_id in own.values() and all(own.get(arch) == each for arch, each in known.items()):
            return replace(found, full_ids=tuple(sorted(own.items())))
        places = [EnvironmentPlace(arch, found.req_id, full_id) for arch in ARCHS if arch not in known]
        for place, there in in_parallel(lambda place: self.store.entry(place.path) is not None, places):
            if isinstance(there, EnvlockError):
                raise there
            if there:
                known[place.arch] = full_id
        return replace(found, full_ids=tuple(sorted(known.items()))) if known else None

    def _kept(self, pathspec: str, error: EnvlockError) -> NamedEnvironment:
        """What the cache knows of a step; where that is nothing, Metaflow's own error is raised."""
        flow, run, step = pathspec.split("/")[:3]
        try:
            ran = RunRecords(self.store).read(flow, run, step)
        except UnsafePath:  # such as no step has that was kept
            ran = ()
        except DamageError:
            raise
        except EnvlockError as unusable:
            error.details += (unusable.message,)
            raise error from None
        if not ran:
            error.details += (f"the cache {self.store.url} does not know it either",)
            raise error
        full_ids = tuple(sorted((each.arch, each.full_id) for each in ran if each.req_id == ran[0].req_id))
        return NamedEnvironment(f"{flow}/{run}/{step}", ran[0].req_id, full_ids, task=f"{flow}/{run}/{step}")


def _beginning(text: str, req_id: str, full_id: str, known: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """The one of the known ids that begins so; None where none does. Raises AmbiguousId."""
    ids = sorted({each for each in known if each[0].startswith(req_id) and each[1].startswith(full_id)})
    if len(ids) > 1:
        raise AmbiguousId(text, [":".join(each) for each in ids])
    return ids[0] if ids else None


def found_by(move: Move) -> NamedEnvironment:
    """What a record points to, named with its move: names may move on."""
    said = f"{move.alias}@{move.sequence}" if move.alias.moves else str(move.alias)
    return NamedEnvironment(said, move.req_id, move.full_ids, move=move)
