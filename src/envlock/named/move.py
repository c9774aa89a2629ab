"""One move of a tag, as a cache keeps it: written once, never changed, a link of a chain.

A move ends with the SHA-256 of all that stands before it, and names the SHA-256 of the move before it. So whoever
changes a move, or takes an older one away, breaks the chain where everybody can see it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from envlock.files import json_of
from envlock.model.arch import ARCHS, Arch
from envlock.named.alias import Alias, EnvironmentIds, is_id, parse_alias
from envlock.named.errors import BadAlias

FORMAT = 1
LAST = 9_999_999_999
"""The last sequence that the name of a file has room for."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class BadMove(ValueError):
    """The bytes are no move."""


class NewerMove(BadMove):
    """The move has a format that a newer envlock writes."""


@dataclass(frozen=True)
class Move:
    """The environment that a tag names from one moment on."""

    name: str
    tag: str
    sequence: int
    """1 for the first move of this tag, then one more for each."""
    req_id: str
    full_ids: tuple[tuple[Arch, str], ...]
    """Sorted by arch."""
    who: str
    when: str
    """RFC 3339, in UTC, by the clock of who made it."""
    source: str
    """What it was made from, in the user's words: `Train/start`, `team/base:candidate`, `Train/142/start`."""
    why: str = ""
    previous: str = ""
    """The SHA-256 of the move before this one; empty for the first."""
    nonce: str = ""
    """Chance: tells our own move from an equal one of somebody else when an acknowledgement was lost."""

    @property
    def alias(self) -> Alias:
        """The alias whose tag moved."""
        return Alias(self.name, self.tag)

    @property
    def ids(self) -> EnvironmentIds:
        """The environment that it moved to."""
        return EnvironmentIds(self.req_id, self.full_ids)

    def render(self) -> bytes:
        r"""The canonical bytes: JSON, keys in order, one a line.

        >>> Move("team/base", "v1", 1, "0" * 40, (), "mia", "2026-11-01T00:00:00Z", "base").render()[:28]
        b'{\n "format": 1,\n "name": "te'
        """
        return _spelt({**self._fields(), "sha256": self.digest})

    @property
    def digest(self) -> str:
        """The SHA-256 of the canonical bytes without the `sha256` line: what the next move names as `previous`."""
        return hashlib.sha256(_spelt(self._fields())).hexdigest()

    def _fields(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self), "full_ids": dict(self.full_ids)}


def parse_move(data: bytes) -> Move:
    """The move in canonical bytes, verified. Raises BadMove (NewerMove) for any other bytes."""
    try:
        found = json_of(data.decode())
        if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
            raise NewerMove(f"format {found['format']}")
        move = _move_in(found)
        if found.get("sha256") != move.digest:
            raise BadMove("it was changed: its content does not have the SHA-256 that it ends with")
        if move.render() != data:
            raise BadMove("it is not written as envlock writes it")
    except BadMove:
        raise
    except KeyError as error:
        raise BadMove(f"it has no {error}") from None
    except (ValueError, TypeError, AttributeError):
        raise BadMove("it is no move of a tag") from None
    return move


def _spelt(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()


def _move_in(found: dict[str, Any]) -> Move:
    texts = {key: found[key] for key in ("name", "tag", "req_id", "who", "when", "source", "why", "previous", "nonce")}
    if not all(type(text) is str for text in texts.values()) or type(found["sequence"]) is not int:
        raise BadMove("a value has another type")
    full_ids = tuple((Arch(arch), full_id) for arch, full_id in found["full_ids"].items())
    move = Move(sequence=found["sequence"], full_ids=full_ids, **texts)
    try:
        alias = parse_alias(f"{move.name}:{move.tag}")
    except BadAlias as error:
        raise BadMove(str(error)) from None
    ids = (move.req_id, *(full_id for _, full_id in full_ids))
    if not all(map(is_id, ids)) or any(arch not in ARCHS for arch, _ in full_ids) or not full_ids:
        raise BadMove("an id or an arch is none")
    if list(full_ids) != sorted(full_ids):
        raise BadMove("its archs are not in order")
    is_linked = bool(_SHA256.match(move.previous)) if move.sequence > 1 else move.previous == ""
    if not 1 <= move.sequence <= LAST or not is_linked or alias != move.alias:
        raise BadMove("it has no place in a chain")
    return move
