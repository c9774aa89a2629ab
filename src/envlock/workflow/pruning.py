"""Taking away locks: what was replaced, and what nothing refers to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from envlock.config.project import Project
from envlock.lockfile.errors import UnwritableLockFolder
from envlock.lockfile.folder import lock_files, lock_path
from envlock.workflow.lock_result import Locked

_WRITING = 60.0


def prune(
    project: Project, results: Sequence[Locked], *, everything: bool
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Delete what was replaced now and, where `everything` was locked, what was left over from before; both told apart.

    A part of the project says nothing of the rest: another environment's old lock is what its next one starts from.
    Raises UnwritableLockFolder.
    """
    folder = project.lock_folder
    claimed = {each.requirements.req_id for each in project.environments()}
    fresh = {each.path for each in results}
    replaced = {lock_path(folder, each.before) for each in results if each.before is not None and each.action != "kept"}
    old: list[Path] = []
    left_over: list[Path] = []
    for path in lock_files(folder):
        arch, req_id = path.parent.parent.name, path.parent.name
        orphan = req_id not in claimed or arch not in project.settings.archs
        rival = any(path.parent == other.parent for other in fresh)
        if path not in fresh and (rival or (orphan and (everything or path in replaced))):
            try:
                remove(path)
            except OSError as error:
                shown = os.path.relpath(folder, project.folder)
                raise UnwritableLockFolder(shown, error.strerror or str(error)) from None
            (old if rival or path in replaced else left_over).append(path)
    return tuple(old), tuple(left_over)


def sweep(folder: Path) -> None:
    """Delete what a process that was killed while it wrote left behind; whoever writes now needs no minute for it."""
    for path in folder.glob("*/*/.pylock.*.part"):
        with suppress(OSError):  # another process sweeps too, or it is not ours to delete
            if time.time() - path.stat().st_mtime > _WRITING:
                path.unlink()


def remove(path: Path) -> None:
    """Delete a lock file, and its folders where they are empty then."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
    with suppress(OSError):  # they hold other locks, or are not there
        path.parent.rmdir()
        path.parent.parent.rmdir()
        path.parent.parent.parent.rmdir()
