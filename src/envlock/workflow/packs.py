"""Packs of a project's locks: made, put into a store, and made again to compare them."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from envlock import __version__
from envlock.cache.errors import NewerPlan
from envlock.cache.layout import part_path
from envlock.cache.local import LocalPackages
from envlock.cache.parallel import in_parallel
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
from envlock.trust import VARIABLE, Closed
from envlock.workflow.artifacts import artifact_source
from metaflow_extensions.envlock.plugins.node.plan import LARGEST_PART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from envlock.cache.plan import Plan
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.lock import Lock
    from envlock.pack.parts import RawPart
    from envlock.pack.tree import Tree
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
