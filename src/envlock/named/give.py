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
from envlock.named.history import Move
from envlock.named.lookup import Finder, Found, found_by, named
from envlock.named.move import AliasRecord
from envlock.reporter import Reporter
from envlock.workflow.push import PushResult, push_locks
from envlock.workflow.user import user

if TYPE_CHECKING:
    from envlock.model.arch import Arch


@dataclass(frozen=True)
class Given:
    """What came of giving a name."""

    move: Move
    cache: str
    pushed: PushResult | None = None
    """What had to be brought into the cache first, where anything had."""
    lacking: tuple[Arch, ...] = ()
    """Archs of the project that the environment is not there for."""


def give(
    finder: Finder,
    alias: Alias,
    found: Found,
    *,
    why: str = "",
    reporter: Reporter | None = None,
    expected: int | None = None,
) -> Given:
    """Let a name stand for an environment, for every arch that it is there for.

    Giving a name to what it stands for already is no error. `expected` is the move of the tag that the user decided
    upon. Raises AliasTaken before anything is moved; what pushing raises; EnvironmentNotInCache for an environment that
    neither the cache nor the project has; AliasMoved, AliasBusy and StoreNotExclusive.
    """
    finder.aliases.refuse_taken(alias, found.req_id, found.full_ids)
    needs = Needs(frozenset(found.place(arch).path for arch in found.archs))
    with announced(finder.store, needs, reporter):  # else a sweep could take the environment before it has its name
        pushed = _bring(finder, found, reporter or Reporter())
        draft = AliasRecord(
            name=alias.name,
            tag=alias.tag,
            sequence=1,
            req_id=found.req_id,
            full_ids=found.full_ids,
            who=_text(user()),
            when=format_instant(datetime.now(timezone.utc)),
            source=_text(found.said),
            why=_text(why),
        )
        move = finder.aliases.move(draft, expected=expected)
    lacking = tuple(arch for arch in finder.project.settings.archs if arch not in found.archs)
    return Given(move, finder.store.url, pushed, lacking)


def rollback(finder: Finder, alias: Alias, *, to: int | None = None, why: str = "") -> Given:
    """Let a tag that moves stand for what it stood for at an earlier move: the one before the newest, or `to`.

    That is a move of its own. Raises AliasNeverMoves, AliasNotFound, NoEarlierMove, NoSuchMove, BrokenAliasChain, and
    as `give`: AliasMoved where somebody moves it meanwhile.
    """
    if not alias.moves:
        raise AliasNeverMoves(alias)
    history = finder.aliases.history(alias)
    if not history:
        raise finder.not_found(alias)
    if to is None and len(history) == 1:
        raise NoEarlierMove(alias)
    chosen = history[-2] if to is None else finder.aliases.chosen(alias, history, to)
    why = why or f"rolled back from {len(history)} to {chosen.sequence}"
    return give(finder, alias, found_by(chosen), why=why, expected=len(history))


def promote(finder: Finder, source: Alias, target: Alias, *, why: str = "") -> Given:
    """Let a second tag stand for what a first one stands for now.

    Raises AliasNotFound, and as `give`: AliasMoved where somebody else moves the second tag meanwhile.
    """
    before = finder.aliases.head(target)
    record = finder.aliases.head(source)
    if record is None:
        raise finder.not_found(source)
    return give(finder, target, found_by(record), why=why, expected=before.sequence if before else 0)


def promotion_target(source: Alias, text: str) -> Alias:
    """The tag that is promoted to: a tag of the same name, or another name altogether. Raises BadAliasName.

    >>> promotion_target(Alias("team/base", "candidate"), "stable")
    Alias(name='team/base', tag='stable')
    """
    return named(text if ":" in text else f"{source.name}:{text}")


def _bring(finder: Finder, found: Found, reporter: Reporter) -> PushResult | None:
    """See to it that the cache has the environment, for every arch, with all of its packages."""
    own = [lock for arch in found.archs if (lock := finder.own_lock(found, arch)) is not None]
    for arch in set(found.archs) - {lock.arch for lock in own}:
        # An environment is written after its packages, so one that is whole has them.
        finder.cached_lock(found, arch)
    pushed = push_locks(finder.project, finder.store, own, reporter=reporter) if own else None
    if pushed is not None:
        pushed.raise_failures()
    return pushed


def _text(text: str) -> str:
    """The text as UTF-8 can hold it: words of the command line may be bytes of another encoding."""
    return text.encode("utf-8", "replace").decode()
