"""The tree of locks: `envlock.lock/<arch>/<req_id>/pylock.<full_id>.toml`. No index file; the path is the index."""

from __future__ import annotations

import os
from pathlib import Path

from envlock.files import REVISIONS
from envlock.model.arch import ARCHS, Arch

TYPE_CHECKING = False  # paths are for commands, too, that never read a lock in full
if TYPE_CHECKING:
    from envlock.model.lock import Lock


def path_of(folder: Path, arch: Arch, req_id: str, full_id: str) -> Path:
    """Where the lock with these ids belongs below `folder`."""
    return folder / arch / req_id / f"pylock.{full_id}.toml"


def lock_path(folder: Path, lock: Lock) -> Path:
    """Where a lock belongs below `folder`."""
    return path_of(folder, lock.arch, lock.req_id, lock.full_id)


def candidates(folder: Path, arch: Arch, req_id: str) -> tuple[Path, ...]:
    """The files that lock these requirements for this arch, by their paths: one, when all is well. Sorted.

    Raises DamagedLock where their folder cannot be listed.
    """
    names = _names_in(folder / arch / req_id)
    return tuple(folder / arch / req_id / name for name in names if _is_lock(name))


def full_id_of(path: Path) -> str:
    """The full_id that a lock file's name says."""
    return path.name.split(".")[1]


def lock_files(folder: Path) -> tuple[Path, ...]:
    """Every lock file of the tree, sorted."""
    return tuple(
        path for arch in ARCHS for req_id in _names_in(folder / arch) for path in candidates(folder, arch, req_id)
    )


def lock_bytes(path: Path, *, shown: str | None = None) -> bytes:
    """What a lock file holds. Raises DamagedLock where it is no file that can be read."""
    from envlock.files import LOCK_BYTES, read_file

    place = str(path)
    project, *below = place.rsplit("/", 4)
    try:
        return read_file(place, LOCK_BYTES, within=(project or "/") if len(below) == 4 else ".")
    except OSError as error:
        from envlock.lockfile.errors import DamagedLock

        raise DamagedLock(shown or str(path), f"it cannot be read: {error.strerror}") from None


def read_lock(path: Path, *, shown: str | None = None) -> Lock:
    """The lock in a file, verified whole. `shown` is how messages call the file.

    Raises DamagedLock, ConflictMarkersInLock, NewerLockFormat.
    """
    from envlock.lockfile.document import parse

    return parse(lock_bytes(path, shown=shown), shown or str(path))


def write_lock(folder: Path, lock: Lock, *, within: Path | None = None) -> Path:
    """Write a lock at its place and return that; a file that holds these bytes already is not touched.

    Raises NotPlain where a link leads the place out of the project `within`: no lock is read from there either.
    """
    from envlock.files import holds, write_atomically
    from envlock.lockfile.document import render

    path = lock_path(folder, lock)
    if within is not None:
        refuse_leading_out(path.parent, within)
    data = render(lock).encode()
    if not holds(path, data):
        write_atomically(path, data)
    return path


def refuse_leading_out(folder: Path, project: Path) -> None:
    """Raise NotPlain where a link leads a folder of locks out of the project: nothing is changed there."""
    from envlock.files import NotPlain, leads_out

    if leads_out(folder, project):
        raise NotPlain(str(folder), "it is a link that leads out of the project")


def _is_lock(name: str) -> bool:
    return name.startswith("pylock.") and name.endswith(".toml")


def _names_in(path: Path) -> list[str]:
    try:
        if str(path).startswith(REVISIONS):
            from envlock.revisions import names_in

            return sorted(names_in(path))
        return sorted(os.listdir(path))  # noqa: PTH208  only names, and called often
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:  # a link that leads to itself, or no permission
        from envlock.lockfile.errors import DamagedLock

        first = next((each for each in (*reversed(path.parents), path) if not os.path.exists(each)), path)  # noqa: PTH110
        raise DamagedLock(str(first), f"it cannot be read: {error.strerror}") from None
