"""The names of environments in a cache: each tag is a log of records, one for each move, written once.

Who may write the next record is decided by the store (`Store.create`), never by looking first. The order of moves is
that of their sequence, never that of a clock.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.cache.format import prove_exclusive_create
from envlock.cache.layout import ALIASES, alias_folder, move_at, move_path
from envlock.cache.parallel import in_parallel
from envlock.errors import DamageError, EnvlockError
from envlock.named.alias import Alias, BadAlias, parse_alias
from envlock.named.errors import (
    AliasBusy,
    AliasMoved,
    AliasTaken,
    BrokenAliasChain,
    NewerMoveFormat,
    NoSuchMove,
    shown_target,
)
from envlock.named.move import BadMove, Move, NewerMove, parse_move

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envlock.cache.port import Store

_ATTEMPTS = 100
_LISTINGS = 4
_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


class Aliases:
    """The names of one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_proved = False

    def head(self, alias: Alias) -> Move | None:
        """The newest record of a tag, or None where it was never given. One listing of the tag's own folder, one read.

        Raises BrokenAliasChain where a record before it is missing, or it is none; NewerMoveFormat.
        """
        last = self._last(alias)
        return self._read(alias, last) if last else None

    def at(self, alias: Alias, sequence: int) -> Move | None:
        """One record of a tag, its whole history proved; None where the tag was never given.

        Raises as `history`, and NoSuchMove.
        """
        history = self.history(alias)
        return self.chosen(alias, history, sequence) if history else None

    @staticmethod
    def chosen(alias: Alias, history: Sequence[Move], sequence: int) -> Move:
        """The record of that number in a tag's history. Raises NoSuchMove."""
        if not 1 <= sequence <= len(history):
            raise NoSuchMove(alias, sequence, len(history))
        return history[sequence - 1]

    def history(self, alias: Alias) -> tuple[Move, ...]:
        """Every record of a tag, oldest first, each proved to follow the one before. One listing, a read for each.

        Raises BrokenAliasChain, which names the first record that is wrong; NewerMoveFormat.
        """
        last = self._last(alias)
        read = dict(in_parallel(lambda sequence: self._read(alias, sequence), range(1, last + 1)))
        records: list[Move] = []
        for sequence in range(1, last + 1):
            record = read[sequence]
            if isinstance(record, EnvlockError):
                raise record
            if records and record.previous != records[-1].digest:
                raise BrokenAliasChain(
                    alias,
                    self._shown(alias, sequence - 1),
                    f"move {sequence} follows another record than this one: one of the two was replaced",
                )
            records.append(record)
        return tuple(records)

    def names(self, prefix: str = "") -> Mapping[Alias, int]:
        """Every tag whose `name:tag` begins with `prefix`, with the number of its moves. One listing. Sorted."""
        return {alias: max(sequences) for alias, sequences in self._listed(prefix).items()}

    def _listed(self, prefix: str) -> Mapping[Alias, set[int]]:
        folder = prefix.partition(":")[0] if ":" in prefix else prefix.rpartition("/")[0]
        if folder:
            try:
                parse_alias(folder)
            except BadAlias:
                return {}
        found: dict[Alias, set[int]] = {}
        for entry in self._store.entries(f"{ALIASES}/{folder}" if folder else ALIASES):
            record = move_at(entry.path)
            if record is not None and str(record[0]).startswith(prefix):
                found.setdefault(record[0], set()).add(record[1])
        return dict(sorted(found.items()))

    def heads(self, prefix: str = "") -> Iterator[tuple[Alias, Move | EnvlockError]]:
        """Every tag that begins with `prefix`, with its newest record or what is wrong with that. Sorted.

        One listing, and a read for each. Where a record of a tag is missing, that tag is listed by itself.
        """
        listed = self._listed(prefix)

        def newest(alias: Alias) -> Move | None:
            last = max(listed[alias])
            is_whole = len(listed[alias]) == last and (alias.moves or last == 1)
            return self._read(alias, last) if is_whole else self.head(alias)

        read = dict(in_parallel(newest, listed))
        for alias in listed:
            record = read[alias]
            if record is not None:
                yield alias, record

    def refuse_taken(self, alias: Alias, req_id: str, full_ids: tuple[tuple[str, str], ...] | None = None) -> None:
        """Raise AliasTaken where a tag that never moves stands for another environment, before any work is done.

        Without `full_ids`, what would be resolved is not known yet, and only what was asked is compared.
        """
        record = None if alias.moves else self.head(alias)
        if record and (record.req_id != req_id or full_ids not in {None, record.full_ids}):
            raise AliasTaken(record, wanted=shown_target(req_id, full_ids or ()))

    def add(self, draft: Move, *, expected: int | None = None) -> tuple[Move, Move | None]:
        """Let a name stand for the draft's environment; its place in the chain is found here.

        Giving it to the environment that it stands for writes nothing. `expected` is the move that the caller decided
        upon (0 for none); without it, what others did meanwhile comes before this. Costs two reads, a listing and a
        create, and more only while others move the same tag.

        Raises AliasTaken, AliasMoved, AliasBusy, StoreNotExclusive, and as `head`.
        """
        alias = draft.alias
        for attempt in range(_ATTEMPTS):
            before = self.head(alias)
            if before and (before.req_id, before.full_ids) == (draft.req_id, draft.full_ids):
                return before, before
            if before and not alias.moves:
                raise AliasTaken(before, wanted=shown_target(draft.req_id, draft.full_ids))
            if before and expected not in {None, before.sequence}:
                raise AliasMoved(before, expected or 0)
            if not self._is_proved:
                prove_exclusive_create(self._store)
                self._is_proved = True
            record = replace(
                draft,
                sequence=before.sequence + 1 if before else 1,
                previous=before.digest if before else "",
                nonce=os.urandom(8).hex(),
            )
            if self._store.create(move_path(alias, record.sequence), record.render()):
                return record, before
            time.sleep(random.uniform(0, min(_PAUSE * (attempt + 1), _LONGEST_PAUSE)))  # noqa: S311  no secret
        raise AliasBusy(alias)

    def _last(self, alias: Alias) -> int:
        """The sequence of the newest record; 0 where there is none."""
        found = self._sequences(alias)
        for number in range(1, _LISTINGS):
            if len(found) == max(found, default=0):
                break
            # A listing that others write into may show the later of two records, and not the earlier.
            time.sleep(_PAUSE * number)
            found = self._sequences(alias)
        last = max(found, default=0)
        if len(found) != last:
            first = min({*range(1, len(found) + 2)} - found)
            reason = f"this record is missing, and move {last} is there"
            raise BrokenAliasChain(alias, self._shown(alias, first), reason)
        if last > 1 and not alias.moves:
            raise BrokenAliasChain(alias, self._shown(alias, 2), "a tag that never moves has one record")
        return last

    def _sequences(self, alias: Alias) -> set[int]:
        entries = self._store.entries(alias_folder(alias))
        return {found[1] for entry in entries if (found := move_at(entry.path)) and found[0] == alias}

    def _read(self, alias: Alias, sequence: int) -> Move:
        place = self._shown(alias, sequence)
        try:
            record = parse_move(self._store.read(move_path(alias, sequence)))
        except FileNotFoundError:
            raise BrokenAliasChain(alias, place, "this record was taken away") from None
        except NewerMove as error:
            raise NewerMoveFormat(alias, place, str(error)) from None
        except (BadMove, DamageError) as error:
            raise BrokenAliasChain(alias, place, str(error)) from None
        if (record.alias, record.sequence) != (alias, sequence):
            raise BrokenAliasChain(alias, place, f"it is move {record.sequence} of `{record.alias}`")
        return record

    def _shown(self, alias: Alias, sequence: int) -> str:
        return f"{self._store.url}/{move_path(alias, sequence)}"
