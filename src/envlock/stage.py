"""Folders for a while. Those in envlock's home become what they were made for, whole or not at all, and only once.

However many processes want them: the rules are those of nodes, which share a disk as workstations do, and stand in the
shim, the part of envlock that travels there. Others are temporary. What a killed process leaves is removed by the next.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from envlock.places import home
from envlock.reporter import detail
from envlock.trust import Closed, make_folder
from metaflow_extensions.envlock.plugins.node import stage as of_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STAGES = of_node.STAGES


def make_once(
    place: Path,
    *,
    is_whole: Callable[[], bool],
    build: Callable[[Path], None],
    seal: Callable[[], None] = lambda: None,
    waiting: Callable[[], None] = lambda: None,
) -> bool:
    """Make the folder `place` with `build(empty folder)`, unless it `is_whole`. Whether this call made it.

    `seal` is called once the folder is at its place, for a mark that `is_whole` looks for. What is at the place without
    being whole is removed first. `waiting` is called when another process has the work in hand. When `build` or `seal`
    raise, nothing is left, and a kill at any moment leaves nothing that is at its place and whole. What is made is
    closed to others, whatever the umask. Raises OSError.
    """

    def wait() -> None:
        detail(f"wait for another process, which makes {place}")
        waiting()

    make_folder(str(place.parent / STAGES), str(home()))
    with Closed():
        return of_node.make_once(
            os.fspath(place),
            is_whole=is_whole,
            build=lambda stage: build(Path(stage)),
            seal=seal,
            waiting=wait,
        )


_YOUNG = 10.0
"""Seconds in which a folder may have no lock yet, which matters where processes do not see each other."""
_LEFT = r"(?:envlock-(?:push-|shell-|metaflow-)?|\.hashed-)([0-9]+)-"
_PAUSES = (0.0, 0.05, 0.2, 0.5)


@contextmanager
def temporary_folder(prefix: str = "envlock-", parent: Path | None = None) -> Iterator[Path]:
    """A folder as long as the context lasts, for temporary files or in `parent`; those of killed commands go first.

    A command that works in one holds an flock of it, which ends with the process, and its name has the process's
    number. So a folder whose lock is free, and whose process is gone, was left behind. Raises OSError.
    """
    import shutil
    import tempfile

    where = str(parent or tempfile.gettempdir())
    remove_left_behind(where)
    made = tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=where)
    handle = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network mounts have no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Path(made)
    finally:
        for pause in _PAUSES:  # what was told to end may be writing its last file
            time.sleep(pause)
            shutil.rmtree(made, ignore_errors=True)
            if not os.path.lexists(made):
                break
        os.close(handle)


def remove_left_behind(where: str) -> None:
    """Remove the temporary folders that killed commands of this user left in a folder. What cannot be removed stays."""
    import shutil

    left = []
    with suppress(OSError), os.scandir(where) as entries:
        left = [(each.path, match) for each in entries if (match := re.match(_LEFT, each.name))]
    for path, match in left:
        with suppress(OSError, OverflowError):
            found = os.lstat(path)
            is_old = time.time() - found.st_ctime > _YOUNG
            if (
                not stat.S_ISDIR(found.st_mode)
                or found.st_uid != os.geteuid()
                or not is_old
                or _is_there(int(match[1]))
            ):
                continue
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where a process of another container works
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user: not the one who made the folder
        return False
    return True
