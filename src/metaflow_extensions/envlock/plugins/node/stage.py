"""Folders that are there whole or not at all, and are made once however many processes want them.

A folder is filled beside its place and renamed in. Whoever fills it holds an flock for that place, and the kernel gives
the lock back when that process ends, however it ends: so what lies in the stage of a place whose lock is free is of the
dead, and is removed. There is no file whose mere existence means anything.

Workstations keep these rules too: `envlock.stage` is this module, in envlock's home.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator

STAGES = ".stages"
NEW = "new"
"""In a stage: the folder that is filled."""
_SHELL = "/bin/sh"
_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4)


class Busy(Exception):
    """Another process holds the lock, and this one does not wait."""


def _nothing() -> None:
    pass


def remove(folder: str) -> None:
    """Remove a folder, also where threads that were told to stop write their last files into it, and on Ctrl-C.

    What is left after a second is found by the next builder.
    """
    for pause in _PAUSES:
        try:
            time.sleep(pause)
            _delete(folder)
        except KeyboardInterrupt:
            _delete(folder)
            raise
        if not os.path.exists(folder):
            return


def _never() -> bool:
    return False


def make_once(
    place: str,
    *,
    is_whole: Callable[[], bool],
    build: Callable[[str], None],
    found: Callable[[], bool] = _never,
    seal: Callable[[], None] = _nothing,
    waiting: Callable[[], None] = _nothing,
    clear: Callable[[str], None] = remove,
) -> bool:
    """Make the folder `place` with `build(empty folder)`, unless it `is_whole`. Whether this call made it.

    The folder of stages, `.stages` beside the place, must be there. `build` may use the folder around its own: that one
    vanishes once the place is made. It may also rename its folder to the place, if there is something to do there.
    `seal` is called once the folder is at its place, for a mark that `is_whole` looks for. What is at the place without
    being whole is removed first. `waiting` is called when another process has the work in hand. All who wait for that
    wake up at once and ask `found` whether the place is whole, so that they need not come one after another to ask
    `is_whole`. `clear` removes the stage once the place is made. When `build` or `seal` raise, nothing is left, and a
    kill at any moment leaves nothing that is at its place and whole. Raises OSError.
    """
    said = False

    def wait() -> None:
        nonlocal said
        if not said:
            said = True
            waiting()

    lock = lock_of(place)
    while True:
        if _has_waited(lock, wait) and found():
            return False
        with contextlib.suppress(_Overtaken), holding(lock, _overtaken):
            return _make(place, is_whole, build, seal, clear)


class _Overtaken(Busy):
    """Another process has taken the lock in between."""


def _overtaken() -> None:
    raise _Overtaken


def _make(
    place: str,
    is_whole: Callable[[], bool],
    build: Callable[[str], None],
    seal: Callable[[], None],
    clear: Callable[[str], None],
) -> bool:
    """What `make_once` does while it holds the lock."""
    folder, name = os.path.split(place)
    stages = os.path.join(folder, STAGES)
    if is_whole():
        return False
    remove_dead(stages, mine=name)
    # A child of a killed builder may be writing still, to the stage it was given: no two have the same name.
    stage = os.path.join(stages, "%s.%s" % (name, os.urandom(4).hex()))
    made = False
    try:
        os.mkdir(stage)
        _set_aside(place, os.path.join(stage, "old"))
        new = os.path.join(stage, NEW)
        os.mkdir(new)
        build(new)
        if os.path.lexists(new):
            os.rename(new, place)
        try:
            seal()
        except BaseException:
            _set_aside(place, os.path.join(stage, "unsealed"))
            raise
        made = True
    finally:
        (clear if made else remove)(stage)
    return True


def discard(place: str) -> None:
    """Remove what is at a place, all at once. Raises Busy if somebody is making it, and OSError."""
    set_aside(place, place)


def set_aside(path: str, place: str) -> None:
    """Remove a file or a folder at once, as `discard` does what is at a `place`: a kill leaves it in a stage of that.

    Makes no folder: on a disk that is full there would be no room for one. Raises Busy, and OSError.
    """
    stages = os.path.join(os.path.dirname(place), STAGES)
    with holding(lock_of(place), raise_busy):
        if os.path.islink(path) or not os.path.isdir(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        stage = os.path.join(stages, "%s.%s" % (os.path.basename(place), os.urandom(4).hex()))
        try:
            _set_aside(path, stage)
        finally:
            remove(stage)


def _has_waited(path: str, waiting: Callable[[], None]) -> bool:
    """Wait until nobody holds `path`. Whether somebody did, which `waiting` is told first."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_SH)
            return True
    finally:
        os.close(handle)
    return False


@contextlib.contextmanager
def holding(path: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Be the only process, and the only thread, that holds `path`."""
    patient = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        is_ours = False
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not patient:
                    waiting()
                patient = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            is_ours = is_at(handle, path)
            if not is_ours:
                continue  # the one who held it has removed the file since: another may hold its successor
            yield
            return
        finally:
            if is_ours:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            os.close(handle)


def is_at(handle: int, path: str) -> bool:
    """Whether an open file, or folder, is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def lock_of(place: str) -> str:
    """The file that whoever makes a place holds."""
    folder, name = os.path.split(place)
    return os.path.join(folder, STAGES, "%s.lock" % name)


def remove_dead(stages: str, *, mine: str = "") -> None:
    """Remove the stages that no living process works on; the lock of `mine` is held by the caller."""
    for entry in os.listdir(stages):
        name, _, kind = entry.rpartition(".")
        if kind == "lock":
            continue
        stage = os.path.join(stages, entry)
        if name == mine:
            _delete(stage)
            continue
        with contextlib.suppress(Busy), holding(os.path.join(stages, "%s.lock" % name), raise_busy):
            _delete(stage)


def remove_in_background(folder: str) -> None:
    """Let another process remove a folder, so that nobody waits for thousands of files to go.

    All else that the machine has to do comes first. It is no child of this process, which may become a task that waits
    for children. Where it is killed, what is left is found by the next builder.
    """
    import subprocess

    quiet = subprocess.DEVNULL  # a task's log ends when nobody can write to it any more
    command = [_SHELL, "-c", '{ nice -n 19 rm -rf -- "$1" || rm -rf -- "$1"; } &', "sh", folder]
    try:
        started = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, check=False)
    except OSError:
        started = None
    if started is None or started.returncode != 0:
        remove(folder)


def raise_busy() -> None:
    """Do not wait: raise Busy."""
    raise Busy


def _delete(folder: str) -> None:
    import shutil  # takes a tenth of what finding an environment takes

    shutil.rmtree(folder, ignore_errors=True)


def _set_aside(place: str, aside: str) -> None:
    """Take away what is at `place`, all at once.

    A folder of an image's own layer cannot be renamed: it is deleted, files that lie right in it first, which are the
    ones that mark a folder as whole.
    """
    try:
        os.rename(place, aside)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        for entry in list(os.scandir(place)):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
        _delete(place)
