"""Pruning: delete the locks that were replaced, and those that no environment needs."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from envlock.config.project import LOCK_FOLDER_NAME, Project
from envlock.files import NotPlain, leads_out
from envlock.lockfile.errors import UnwritableLockFolder
from envlock.lockfile.folder import lock_files, lock_path, refuse_leading_out
from envlock.lockfile.merge_conflicts import remove_attributes
from envlock.named.pin import FOLDER as PINS
from envlock.named.pin import unnamed_pins
from envlock.revisions import files_below
from envlock.workflow.locking.jobs import Locked
from envlock.workflow.needed_locks import NeededLocks

_WRITING = 60.0
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY})


def left_over(
    project: Project, results: Sequence[Locked], *, everything: bool
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files that were replaced, and, where `everything` was locked, those that no environment needs.

    Locking a part of the project deletes nothing of the rest: another environment's old lock is what its next one
    starts from.
    """
    folder = project.lock_folder
    needed = NeededLocks(project)
    fresh = {each.path for each in results}
    changed = [each for each in results if each.action != "kept"]
    replaced = {lock_path(folder, each.before) for each in changed if each.before is not None}
    replaced.update(path for each in changed for path in each.beside)
    beside = {each.path.parent for each in results if not each.is_named}
    old: list[Path] = []
    unneeded: list[Path] = []
    for path in lock_files(folder):
        if path in fresh or needed.is_pinned(path):
            continue
        rival = path.parent in beside
        if rival or (not needed.has(path) and (everything or path in replaced)):
            (old if rival or path in replaced else unneeded).append(path)
    if everything and (folder / PINS).is_dir():
        unneeded += unnamed_pins(project)
    return tuple(old), tuple(unneeded)


def prune(project: Project, paths: Iterable[Path]) -> None:
    """Delete files of the lock folder. Raises UnwritableLockFolder."""
    for path in paths:
        try:
            refuse_leading_out(path.parent, project.folder)
            remove(path)
        except OSError as error:  # noqa: PERF203  the first that fails ends it
            raise unwritable(project, project.lock_folder, error) from None


def unwritable(project: Project, folder: Path, error: OSError) -> UnwritableLockFolder:
    """Why a folder of locks cannot be written, with what is in the way where something is."""
    odd = None
    if isinstance(error, NotPlain) and error.filename and leads_out(error.filename, project.folder):
        place = Path(error.filename)
        below = [each for each in (*reversed(place.parents), place) if project.folder in each.parents]
        link = next((each for each in below if each.is_symlink()), place)
        return UnwritableLockFolder(project.shown(link), error.reason, is_link=True)
    if error.errno in _IN_THE_WAY and isinstance(error.filename, str):
        place = Path(error.filename)
        below = [each for each in (*reversed(place.parents), place) if each == folder or folder in each.parents]
        odd = next((each for each in below if os.path.lexists(each) and (each == place or not each.is_dir())), None)
    shown = project.shown(odd or folder)
    return UnwritableLockFolder(shown, error.strerror or str(error), is_in_the_way=odd is not None)


def sweep(folder: Path) -> None:
    """Delete what a process that was killed while it wrote left behind; whoever writes now needs no minute for it."""
    pins = (Path(where, name) for where, names in files_below(folder / PINS) for name in names)
    for path in (*folder.glob("*/*/.pylock.*.part"), *(each for each in pins if each.match(".*.toml.*.part"))):
        with suppress(OSError):  # another process sweeps too, or it is not ours to delete
            if time.time() - path.stat().st_mtime > _WRITING:
                path.unlink()


def remove(path: Path) -> None:
    """Delete a file of a lock folder, or an empty folder in its place, and its folders where they are empty then."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    with suppress(OSError):  # they hold other locks, or are not there
        for folder in path.parents:
            if folder.name == LOCK_FOLDER_NAME:
                remove_attributes(folder)
            folder.rmdir()
            if folder.name == LOCK_FOLDER_NAME:
                break
