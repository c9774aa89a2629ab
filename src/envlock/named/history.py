"""The aliases in a cache: the history of each tag is a chain of moves, one file each, written once.

The store decides who may write the next move (`Store.create`); nobody looks first. The order of moves is that of their
sequence, never that of a clock.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.cache.format import prove_exclusive_create
from envlock.cache.layout import ALIASES, alias_folder, move_at, move_path
from envlock.cache.parallel import in_parallel
from envlock.errors import DamageError, EnvlockError, Location
from envlock.named.alias import Alias, EnvironmentIds, parse_alias
from envlock.named.errors import (
    AliasBusy,
    AliasMoved,
    AliasTaken,
    BadAlias,
    BrokenAliasChain,
    NewerMoveFormat,
    NoSuchMove,
)
from envlock.named.move import BadMove, Move, NewerMove, parse_move
from metaflow_extensions.envlock.plugins.node.transport import CHANCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence, Set

    from envlock.cache.port import Store
    from envlock.named.pin import Pin

_ATTEMPTS = 100
_LISTINGS = 4
_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


class Aliases:
    """The aliases in one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_exclusive = False

    def newest(self, alias: Alias) -> Move | None:
        """The newest move of a tag; None if it was never given. One listing of the tag's own folder, one read.

        Raises BrokenAliasChain if a move before it is missing, or its file is no move; NewerMoveFormat.
        """
        last = self._last(alias)
        return self._read(alias, last) if last else None

    def history(self, alias: Alias) -> tuple[Move, ...]:
        """Every move of a tag, oldest first, each verified to follow the one before. One listing, a read for each.

        Raises BrokenAliasChain, which names the first file that is wrong; NewerMoveFormat.
        """
        last = self._last(alias)
        read = dict(in_parallel(lambda sequence: self._read(alias, sequence), range(1, last + 1)))
        moves: list[Move] = []
        for sequence in range(1, last + 1):
            move = read[sequence]
            if isinstance(move, EnvlockError):
                raise move
            if moves and move.previous != moves[-1].digest:
                reason = f"move {sequence} follows another move than this one: one of the two was replaced"
                raise BrokenAliasChain(alias, self._shown(alias, sequence - 1), reason)
            moves.append(move)
        return tuple(moves)

    def move(self, alias: Alias, sequence: int) -> Move | None:
        """One move of a tag, its history verified; None if the tag was never given. Raises as `history`, NoSuchMove."""
        moves = self.history(alias)
        return move_of(moves, sequence) if moves else None

    def names(self, prefix: str = "") -> Mapping[Alias, int]:
        """Every alias that begins with `prefix`, with the number of its moves. One listing. Sorted."""
        return {alias: max(sequences) for alias, sequences in self._listed(prefix).items()}

    def all_newest(self, prefix: str = "") -> Iterator[tuple[Alias, Move | EnvlockError]]:
        """Every alias that begins with `prefix`, with its newest move or what is wrong with that. Sorted.

        One listing, and a read for each. A tag with a missing move is listed once more by itself.
        """
        listed = self._listed(prefix)
        read = dict(in_parallel(lambda alias: self._newest_of(alias, listed[alias]), listed))
        for alias in listed:
            move = read[alias]
            if move is not None:
                yield alias, move

    def refuse_taken(self, alias: Alias, ids: EnvironmentIds) -> None:
        """Raise AliasTaken if a tag that never moves names another environment, before any work is done.

        If `ids` have no full_ids, it is not known yet what will be resolved, and only the req_id is compared.
        """
        move = None if alias.moves else self.newest(alias)
        if move and (move.req_id != ids.req_id or ids.full_ids not in {(), move.full_ids}):
            raise AliasTaken(move, wanted=str(ids))

    def add(self, draft: Move, *, expected: int | None = None) -> tuple[Move, Move | None]:
        """Let a tag name the draft's environment; its place in the chain is found here.

        The value is the newest move now, and the one before this call; the same twice if the tag named that
        environment already, and nothing was written. `expected` is the move that the caller decided upon (0 for none);
        without it, what others did meanwhile comes before this. Costs two reads, a listing and a create, and more only
        while others move the same tag.

        Raises AliasTaken, AliasMoved, AliasBusy, StoreNotExclusive, and as `newest`.
        """
        alias = draft.alias
        for attempt in range(_ATTEMPTS):
            move, before = self.would_add(draft, expected=expected)
            if move is before:
                return move, before
            if not self._is_exclusive:
                prove_exclusive_create(self._store)
                self._is_exclusive = True
            move = replace(move, previous=before.digest if before else "", nonce=os.urandom(8).hex())
            if self._store.create(move_path(alias, move.sequence), move.render()):
                return move, before
            time.sleep(CHANCE.uniform(0, min(_PAUSE * (attempt + 1), _LONGEST_PAUSE)))
        raise AliasBusy(alias=alias)

    def would_add(self, draft: Move, *, expected: int | None = None) -> tuple[Move, Move | None]:
        """What `add` would return now. Writes nothing. Raises AliasTaken, AliasMoved, and as `newest`."""
        before = self.newest(draft.alias)
        if before and before.ids == draft.ids:
            return before, before
        if before and not draft.alias.moves:
            raise AliasTaken(before, wanted=str(draft.ids))
        if before and expected not in {None, before.sequence}:
            raise AliasMoved(before, expected or 0)
        return replace(draft, sequence=before.sequence + 1 if before else 1), before

    def disagreement(self, pin: Pin, newest: Move | None) -> str:
        """How the cache contradicts the move that an alias is pinned to; empty if it agrees. Raises as `history`."""
        if newest is None:
            return "the cache has no such alias"
        if newest.sequence < pin.sequence:
            return f"the cache has {newest.sequence} of its moves"
        move = newest if newest.sequence == pin.sequence else self.move(newest.alias, pin.sequence)
        if move is not None and move.digest == pin.record:
            return ""
        return f"move {pin.sequence} in the cache is another one" + (f", to {move.req_id}" if move else "")

    def _listed(self, prefix: str) -> Mapping[Alias, set[int]]:
        """The moves that are there of every alias with a prefix, by their sequence. Sorted by alias."""
        folder = prefix.partition(":")[0] if ":" in prefix else prefix.rpartition("/")[0]
        if folder:
            try:
                parse_alias(folder)
            except BadAlias:
                return {}
        found: dict[Alias, set[int]] = {}
        for entry in self._store.entries(f"{ALIASES}/{folder}" if folder else ALIASES):
            at = move_at(entry.path)
            if at is not None and str(at[0]).startswith(prefix):
                found.setdefault(at[0], set()).add(at[1])
        return dict(sorted(found.items()))

    def _newest_of(self, alias: Alias, listed: Set[int]) -> Move | None:
        return self._read(alias, max(listed)) if _is_whole(alias, listed) else self.newest(alias)

    def _last(self, alias: Alias) -> int:
        """The sequence of the newest move; 0 if there is none. Raises BrokenAliasChain if one before it is missing."""
        found: set[int] = set()
        for number in range(_LISTINGS):
            # A listing that others write into may show the later of two moves, and not the earlier.
            time.sleep(_PAUSE * number)
            entries = self._store.entries(alias_folder(alias))
            found = {at[1] for entry in entries if (at := move_at(entry.path)) and at[0] == alias}
            if len(found) == max(found, default=0):
                break
        last = max(found, default=0)
        if _is_whole(alias, found):
            return last
        if len(found) == last:
            raise BrokenAliasChain(alias, self._shown(alias, 2), "a tag that never moves has one move")
        first = min({*range(1, len(found) + 2)} - found)
        raise BrokenAliasChain(alias, self._shown(alias, first), f"this move is missing, and move {last} is there")

    def _read(self, alias: Alias, sequence: int) -> Move:
        place = self._shown(alias, sequence)
        try:
            move = parse_move(self._store.read(move_path(alias, sequence)))
        except FileNotFoundError:
            raise BrokenAliasChain(alias, place, "this move was taken away") from None
        except NewerMove as error:
            raise NewerMoveFormat(locations=(Location(place),), alias=alias, found=error) from None
        except (BadMove, DamageError) as error:
            raise BrokenAliasChain(alias, place, str(error)) from None
        if (move.alias, move.sequence) != (alias, sequence):
            raise BrokenAliasChain(alias, place, f"it is move {move.sequence} of `{move.alias}`")
        return move

    def _shown(self, alias: Alias, sequence: int) -> str:
        return f"{self._store.url}/{move_path(alias, sequence)}"


def move_of(history: Sequence[Move], sequence: int) -> Move:
    """The move of that number in a tag's history, which is not empty. Raises NoSuchMove."""
    if not 1 <= sequence <= len(history):
        raise NoSuchMove(alias=history[0].alias, sequence=sequence, last=len(history))
    return history[sequence - 1]


def _is_whole(alias: Alias, sequences: Set[int]) -> bool:
    """Whether the moves of a tag are all there, by their sequence: without a gap, and one of a tag that never moves."""
    last = max(sequences, default=0)
    return len(sequences) == last and (alias.moves or last <= 1)
