"""How large folders are: what is theirs alone, and what they share with others by hard links.

Bytes are those of the disk, as `du` counts them. Sizes of prefixes are remembered in `sizes/` of the home: looking at
all files of hundreds of environments takes minutes. A prefix is looked at again once it was made again, once its
largest shared file is no longer shared, or its largest own file is, and a day after it was used again.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from envlock.activation import RECEIPT
from envlock.files import MEMO_BYTES, read_file
from envlock.in_use import last_used
from envlock.places import folder_in_home, home
from envlock.reporter import Reporter
from envlock.trust import Closed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FOLDER = "sizes"
_FORMAT = "envlock-size-1"
_DAY = 86400.0
_BLOCK = 512
_AT_ONCE = 8
_LOOKING = "measuring"


class Size(NamedTuple):
    """The size of a folder, in bytes on the disk."""

    own: int
    """Of what no other folder has."""
    shared: int
    """Of files that others have too: packages that are unpacked, other environments."""
    files: int


class Walked(NamedTuple):
    """What a look at all files of a folder has found."""

    own: int
    links: Mapping[tuple[int, int], tuple[int, int, int]]
    """Files with several names: how often each was seen, how many names it has, its bytes. By device and inode."""
    files: int
    locked: str = ""
    """The first folder in which this user may not delete; empty if there is none."""
    own_file: str = ""
    shared_file: str = ""
    """The largest file that is its own, and the largest that others have too."""

    @property
    def size(self) -> Size:
        """What is in it alone, and what is elsewhere too."""
        inside = sum(size for seen, names, size in self.links.values() if seen >= names)
        return Size(self.own + inside, sum(size for _, _, size in self.links.values()) - inside, self.files)


def walk(folder: str) -> Walked:
    """Look at all files below a folder, or at one file. What is gone meanwhile, or cannot be read, counts as nothing.

    Takes a second for 200,000 files.
    """
    own, files = 0, 0
    links: dict[tuple[int, int], tuple[int, int, int]] = {}
    locked = own_file = shared_file = ""
    own_most = shared_most = -1
    waiting = [folder]
    with suppress(OSError):
        top = os.lstat(folder)
        own += top.st_blocks * _BLOCK
        if not os.path.isdir(folder) or os.path.islink(folder):
            return Walked(own, {}, 1)
    while waiting:
        below = waiting.pop()
        try:
            entries = list(os.scandir(below))
        except OSError:
            locked = locked or below
            continue
        if not locked and not os.access(below, os.W_OK | os.X_OK):
            locked = below
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
                is_folder = entry.is_dir(follow_symlinks=False)
            except OSError:
                continue
            size = found.st_blocks * _BLOCK
            if is_folder:
                waiting.append(entry.path)
                own += size
                continue
            files += 1
            if found.st_nlink < 2:
                own += size
                if size > own_most:
                    own_most, own_file = size, entry.path
                continue
            if size > shared_most:
                shared_most, shared_file = size, entry.path
            key = found.st_dev, found.st_ino
            seen, _, _ = links.get(key, (0, 0, 0))
            links[key] = seen + 1, found.st_nlink, size
    return Walked(own, links, files, locked, own_file, shared_file)


def freed(walked: Iterable[Walked]) -> int:
    """The bytes that are free once all of these folders are gone: not those of files that have a name elsewhere."""
    own = 0
    links: dict[tuple[int, int], tuple[int, int, int]] = {}
    for each in walked:
        own += each.own
        for key, (seen, names, size) in each.links.items():
            links[key] = links.get(key, (0, 0, 0))[0] + seen, names, size
    return own + sum(size for seen, names, size in links.values() if seen >= names)


def sizes_of(prefixes: Sequence[str], reporter: Reporter | None = None) -> dict[str, Size]:
    """The size of each prefix: remembered, or found by looking at all of its files, and remembered."""
    found = {prefix: size for prefix in prefixes if (size := _recall(prefix)) is not None}
    unknown = [prefix for prefix in prefixes if prefix not in found]
    for prefix, walked in walk_all(unknown, reporter or Reporter()).items():
        found[prefix] = walked.size
        _remember(prefix, walked)
    return found


def walk_all(folders: Sequence[str], reporter: Reporter) -> dict[str, Walked]:
    """What is in each of these folders, looked at several at a time."""
    if not folders:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    def walk_one(folder: str) -> Walked:
        found = walk(folder)
        reporter.advanced(_LOOKING, os.path.basename(folder))
        return found

    reporter.began(_LOOKING, len(folders), "folders")
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(folders, pool.map(walk_one, folders), strict=True))
    finally:
        reporter.ended(_LOOKING)


def forget(prefix: str) -> None:
    """Remove what is remembered of a prefix that is gone."""
    with suppress(OSError):
        os.unlink(_memo_of(prefix))


def _recall(prefix: str) -> Size | None:
    try:
        fields = read_file(_memo_of(prefix), MEMO_BYTES).decode("utf-8", "surrogateescape").split("\0")
        form, receipt, when, own, shared, files, own_file, shared_file = fields
        size = Size(int(own), int(shared), int(files))
        looked = float(when)
        used_since = last_used(prefix) > looked
        if form != _FORMAT or receipt != _receipt_of(prefix) or (used_since and time.time() - looked > _DAY):
            return None
        if own_file and os.lstat(own_file).st_nlink > 1:
            return None
        return None if shared_file and os.lstat(shared_file).st_nlink < 2 else size
    except (OSError, ValueError):
        return None


def _remember(prefix: str, walked: Walked) -> None:
    size = walked.size
    fields = [_FORMAT, _receipt_of(prefix), repr(time.time()), *map(str, size), walked.own_file, walked.shared_file]
    path = _memo_of(prefix)
    stage = f"{path}.{os.getpid()}"
    with suppress(OSError), Closed():  # not synced to the disk: half a memo is none
        folder_in_home(FOLDER)
        with open(stage, "wb") as file:
            file.write("\0".join(fields).encode("utf-8", "surrogateescape"))
        os.replace(stage, path)


def _receipt_of(prefix: str) -> str:
    try:
        return str(os.stat(os.path.join(prefix, RECEIPT)).st_mtime_ns)
    except OSError:
        return "-"


def _memo_of(prefix: str) -> str:
    return os.path.join(home(), FOLDER, os.path.basename(prefix))
