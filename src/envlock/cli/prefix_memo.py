"""Memos of where an environment was found, valid only while nothing that decided it has changed.

A memo has the prefix, and the stat signature of everything that the answer depends on: envlock.toml, the flow files,
the lock and its folder, the prefix's receipt, the interpreter, and each nearer folder where an envlock.toml would take
precedence. Reading a memo imports next to nothing and calls `stat` once for each of those files, so a command whose
environment is ready costs little more than starting Python. In any doubt, the environment is found again.
"""

from __future__ import annotations

import os

from envlock import __version__
from envlock.files import MEMO_BYTES, read_file
from envlock.settings_files import chosen_home
from envlock.trust import distrust, distrust_home, make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FORMAT = "envlock-memo-1"
_ABSENT = "-"
_RACY_NANOSECONDS = 2_000_000_000
_MASK = (1 << 64) - 1


def home() -> str:
    """Like `envlock.places.home`, without its imports."""
    return os.path.abspath(os.path.expanduser(chosen_home()))


def recall(key: Sequence[str]) -> str | None:
    """The prefix remembered for `key`, if nothing that decided it has changed; else None."""
    try:
        fields = read_file(_path(key), MEMO_BYTES).decode("utf-8", "surrogateescape").split("\0")
    except (OSError, ValueError):
        return None
    start = [_FORMAT, __version__, *key]
    if fields[: len(start)] != start or len(fields) < len(start) + 3:
        return None
    prefix, *rows = fields[len(start) :]
    for path, signature in zip(rows[::2], rows[1::2], strict=False):
        if _signature(path) != signature:
            return None
    # Whoever can write memos decides what runs. Without a memo, the error says what is wrong with the home.
    return None if distrust_home(home()) or distrust(prefix) else prefix


def remember(key: Sequence[str], prefix: str, paths: Iterable[str], *, began: int) -> None:
    """Remember that `key` leads to `prefix` as long as these paths stay as they are; those that are not there too.

    `began` is when the work began that found it (nanoseconds since the epoch). Of what was changed after that, or so
    shortly before that a second change could go unseen, nothing is remembered.
    """
    fields = [_FORMAT, __version__, *key, prefix]
    for path in paths:
        signature = _signature(path)
        if signature != _ABSENT and max(map(int, signature.split()[:2])) > began - _RACY_NANOSECONDS:
            return
        fields += [path, signature]
    if any("\0" in field for field in fields):
        return
    path = _path(key)
    stage = f"{path}.{os.getpid()}"
    try:
        make_folder(os.path.dirname(path), home())
        with open(os.open(stage, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "wb") as file:
            file.write("\0".join(fields).encode("utf-8", "surrogateescape"))
        os.replace(stage, path)
    except OSError:
        return  # without a memo, it is found again next time


def _signature(path: str) -> str:
    """A text that changes with the file: times of its content and inode, size, inode."""
    try:
        status = os.stat(path)
    except OSError:
        return _ABSENT
    return f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_size} {status.st_ino}"


def _path(key: Sequence[str]) -> str:
    return os.path.join(home(), "memo", f"{_fnv(key):016x}")


def _fnv(key: Sequence[str]) -> int:
    """The FNV-1a hash, the same in all processes, without an import. A memo contains its key: clashes are harmless.

    >>> f"{_fnv(['']):x}"
    'cbf29ce484222325'
    """
    value = 0xCBF29CE484222325
    for byte in "\0".join(key).encode("utf-8", "surrogateescape"):
        value = (value ^ byte) * 0x100000001B3 & _MASK
    return value
