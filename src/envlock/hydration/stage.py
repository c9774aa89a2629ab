"""Folders that are there whole or not at all, and are made once however many processes want them.

A folder is filled beside its place and renamed in. Whoever fills it holds an flock for that place, and the kernel gives
the lock back when that process ends, however it ends: so what lies in the stage of a place whose lock is free is of the
dead, and is removed. There is no file whose mere existence means anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from typing import TYPE_CHECKING

from envlock.places import home
from envlock.trust import Closed, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STAGES = ".stages"
_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4)


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
    stages = place.parent / STAGES
    make_folder(str(stages), str(home()))
    with Closed(), _holding(_lock_of(stages, place.name), waiting):
        if is_whole():
            return False
        _remove_dead(stages, mine=place.name)
        # A child of a killed builder may be writing still, to the stage it was given: no two have the same name.
        stage = stages / f"{place.name}.{os.urandom(4).hex()}"
        try:
            stage.mkdir()
            _set_aside(place, stage / "old")
            new = stage / "new"
            new.mkdir()
            build(new)
            new.rename(place)
            try:
                seal()
            except BaseException:
                _set_aside(place, stage / "unsealed")
                raise
        finally:
            _remove(stage)
    return True


@contextlib.contextmanager
def _holding(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
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
            is_ours = _is_at(handle, path)
            if not is_ours:
                continue  # the one who held it has removed the file since: another may hold its successor
            yield
            return
        finally:
            if is_ours:
                path.unlink(missing_ok=True)
            os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _lock_of(stages: Path, name: str) -> Path:
    return stages / f"{name}.lock"


def _remove_dead(stages: Path, *, mine: str) -> None:
    """Remove the stages that no living process works on; the lock of `mine` is held by the caller."""
    for stage in stages.iterdir():
        name, _, kind = stage.name.rpartition(".")
        if kind == "lock":
            continue
        if name == mine:
            shutil.rmtree(stage, ignore_errors=True)
            continue
        with contextlib.suppress(_Busy), _holding(_lock_of(stages, name), _raise_busy):
            shutil.rmtree(stage, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove a folder, also where threads that were told to stop write their last files into it, and on Ctrl-C.

    What is left after a second is found by the next builder.
    """
    for pause in _PAUSES:
        try:
            time.sleep(pause)
            shutil.rmtree(folder, ignore_errors=True)
        except KeyboardInterrupt:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not folder.exists():
            return


class _Busy(Exception):
    """Another process holds the lock, and this one does not wait."""


def _raise_busy() -> None:
    raise _Busy


def _set_aside(place: Path, aside: Path) -> None:
    """Take away what is at `place`, all at once."""
    with contextlib.suppress(FileNotFoundError):
        place.rename(aside)
