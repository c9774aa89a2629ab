"""`verify --pack`: the packs of a project in its cache, compared with what their locks make.

A pack is made again from its lock and the packages that this names by their hashes. So a user who has the lock need not
trust who made the pack, nor who can write to the cache.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envlock.cache.errors import CacheUnusable, together
from envlock.cache.format import check_format
from envlock.cache.open import open_cache
from envlock.cache.parallel import all_in_parallel
from envlock.cache.plan import raw_of
from envlock.config.selection import Selection
from envlock.errors import EnvlockError
from envlock.files import sha256_of
from envlock.hydration.errors import storage_error
from envlock.lockfile.folder import read_lock
from envlock.pack.parts import LARGEST, UNREADABLE, contents, decompressed, raw_parts
from envlock.pack.tree import ARCHS
from envlock.reporter import Reporter
from envlock.stage import temporary_folder
from envlock.workflow.needed_locks import locks_of
from envlock.workflow.packs import readable_plans, tree_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from envlock.cache.plan import Pack, Part
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.model.lock import Lock
    from envlock.pack.parts import RawPart

COMPARING = "comparing parts"
DOWNLOADING = "downloading parts"


@dataclass(frozen=True)
class VerifiedPack:
    """The pack of one lock in the cache, compared with the one that was made again."""

    names: tuple[str, ...]
    """The steps and tables that it is for."""
    lock: Lock
    pack: Pack
    raw: str
    """The raw digest of what was made again."""
    other: tuple[str, ...] = ()
    """What differs from what was made again: files if the parts were downloaded, else packages whose parts differ."""
    damaged: tuple[tuple[str, str], ...] = ()
    """Parts that are not what the plan says, and why: found where they were downloaded."""

    @property
    def is_right(self) -> bool:
        """Whether the pack in the cache is what the lock makes."""
        return not self.damaged and not self.other and self.raw == self.pack.raw


@dataclass(frozen=True)
class PacksVerified:
    """The packs of the chosen environments."""

    verified: tuple[VerifiedPack, ...]
    absent: tuple[str, ...] = ()
    """Environments without a pack in the cache: `Train/start on linux-64`."""
    unlocked: tuple[str, ...] = ()
    """Without a lock for their requirements, or with more than one: `Train/start on linux-64`."""
    failures: tuple[EnvlockError, ...] = ()
    """Why packs could not be made again."""

    @property
    def wrong(self) -> tuple[VerifiedPack, ...]:
        """Those that are not what their lock makes."""
        return tuple(each for each in self.verified if not each.is_right)


def verify_packs(
    project: Project,
    selection: Selection | None = None,
    reporter: Reporter | None = None,
    *,
    download: bool = False,
) -> PacksVerified:
    """Make the pack of each chosen environment again from its lock, and compare it with the one that nodes get.

    Compares raw digests with those of the plan; `download` also reads the parts themselves. Costs what packing costs
    but compressing. Writes nothing but packages that were not on this machine. Raises NoSuchSelection, DamageError for
    a lock that is not whole, CacheUnusable, NewerCache, DiskFull.
    """
    selection, reporter = selection or Selection(), reporter or Reporter()
    store = open_cache(project)
    check_format(store)
    names: dict[Path, list[str]] = {}
    unlocked = []
    environments = [each for each in selection.choose(project) if not each.is_fetched]
    for arch in (each for each in selection.choose_archs(project) if each in ARCHS):
        for environment in environments:
            paths = locks_of(project, environment, arch)
            if len(paths) == 1:
                names.setdefault(paths[0], []).append(environment.name)
            else:
                unlocked.append(f"{environment.name} on {arch}")
    verified, absent, failures = [], [], []
    with temporary_folder("envlock-verify-") as scratch:
        for path, named in names.items():
            lock = read_lock(path, shown=project.shown(path))
            newest = next(readable_plans(store, lock), None)
            if newest is None or newest.pack is None:
                absent.append(f"{', '.join(named)} on {lock.arch}")
                continue
            making = _Compared(project, store, lock, newest.pack, scratch, reporter)
            try:
                verified.append(making.compared(tuple(named), download=download))
            except CacheUnusable:
                raise
            except OSError as error:
                raise storage_error(error, scratch) from error
            except EnvlockError as error:
                failures.append(error.adding(f"so the pack of {', '.join(named)} on {lock.arch} was not compared"))
    return PacksVerified(tuple(verified), tuple(absent), tuple(unlocked), together(failures))


@dataclass
class _Compared:
    """Compares one pack."""

    project: Project
    store: Store
    lock: Lock
    pack: Pack
    scratch: Path
    reporter: Reporter
    reading: threading.Lock = field(default_factory=threading.Lock)

    def compared(self, names: tuple[str, ...], *, download: bool) -> VerifiedPack:
        """Make the pack again, and compare. Raises CannotPack, HydrateError, DamageError, CacheUnusable."""
        pack = self.pack
        with tree_in(
            self.project,
            self.lock,
            self.scratch,
            self.reporter,
            compiler=pack.compiler,
            compiles_tests=pack.compiles_tests,
        ) as tree:
            raw = raw_parts(tree.files)
            digests = self.hashed(raw)
            theirs = {part.raw_sha256 for part in pack.parts}
            differing = [part for part, digest in zip(raw, digests, strict=True) if digest not in theirs]
            other = {_called(member.file.package) for part in differing for member in part.members}
            damaged: dict[str, str] = {}
            if download:
                most = max(LARGEST, *(part.size for part in raw))
                found, damaged = self.downloaded(theirs - {*digests}, most)
                mine = {name: key for part in differing for name, key in contents(part.pieces()).items()}
                other = {name for name in {*mine, *found} if mine.get(name) != found.get(name)}
        if tree.placeholder != pack.placeholder:
            other.add("the placeholder")
        return VerifiedPack(
            names, self.lock, pack, raw_of(digests), tuple(sorted(other)), tuple(sorted(damaged.items()))
        )

    def hashed(self, raw: Sequence[RawPart]) -> list[str]:
        """The raw digest of each part. Raises HydrateError."""
        self.reporter.began(COMPARING, len(raw), "parts")
        digests: dict[int, str] = {}
        for number, digest in all_in_parallel(lambda number: raw[number].sha256(), range(len(raw))):
            digests[number] = digest
            self.reporter.advanced(COMPARING, f"part {number + 1}")
        self.reporter.ended(COMPARING)
        return [digests[number] for number in range(len(raw))]

    def downloaded(self, wanted: set[str], most: int) -> tuple[dict[str, str], dict[str, str]]:
        """What is in the parts with these raw digests, and which parts of all are damaged, and why.

        None has more than `most` bytes before compression.
        """
        contained: dict[str, str] = {}
        damaged: dict[str, str] = {}
        self.reporter.began(DOWNLOADING, self.pack.size, "bytes")
        for part, reason in all_in_parallel(
            lambda part: self.read(part, part.raw_sha256 in wanted, most), self.pack.parts
        ):
            self.reporter.advanced(DOWNLOADING, part.file.path.rpartition("/")[2], part.file.size)
            if isinstance(reason, str):
                damaged[part.file.path] = reason
            else:
                contained |= reason
        self.reporter.ended(DOWNLOADING)
        return contained, damaged

    def read(self, part: Part, is_wanted: bool, most: int) -> dict[str, str] | str:
        """What a part contains, if that is wanted; or what is wrong with it."""
        place = self.scratch / part.file.sha256
        if part.raw_size > most or part.file.size > most + most // 100:
            return "it is larger than a part can be"
        try:
            entry = self.store.entry(part.file.path)
            if entry is not None and entry.size != part.file.size:
                return "its size is not that of the plan"
            self.store.fetch(part.file.path, place)
            if (place.stat().st_size, sha256_of(place)) != (part.file.size, part.file.sha256):
                return "its bytes are not those of the plan"
            digest = hashlib.sha256()
            for piece in decompressed(place, part.raw_size):
                digest.update(piece)
            if digest.hexdigest() != part.raw_sha256:
                return "it decompresses to other bytes than the plan says"
            if not is_wanted:
                return {}
            with self.reading:  # one part in memory at a time
                return contents(decompressed(place, part.raw_size))
        except FileNotFoundError:
            return "it is not there"
        except UNREADABLE as error:  # no OSError: that is of this machine's disk, and no damage of the part
            return str(error) or "it is not the archive of a pack"
        finally:
            place.unlink(missing_ok=True)


def _called(package: str) -> str:
    return package.rpartition("/")[2] or "the environment's own files"
