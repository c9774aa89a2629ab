"""A store in a folder: plain files, moved into place by one rename. Needs no fsspec, whose import costs 0.1 s."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from envlock.cache.errors import CacheUnusable, StoredFileTooLarge
from envlock.cache.layout import checked
from envlock.cache.port import Entry, tell_nobody
from envlock.files import LOCK_BYTES, NotPlain, hold_lock, read_file, sha256_of_stream
from envlock.revisions import files_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Made = TypeVar("Made")

STAGE = ".stage"
"""A folder in the root, so on the same filesystem. Files that a killed process leaves in it are never read."""

_STAGE_LIVES = 24 * 3600
_NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO})
"""Errors that mean that there is no file of ours; the last two are a link to itself and a socket."""
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})
"""Errors of naming a new folder that mean that another made it before, and wrote into it."""
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""Errors of filesystems without hard links: some network mounts, FUSE, exFAT."""
_NO_NEW_NAMES = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM})
"""Errors of filesystems that cannot rename without replacing."""
_BLOCK = 1 << 20
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_ATTEMPTS, _PAUSE = 20, 0.001
_READ_WRITE, _OWN = 0o666, 0o600


class FolderStore:
    """A Store in a folder, on this machine or mounted; it is made by the first write.

    What it writes is as open as the root, whoever writes: the root's group, and its permissions to read and to write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stage = root / STAGE
        self._is_prepared = False

    @property
    def url(self) -> str:
        """The folder."""
        return str(self._root)

    def entry(self, path: str) -> Entry | None:
        """The file at `path`, if there is one."""
        place = self._place(path)
        with self._said("read", place):
            return _entry(place, path)

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`."""
        top = self._place(folder)
        with self._said("read", top):
            for where, names in files_below(top, _raise_unless_missing):
                for name in names:
                    place = Path(where, name)
                    entry = _entry(place, place.relative_to(self._root).as_posix())
                    if entry is not None:  # else gone since it was listed, or no file
                        yield entry

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        with self._open(path) as file, self._said("read", self._place(path)):
            data = file.read(min(os.fstat(file.fileno()).st_size, LOCK_BYTES) + 1)
        if len(data) > LOCK_BYTES:
            raise StoredFileTooLarge(f"{self.url}/{path}", LOCK_BYTES)
        return data

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file's bytes."""
        with self._open(path) as file, self._said("read", self._place(path)):
            return sha256_of_stream(file)

    def fetch(self, path: str, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Copy a file out. An OSError of the local disk is raised as it is."""
        with self._open(path) as source, to.open("xb") as target:
            _copy(source, target, on_bytes)

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Write a file: into the stage, to the disk, then to its name."""
        place = self._place(path)
        with (
            BytesIO(data) if isinstance(data, bytes) else data.open("rb") as source,
            self._said("written", place),
            self._staged(source, on_bytes) as stage,
        ):
            self._give_name(place, stage.replace)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file if there is none: a complete file gets its name in a step that fails if the name is taken."""
        place = self._place(path)
        with self._said("written", place), self._staged(BytesIO(data), tell_nobody) as stage:
            try:
                self._give_name(place, lambda place: _name_exclusively(stage, place))
            except FileExistsError:
                return self._holds(place, data)
            with suppress(FileNotFoundError):  # another deleted the file since, and gc its empty folder
                _flush(place.parent)
        return True

    def _give_name(self, place: Path, give: Callable[[Path], object]) -> None:
        """Make the folder and give the name in it."""

        def attempt() -> None:
            self._make_folder(place.parent)
            give(place)

        _repeated(attempt)

    def _holds(self, place: Path, data: bytes) -> bool:
        """Whether the file is ours after all: a network mount may lose the answer to a link that it made."""
        try:
            return read_file(place, len(data)) == data
        except (FileNotFoundError, IsADirectoryError, NotPlain):
            return False

    @contextmanager
    def _staged(self, source: BinaryIO, on_bytes: Callable[[int], None]) -> Iterator[Path]:
        """A file in the stage with the source's bytes, flushed to the disk; deleted afterwards, unless it was moved."""
        self._prepare()
        stage, opened = self._in_stage(lambda place: place.open("xb"))
        try:
            with opened as file:
                self._share(stage, is_folder=False)
                _copy(source, file, on_bytes)
                file.flush()
                os.fsync(file.fileno())
            yield stage
        finally:
            with suppress(OSError):  # what went wrong is told; the rest is swept another day
                stage.unlink()

    def delete(self, path: str) -> None:
        """Delete a file, but none outside the root, whatever links others made in it."""
        place = self._place(path)
        with self._said("written", place):
            self._refuse_way_out(place.parent)
            place.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete empty folders, and those that an earlier gc left; who is about to write into one makes it again.

        The stage stays: writers work in it, and the first write of each process deletes what is old.
        """
        for folder, _ in reversed(list(files_below(self._root))):
            if self._root != Path(folder) and self._stage not in (Path(folder), Path(folder).parent):
                with suppress(OSError):  # there is something in it, or it is not ours to delete
                    Path(folder).rmdir()

    def _in_stage(self, make: Callable[[Path], Made]) -> tuple[Path, Made]:
        """A new entry in the stage, made by `make`. An older envlock's gc may delete the stage: it is made again."""

        def attempt() -> tuple[Path, Made]:
            try:
                return _made_in(self._stage, make)
            except FileNotFoundError:
                self._make_folder(self._stage)
                return _made_in(self._stage, make)

        return _repeated(attempt)

    def _open(self, path: str) -> BinaryIO:
        """A file, open for reading. Pipes and devices, which would block or never end, count as missing."""
        place = self._place(path)
        with self._said("read", place):
            try:
                handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise (_nothing_at(place) if error.errno in _NOTHING else error) from None
            mode = os.fstat(handle).st_mode
            if stat.S_ISREG(mode):
                return os.fdopen(handle, "rb")
            os.close(handle)
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
            raise _nothing_at(place)

    def _place(self, path: str) -> Path:
        return self._root / checked(path)

    def _prepare(self) -> None:
        """Make the stage; once, delete what processes left in it that were killed a day ago or earlier."""
        if self._is_prepared:
            return
        if not self._root.is_dir():
            self._root.mkdir(parents=True, exist_ok=True)
            (self._root / ".gitignore").write_text("*\n")  # its usual place is a repository, where it is not committed
            self._share(self._root / ".gitignore", is_folder=False)
        _repeated(lambda: self._make_folder(self._stage))
        self._is_prepared = True
        with suppress(OSError):  # it cannot be listed
            for left in self._stage.iterdir():
                with suppress(OSError):  # another process sweeps too, or this one is not ours to delete
                    if time.time() - left.lstat().st_mtime > _STAGE_LIVES:
                        left.rmdir() if left.is_dir() and not left.is_symlink() else left.unlink()

    def _make_folder(self, folder: Path) -> None:
        """Make a folder with the root's permissions from its first moment on.

        One that got its permissions at its place would keep others out for ever when its maker is killed before.
        """
        if folder.is_dir():
            self._refuse_way_out(folder)
            return
        self._make_folder(folder.parent)
        new, _ = _made_in(self._root, Path.mkdir) if folder == self._stage else self._in_stage(Path.mkdir)
        self._share(new, is_folder=True)
        try:
            new.rename(folder)
        except OSError as error:
            with suppress(FileNotFoundError):  # gc deleted it, empty as it is
                new.rmdir()
            if error.errno not in _TAKEN and not folder.is_dir():
                raise

    def _refuse_way_out(self, folder: Path) -> None:
        """Refuse to write or delete outside the root, whatever links others made in it."""
        root, real = os.path.realpath(self._root), os.path.realpath(folder)
        if real != root and not real.startswith(f"{root}/"):
            raise OSError(errno.ELOOP, f"a symlink leads out of the cache, to {real}", str(folder))

    def _share(self, place: Path, *, is_folder: bool) -> None:
        """Give a new file the root's group and permissions, as far as this user may."""
        root = self._root.stat()
        mode = stat.S_IMODE(root.st_mode)
        with suppress(OSError):  # some mounts know no groups, and some writers are in other ones
            os.chown(place, -1, root.st_gid)
        with suppress(OSError):  # some mounts know no permissions
            place.chmod(mode if is_folder else mode & _READ_WRITE | _OWN)

    @contextmanager
    def _said(self, doing: str, place: Path) -> Iterator[None]:
        """Turn an OSError into an error of the cache; a missing file is the caller's matter."""
        try:
            yield
        except (FileNotFoundError, FileExistsError) as error:
            if doing == "written":
                raise self._unusable(doing, error, place) from error
            raise
        except OSError as error:
            raise self._unusable(doing, error, place) from error

    def _unusable(self, doing: str, error: OSError, place: Path) -> CacheUnusable:
        """The error with the file that could not be read or written, and its owner."""
        met = Path(os.fsdecode(error.filename2 or error.filename or place))
        if doing == "written":  # a file is written by the leave to write into its folder
            return CacheUnusable.of(self.url, doing, error, str(place), _owner_of(met.parent, self._root, error))
        return CacheUnusable.of(self.url, doing, error, str(met), _owner_of(met, self._root, error))


def _repeated(attempt: Callable[[], Made]) -> Made:
    """The result of an attempt, which is repeated where gc deleted an empty folder that it had just made or found.

    Who makes the same folder at the same moment repeats theirs too: rename(2) replaces a folder that is empty.
    """
    for number in range(1, _ATTEMPTS):
        try:
            return attempt()
        except FileNotFoundError:  # noqa: PERF203  the loop is for it
            time.sleep(number * _PAUSE)  # gc passes by meanwhile
    return attempt()


def _made_in(folder: Path, make: Callable[[Path], Made]) -> tuple[Path, Made]:
    place = folder / _nonce()
    return place, make(place)


def _entry(place: Path, path: str) -> Entry | None:
    try:
        found = place.stat()
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise
    return Entry(path, found.st_size, found.st_mtime) if stat.S_ISREG(found.st_mode) else None


def _copy(source: BinaryIO, target: BinaryIO, on_bytes: Callable[[int], None]) -> None:
    while block := source.read(_BLOCK):
        target.write(block)
        on_bytes(len(block))


def _flush(folder: Path) -> None:
    """Flush a folder's new name to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _name_exclusively(stage: Path, place: Path) -> None:
    """Give a complete file a name that is free. Raises FileExistsError if it is taken.

    Where the filesystem can do that in one step, of all machines one succeeds. Where it can neither link nor rename so,
    whoever looks and renames holds a lock, which the kernel takes back from who is killed.
    """
    try:
        place.hardlink_to(stage)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return
    try:
        _rename_exclusively(stage, place)
    except OSError as error:
        if error.errno not in _NO_NEW_NAMES:
            raise
    else:
        return
    handle = os.open(stage.parent, os.O_RDONLY)
    try:
        hold_lock(handle, stage.parent)
        if os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
        stage.rename(place)
    finally:
        os.close(handle)


def _rename_exclusively(stage: Path, place: Path) -> None:
    """Linux's renameat2(2) with RENAME_NOREPLACE, which FAT has too; OSError(ENOSYS) elsewhere."""
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(_AT_FDCWD, os.fsencode(stage), _AT_FDCWD, os.fsencode(place), ctypes.c_uint(_RENAME_NOREPLACE)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(stage), None, str(place))


def _owner_of(place: Path, root: Path, error: OSError) -> str:
    """The owner and permissions of the nearest existing path, if permissions are the cause; else empty."""
    if error.errno not in {errno.EACCES, errno.EPERM}:
        return ""
    import pwd

    for near in (place, *place.parents):
        try:
            found = near.stat()
        except OSError:  # it is not there, or its folder may not be searched, which is what to tell of
            if near == root:
                return ""
            continue
        try:
            owner = pwd.getpwuid(found.st_uid).pw_name
        except KeyError:
            owner = f"user {found.st_uid}"
        return f"{near} belongs to {owner}, with the permissions {stat.filemode(found.st_mode)}"
    return ""


def _nonce() -> str:
    return f"{os.getpid()}-{os.urandom(8).hex()}.part"


def _nothing_at(place: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))


def _raise_unless_missing(error: OSError) -> None:
    if error.errno not in _NOTHING:
        raise error
