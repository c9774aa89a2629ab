"""From a reference to the environment that it names: an alias in the cache, ids, or the pathspec of what ran."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from envlock.cache.environments import Environments
from envlock.cache.errors import UnsafePath
from envlock.cache.format import check_format
from envlock.cache.immutable_cache import remembered
from envlock.cache.layout import EnvironmentPlace, environment_place
from envlock.cache.open import located, open_cache, shown_url
from envlock.cache.parallel import all_in_parallel
from envlock.errors import DamageError, EnvlockError
from envlock.lockfile.errors import NotLocked
from envlock.lockfile.folder import candidates, full_id_of, lock_files, path_of, read_lock
from envlock.model.arch import ARCHS, Arch
from envlock.named.alias import (
    Alias,
    EnvironmentIds,
    are_whole_ids,
    filled_in,
    ids_in,
    parse_alias,
    parse_move_reference,
)
from envlock.named.errors import (
    AliasLacksArch,
    AliasNotFound,
    AmbiguousId,
    BadAlias,
    EnvironmentNotInCache,
    LockNotFound,
    MetaflowMissing,
    NothingRecorded,
    PathspecNotFound,
)
from envlock.named.history import Aliases
from envlock.named.run_record import RunRecords, recorded_by_metaflow
from envlock.workflow.fresh_locks import fresh_locks
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from envlock.cache.immutable_cache import Remembered
    from envlock.cache.port import Store
    from envlock.config.project import Environment, Project
    from envlock.model.lock import Lock
    from envlock.named.move import Move


@dataclass(frozen=True)
class NamedEnvironment:
    """The environment that a reference names."""

    reference: str
    """`Train/start`, `team/base:candidate@4`, `Train/142/start`, or ids."""
    req_id: str
    full_ids: tuple[tuple[Arch, str], ...]
    """Sorted by arch; at least one."""
    move: Move | None = None
    """The move of the alias that names it."""
    task: str = ""
    """The pathspec of the task that ran in it."""

    @classmethod
    def of(cls, move: Move) -> NamedEnvironment:
        """The environment of an alias since a move, named with that: tags may move on."""
        reference = f"{move.alias}@{move.sequence}" if move.alias.moves else str(move.alias)
        return cls(reference, move.req_id, move.full_ids, move=move)

    @property
    def ids(self) -> EnvironmentIds:
        """Its ids."""
        return EnvironmentIds(self.req_id, self.full_ids)

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The archs that it is locked for."""
        return self.ids.archs

    def place(self, arch: Arch) -> EnvironmentPlace:
        """Where its lock lies in a cache. Raises AliasLacksArch."""
        full_id = self.ids.full_id(arch)
        if full_id is None:
            raise AliasLacksArch(self.reference, arch, self.archs)
        return EnvironmentPlace(arch, self.req_id, full_id)


def alias_of(text: str) -> Alias:
    """The alias in an argument of a command, `@{VARIABLE}`s of this process filled in.

    Raises BadAlias, UnsetNameVariable.
    """
    return parse_alias(filled_in(text, os.environ))


class Lookup:
    """Looks up references in a project and its cache, which is opened when it is first needed.

    With `recalls`, what never changes (tags that do not move, locks by their ids) is read from a bucket once, and from
    this machine after that. That is for those who only read; who writes into the cache reads from it.
    """

    def __init__(self, project: Project, *, recalls: bool = False) -> None:
        self.project = project
        self._recalls = recalls

    @cached_property
    def _memory(self) -> Remembered | None:
        with located(self.project):
            return remembered(self.project.cache_url, self.project.cache_options) if self._recalls else None

    @cached_property
    def url(self) -> str:
        """The project's cache, without credentials: for messages. Opens nothing."""
        with located(self.project):
            return shown_url(self.project.cache_url)

    @cached_property
    def store(self) -> Store:
        """The project's cache. Raises what opening one raises, and NewerCache."""
        store = open_cache(self.project, few_reads=self._recalls)
        check_format(store)
        return store

    @cached_property
    def aliases(self) -> Aliases:
        """The aliases in the cache."""
        return Aliases(self.store)

    def environment(self, environment: Environment) -> NamedEnvironment:
        """An environment of the project, for every arch that it is locked for, fresh and whole.

        Raises NotLocked, and what else `fresh_locks` raises.
        """
        locks = [
            fresh_locks(self.project, (environment,), arch)[environment.name]
            for arch in self.project.settings.archs
            if locks_of(self.project, environment, arch)
        ]
        if not locks:
            fresh_locks(self.project, (environment,), self.project.settings.archs[0])
            raise NotLocked(environment.name)
        full_ids = tuple(sorted((lock.arch, lock.full_id) for lock in locks))
        return NamedEnvironment(environment.name, locks[0].req_id, full_ids)

    def reference(self, text: str, *, exact: bool = False) -> NamedEnvironment:
        """What an alias (`team/base:stable`, `team/base:stable@3`) or ids name.

        The first digits of both ids are enough, unless they have to be `exact`. Ids in the project come first, then an
        alias that looks like ids, then ids in the cache. Costs the same number of requests whatever the cache holds, or
        a listing for the first digits of ids that only the cache knows.

        Raises BadAlias, UnsetNameVariable, AliasNotFound, LockNotFound, AmbiguousId, and what reading a history raises.
        """
        text = filled_in(text, os.environ)
        ids = ids_in(text)
        if ids is not None and (not exact or are_whole_ids(text)):
            found = self._by_whole_ids(text, *ids) if are_whole_ids(text) else self._by_first_digits(text, *ids)
            if found is None:
                raise LockNotFound(text, self.project.lock_folder.name, self.url)
            return found
        alias, sequence = parse_move_reference(text)
        move = self._newest(alias) if sequence is None else self.aliases.move(alias, sequence)
        if move is None:
            raise self.not_found(alias)
        return NamedEnvironment.of(move)

    def _by_whole_ids(self, reference: str, req_id: str, full_id: str) -> NamedEnvironment | None:
        return self._on_all_archs(NamedEnvironment(reference, req_id, ()), full_id)

    def _by_first_digits(self, text: str, req_id: str, full_id: str) -> NamedEnvironment | None:
        paths = lock_files(self.project.lock_folder)
        known = [(path.parent.name, full_id_of(path)) for path in paths]
        ids = _beginning_with(text, req_id, full_id, known)
        if ids is None:
            try:
                move = self._newest(parse_alias(text))
            except BadAlias:  # with all digits of one of them
                move = None
            if move is not None:
                return NamedEnvironment.of(move)
            places = Environments(self.store).places()
            ids = _beginning_with(text, req_id, full_id, [(place.req_id, place.full_id) for place in places])
        return self._by_whole_ids(":".join(ids), *ids) if ids else None

    def pathspec(self, pathspec: str, *, all_archs: bool = True) -> NamedEnvironment:
        """The environment that a step or a task ran in, by Metaflow's metadata, or else by the cache's run records.

        With `all_archs`, for those too that are known to have been locked with it. Raises BadPathspec,
        UnsetNameVariable, DamagedRunRecord; PathspecNotFound, NothingRecorded or MetaflowMissing if nobody knows.
        """
        pathspec = filled_in(pathspec, os.environ)
        try:
            task, record = recorded_by_metaflow(pathspec)
        except (MetaflowMissing, NothingRecorded, PathspecNotFound) as error:
            found = self._by_run_records(pathspec, error)
        else:
            found = NamedEnvironment(task, record.req_id, ((record.arch, record.full_id),), task=task)
        return (self._on_all_archs(found, found.full_ids[0][1]) if all_archs else None) or found

    def _by_run_records(self, pathspec: str, error: EnvlockError) -> NamedEnvironment:
        """What the cache's run records say of a step; if nothing, Metaflow's own error is raised."""
        flow, run, step = pathspec.split("/")[:3]
        try:
            records = RunRecords(self.store).read(flow, run, step)
        except UnsafePath:  # such as no step has that was recorded
            records = ()
        except DamageError:
            raise
        except EnvlockError as unusable:
            raise error.adding(unusable.message) from None
        if not records:
            raise error.adding(f"the cache {self.store.url} does not know it either") from None
        req_id, task = records[0].req_id, f"{flow}/{run}/{step}"
        full_ids = tuple(sorted((each.arch, each.full_id) for each in records if each.req_id == req_id))
        return NamedEnvironment(task, req_id, full_ids, task=task)

    def not_found(self, alias: Alias) -> AliasNotFound:
        """The error that nothing has an alias, with the name's other tags, or else its team's names. Two listings."""
        team, slash, _ = alias.name.partition("/")
        others = self.aliases.names(f"{alias.name}:") or (self.aliases.names(f"{team}/") if slash else ())
        return AliasNotFound(alias, self.store.url, others)

    def lock(self, found: NamedEnvironment, arch: Arch) -> Lock:
        """The lock of an environment, of this project or else of its cache, verified.

        Raises AliasLacksArch, EnvironmentNotInCache, and what reading a lock raises.
        """
        return self.own_lock(found, arch) or self.cached_lock(found, arch)

    def own_lock(self, found: NamedEnvironment, arch: Arch) -> Lock | None:
        """The lock of an environment, if this project has it."""
        place = found.place(arch)
        path = path_of(self.project.lock_folder, arch, place.req_id, place.full_id)
        if not path.is_file():
            return None
        lock = read_lock(path, shown=self.project.shown(path))
        return lock if environment_place(lock) == place else None

    def cached_lock(self, found: NamedEnvironment, arch: Arch) -> Lock:
        """The lock of an environment, from the cache. Raises as `lock`."""
        return self.cached_locks(found, (arch,))[0]

    def cached_locks(self, found: NamedEnvironment, archs: Sequence[Arch]) -> tuple[Lock, ...]:
        """As `cached_lock`, for each arch; those that this machine does not remember are read at once."""
        places = [found.place(arch) for arch in archs]
        locks = {place: lock for place in places if self._memory and (lock := self._memory.lock(place))}
        missing = [place for place in places if place not in locks]
        read = partial(self._read_lock, found, Environments(self.store)) if missing else None
        locks.update(all_in_parallel(read, missing) if read else ())
        return tuple(locks[place] for place in places)

    def _read_lock(self, found: NamedEnvironment, environments: Environments, place: EnvironmentPlace) -> Lock:
        try:
            lock = environments.read(place)
        except FileNotFoundError:
            if found.task and len(found.full_ids) == 1:
                where = f"{self.project.lock_folder.name}/{place.arch}/{place.req_id}"
                raise LockNotFound(place.identity, where, self.url, ran=found.task) from None
            raise EnvironmentNotInCache(
                reference=found.reference, ids=place.identity, arch=place.arch, url=self.store.url
            ) from None
        if self._memory:
            self._memory.keep_lock(lock)
        return lock

    def _newest(self, alias: Alias) -> Move | None:
        if alias.moves or self._memory is None:
            return self.aliases.newest(alias)
        move = self._memory.move(alias)
        if move is None:
            move = self.aliases.newest(alias)
            if move is not None:
                self._memory.keep_move(move)
        return move

    def _on_all_archs(self, found: NamedEnvironment, full_id: str) -> NamedEnvironment | None:
        """The same environment for all archs that are known to belong together; None if there is none.

        If the project has that very lock, its locks of the same requirements; else those of that full_id in the cache.
        """
        own: dict[Arch, str] = {}
        for arch in ARCHS:
            paths = candidates(self.project.lock_folder, arch, found.req_id)
            if len(paths) == 1:
                own[arch] = full_id_of(paths[0])
        known = dict(found.full_ids)
        if full_id in own.values() and all(own.get(arch) == each for arch, each in known.items()):
            return replace(found, full_ids=tuple(sorted(own.items())))
        places = [EnvironmentPlace(arch, found.req_id, full_id) for arch in ARCHS if arch not in known]
        for place, is_there in all_in_parallel(lambda place: self.store.entry(place.path) is not None, places):
            if is_there:
                known[place.arch] = full_id
        return replace(found, full_ids=tuple(sorted(known.items()))) if known else None


def _beginning_with(text: str, req_id: str, full_id: str, known: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """The one pair of the known ids that begins so; None if none does. Raises AmbiguousId."""
    ids = sorted({each for each in known if each[0].startswith(req_id) and each[1].startswith(full_id)})
    if len(ids) > 1:
        raise AmbiguousId(text, [":".join(each) for each in ids])
    return ids[0] if ids else None
