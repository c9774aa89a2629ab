"""Packs of a project's locks: made, put into a store, and made again to compare them."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from envlock import __version__
from envlock.cache.errors import CacheUnusable, NewerPlan, together
from envlock.cache.layout import part_path
from envlock.cache.local import LocalPackages
from envlock.cache.parallel import all_in_parallel, in_parallel
from envlock.cache.plan import Pack, Part, PlanFile
from envlock.cache.plans import plans_of
from envlock.errors import DamageError, EnvlockError
from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.hydration.errors import storage_error
from envlock.hydration.prefix import name_of
from envlock.hydration.pythons import LockedPythons
from envlock.pack.errors import CannotPack
from envlock.pack.parts import compress, raw_parts
from envlock.pack.tree import tree_of
from envlock.places import folder_in_home, home
from envlock.remote.kit import NoKit
from envlock.stage import temporary_folder
from envlock.trust import VARIABLE, Closed
from envlock.workflow.artifacts import artifact_source
from metaflow_extensions.envlock.plugins.node.plan import LARGEST_PART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from envlock.cache.plan import Plan
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.arch import Arch
    from envlock.model.artifact import Artifact
    from envlock.model.lock import Lock
    from envlock.pack.parts import RawPart
    from envlock.pack.tree import Tree
    from envlock.remote.kit import Kits
    from envlock.reporter import Reporter

FOLDER = "packed"
"""Below the home: what each raw part was compressed to, by its SHA-256."""
COMPILED = "compiled"
"""Below the home: bytecode, for the packs that are made later."""
PACKING = "packing"
PAYS_FROM = 50_000_000
"""Bytes of packages from which `auto` packs an environment.

A pack saves 10 to 25 ms of processor for each MB until the first imports are done, so below it, a second at most
(docs/explanation/scaling.md)."""
_MOST_AT_ONCE = 4
"""Parts that are compressed at once: each takes some 50 MB of memory."""


class Packed(NamedTuple):
    """A pack that was made, and what of it was put into the store."""

    pack: Pack
    moved: int
    moved_bytes: int


def pays(lock: Lock) -> bool:
    """Whether `auto` packs an environment: where a node starts from a pack noticeably faster than from packages."""
    return sum(package.size or 0 for package in lock.packages) >= PAYS_FROM


def has_link_scripts(project: Project, lock: Lock) -> bool:
    """Whether envlock.toml lets link scripts of a lock's packages run, which no pack can do."""
    allowed = set(project.settings.link_scripts)
    return any(package.name in allowed for package in lock.conda_packages)


@contextmanager
def tree_in(
    project: Project,
    lock: Lock,
    scratch: Path,
    reporter: Reporter,
    *,
    compiler: str = "",
    kept: Path | None = None,
    compiles_tests: bool = False,
) -> Iterator[Tree]:
    """The tree of a lock, of packages from the project's cache or upstream.

    Trees that are made in one folder `scratch` have each module compiled once. Raises what `tree_of` raises.
    """
    if project.settings.hosts:
        from envlock.lockfile.document import summary_of
        from envlock.workflow.check_rules import refuse_strange_hosts

        refuse_strange_hosts(project, summary_of(lock), lock.asked_by or (lock.identity,))
    source = artifact_source(project, reporter)
    pythons = LockedPythons(source, home(), reporter, mirror=lambda: project.python_mirror)
    bytecode = scratch / "bytecode"
    with (
        LocalPackages(home()).in_use(),
        tree_of(
            lock,
            source,
            scratch,
            reporter,
            interpreters=pythons,
            compiler=compiler,
            bytecode=bytecode,
            kept=kept,
            compiles_tests=compiles_tests,
        ) as tree,
    ):
        yield tree


def kept_bytecode() -> Path | None:
    """The folder of the home with the bytecode of earlier packs and images; None if others may write there."""
    if os.environ.get(VARIABLE):
        return None
    with suppress(OSError), Closed():
        return folder_in_home(COMPILED)
    return None


def pack(
    project: Project,
    lock: Lock,
    store: Store,
    is_there: Callable[[Part], bool],
    scratch: Path,
    reporter: Reporter,
    *,
    kept: Path | None = None,
) -> Packed:
    """Make the pack of a lock, and put those of its parts into the store that are not there.

    `scratch` is a folder with room for the unpacked packages twice. Raises CannotPack, HydrateError, DamageError,
    CacheUnusable.
    """
    with tree_in(project, lock, scratch, reporter, kept=kept) as tree:
        raw = raw_parts(tree.files)
        largest = max(raw, key=lambda part: part.size)
        if largest.size > LARGEST_PART:  # because of a file with a placeholder, which is never cut
            path = max(largest.members, key=lambda member: member.size).file.path
            reason = (
                f"`{path}` names its prefix, and is larger than the {LARGEST_PART >> 30} GiB that nodes replace it in"
            )
            raise CannotPack(environment=name_of(lock), arch=lock.arch, reason=reason)
        putting = _Putting(store, is_there, scratch / _name_of(lock), reporter)
        try:
            made = putting.all(raw)
        except OSError as error:
            raise storage_error(error, scratch) from error
    return Packed(Pack(tree.compiler, tree.placeholder, made), putting.moved, putting.moved_bytes)


class _Putting:
    """Compresses parts, several at once, and puts them into a store."""

    def __init__(self, store: Store, is_there: Callable[[Part], bool], scratch: Path, reporter: Reporter) -> None:
        """`scratch` is a folder that no other pack uses: what was interrupted may still be writing into its own."""
        self.store = store
        self.is_there = is_there
        self.scratch = scratch
        self.reporter = reporter
        self.moved = 0
        self.moved_bytes = 0
        self.memos = Memos()

    def all(self, raw: Sequence[RawPart]) -> tuple[Part, ...]:
        """Every part, in order. Raises CacheUnusable, OSError."""
        self.scratch.mkdir()
        self.reporter.began(PACKING, sum(part.size for part in raw), "bytes")
        numbered = list(enumerate(raw))
        largest_first = sorted(numbered, key=lambda each: -each[1].size)
        done: dict[int, Part] = {}
        try:
            workers = min(_MOST_AT_ONCE, os.cpu_count() or 1)
            for (number, _), part in in_parallel(self.put, largest_first, workers=workers):
                if isinstance(part, EnvlockError):
                    raise part
                done[number], is_new = part
                self.moved += is_new
                self.moved_bytes += done[number].file.size if is_new else 0
        finally:
            self.reporter.ended(PACKING)
        return tuple(done[number] for number, _ in numbered)

    def put(self, numbered: tuple[int, RawPart]) -> tuple[Part, bool]:
        """One part, and whether it was put into the store."""
        number, raw = numbered
        part = self.memos.part_of(raw)
        if part is not None and self.is_there(part):
            self.reporter.advanced(PACKING, f"part {number + 1}", raw.size)
            return part, False
        file = self.scratch / f"{number}.tar.zst"
        try:
            made = compress(
                raw, file, on_bytes=lambda count: self.reporter.advanced(PACKING, f"part {number + 1}", count)
            )
            path = part_path(made.sha256)
            part = Part(PlanFile(path, made.size, made.sha256), made.raw_size, made.raw_sha256)
            is_new = not self.is_there(part)
            if is_new:
                self.store.put(path, file)
        finally:
            file.unlink(missing_ok=True)
        self.memos.note(part)
        return part, is_new


class Memos:
    """What raw parts were compressed to on this machine, so that those of other environments are not compressed again.

    A memo saves work and decides nothing: the part that it names is looked for, and its bytes are what a plan says.
    """

    def __init__(self) -> None:
        self._folder = home() / FOLDER
        self._has_some = self._folder.is_dir()

    def part_of(self, raw: RawPart) -> Part | None:
        """What a raw part was compressed to, if that is known. Reads its files, if anything is known at all."""
        if not self._has_some:
            return None
        raw_sha256 = raw.sha256()
        try:
            size, sha256 = json_of(read_file(self._folder / f"{raw_sha256}.json", MEMO_BYTES))
            if type(size) is not int:
                return None
            return Part(PlanFile(part_path(sha256), size, sha256), raw.size, raw_sha256)
        except (OSError, ValueError, TypeError, EnvlockError):
            return None

    def note(self, part: Part) -> None:
        """Note what a raw part was compressed to."""
        self._write(part.raw_sha256, [part.file.size, part.file.sha256])

    def refusal_of(self, lock: Lock) -> str:
        """Why this envlock cannot pack a lock, if that is known; else empty."""
        with suppress(OSError, ValueError, TypeError):
            version, reason = json_of(read_file(self._folder / f"{_name_of(lock)}.json", MEMO_BYTES))
            return str(reason) if version == __version__ else ""
        return ""

    def note_refusal(self, lock: Lock, reason: str) -> None:
        """Note why this envlock cannot pack a lock, so that the next push does not try."""
        self._write(_name_of(lock), [__version__, reason])

    def _write(self, name: str, memo: list[int | str]) -> None:
        with suppress(OSError), Closed():
            folder_in_home(FOLDER)
            write_atomically(self._folder / f"{name}.json", json.dumps(memo).encode())


def _name_of(lock: Lock) -> str:
    return f"{lock.arch}-{lock.req_id}-{lock.full_id}"


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


def readable_plans(store: Store, lock: Lock) -> Iterator[Plan]:
    """The plans of a lock that can be read, the newest first; damaged ones are no matter here. Raises CacheUnusable."""
    with suppress(DamageError, NewerPlan):
        yield from plans_of(store, lock)


def key_of(lock: Lock) -> str:
    """The arch and the identity of a lock."""
    return f"{lock.arch}/{lock.identity}"


def called(lock: Lock) -> str:
    """A lock as messages name it: `Train/start on linux-64`."""
    return f"{', '.join(lock.asked_by) or lock.identity} on {lock.arch}"
