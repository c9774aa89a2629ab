"""`get`: the locks of an environment, from the cache into the lock folder of a project that needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError
from envlock.files import refuse_unwritable
from envlock.lockfile.document import summary_of
from envlock.lockfile.folder import candidates, lock_path, read_lock, refuse_leading_out, write_lock
from envlock.named.errors import NotNeeded
from envlock.reporter import Reporter
from envlock.workflow.check_rules import refuse_strange_hosts
from envlock.workflow.locking.prune import remove, unwritable
from envlock.workflow.needed_locks import NeededLocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.model.arch import Arch
    from envlock.model.lock import Lock
    from envlock.named.lookup import Lookup, NamedEnvironment


@dataclass(frozen=True)
class GetResult:
    """What `get` did."""

    found: NamedEnvironment
    locks: tuple[Lock, ...]
    written: tuple[Path, ...]
    """Files that are new, or had other content."""
    kept: tuple[Path, ...]
    """Files that had this lock already."""
    replaced: tuple[Path, ...]
    """Other locks of the same requirements, which were deleted."""
    serves: tuple[str, ...]
    """The environments of envlock.toml that need it."""
    left_out: tuple[Arch, ...] = ()
    """Archs that it is locked for, and that were not wanted."""


def get(
    lookup: Lookup,
    found: NamedEnvironment,
    archs: Sequence[Arch] = (),
    *,
    into: Path | None = None,
    dry_run: bool = False,
    reporter: Reporter | None = None,
) -> GetResult:
    """Write the locks of an environment, verified, into the project's lock folder, or `into` another folder.

    Without `archs`, for the archs of the project; `into` another folder, for all that it is locked for. All are read
    before any is written; in a dry run none is, and the result is what would be. Raises NotNeeded, and nothing is
    written, if no environment of the project has its requirements; AliasLacksArch; EnvironmentNotInCache;
    CachedLockDamaged; HostNotAllowed; UnwritableLockFolder.
    """
    project = lookup.project
    serves = tuple(each.name for each in project.environments() if each.requirements.req_id == found.req_id)
    if into is None and not serves:
        raise NotNeeded(found.reference, found.req_id, project.path.name)
    wanted = archs or (
        found.archs if into is not None else [arch for arch in project.settings.archs if arch in found.archs]
    )
    if not wanted:
        found.place(project.settings.archs[0])  # raises AliasLacksArch
    needed = NeededLocks(project)
    locks = _read(lookup, found, wanted, reporter or Reporter())
    if into is None and project.settings.hosts:
        for lock in locks:
            refuse_strange_hosts(project, summary_of(lock), serves)
    folder = into or project.lock_folder
    written: list[Path] = []
    kept: list[Path] = []
    replaced: list[Path] = []
    try:
        for lock in locks:
            place = lock_path(folder, lock)
            if _holds(place, lock):
                kept.append(place)
            elif dry_run:
                if not into:
                    refuse_leading_out(place.parent, project.folder)
                refuse_unwritable(place)
                written.append(place)
            else:
                written.append(write_lock(folder, lock, within=None if into else project.folder))
            there = candidates(folder, lock.arch, lock.req_id) if into is None else ()
            rivals = [path for path in there if path != place and not needed.is_pinned(path)]
            for path in () if dry_run else rivals:
                remove(path)
            replaced += rivals
    except OSError as error:
        raise unwritable(project, folder, error) from None
    left_out = tuple(arch for arch in found.archs if arch not in wanted)
    return GetResult(found, locks, tuple(written), tuple(kept), tuple(replaced), serves, left_out)


def _read(lookup: Lookup, found: NamedEnvironment, archs: Sequence[Arch], reporter: Reporter) -> tuple[Lock, ...]:
    """The locks from the cache, or as this machine remembers them."""
    phase = f"reading {found.reference}"
    reporter.began(phase, len(archs), "locks")
    for arch in archs:
        reporter.doing(phase, arch)
    try:
        locks = lookup.cached_locks(found, archs)
        for arch in archs:
            reporter.advanced(phase, arch)
    finally:
        reporter.ended(phase)
    return locks


def _holds(place: Path, lock: Lock) -> bool:
    """Whether a file has that lock already; who locked it and when may differ, and the committed file stays."""
    try:
        there = read_lock(place)
    except EnvlockError:
        return False
    return (there.arch, there.identity) == (lock.arch, lock.identity)
