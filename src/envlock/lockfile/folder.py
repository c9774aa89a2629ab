"""The tree of locks: `envlock.lock/<arch>/<req_id>/pylock.<full_id>.toml`. No index file; the path is the index."""

from __future__ import annotations

from pathlib import Path

from envlock.files import write_atomically
from envlock.lockfile.document import parse, render
from envlock.model.arch import ARCHS, Arch
from envlock.model.lock import Lock


def lock_path(folder: Path, lock: Lock) -> Path:
    """Where a lock belongs below `folder`."""
    return folder / lock.arch / lock.req_id / f"pylock.{lock.full_id}.toml"


def candidates(folder: Path, arch: Arch, req_id: str) -> tuple[Path, ...]:
    """The files that claim to lock these requirements for this arch: one, when all is well. Sorted."""
    return tuple(sorted((folder / arch / req_id).glob("pylock.*.toml")))


def lock_files(folder: Path) -> tuple[Path, ...]:
    """Every lock file of the tree, sorted."""
    return tuple(sorted(path for arch in ARCHS for path in (folder / arch).glob("*/pylock.*.toml")))


def read_lock(path: Path, *, shown: str | None = None) -> Lock:
    """The lock in a file, proved whole. `shown` is how messages call the file.

    Raises DamagedLock, ConflictMarkersInLock, NewerLockFormat.
    """
    return parse(path.read_bytes(), shown or str(path))


def write_lock(folder: Path, lock: Lock) -> Path:
    """Write a lock at its place and return that; a file that holds these bytes already is not touched."""
    path = lock_path(folder, lock)
    data = render(lock).encode()
    if not (path.is_file() and path.read_bytes() == data):
        write_atomically(path, data)
    return path
