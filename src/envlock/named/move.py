"""One move of an alias, written once and never changed: a link of a chain.

A record ends with the SHA-256 of all that stands before it, and names the SHA-256 of the record before it. So whoever
changes a record, or takes an older one away, breaks the chain where everybody can see it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from envlock.files import json_of
from envlock.model.arch import ARCHS, Arch
from envlock.named.alias import Alias, BadAlias, parse_alias

FORMAT = 1
LAST = 9_999_999_999
"""The last sequence that the name of a file has room for."""

_ID = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class BadMove(ValueError):
    """The bytes are no record of an alias."""


class NewerMove(BadMove):
    """The record is of a format that a newer envlock writes."""


@dataclass(frozen=True)
class Move:
    """What an alias was made to mean at one moment."""

    name: str
    tag: str
    sequence: int
    """1 for the first move of this tag, then one more for each."""
    req_id: str
    full_ids: tuple[tuple[Arch, str], ...]
    """The environment for each arch, sorted by arch."""
    who: str
    when: str
    """RFC 3339, in UTC, by the clock of who wrote it."""
    source: str
    """What it was made from, in the user's words: `Train/start`, `team/base:candidate`, `Train/142/start`."""
    why: str = ""
    previous: str = ""
    """The SHA-256 of the record before this one; empty for the first."""
    nonce: str = ""
    """Chance: tells our own record from an equal one of somebody else when an acknowledgement was lost."""

    @property
    def alias(self) -> Alias:
        """What the record is of."""
        return Alias(self.name, self.tag)

    def full_id(self, arch: Arch) -> str | None:
        """The environment for an arch, where there is one."""
        return dict(self.full_ids).get(arch)

    def render(self) -> bytes:
        r"""The canonical bytes: JSON, keys in order, one a line.

        >>> Move("team/base", "v1", 1, "0" * 40, (), "mia", "2026-11-01T00:00:00Z", "base").render()[:28]
        b'{\n "format": 1,\n "name": "te'
        """
        return _spelt({**self._fields(), "sha256": self.digest})

    @property
    def digest(self) -> str:
        """The SHA-256 of the canonical bytes without the `sha256` line: what the next record names as `previous`."""
        return hashlib.sha256(_spelt(self._fields())).hexdigest()

    def _fields(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self), "full_ids": dict(self.full_ids)}


def parse_move(data: bytes) -> Move:
    """The record in canonical bytes. Raises BadMove (NewerMove) for any other bytes."""
    try:
        found = json_of(data.decode())
        if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
            raise NewerMove(f"format {found['format']}")
        record = _record(found)
        if found.get("sha256") != record.digest:
            raise BadMove("it was changed: its content does not have the SHA-256 that it ends with")
        if record.render() != data:
            raise BadMove("it is not spelt as envlock spells it")
    except BadMove:
        raise
    except KeyError as error:
        raise BadMove(f"it has no {error}") from None
    except (ValueError, TypeError, AttributeError):
        raise BadMove("it is no record of an alias") from None
    return record


def _spelt(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()


def _record(found: dict[str, Any]) -> Move:
    texts = {key: found[key] for key in ("name", "tag", "req_id", "who", "when", "source", "why", "previous", "nonce")}
    if not all(type(text) is str for text in texts.values()) or type(found["sequence"]) is not int:
        raise BadMove("a value has another type")
    full_ids = tuple((Arch(arch), full_id) for arch, full_id in found["full_ids"].items())
    record = Move(sequence=found["sequence"], full_ids=full_ids, **texts)
    try:
        named = parse_alias(f"{record.name}:{record.tag}")
    except BadAlias as error:
        raise BadMove(str(error)) from None
    ids = (record.req_id, *(full_id for _, full_id in full_ids))
    if not all(_ID.match(each) for each in ids) or any(arch not in ARCHS for arch, _ in full_ids) or not full_ids:
        raise BadMove("an id or an arch is none")
    if list(full_ids) != sorted(full_ids):
        raise BadMove("its archs are not in order")
    is_linked = bool(_SHA256.match(record.previous)) if record.sequence > 1 else record.previous == ""
    if not 1 <= record.sequence <= LAST or not is_linked or named != record.alias:
        raise BadMove("it has no place in a chain")
    return record
