"""Whether a prefix is in use, and when it was used last: nothing removes one that a process holds.

A process that uses a prefix holds a shared flock of its folder, which lasts until the last process that inherited it
has ended, whatever files that process has open. The time of its note in `kept/` says when it was used last. Nodes
keep the same rules, in the shim's `node/home.py` and `node/kept.py`; `run` depends on this module, so
it imports nothing of theirs.
"""

from __future__ import annotations

import os

from envlock.trust import Closed, make_folder

KEPT = "kept"
RECEIPT = ".envlock.json"  # `activation` has this name too: what only looks for a prefix does not import that
_OUT_OF_THE_WAY = 100
"""The least number of the descriptor: programs and scripts use the small ones themselves."""


def hold(prefix: str) -> bool:
    """Keep a prefix from being removed until this process, and all that inherit from it, have ended.

    False if it is gone, or is being made again: then it has to be found again. Waits while somebody removes it. On a
    file system without locks, nothing is held. Costs five calls of the operating system.
    """
    try:
        handle = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return True  # nor can a process of this user be what removes it
    except OSError:
        return False
    import fcntl

    is_there = _is_there(handle, prefix)
    if is_there:
        try:
            fcntl.fcntl(handle, fcntl.F_DUPFD, _OUT_OF_THE_WAY)
        except OSError:  # the limit of open files is lower
            os.set_inheritable(handle, True)
            return True
    os.close(handle)
    return is_there


def stays(prefix: str) -> bool:
    """Note that a prefix is used now, and whether it is still there: `env gc` then leaves it as what was just used.

    For commands that need only the path, and hold nothing. False if it is gone: then it has to be found again.
    Waits while somebody removes it.
    """
    used(prefix)
    try:
        handle = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return True
    except OSError:
        return False
    try:
        return _is_there(handle, prefix)
    finally:
        os.close(handle)


def _is_there(handle: int, prefix: str) -> bool:
    """Lock the open folder of a prefix, shared. Whether it is whole, and at its place."""
    import fcntl

    try:  # noqa: SIM105  contextlib would cost as much as all of this
        fcntl.flock(handle, fcntl.LOCK_SH)
    except OSError:
        pass
    try:
        os.stat(os.path.join(prefix, RECEIPT))
        return os.path.samestat(os.fstat(handle), os.stat(prefix))
    except OSError:
        return False


def is_held(path: str, *, exclusively: bool = False) -> bool:
    """Whether a process holds a prefix; with `exclusively`, whether one holds a file or a folder alone.

    On a file system that shares locks, it may be on another machine. Waits for nobody.
    """
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if exclusively else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def note_of(prefix: str) -> str:
    """The note of a prefix in its home, whose time says when it was used last."""
    environments, name = os.path.split(prefix)
    home, folder = os.path.split(environments)
    return os.path.join(home, KEPT, f"{folder}-{name}")


def used(prefix: str) -> None:
    """Note that a prefix is used now. In a home that cannot be written, nothing is noted."""
    note = note_of(prefix)
    try:
        os.utime(note)
    except FileNotFoundError:
        folder = os.path.dirname(note)
        try:
            with Closed():
                make_folder(folder, os.path.dirname(folder))
                os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        except OSError:
            return
    except OSError:
        return


def last_used(prefix: str) -> float:
    """When a prefix was used last, in seconds since the epoch, or else made; 0 if that is unknown."""
    for path in (note_of(prefix), os.path.join(prefix, RECEIPT), prefix):
        try:
            return os.stat(path).st_mtime
        except OSError:  # noqa: PERF203
            continue
    return 0.0
