"""What a push does about packs: it finds those that the cache has, and makes those that are wanted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envlock.cache.errors import CacheUnusable, together
from envlock.cache.parallel import all_in_parallel
from envlock.cache.plan import Pack, Part
from envlock.errors import EnvlockError
from envlock.pack.errors import CannotPack
from envlock.remote.kit import NoKit
from envlock.stage import temporary_folder
from envlock.workflow.packs import Memos, called, has_link_scripts, kept_bytecode, key_of, pack, pays, readable_plans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from envlock.cache.plan import Plan
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.arch import Arch
    from envlock.model.artifact import Artifact
    from envlock.model.lock import Lock
    from envlock.remote.kit import Kits
    from envlock.reporter import Reporter


@dataclass(frozen=True)
class PacksPushed:
    """What a push did about packs, which are counted for each arch."""

    packs: int = 0
    """Plans that have a pack."""
    made: int = 0
    parts: int = 0
    """Distinct parts of all packs."""
    moved: int = 0
    moved_bytes: int = 0
    without: tuple[str, ...] = ()
    """Environments that cannot be packed, and why: `Train/start on linux-64: ...`. Nodes install their packages."""
    errors: tuple[EnvlockError, ...] = ()
    """Why others were not packed, or cannot be unpacked in every image."""
    is_failure: bool = False
    """Whether the errors are failures of the push, not warnings: packs were asked for by name."""


@dataclass
class PacksPush:
    """The part of one push that is for packs."""

    project: Project
    store: Store
    reporter: Reporter
    chooser: Kits
    asked: bool | None = None
    """Whether the command line asks for packs or none; None to do as envlock.toml says."""
    verify: bool = False
    packs: dict[str, Pack] = field(default_factory=dict)
    """Those that the cache has whole, by the arch and the identity of their lock."""
    to_make: list[Lock] = field(default_factory=list)
    wheels: dict[Arch, Artifact] = field(default_factory=dict)
    """What decompresses parts."""
    made: int = 0
    moved: int = 0
    moved_bytes: int = 0
    damaged: set[str] = field(default_factory=set)
    without: list[str] = field(default_factory=list)
    errors: list[EnvlockError] = field(default_factory=list)

    def wants(self, lock: Lock) -> bool | None:
        """Whether a plan of a lock is to have a pack; None to keep the one that it has, if it has one."""
        settings = self.project.settings
        said = settings.pack if self.asked is None else self.asked
        if said == "auto":
            return pays(lock) or None
        is_said = said or self.asked is not None or "pack" in settings.written
        return bool(said) if is_said else None

    def find(self, lock: Lock) -> None:
        """Find the pack of a lock that is in the cache, or note that it is to be made. Raises CacheUnusable.

        With `verify`, one that is wanted is made in any case, because a plan may name what the lock does not make.
        """
        wanted = self.wants(lock)
        if wanted is False:
            return
        found = (plan.pack for plan in readable_plans(self.store, lock) if plan.pack and self.is_whole(plan.pack))
        pack = next(found, None)
        if pack is not None:
            self.packs[key_of(lock)] = pack
        if wanted and (pack is None or self.verify):
            reason = self.refused(lock)
            if reason:
                self.without.append(f"{called(lock)}: {reason}")
            else:
                self.to_make.append(lock)
        if pack is not None or lock in self.to_make:
            self.choose_wheel(lock.arch)

    def refused(self, lock: Lock) -> str:
        """Why a lock cannot be packed, as far as it is known without trying; empty if it may be."""
        if has_link_scripts(self.project, lock):
            return "link scripts of its packages may run, which no pack can do"
        return "" if self.verify else Memos().refusal_of(lock)

    def choose_wheel(self, arch: Arch) -> None:
        """Choose what decompresses parts on an arch. Without it, an image has to have libzstd."""
        if arch not in self.wheels:
            try:
                self.wheels[arch] = self.chooser.zstd(arch)
            except NoKit as error:
                self.errors.append(error.adding("nodes whose image has no libzstd install the packages instead"))

    def make_all(self, locks: Sequence[Lock]) -> None:
        """Make the packs of those of these locks that `find` did not find. Raises CacheUnusable, OSError."""
        to_make = [lock for lock in self.to_make if lock in locks]
        if to_make:
            with temporary_folder("envlock-pack-") as scratch:
                for lock in to_make:
                    self.make(lock, scratch)

    def make(self, lock: Lock, scratch: Path) -> None:
        """Make the pack of a lock; why it cannot be made is noted. Raises CacheUnusable."""
        try:
            kept = None if self.verify else kept_bytecode()
            done = pack(self.project, lock, self.store, self.is_right, scratch, self.reporter, kept=kept)
        except CacheUnusable:
            raise
        except CannotPack as error:
            self.without.append(f"{called(lock)}: {error.reason}")
            Memos().note_refusal(lock, error.reason)
        except EnvlockError as error:
            self.errors.append(error.adding(f"so {called(lock)} was not packed"))
        else:
            self.made += bool(done.moved) or self.packs.get(key_of(lock)) != done.pack
            self.packs[key_of(lock)] = done.pack
            self.moved += done.moved
            self.moved_bytes += done.moved_bytes

    def is_whole(self, found: Pack) -> bool:
        """Whether the cache has all parts of a pack. A request for each. Raises CacheUnusable."""
        return all(is_right for _, is_right in all_in_parallel(self.is_right, found.parts))

    def is_right(self, part: Part) -> bool:
        """Whether the cache has a part: of its size, and with `verify` of its bytes. Raises CacheUnusable."""
        entry = self.store.entry(part.file.path)
        if entry is None:
            return False
        is_right = entry.size == part.file.size
        if is_right and self.verify:
            with suppress(FileNotFoundError):
                is_right = self.store.sha256(part.file.path) == part.file.sha256
        if not is_right:
            self.damaged.add(part.file.path.rpartition("/")[2])
        return is_right

    def drop_lost(self, locks: Sequence[Lock]) -> None:
        """Forget the packs of these locks of which a gc has taken parts since they were found; make what is wanted.

        Call it where an announcement keeps gc from taking more. Raises CacheUnusable.
        """
        for lock in locks:
            found = self.packs.get(key_of(lock))
            if found is not None and not self.is_whole(found):
                del self.packs[key_of(lock)]
                if self.wants(lock) and lock not in self.to_make:
                    self.to_make.append(lock)

    def is_newest(self, lock: Lock, plan: Plan) -> bool:
        """Whether nodes would get the pack of a plan, or none if it has none: they take the newest plan."""
        if plan.pack is None and self.wants(lock) is None:
            return True
        newest = next(readable_plans(self.store, lock), None)
        return newest is not None and newest.pack == plan.pack

    def result(self) -> PacksPushed:
        """What there is to say."""
        return PacksPushed(
            packs=len(self.packs),
            made=self.made,
            parts=len({part.file.path for found in self.packs.values() for part in found.parts}),
            moved=self.moved,
            moved_bytes=self.moved_bytes,
            without=tuple(self.without),
            errors=together(self.errors),
            is_failure=self.asked is True or self.project.settings.pack is True,
        )
