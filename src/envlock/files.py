"""Whole files or none: atomic writes, folders for a while, hashes of what lies on disk, reading what others wrote."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False  # what starts in a few milliseconds reads files too
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, BinaryIO

    import tomli

_CHUNK = 1 << 18  # within a processor's cache: a fifth faster than a mebibyte

CONFIG_BYTES = REQUIREMENTS_BYTES = PIN_BYTES = 4 << 20
"""The most that is read of an envlock.toml, of a requirements file, of a pin: ten times what anybody wrote by hand."""
FLOW_BYTES = 8 << 20
"""The most that is read of a Python file with a flow."""
LOCK_BYTES = 32 << 20
"""The most that is read of a lock: 40,000 packages."""
MEMO_BYTES = 4 << 20
"""The most that is read of what envlock noted for itself: markers, memos, records of a cache."""
PACKAGE_BYTES = 16 << 30
"""The most that is fetched of a package whose size is not locked: four times the largest that there are."""
METADATA_BYTES = 4 << 20
"""The most that is read of what a wheel says of itself, its description included."""
RECORD_BYTES = 256 << 20
"""The most that is read of what an installer wrote down about one package: a million files."""

REVISIONS = "/dev/null/"
"""Below it, no disk has anything: there are the files of git's revisions, which `revisions` reads."""

DEEPEST = 100
"""How deep tables and lists of TOML and JSON may nest, so that code may walk through them by recursion."""
_TOO_DEEP = "it is nested too deeply"


class NotPlain(OSError):
    """What lies at a path cannot be read as a file: it never ends, is too large, or leads out of the project.

    `reason` says which, as the end of a sentence: `it is a named pipe, not a file`.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(errno.EINVAL, reason, path)
        self.reason = reason


def read_file(path: Path | str, limit: int, *, within: Path | str | None = None) -> bytes:
    """The bytes of a file that others wrote: a regular one, of `limit` bytes at most; else NotPlain is raised.

    Nothing that such a path leads to makes this wait, or read without an end. With `within`, a project's folder, a path
    below that may be a link, and go through links, only to what is of the project: see `leads_out`. Costs three looks
    at the disk beside the reading. Raises OSError as `open` does.
    """
    place = os.fspath(path)
    if place.startswith(REVISIONS):
        from envlock.revisions import read

        return read(place, limit)
    if "\0" in place:
        raise NotPlain(place, "no file can be called so")
    _refuse_other_kinds(place, os.stat(place).st_mode)  # noqa: PTH116  before it is opened: that alone moves some devices
    handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(handle, "rb", buffering=0) as file:  # noqa: PTH123
        found = os.fstat(handle)
        _refuse_other_kinds(place, found.st_mode)
        if within is not None and not _is_plainly_in(handle, within) and leads_out(place, within):
            raise NotPlain(place, "it is a link that leads out of the project")
        # As much at once as it says it has, for room is made for all that is asked for; it may have more than that.
        data = file.read(found.st_size + 1) if found.st_size <= limit else None
        while data is not None and len(data) <= limit and (more := file.read(min(_CHUNK, limit + 1 - len(data)))):
            data += more
    if data is None or len(data) > limit:
        raise NotPlain(place, f"it has more than {limit >> 20} MiB, the most that is read of such a file")
    return data


def toml_of(text: str, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """The values of a TOML text that others wrote, DEEPEST deep at most, its integers of 64 bits as TOML has them.

    Raises tomli.TOMLDecodeError for any other.

    >>> toml_of("x = " + "[" * 100_000)
    Traceback (most recent call last):
    tomli._parser.TOMLDecodeError: It is nested too deeply (at line 1, column 1)
    """
    import tomli

    try:
        found = tomli.loads(text, parse_float=parse_float)
    except tomli.TOMLDecodeError:
        raise
    except ValueError:  # of a number with more digits than Python reads
        raise _too_large(text) from None
    except RecursionError:
        found = None
    if found is None or _is_deeper(found, DEEPEST):
        # The line that nests most is as near as can be told.
        line = max(text.splitlines(keepends=True), key=lambda each: sum(map(each.count, "[{.")))
        raise tomli.TOMLDecodeError(_TOO_DEEP.capitalize(), text, text.index(line))
    if _has_large_number(found):
        raise _too_large(text)
    return found


def _too_large(text: str) -> tomli.TOMLDecodeError:
    import re

    import tomli

    number = re.search(r"(?<![\w\"'.-])[+-]?(?:0x[0-9A-Fa-f_]{17,}|0o[0-7_]{22,}|0b[01_]{64,}|[0-9][0-9_]{18,})", text)
    return tomli.TOMLDecodeError("A number has too many digits", text, number.start() if number else 0)


def _has_large_number(found: object) -> bool:
    """Whether an integer is among values that are not deeper than DEEPEST, and has more than 64 bits."""
    if isinstance(found, dict):
        return any(map(_has_large_number, found.values()))
    if isinstance(found, list):
        return any(map(_has_large_number, found))
    return type(found) is int and not -(1 << 63) <= found < 1 << 63


def json_of(data: bytes | str) -> Any:
    """The value of a JSON text that others wrote, DEEPEST deep at most. Raises ValueError for any other.

    >>> json_of("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    import json

    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if _is_deeper(found, DEEPEST):
        raise ValueError(_TOO_DEEP)
    return found


def _is_deeper(found: object, most: int) -> bool:
    level = [found] if type(found) in {dict, list} else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)  # type: ignore[attr-defined]
            if type(inner) in {dict, list}
        ]
        if not level:
            return False
    return True


def holds(path: Path | str, data: bytes) -> bool:
    """Whether a file is there that holds just these bytes."""
    try:
        return read_file(path, len(data)) == data
    except OSError:
        return False


def _is_plainly_in(handle: int, folder: Path | str) -> bool:
    """Whether an open file is below a folder, in one look where the kernel tells; False where it does not."""
    try:
        place = os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115
    except OSError:
        return False
    return _is_below(place, _real(os.fspath(folder)))


def _real(folder: str) -> str:
    if folder not in _REAL:
        _REAL[folder] = os.path.realpath(folder)
    return _REAL[folder]


_REAL: dict[str, str] = {}
"""Where the folders of projects lead, once looked up. No lru_cache: functools takes 2 ms to import, and `path` 11."""


def is_of(path: Path | str, project: Path | str) -> bool:
    """Whether a file is of a project, wherever links lead: what it holds may be shown to who reads of the project.

    What is of a project: its folder, the work tree of git that has it, and the folder of another envlock.toml that its
    own is a link to, for build tools lay out a project as links.
    """
    if os.fspath(project).startswith(REVISIONS):
        from envlock.revisions import is_of

        return is_of(path, os.fspath(project))
    real = os.path.realpath(path)
    return any(_is_below(real, folder) for folder in _folders_of_project(os.path.abspath(project)))  # noqa: PTH100


def leads_out(path: Path | str, project: Path | str) -> bool:
    """Whether a path in a project's folder is led out of the project by a link: the file, or a folder on its way.

    A path that does not begin in the folder was written as such by the project's author, and leads where it says.
    """
    root, place = os.path.abspath(project), os.path.abspath(path)  # noqa: PTH100  pathlib's own keeps `..`
    if not _is_below(place, root):
        return False
    at = root
    for part in place[len(root) :].strip("/").split("/"):
        at = f"{at}/{part}"
        if os.path.islink(at):  # noqa: PTH114
            break
    else:
        return False
    return not is_of(place, root)


def _folders_of_project(root: str) -> tuple[str, ...]:
    real = tree = os.path.realpath(root)
    folder, name = os.path.split(os.path.realpath(f"{root}/envlock.toml"))
    linked = folder if name == "envlock.toml" else real
    while not os.path.lexists(f"{tree}/.git"):
        tree, below = os.path.dirname(tree), tree  # noqa: PTH120
        if tree == below:
            return real, linked
    return real, linked, tree


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


_KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))


def _refuse_other_kinds(path: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a socket")
    raise NotPlain(path, f"it is {kind}, not a file")


def write_atomically(path: Path, data: bytes) -> None:
    """Make `path` hold `data`, whole, or leave it as it was; parent folders are made.

    The bytes are on disk before the name is: a kill at any moment leaves the old file or the new one. What is replaced
    keeps its permissions, whatever the umask: others may read and write it as before. Raises NotPlain for what is there
    and is no file.
    """
    from contextlib import suppress

    if not path.name:  # `.`, as an empty path is, or `/`
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        mode = path.stat().st_mode
    except OSError:  # there is nothing, or a link that leads nowhere
        mode = stat.S_IFREG
    _refuse_other_kinds(str(path), mode)  # no file takes the place of a device or a pipe
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with stage.open("xb") as file:
            with suppress(OSError):  # there was none, or the file system knows no permissions
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        stage.replace(path)
    except BaseException:
        stage.unlink(missing_ok=True)
        raise


def refuse_unwritable(path: Path) -> None:
    """Raise the OSError that `write_atomically` would raise, as far as that is known without writing. For dry runs."""
    from contextlib import suppress

    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))

    with suppress(FileNotFoundError):
        _refuse_other_kinds(str(path), path.stat().st_mode)
    there = next(each for each in path.parents if os.path.lexists(each))
    code = errno.ENOTDIR if not there.is_dir() else 0 if os.access(there, os.W_OK | os.X_OK) else errno.EACCES
    if code:
        raise OSError(code, os.strerror(code), str(there))


def sha256_of(path: Path, chunk: int = _CHUNK) -> str:
    """The SHA-256 of a file's bytes, 64 hex digits. Reads the file once, so many bytes at a time.

    Between two chunks, a thread waits for those that run Python: where these import modules, larger ones are faster.
    """
    import hashlib

    digest = hashlib.sha256()
    buffer = memoryview(bytearray(chunk))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def sha256_of_stream(file: BinaryIO) -> str:
    """The SHA-256 of what an open file still holds, 64 hex digits."""
    import hashlib

    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def hold_lock(handle: int, place: Path | str, *, shared: bool = False) -> None:
    """Hold the lock of an open folder, which ends with the process; wait while another one holds it. Raises OSError."""
    import fcntl

    from envlock.reporter import waiting

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        with waiting(f"another process, which holds {place}"):
            fcntl.flock(handle, kind)
