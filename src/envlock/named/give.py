"""Giving aliases: packages and locks come into the cache first, and the alias last.

So an alias never names what is not there, wherever this is stopped. What can be refused is refused before anything
is pushed. `lock` imports this when it starts, so what needs the cache is imported where an alias is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError
from envlock.named.alias import Alias, EnvironmentIds
from envlock.named.errors import AliasNeverMoves, AliasTaken, NoEarlierMove, next_tag
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from envlock.config.project import KeyPath, Project
    from envlock.config.selection import Selection
    from envlock.errors import Location
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock
    from envlock.named.lookup import Lookup, NamedEnvironment
    from envlock.named.move import Move
    from envlock.reporter import Reporter
    from envlock.workflow.locking.jobs import LockResult, Upgrade
    from envlock.workflow.push import PushResult


@dataclass(frozen=True)
class GiveResult:
    """What came of giving an alias."""

    move: Move
    """The move that the tag is at now."""
    before: Move | None
    """The move that it was at before; None if it was never given."""
    cache: str
    pushed: PushResult | None = None
    """What had to be pushed first, if anything had."""
    lacking: tuple[Arch, ...] = ()
    """Archs of the project that the environment is not locked for."""

    @property
    def was_there(self) -> bool:
        """Whether the alias named that environment already, and nothing was written."""
        return self.move == self.before


def give(
    lookup: Lookup,
    alias: Alias,
    found: NamedEnvironment,
    *,
    why: str = "",
    reporter: Reporter | None = None,
    expected: int | None = None,
    dry_run: bool = False,
    own: Sequence[Lock] = (),
) -> GiveResult:
    """Let an alias name an environment, on every arch that it is locked for.

    Giving an alias to the environment that it names already is no error. `expected` is the move of the tag that the
    user decided upon. `dry_run` pushes and gives nothing, and the result is what would be given; `own` are then locks
    of the project that have not been written. Raises AliasTaken before anything is pushed; what pushing raises;
    EnvironmentNotInCache if neither the cache nor the project has the environment; AliasMoved, AliasBusy and
    StoreNotExclusive.
    """
    from envlock.cache.gc_lock import Needs, announced
    from envlock.config.instants import format_instant
    from envlock.named.move import Move
    from envlock.places import user

    def draft() -> Move:
        return Move(
            name=alias.name,
            tag=alias.tag,
            sequence=1,
            req_id=found.req_id,
            full_ids=found.full_ids,
            who=_utf8(user()),
            when=format_instant(datetime.now(timezone.utc)),
            source=_utf8(found.reference),
            why=_utf8(why),
        )

    lookup.aliases.refuse_taken(alias, found.ids)
    lacking = tuple(arch for arch in lookup.project.settings.archs if arch not in found.archs)
    if dry_run:
        pushed = _push(lookup, found, reporter, dry_run=True, own=own)
        move, before = lookup.aliases.would_add(draft(), expected=expected)
        return GiveResult(move, before, lookup.store.url, pushed, lacking)
    needs = Needs(frozenset(found.place(arch).path for arch in found.archs))
    with announced(lookup.store, needs, reporter):  # else gc could delete the environment before it has its alias
        pushed = _push(lookup, found, reporter)
        move, before = lookup.aliases.add(draft(), expected=expected)
    return GiveResult(move, before, lookup.store.url, pushed, lacking)


def rollback(
    lookup: Lookup, alias: Alias, *, to: int | None = None, why: str = "", dry_run: bool = False
) -> GiveResult:
    """Move a tag back to the environment of an earlier move: the one before the newest, or `to`.

    That is a new move. Raises AliasNeverMoves, AliasNotFound, NoEarlierMove, NoSuchMove, BrokenAliasChain, and as
    `give`: AliasMoved if somebody else moves it meanwhile.
    """
    from envlock.named.history import move_of
    from envlock.named.lookup import NamedEnvironment

    if not alias.moves:
        raise AliasNeverMoves(alias=alias)
    history = lookup.aliases.history(alias)
    if not history:
        raise lookup.not_found(alias)
    if to is None and len(history) == 1:
        raise NoEarlierMove(alias=alias)
    chosen = history[-2] if to is None else move_of(history, to)
    why = why or f"rolled back from {len(history)} to {chosen.sequence}"
    return give(lookup, alias, NamedEnvironment.of(chosen), why=why, expected=len(history), dry_run=dry_run)


def promote(lookup: Lookup, source: Alias, target: Alias, *, why: str = "", dry_run: bool = False) -> GiveResult:
    """Let a second tag name the environment of a first one.

    Raises AliasNotFound, and as `give`: AliasMoved if somebody else moves the second tag meanwhile.
    """
    from envlock.named.lookup import NamedEnvironment

    before = lookup.aliases.newest(target)
    move = lookup.aliases.newest(source)
    if move is None:
        raise lookup.not_found(source)
    found = NamedEnvironment.of(move)
    expected = before.sequence if before else 0
    return give(lookup, target, found, why=why, expected=expected, dry_run=dry_run)


def promotion_target(source: Alias, text: str) -> Alias:
    """The alias that is promoted to: a tag of the same name, or another name altogether. Raises BadAlias.

    >>> promotion_target(Alias("team/base", "candidate"), "stable")
    Alias(name='team/base', tag='stable')
    """
    from envlock.named.lookup import alias_of

    return alias_of(text if ":" in text else f"{source.name}:{text}")


@dataclass(frozen=True)
class Behind:
    """An alias of envlock.toml that still names the previous environment: its tag never moves."""

    environment: str
    """The environment of envlock.toml that is another one now."""
    move: Move
    """The move that the alias is at."""
    following: Alias
    """An alias that nobody has and that may follow it."""
    at: Location | None
    """Where envlock.toml has the alias; None if a variable is a part of it."""


@dataclass(frozen=True)
class Given:
    """The aliases that one `lock` gave, and those that stay behind."""

    results: tuple[GiveResult, ...] = ()
    behind: tuple[Behind, ...] = ()


class LockAliases:
    """The aliases that one `lock` gives. Opens the cache only if there is an alias to give.

    Those of envlock.toml are given to an environment that was locked again, for all archs; those of the command line in
    any case. A tag that never moves and names another environment already is an error on the command line, and stays
    behind in envlock.toml: whoever changes an environment there need not know that its alias was given.
    """

    def __init__(self, project: Project, selection: Selection, names: Sequence[str] = ()) -> None:
        """`names` are the command line's.

        Raises NoSuchSelection, SeveralEnvironments, NoEnvironments, BadAlias, UnsetNameVariable.
        """
        environments = selection.choose(project)
        self._project = project
        self._in_config = [(each.name, [name for name, _ in each.aliases]) for each in environments if each.aliases]
        self._if_changed: list[tuple[str, Alias]] = []
        self._places: dict[Alias, Location | None] = {}
        self._always: list[tuple[str, Alias]] = []
        if names:
            from envlock.config.errors import NoEnvironments, SeveralEnvironments
            from envlock.named.lookup import alias_of

            if len({each.requirements.req_id for each in environments}) > 1:
                raise SeveralEnvironments([each.name for each in environments], environments[0].key, project.path.name)
            if not environments:
                raise NoEnvironments(project.path.name)
            self._always = [(environments[0].name, alias_of(name)) for name in names]
        if not selection.archs:
            for each in environments:
                for name, key in each.aliases:
                    alias = _alias_at(project, name, key)
                    self._if_changed.append((each.name, alias))
                    self._places[alias] = None if "@{" in name else project.locate(key)

    def refuse_taken(self, project: Project, upgrade: Upgrade) -> None:
        """Raise AliasTaken before anything is locked, if the command line gives a tag that names another environment.

        That is so only for a tag that never moves.
        """
        environments = {each.name: each for each in project.environments()}
        lookup: Lookup | None = None
        for name, alias in dict.fromkeys(self._always):
            environment = environments[name]
            base = environment.base
            # The environment of an alias that has no pin yet is not known before it is looked up.
            if alias.moves or (base is not None and base.pin is None):
                continue
            is_locked = all(locks_of(project, environment, arch) for arch in project.settings.archs)
            if upgrade.is_nothing and is_locked:
                continue
            if lookup is None:
                from envlock.named.lookup import Lookup

                lookup = Lookup(project)
            lookup.aliases.refuse_taken(alias, EnvironmentIds(environment.requirements.req_id, ()))

    def left(self, result: LockResult) -> Iterator[str]:
        """A line for each environment with aliases in envlock.toml that were not given, as it was not locked again.

        Whether they were given before is not looked up: that would open the cache each time.
        """
        given = {name for name, _ in self._to_give(result)}
        for environment, names in self._in_config:
            if environment not in given:
                yield (
                    f"note: {environment} was not locked again for all archs, so its aliases stay as they are; "
                    f"to give one: envlock alias {names[0]} --env {environment}"
                )

    def give(self, result: LockResult, reporter: Reporter, *, dry_run: bool = False) -> Given:
        """Give the aliases, when the environments are locked. Raises as the function `give`."""
        wanted = self._to_give(result)
        if not wanted:
            return Given()
        from envlock.config.read import load_project
        from envlock.named.lookup import Lookup

        # What was pinned meanwhile is read again.
        project = load_project(self._project.path) if self._project.locks is None else self._project
        lookup = Lookup(project)
        environments = {each.name: each for each in project.environments()}
        results: list[GiveResult] = []
        behind: list[Behind] = []
        for name, alias in dict.fromkeys(wanted):
            try:
                if dry_run:
                    own = _locks_of(result, name)
                    found = _as_locked(name, own)
                    results.append(give(lookup, alias, found, reporter=reporter, dry_run=True, own=own))
                    continue
                results.append(give(lookup, alias, lookup.environment(environments[name]), reporter=reporter))
            except AliasTaken as error:
                if (name, alias) in self._always:
                    raise
                behind.append(Behind(name, error.move, _following(lookup, alias), self._places[alias]))
        return Given(tuple(results), tuple(behind))

    def _to_give(self, result: LockResult) -> list[tuple[str, Alias]]:
        changed = {name for each in result.locked if each.action != "kept" for name in each.environments}
        return [*self._always, *((name, alias) for name, alias in self._if_changed if name in changed)]


def _locks_of(result: LockResult, name: str) -> tuple[Lock, ...]:
    """The locks of an environment after `lock`, whether or not they were written."""
    from envlock.lockfile.folder import read_lock

    mine = [each for each in result.locked if name in each.environments]
    return tuple(each.lock if each.lock is not None else read_lock(each.path) for each in mine)


def _as_locked(name: str, locks: Sequence[Lock]) -> NamedEnvironment:
    from envlock.named.lookup import NamedEnvironment

    return NamedEnvironment(name, locks[0].req_id, tuple(sorted((lock.arch, lock.full_id) for lock in locks)))


def _following(lookup: Lookup, alias: Alias) -> Alias:
    """The first alias after one that nobody has. One listing."""
    taken = {each.tag for each in lookup.aliases.names(f"{alias.name}:") if each.name == alias.name}
    tag = next_tag(alias.tag)
    while tag in taken:
        tag = next_tag(tag)
    return Alias(alias.name, tag)


def _alias_at(project: Project, text: str, key: KeyPath) -> Alias:
    """The alias in a text of envlock.toml. An error says which line it is in."""
    from envlock.named.lookup import alias_of

    try:
        return alias_of(text)
    except EnvlockError as error:
        raise error.at(project.locate(key)) from None


def _push(
    lookup: Lookup,
    found: NamedEnvironment,
    reporter: Reporter | None,
    *,
    dry_run: bool = False,
    own: Sequence[Lock] = (),
) -> PushResult | None:
    """See to it that the cache has the environment, for every arch, with all of its packages."""
    from envlock.reporter import Reporter
    from envlock.workflow.push import push_locks

    own = own or [lock for arch in found.archs if (lock := lookup.own_lock(found, arch)) is not None]
    for arch in set(found.archs) - {lock.arch for lock in own}:
        lookup.cached_lock(found, arch)  # its packages were pushed before it, so the cache has them
    if not own:
        return None
    pushed = push_locks(lookup.project, lookup.store, own, reporter=reporter or Reporter(), dry_run=dry_run)
    pushed.raise_failures()
    return pushed


def _utf8(text: str) -> str:
    """The text as UTF-8 can hold it: words of the command line may be bytes of another encoding."""
    return text.encode("utf-8", "replace").decode()
