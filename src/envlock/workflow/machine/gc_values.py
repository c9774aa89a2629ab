"""What `env gc` goes by and finds: limits, what goes, what stays and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.errors import BadSpan
from envlock.config.instants import span_of
from envlock.workflow.machine.errors import BadSize

if TYPE_CHECKING:
    from envlock.workflow.machine.environments import Environments, Prefix

RECENT = "30d"
ENVIRONMENT, INTERPRETER, PACKAGE, BUILD, MEMO, LEFTOVER = (
    *("environment", "interpreter", "package", "build", "memo", "leftover"),
)
KINDS = (ENVIRONMENT, INTERPRETER, PACKAGE, BUILD, MEMO, LEFTOVER)
IN_USE, BY_NAME, BY_KERNEL, BY_PROJECT, BY_UNREAD, BY_RUN, BY_FAULT, BY_MAKER = (
    *("in-use", "name", "kernel", "project", "unread-project", "recent-run", "cannot-delete", "being-made"),
)
"""Why an environment stays: a process is in it; a local name, a kernel, a project needs it; a project that cannot be
read may need it; it was used recently; it cannot be deleted, as when it is another user's; it is being made."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(k|m|g|t)?(i)?b?\Z", re.IGNORECASE)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Limits(NamedTuple):
    """What stays though nothing needs it, and what goes though something does."""

    keep: float
    """What was used within so many seconds stays."""
    size: int | None = None
    """The most bytes that environments may have. What only projects need goes too, the least recently used first."""
    keeps_strictly: bool = True
    """Whether what was used within `keep` stays even if there is more than `size`."""
    packages: bool = False
    """Whether packages, interpreters, builds and memos go too."""


class Going(NamedTuple):
    """Something that nothing needs."""

    kind: str
    path: str
    reason: str
    """In words: `its project is gone`."""
    used: float
    """When it was used last."""
    frees: int
    """Its own bytes; those that it shares with others are free once all of those are gone."""
    prefix: Prefix | None = None
    files: tuple[str, ...] = ()
    """If only these of a folder go."""


@dataclass(frozen=True)
class Sweep:
    """What `env gc` deletes, or would delete, and what it keeps."""

    home: str
    going: tuple[Going, ...]
    """Those that are gone, if it deleted."""
    kept: tuple[tuple[Prefix, str], ...]
    """The environments that stay, each with the reason."""
    frees: int
    """Bytes that are free once all of `going` is gone."""
    stays: int
    """Bytes of `going` that stay on the disk, because uv's cache or unpacked packages have the same files."""
    found: Environments
    notes: tuple[str, ...] = ()
    """What the report has to say beside that: what was not looked at, and which limit was not reached."""


def limits_of(*, keep: str = "", size: str = "", packages: bool = False) -> Limits:
    """Limits from the options of the command line; empty for those that are not given. Raises BadSpan, BadSize.

    >>> limits_of(keep="0", size="20GB")
    Limits(keep=0.0, size=20000000000, keeps_strictly=True, packages=False)
    """
    text = keep or RECENT
    span = span_of(text)
    if span is None and text.strip("0"):
        raise BadSpan("--keep", text)
    return Limits(span.total_seconds() if span else 0.0, _bytes_of(size) if size else None, bool(keep), packages)


def _bytes_of(text: str) -> int:
    """So many bytes. Raises BadSize.

    >>> _bytes_of("1.5 GB"), _bytes_of("2GiB"), _bytes_of("700k")
    (1500000000, 2147483648, 700000)
    """
    match = _SIZE.match(text.strip())
    if match is None or len(match[1]) > 12:
        raise BadSize(text)
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _UNITS[(match[2] or "").lower()])
