"""The projects that this machine knows: those that were locked, or whose environments were made, in its home.

Each has a file in `projects/` of the home: where it is, and which environments were made for it. So what is on a disk
that is not mounted, or in a folder that cannot be read, still keeps its environments.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from envlock.errors import ConfigError
from envlock.files import MEMO_BYTES, hold_lock, json_of, read_file, write_atomically
from envlock.model.identity import sha256
from envlock.places import folder_in_home, home
from envlock.trust import Closed
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envlock.config.project import Project
    from envlock.model.lock import Lock

FOLDER = "projects"
_MOST_ENVIRONMENTS = 1000
"""Environments that are noted of one project; the oldest are forgotten first."""


class KnownProject(NamedTuple):
    """A project as this machine noted it."""

    config: str
    """The path of envlock.toml; of a requirement file that is locked by itself, where that would be."""
    locks: str
    """Its lock folder."""
    mount: str
    """The mount point of the disk that it is on."""
    environments: Mapping[str, tuple[str, ...]]
    """The environments that were made for it, by identity (`req_id:full_id`): the steps and tables, at that time."""
    note: str = ""
    """The file of the home that says so."""

    @property
    def is_on_mounted_disk(self) -> bool:
        """Whether its disk is there, so that what is missing was deleted."""
        return os.path.ismount(self.mount)


def know(project: Project, lock: Lock | None = None) -> None:
    """Note that a project is here, and that `lock` is hydrated for it. Without a home that can be written, nothing is.

    Costs reading one small file if that is noted already.
    """
    try:
        path = _note_of(str(project.lock_folder))
    except ConfigError:  # there is no home, or not one to be trusted: who needs it says so
        return
    if _has(_read(path), lock) or not os.path.lexists(project.path):  # as where a task is looked up from anywhere
        return
    try:
        with Closed(), _locked(folder_in_home(FOLDER)):  # a flow makes several environments at once
            found = _read(path)
            if not _has(found, lock):
                _write(path, project, found, lock)
    except (OSError, UnicodeEncodeError):  # `env gc` then sees only that it was used
        return


def _has(found: KnownProject | None, lock: Lock | None) -> bool:
    return found is not None and (lock is None or found.environments.get(lock.identity) == lock.asked_by)


def _write(path: str, project: Project, found: KnownProject | None, lock: Lock | None) -> None:
    made = dict(found.environments) if found is not None else {}
    if lock is not None:
        made.pop(lock.identity, None)
        made[lock.identity] = lock.asked_by
    document = {
        "config": str(project.path),
        "locks": str(project.lock_folder),
        "mount": _mount_of(str(project.path)),
        "environments": dict(list(made.items())[-_MOST_ENVIRONMENTS:]),
    }
    write_atomically(Path(path), json.dumps(document, indent=1).encode())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks
            hold_lock(handle, folder)
        yield
    finally:
        os.close(handle)


def known_projects() -> tuple[KnownProject, ...]:
    """Every project that this machine knows, by the path of its envlock.toml. Raises what `home` raises."""
    return tuple(sorted(_all(), key=lambda each: each.config))


def _all() -> Iterator[KnownProject]:
    folder = home() / FOLDER
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = _read(os.path.join(folder, name)) if not name.startswith(".") else None
        if found is not None:
            yield found


def _note_of(locks: str) -> str:
    return os.path.join(home(), FOLDER, sha256(os.fsencode(locks))[:16])


def _read(path: str) -> KnownProject | None:
    try:
        found = json_of(read_file(path, MEMO_BYTES))
        texts = config, locks, mount = found["config"], found["locks"], found["mount"]
        made = {str(identity): tuple(map(str, names)) for identity, names in found["environments"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    is_valid = all(type(text) is str and "\0" not in text for text in texts)
    return KnownProject(config, locks, mount, made, path) if is_valid else None


def _mount_of(path: str) -> str:
    """The mount point of the disk that a path is on."""
    folder = os.path.realpath(os.path.dirname(path))
    while not os.path.ismount(folder):
        folder = os.path.dirname(folder)
    return folder
