"""A store in a folder: plain files, moved into place by one rename. Needs no fsspec, whose import costs 0.1 s."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from envlock.cache.errors import CacheUnusable
from envlock.cache.layout import checked
from envlock.cache.port import Entry, tell_nobody
from envlock.files import sha256_of_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STAGE = ".stage"
"""A folder of the root, so of the same filesystem. What a killed process leaves in it is never taken for a file."""

_STAGE_LIVES = 24 * 3600
_NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
"""Why there is no file: the last two, a link that leads to itself and a socket."""
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""What filesystems say that have no hard links: some network mounts, FUSE, exFAT."""
_BLOCK = 1 << 20


class FolderStore:
    """A Store in a folder of this machine, a mounted one as well; made when the first file is put."""

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
        with self._said("read"):
            return _entry(self._place(path), path)

    def entries(self, folder: str) -> Iterator[Entry]:
        """Every file below `folder`."""
        top = self._place(folder)
        with self._said("read"):
            for where, _, names in os.walk(top, onerror=_raise_unless_missing):
                for name in names:
                    place = Path(where, name)
                    entry = _entry(place, place.relative_to(self._root).as_posix())
                    if entry is not None:  # else gone since it was listed, or no file
                        yield entry

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        with self._open(path) as file, self._said("read"):
            return file.read()

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file's bytes."""
        with self._open(path) as file, self._said("read"):
            return sha256_of_stream(file)

    def fetch(self, path: str, to: Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Copy a file out. An OSError of the local disk is raised as it is."""
        with self._open(path) as source, to.open("xb") as target:
            _copy(source, target, on_bytes)

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        """Write a file: in the stage, to the disk, then to its name."""
        place = self._place(path)
        with (
            BytesIO(data) if isinstance(data, bytes) else data.open("rb") as source,
            self._said("written"),
            self._staged(source, on_bytes) as stage,
        ):
            self._make_folder(place.parent)
            stage.replace(place)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file where none is: one link to a file that is whole, which fails where the name is taken."""
        place = self._place(path)
        with self._said("written"), self._staged(BytesIO(data), tell_nobody) as stage:
            self._make_folder(place.parent)
            try:
                place.hardlink_to(stage)
            except FileExistsError:
                return self._holds(place, data)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._claim(place, stage, data)
            _flush(place.parent)
        return True

    def _claim(self, place: Path, stage: Path, data: bytes) -> bool:
        """Without hard links: make the name, empty, which one succeeds in, and replace it with what is whole."""
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            return self._holds(place, data)
        stage.replace(place)
        _flush(place.parent)
        return True

    def _holds(self, place: Path, data: bytes) -> bool:
        """Whether the file is ours after all: a network mount may lose the answer to a link that it made."""
        try:
            return place.read_bytes() == data
        except (FileNotFoundError, IsADirectoryError):
            return False

    @contextmanager
    def _staged(self, source: BinaryIO, on_bytes: Callable[[int], None]) -> Iterator[Path]:
        """A file of the stage with what the source holds, on the disk; gone afterwards, unless it was moved."""
        self._prepare()
        stage = self._stage / f"{os.getpid()}-{os.urandom(8).hex()}.part"
        try:
            with stage.open("xb") as file:
                _copy(source, file, on_bytes)
                file.flush()
                os.fsync(file.fileno())
            yield stage
        finally:
            with suppress(OSError):  # what went wrong is told; the rest is swept another day
                stage.unlink()

    def delete(self, path: str) -> None:
        """Take a file away."""
        with self._said("written"):
            self._place(path).unlink(missing_ok=True)

    def _open(self, path: str) -> BinaryIO:
        """A file, open to be read. What would wait or never end, a pipe or a device, is not there."""
        place = self._place(path)
        with self._said("read"):
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
        """Make the stage; take away, once, what processes that were killed a day ago or earlier left in it."""
        if self._is_prepared:
            return
        if not self._root.is_dir():
            self._root.mkdir(parents=True, exist_ok=True)
            (self._root / ".gitignore").write_text("*\n")  # its usual place is a repository, where it is not committed
        self._make_folder(self._stage)
        self._is_prepared = True
        with suppress(OSError):  # another process sweeps too, or its files are not ours to delete
            for left in self._stage.iterdir():
                if time.time() - left.stat().st_mtime > _STAGE_LIVES:
                    left.unlink()

    def _make_folder(self, folder: Path) -> None:
        """Make a folder with the root's permissions, so that whoever may write the one may write the other."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise
            return
        with suppress(OSError):  # some mounts know no permissions
            folder.chmod(stat.S_IMODE(self._root.stat().st_mode))

    @contextmanager
    def _said(self, doing: str) -> Iterator[None]:
        """An OSError below is the cache's; a file that is not there is the caller's matter."""
        try:
            yield
        except (FileNotFoundError, FileExistsError) as error:
            if doing == "written":
                raise CacheUnusable.of(self.url, doing, error) from error
            raise
        except OSError as error:
            raise CacheUnusable.of(self.url, doing, error) from error


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
    """Bring a folder's new name to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _nothing_at(place: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
