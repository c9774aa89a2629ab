"""Giving names to environments: packages and environments come into the cache first, and the name last.

So a name never stands for what is not there, wherever this is stopped. What can be refused is refused before anything
is moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from envlock.cache.gc_lock import Needs, announced
from envlock.config.instants import format_instant
from envlock.named.alias import Alias
from envlock.named.errors import AliasNeverMoves, NoEarlierMove
from envlock.named.lookup import Lookup, NamedEnvironment, alias_of, found_by
from envlock.named.move import Move
from envlock.reporter import Reporter
from envlock.workflow.push import PushResult, push_locks
from envlock.workflow.user import user

if TYPE_CHECKING:
    from envlock.model.arch import Arch


@dataclass(frozen=True)
class GiveResult:
    """What came of giving a name."""

    move: Move
    """What the tag stands for now."""
    before: Move | None
    """What it stood for before; None where it was never given."""
    cache: str
    pushed: PushResult | None = None
    """What had to be brought into the cache first, where anything had."""
    lacking: tuple[Arch, ...] = ()
    """Archs of the project that the environment is not there for."""

    @property
    def was_there(self) -> bool:
        """Whether the alias stood for that environment already, and nothing was written."""
        return self.move == self.before


def give(
    lookup: Lookup,
    alias: Alias,
    found: NamedEnvironment,
    *,
    why: str = "",
    reporter: Reporter | None = None,
    expected: int | None = None,
) -> GiveResult:
    """Let a name stand for an environment, for every arch that it is there for.

    Giving a name to what it stands for already is no error. `expected` is the move of the tag that the user decided
    upon. Raises AliasTaken before anything is moved; what pushing raises; EnvironmentNotInCache for an environment that
    neither the cache nor the project has; AliasMoved, AliasBusy and StoreNotExclusive.
    """
    lookup.aliases.refuse_taken(alias, found.req_id, found.full_ids)
    needs = Needs(frozenset(found.place(arch).path for arch in found.archs))
    with announced(lookup.store, needs, reporter):  # else a sweep could take the environment before it has its name
        pushed = _bring(lookup, found, reporter or Reporter())
        draft = Move(
            name=alias.name,
            tag=alias.tag,
            sequence=1,
            req_id=found.req_id,
            full_ids=found.full_ids,
            who=_text(user()),
            when=format_instant(datetime.now(timezone.utc)),
            source=_text(found.reference),
            why=_text(why),
        )
        move, before = lookup.aliases.add(draft, expected=expected)
    lacking = tuple(arch for arch in lookup.project.settings.archs if arch not in found.archs)
    return GiveResult(move, before, lookup.store.url, pushed, lacking)


def rollback(lookup: Lookup, alias: Alias, *, to: int | None = None, why: str = "") -> GiveResult:
    """Let a tag that moves stand for what it stood for at an earlier move: the one before the newest, or `to`.

    That is a move of its own. Raises AliasNeverMoves, AliasNotFound, NoEarlierMove, NoSuchMove, BrokenAliasChain, and
    as `give`: AliasMoved where somebody moves it meanwhile.
    """
    if not alias.moves:
        raise AliasNeverMoves(alias)
    history = lookup.aliases.history(alias)
    if not history:
        raise lookup.not_found(alias)
    if to is None and len(history) == 1:
        raise NoEarlierMove(alias)
    chosen = history[-2] if to is None else lookup.aliases.chosen(alias, history, to)
    why = why or f"rolled back from {len(history)} to {chosen.sequence}"
    return give(lookup, alias, found_by(chosen), why=why, expected=len(history))


def promote(lookup: Lookup, source: Alias, target: Alias, *, why: str = "") -> GiveResult:
    """Let a second tag stand for what a first one stands for now.

    Raises AliasNotFound, and as `give`: AliasMoved where somebody else moves the second tag meanwhile.
    """
    before = lookup.aliases.head(target)
    record = lookup.aliases.head(source)
    if record is None:
        raise lookup.not_found(source)
    return give(lookup, target, found_by(record), why=why, expected=before.sequence if before else 0)


def promotion_target(source: Alias, text: str) -> Alias:
    """The tag that is promoted to: a tag of the same name, or another name altogether. Raises BadAliasName.

    >>> promotion_target(Alias("team/base", "candidate"), "stable")
    Alias(name='team/base', tag='stable')
    """
    return alias_of(text if ":" in text else f"{source.name}:{text}")


def _bring(lookup: Lookup, found: NamedEnvironment, reporter: Reporter) -> PushResult | None:
    """See to it that the cache has the environment, for every arch, with all of its packages."""
    own = [lock for arch in found.archs if (lock := lookup.own_lock(found, arch)) is not None]
    for arch in set(found.archs) - {lock.arch for lock in own}:
        # An environment is written after its packages, so one that is whole has them.
        lookup.cached_lock(found, arch)
    pushed = push_locks(lookup.project, lookup.store, own, reporter=reporter) if own else None
    if pushed is not None:
        pushed.raise_failures()
    return pushed


def _text(text: str) -> str:
    """The text as UTF-8 can hold it: words of the command line may be bytes of another encoding."""
    return text.encode("utf-8", "replace").decode()
