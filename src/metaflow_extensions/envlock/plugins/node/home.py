"""The home of a node: where environments are kept, which of them a task may use, and how much of them stays.

It has the layout of a workstation's home: prefixes in `environments/`, Python builds in `pythons/`, and beside them
`tools/` (uv, py-rattler). What is kept there by nodes has a record in `kept/`: its size, its files, and, as the time of
the record, when it was used last. Whoever uses a folder holds a shared flock of it, which lasts until the last process
has ended that inherited it; what is in use is never removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time

from . import stage
from .errors import DiskFull, Misconfigured, NodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Mapping

    from .manifest import Target

HOME_VARIABLE = "ENVLOCK_HOME"
PREBUILT_VARIABLE = "ENVLOCK_PREBUILT"
ATTEMPT_VARIABLE = "MF_ATTEMPT"
SHARED_HOME = "/var/tmp/envlock"  # noqa: S108  closed to others, see `distrust`
OWN_FOLDER = ".envlock"
"""In the task's folder: the home that no other task has, and `enter.sh`."""
RECEIPT = ".envlock.json"
ENVIRONMENTS, PYTHONS, TOOLS, KEPT = "environments", "pythons", "tools", "kept"

GRACE_SECONDS = 60.0
"""How long what was used stays for sure: a shell takes its lock a moment after the process that prepared it."""
_UNUSED_SECONDS = 3600.0
"""How long a tool or a Python build stays after its last use, though no environment that is kept needs it."""
_OLD_SECONDS = 86400.0
"""After how long without use all files are looked at: cleaners of temporary folders remove them one by one."""
_FAILED = ".failed"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOCKED_OUT = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


class InUse(Exception):
    """A folder cannot be replaced, because a running task uses it."""


class Unusable(Misconfigured):
    """A folder cannot be the home: others may have written there, or its path breaks what is installed there."""


class Receipt:
    """What a prefix was made from. The file is the one that workstations write: see `envlock.hydration.prefix`."""

    def __init__(self, target: Target, python: str, version: str) -> None:
        self.identity = tuple(target[:3])
        self.python = python
        self.version = version
        self.signature = signature(python)

    @classmethod
    def read(cls, prefix: str) -> Receipt | None:
        """The receipt of a prefix; None if there is none, or it is not valid."""
        try:
            with open(os.path.join(prefix, RECEIPT), "rb") as file:
                found = json.loads(file.read(1 << 16).decode("utf-8"))
            receipt = cls.__new__(cls)
            receipt.identity = found["arch"], found["req_id"], found["full_id"]
            receipt.python, receipt.version = found["python"], found["python_version"]
            receipt.signature = tuple(found["python_file"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        texts = (*receipt.identity, receipt.python, receipt.version)
        return receipt if all(isinstance(text, str) and "\0" not in text for text in texts) else None

    @property
    def is_unchanged(self) -> bool:
        """Whether the interpreter is still the same file. Costs one `stat`."""
        return bool(self.signature) and signature(self.python) == self.signature

    def write(self, prefix: str) -> None:
        """Declare a prefix whole. Raises OSError."""
        arch, req_id, full_id = self.identity
        fields = {
            "req_id": req_id,
            "full_id": full_id,
            "arch": arch,
            "python": self.python,
            "python_version": self.version,
            "python_file": list(self.signature),
            "envlock": "node",
        }
        write_atomically(os.path.join(prefix, RECEIPT), json.dumps(fields, indent=1) + "\n")


def signature(path: str) -> tuple[int, ...]:
    """mtime, size and inode of a file; empty if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def name_of(target: Target) -> str:
    """The name of the folder of an environment."""
    return "metaflow_%s_%s" % (target.req_id, target.full_id)


def prefix_in(home: str, target: Target) -> str:
    """Where the prefix of an environment belongs."""
    return os.path.join(home, ENVIRONMENTS, name_of(target))


def homes(environ: Mapping[str, str], folder: str) -> list[str]:
    """Where environments may be kept, in order: the one that the user chose, else the node's, else the task's own."""
    chosen = environ.get(HOME_VARIABLE)
    if chosen:
        return [os.path.abspath(os.path.expanduser(chosen))]
    return [SHARED_HOME, os.path.join(folder, OWN_FOLDER)]


def prebuilt(environ: Mapping[str, str], target: Target) -> str | None:
    """The prefix of an environment that the image brings, if it does: `$ENVLOCK_PREBUILT` is a prefix or a home."""
    given = environ.get(PREBUILT_VARIABLE)
    for prefix in (given, prefix_in(given, target)) if given else ():
        receipt = Receipt.read(prefix)
        if receipt is not None and receipt.identity == target[:3]:
            return os.path.abspath(prefix)
    return None


def make_usable(home: str) -> None:
    """Make the folders of a home, closed to others. Raises OSError, and NodeError if others may have written there."""
    os.makedirs(home, 0o755 if os.geteuid() == 0 else 0o700, exist_ok=True)
    for folder in ("", ENVIRONMENTS, PYTHONS, TOOLS, KEPT):
        path = os.path.join(home, folder) if folder else home
        inner = os.path.join(path, stage.STAGES) if folder and folder != KEPT else path
        os.makedirs(inner, 0o755, exist_ok=True)
        for each in {path, inner}:
            reason = distrust(each)
            if reason:
                raise Unusable(
                    "%s %s, and envlock runs nothing that others may have written: set %s to a folder of your own, "
                    "such as %s/envlock" % (each, reason, HOME_VARIABLE, home)
                )
            if not os.access(each, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), each)
    if os.statvfs(home).f_flag & os.ST_NOEXEC:
        raise Unusable(
            "no program starts in %s, which is mounted with noexec: set %s to another folder" % (home, HOME_VARIABLE)
        )


def distrust(path: str) -> str:
    """Why somebody else may have written what is at a path; empty if nobody else may."""
    found = os.stat(path)
    for owner in {found.st_uid, os.lstat(path).st_uid}:  # who made a link chose where it leads
        if owner not in (os.geteuid(), 0):
            return "belongs to user %d" % owner
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0):
        return "may be written by others"
    return ""


def free_bytes(folder: str) -> int:
    """How many bytes may still be written in a folder."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def storage_error(error: OSError, home: str) -> NodeError:
    """What an OSError met while writing into a home means for the task."""
    where = error.filename or home
    if error.errno in _FULL:
        return DiskFull(
            "no space is left for the environment in %s: make room there, or set %s to a folder on a larger disk"
            % (home, HOME_VARIABLE)
        )
    reason = error.strerror or str(error)
    kind = Misconfigured if error.errno in _LOCKED_OUT else NodeError
    return kind("cannot write %s (%s): set %s to a folder that the task may write" % (where, reason, HOME_VARIABLE))


def is_full(output: str) -> bool:
    """Whether the output of a program says that the disk, or a quota, is full."""
    return any(os.strerror(each) in output for each in _FULL)


# Locks.


def hold(folder: str) -> int | None:
    """A descriptor of a folder with a shared lock, which keeps it from being removed; None if it is gone.

    Waits while somebody makes or removes the folder. On a file system without locks, the descriptor has none.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)
    if stage.is_at(handle, folder):
        return handle
    os.close(handle)
    return None


def claim(folder: str) -> int | None:
    """A descriptor of a folder with an exclusive lock; None if there is no folder. Raises InUse, and does not wait."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InUse from None
    except OSError:  # a file system without locks: nobody can say that it is in use
        pass
    return handle


# What is kept.


class Kept:
    """The record of one folder that nodes keep in a home: an environment, a Python build, a tool."""

    def __init__(self, home: str, place: str) -> None:
        """`place` is below the home, such as `tools/<sha256>`."""
        self.home = home
        self.place = place
        self.path = os.path.join(home, KEPT, place.replace("/", "-"))

    def write(self, uses: tuple[str, ...] = (), modules: str = "", scripts: list[str] | None = None) -> None:
        """Write down a folder's size and files. `uses` are the places of others that it needs.

        `modules` is the folder of it whose entries are looked at before each use; `scripts` are the packages whose link
        scripts were allowed, None if there are none. Raises OSError.
        """
        files = list(_files(os.path.join(self.home, self.place)))
        names = sorted(os.listdir(os.path.join(self.home, self.place, modules))) if modules else []
        summary = {"place": self.place, "bytes": sum(size for _, size, _ in files), "uses": uses}
        summary["modules"], summary["names"], summary["scripts"] = modules, names, scripts
        with contextlib.suppress(OSError):
            os.unlink(self.path + _FAILED)
        rows = ["%d %d %s" % (size, time_ns, json.dumps(path)) for path, size, time_ns in files]
        write_atomically(self.path, "\n".join([json.dumps(summary), *rows, ""]))

    def failed(self, reason: str) -> None:
        """Note why the folder could not be made, for those who wait for it. Without room for that, each finds out."""
        with contextlib.suppress(OSError):
            write_atomically(self.path + _FAILED, reason)

    def failure(self, since: float) -> str:
        """Why the folder could not be made, if that was found out since then; else empty."""
        try:
            if os.stat(self.path + _FAILED).st_mtime >= since:
                with open(self.path + _FAILED, encoding="utf-8", errors="replace") as file:
                    return file.read()
        except OSError:
            pass
        return ""

    def used(self) -> None:
        """Note that the folder is in use now. A home that is read-only keeps no notes."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def last_used(self) -> float:
        """When it was used last, in seconds; 0 if there is no record."""
        try:
            return os.stat(self.path).st_mtime
        except OSError:
            return 0.0

    def summary(self) -> dict:
        """The first line of the record; empty if there is none."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.loads(file.readline())
            return found if isinstance(found, dict) and isinstance(found["bytes"], int) else {}
        except (OSError, ValueError, KeyError):
            return {}

    def damage(self, thorough: bool) -> str:
        """The first file that is not as it was; empty if all are, or there is no record.

        Looks for the interpreter and the names of modules; with `thorough` at each file, which takes a tenth of a
        second for 15,000 of them.
        """
        summary = self.summary()
        if not summary:
            return ""
        folder = os.path.join(self.home, self.place)
        try:
            missing = set(summary["names"]).difference(os.listdir(os.path.join(folder, summary["modules"])))
            if missing:
                return os.path.join(summary["modules"], min(missing))
            if not thorough:
                return ""
            with open(self.path, encoding="utf-8") as file:
                file.readline()
                rows = {}
                for line in file:
                    size, time_ns, path = line.split(" ", 2)
                    rows[json.loads(path)] = int(size), int(time_ns)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return getattr(error, "filename", None) or self.path
        here = {path: (size, time_ns) for path, size, time_ns in _files(folder)}
        return next((path for path in sorted(rows) if here.get(path) != rows[path]), "")


def is_due(kept: Kept, environ: Mapping[str, str]) -> bool:
    """Whether all files of what is kept are to be looked at: it was not used for long, or this task failed before."""
    last = kept.last_used()
    return environ.get(ATTEMPT_VARIABLE, "0") not in ("", "0") or (last > 0 and time.time() - last > _OLD_SECONDS)


def is_kept(home: str, place: str) -> bool:
    """Whether a tool or a Python build is there as it was unpacked, and note that it is used. Else it is removed."""
    if not os.path.isdir(os.path.join(home, place)):
        return False
    kept = Kept(home, place)
    if kept.damage(thorough=True):
        evict(home, place)
        return False
    kept.used()
    return True


def make_room(home: str, keep: int, wanted: int = 0) -> int:
    """Remove what is kept and not in use, least recently used first, until it is at most `keep` bytes.

    Goes on until `wanted` bytes are free on the disk, if it can. How many folders were removed. Raises nothing.
    """
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(os.path.join(home, KEPT)):
            kept = Kept(home, "")
            kept.path = os.path.join(home, KEPT, name)
            summary = kept.summary()
            kept.place = str(summary.get("place", ""))
            if kept.place.replace("/", "-") == name:
                found.append((kept.last_used(), kept, summary))
    found.sort(key=lambda each: each[0])
    total = sum(summary["bytes"] for _, _, summary in found)
    removed = 0
    for is_environment in (True, False):
        for last, kept, summary in list(found):
            if total <= keep and (not wanted or free_bytes(home) >= wanted):
                return removed
            if kept.place.startswith(ENVIRONMENTS + "/") != is_environment:
                continue
            needed = any(kept.place in other.get("uses", ()) for _, _, other in found)
            if needed or time.time() - last < (GRACE_SECONDS if is_environment else _UNUSED_SECONDS):
                continue
            if evict(home, kept.place):
                found.remove((last, kept, summary))
                total -= summary["bytes"]
                removed += 1
    return removed


def evict(home: str, place: str) -> bool:
    """Remove one folder of a home at once, unless somebody uses or makes it. Whether it is gone."""
    folder = os.path.join(home, place)
    try:
        handle = claim(folder)
    except InUse:
        return False
    try:
        stage.discard(folder)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(Kept(home, place).path)
    except (stage.Busy, OSError):
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    """Each file below a folder, its size and its time; without bytecode, which Python may write at any time."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                path = os.path.join(below, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif not entry.name.endswith(".pyc") and entry.name != RECEIPT:
                    found = entry.stat(follow_symlinks=False)
                    yield path, found.st_size, found.st_mtime_ns


def write_atomically(path: str, text: str) -> None:
    """Make a file hold a text, whole, or leave it as it was. Raises OSError."""
    part = "%s.%d.%s.part" % (path, os.getpid(), os.urandom(4).hex())
    try:
        with open(part, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
