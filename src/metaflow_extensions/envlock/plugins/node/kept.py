"""What a node keeps in its home for the next task: environments, Python builds, tools; and what of it is removed.

Each folder has a note in `kept/`. When there is more than the flow's `keep-on-node`, what no task uses is removed, the
least recently used first, and each folder as a whole.
"""

from __future__ import annotations

import contextlib
import os
import time

from . import stage
from .home import ENVIRONMENTS, KEPT, RECEIPT, InUse, claim, free_bytes, write_atomically
from .values import parse_json, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, Mapping

ATTEMPT_VARIABLE = "MF_ATTEMPT"
_GRACE_SECONDS = 60.0
"""How long what was used stays for sure: a shell takes its lock a moment after the process that prepared it."""
_UNUSED_SECONDS = 3600.0
"""How long a tool or a Python build stays after its last use, though no environment that is kept needs it."""
_OLD_SECONDS = 86400.0
"""After how long without use all files are looked at: cleaners of temporary folders remove them one by one."""
_FAILED, _PART = ".failed", ".part"


def _never() -> bool:
    return False


class Kept:
    """The note of one folder of a home: its size, its files, and, as the time of the note, when it was used last."""

    def __init__(self, home: str, place: str) -> None:
        """`place` is below the home, such as `tools/<sha256>`."""
        self.home = home
        self.place = place
        self.path = os.path.join(home, KEPT, place.replace("/", "-"))

    def write(
        self,
        uses: tuple[str, ...] = (),
        modules: str = "",
        scripts: list[str] | None = None,
        system: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Write down a folder's size and files. `uses` are the places of others that it needs.

        `modules` is the folder of it whose entries are looked at before each use; `scripts` are the packages whose link
        scripts were allowed, None if there are none; `system` is what images must have. Raises OSError.
        """
        files = list(_files(os.path.join(self.home, self.place)))
        names = sorted(os.listdir(os.path.join(self.home, self.place, modules))) if modules else []
        summary = {"place": self.place, "bytes": sum(size for _, size, _ in files), "uses": uses}
        summary["modules"], summary["names"], summary["scripts"] = modules, names, scripts
        summary["system"] = system
        import json

        with contextlib.suppress(OSError):
            os.unlink(self.path + _FAILED)
        rows = ["%d %d %s" % (size, time_ns, quoted(path)) for path, size, time_ns in files]
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
        """When it was used last, in seconds; 0 if there is no note."""
        try:
            return os.stat(self.path).st_mtime
        except OSError:
            return 0.0

    def summary(self) -> dict:
        """The first line of the note; empty if there is none."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = parse_json(file.readline())
            return found if isinstance(found, dict) and isinstance(found["bytes"], int) else {}
        except (OSError, ValueError, KeyError):
            return {}

    def damage(self, thorough: bool) -> str:
        """The first file that is not as it was; empty if all are, or there is no note.

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
                    rows[parse_json(path)] = int(size), int(time_ns)
            here = {path: (size, time_ns) for path, size, time_ns in _files(folder)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            return getattr(error, "filename", None) or self.path
        return next((path for path in sorted(rows) if here.get(path) != rows[path]), "")


def is_due(kept: Kept, environ: Mapping[str, str]) -> bool:
    """Whether all files of what is kept are to be looked at: it was not used for long, or this task failed before."""
    last = kept.last_used()
    return environ.get(ATTEMPT_VARIABLE, "0") not in ("", "0") or (last > 0 and time.time() - last > _OLD_SECONDS)


def find(home: str, place: str) -> str | None:
    """The folder of a tool or a Python build, which is used now; None if it is not there as it was unpacked."""
    folder = os.path.join(home, place)
    if not os.path.isdir(folder):
        return None
    kept = Kept(home, place)
    if kept.damage(thorough=True):
        evict(home, place)
        return None
    kept.used()
    return folder


def unpack_once(home: str, place: str, unpack: Callable[[str], None]) -> str:
    """The folder of a tool or a Python build, made with `unpack(empty folder)` unless another task has made it.

    Raises OSError, and what `unpack` raises.
    """
    folder = os.path.join(home, place)
    if stage.make_once(folder, is_whole=lambda: os.path.isdir(folder), build=unpack):
        Kept(home, place).write()
    else:
        Kept(home, place).used()
    return folder


def make_room(home: str, keep: int, wanted: int = 0) -> int:
    """Remove what is kept and not in use, least recently used first, until it is at most `keep` bytes.

    Goes on until `wanted` bytes are free on the disk, if it can. How many folders were removed. Raises nothing. Also
    removes environments that were killed before they were whole, and notes that nobody waits for.
    """
    _sweep_notes(home)
    for place in _unfinished(home):
        evict(home, place)
    found = sorted(_all(home), key=lambda each: each[0])
    total = sum(summary["bytes"] for _, summary in found)
    removed = 0
    for is_environment in (True, False):
        for last, summary in list(found):
            if total <= keep and (not wanted or free_bytes(home) >= wanted):
                return removed
            place = summary["place"]
            if place.startswith(ENVIRONMENTS + "/") != is_environment:
                continue
            needed = any(place in other.get("uses", ()) for _, other in found)
            if needed or time.time() - last < (_GRACE_SECONDS if is_environment else _UNUSED_SECONDS):
                continue
            if evict(home, place):
                found.remove((last, summary))
                total -= summary["bytes"]
                removed += 1
    return removed


def _all(home: str) -> Iterator[tuple[float, dict]]:
    """When each folder was used last, and the first line of its note."""
    try:
        names = os.listdir(os.path.join(home, KEPT))
    except OSError:
        return
    for name in names:
        kept = Kept(home, name)  # a name has no slash, so its note is the file of that name
        summary = kept.summary()
        if str(summary.get("place", "")).replace("/", "-") == name:
            yield kept.last_used(), summary


def _unfinished(home: str) -> Iterator[str]:
    """The places of environments without a receipt: nobody may ever want them again."""
    folder = os.path.join(home, ENVIRONMENTS)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith("metaflow_") and not os.path.lexists(os.path.join(folder, name, RECEIPT)):
                yield "%s/%s" % (ENVIRONMENTS, name)


def _sweep_notes(home: str) -> None:
    """Remove the notes of failures that no task waits to read, and what writers of notes that were killed have left."""
    folder = os.path.join(home, KEPT)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if name.endswith((_FAILED, _PART)) and time.time() - os.stat(path).st_mtime > _UNUSED_SECONDS:
                    os.unlink(path)


def evict(home: str, place: str, *, is_wanted: Callable[[], bool] = _never) -> bool:
    """Remove one folder of a home at once, unless somebody uses or makes it. Whether it is gone.

    `is_wanted` is called once nobody else can begin to use it: a use that was noted before that keeps it.
    """
    folder = os.path.join(home, place)
    try:
        handle = claim(folder)
    except InUse:
        return False
    try:
        if is_wanted():
            return False
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
            start = below and below + "/"
            for entry in entries:
                path = start + entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif not entry.name.endswith(".pyc") and entry.name != RECEIPT:
                    found = entry.stat(follow_symlinks=False)
                    yield path, found.st_size, found.st_mtime_ns
