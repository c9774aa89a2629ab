"""What `lock` is told and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envlock.model.arch import Arch
from envlock.model.lock import Lock
from envlock.model.requirement import name_in_either
from envlock.named.pin import Pin


@dataclass(frozen=True)
class Upgrade:
    """Which pins may move: none, some by name, or all. `python` as a name moves the locked Python."""

    everything: bool = False
    packages: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    """Named environments, with or without their tags, whose tags are looked up again where they move."""
    all_aliases: bool = False
    """Whether that holds for all of them."""

    @classmethod
    def of(
        cls, *, everything: bool, packages: Sequence[str], aliases: Sequence[str] = (), all_aliases: bool = False
    ) -> Upgrade:
        """From the command line's words. Raises BadPackageName."""
        names = frozenset(name_in_either(name) for name in packages)
        return cls(everything, names, frozenset(aliases), all_aliases)

    @property
    def is_nothing(self) -> bool:
        """Whether every locked package is kept."""
        return not (self.everything or self.packages)


@dataclass(frozen=True)
class Locked:
    """One environment and arch after `lock`."""

    environments: tuple[str, ...]
    lock: Lock | None
    """None where the old file was proved and left alone without being read whole."""
    path: Path
    arch: Arch
    action: str
    """`kept`, `re-stamped`, `locked`, `fetched` (the lock of a named environment), `settled` (several locks, of which
    one was kept), or `merged` (several, whose packages were kept)."""
    before: Lock | None = None
    notes: tuple[str, ...] = ()
    is_named: bool = False
    """Whether it is a named environment's: another lock beside it may be that of one which asks for the same."""
    beside: tuple[Path, ...] = ()
    """Files of other branches that it stands for."""


@dataclass(frozen=True)
class Pinned:
    """A name that was pinned, or pinned anew, to what it stands for now."""

    pin: Pin
    before: Pin | None = None


@dataclass(frozen=True)
class LockResult:
    """What `lock` did."""

    locked: tuple[Locked, ...]
    replaced: tuple[Path, ...]
    """Old files whose environments have new ones now."""
    pruned: tuple[Path, ...]
    """Files that no environment asked for."""
    pinned: tuple[Pinned, ...] = ()
    fetched: int = 0
    """How many of the environments are fetched when their step starts, and never locked."""

    @property
    def changed(self) -> bool:
        """Whether any file was written or deleted."""
        return bool(self.replaced or self.pruned or self.pinned) or any(each.action != "kept" for each in self.locked)
