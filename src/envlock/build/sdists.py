"""Source distributions: unpacking archives of others, and what they say they are.

Nothing is written outside of the folder that is given, whatever an archive holds, and no more than SOURCE_BYTES.
Members get the modes 755 and 644 and one time, so that what is built of them depends on their content alone.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from packaging.utils import canonicalize_name

from envlock.build.errors import BadSdist, SourceHashMismatch, UnsafeArchive
from envlock.files import METADATA_BYTES, NotPlain, read_file, sha256_of
from envlock.source_tree import EPOCH, SOURCE_BYTES, SOURCE_FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 1 << 18
_LONGEST = 4096
"""Bytes of a member's path."""
_LONGEST_ATTRIBUTES = 1 << 20
_OPENERS: tuple[tuple[tuple[str, ...], Callable[[io.BufferedReader], io.BufferedIOBase]], ...] = (
    ((".tar.gz", ".tgz"), lambda file: gzip.GzipFile(fileobj=file)),
    ((".tar.bz2", ".tbz"), bz2.BZ2File),
    ((".tar.xz", ".txz"), lzma.LZMAFile),
    ((".tar",), lambda file: file),
)
ENDINGS = (".zip", *(ending for endings, _ in _OPENERS for ending in endings))
"""How the names of archives end that can be unpacked."""
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, UnicodeError),
)
"""What the readers of archives raise for what is damaged, encrypted, or compressed in an unknown way."""
_OF_ARCHIVE = {
    *(None, errno.EINVAL),  # of the readers
    *(errno.ENAMETOOLONG, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EILSEQ),
}
"""What the operating system says of paths that no folder can hold, such as those below a file."""


def check_sha256(archive: Path, expected: str, source: str) -> None:
    """Raises SourceHashMismatch if an archive does not have this SHA-256."""
    got = sha256_of(archive)
    if got != expected:
        raise SourceHashMismatch(source, expected=expected, got=got)


def unpack(archive: Path, filename: str, into: Path, source: str) -> Path:
    """Unpack an archive into an empty folder, and return the folder of the project: mostly the only one in it.

    `filename` says which kind it is; `source` is what messages call it. Raises UnsafeArchive, BadSdist, OSError.
    """
    writer = _Writer(into, source)
    name = filename.lower()
    try:
        if name.endswith(".zip"):
            _unpack_zip(archive, writer)
        else:
            opener = next((each for endings, each in _OPENERS if name.endswith(endings)), None)
            if opener is None:
                raise BadSdist(source, reason=f"`{filename}` ends in none of {', '.join(ENDINGS)}")
            _unpack_tar(archive, opener, writer)
        writer.link()
    except _DAMAGED as error:
        raise BadSdist(source, reason=f"it cannot be unpacked ({error})") from None
    except OSError as error:
        if error.errno not in _OF_ARCHIVE:
            raise
        raise BadSdist(source, reason=f"it cannot be unpacked ({error.strerror or error})") from None
    folders = [each for each in into.iterdir() if each.is_dir() and not each.is_symlink()]
    is_project = any((into / name).exists() for name in ("pyproject.toml", "setup.py"))
    return folders[0] if len(folders) == 1 and not is_project else into


class Named(NamedTuple):
    """The name, normalised, and the version that a source distribution says it has; either may be empty."""

    name: str
    version: str


def named_in(folder: Path) -> Named:
    """What the PKG-INFO of an unpacked source distribution says; empty if there is none.

    >>> named_in(Path("/nowhere"))
    Named(name='', version='')
    """
    from email.parser import BytesHeaderParser

    try:
        found = BytesHeaderParser().parsebytes(read_file(folder / "PKG-INFO", METADATA_BYTES))
    except (FileNotFoundError, NotPlain):
        return Named("", "")
    name, version = (str(found.get(field) or "").strip() for field in ("Name", "Version"))
    return Named(canonicalize_name(name) if name else "", version)


class _Writer:
    """Writes members below a folder. Links come last, so nothing is written through one."""

    def __init__(self, top: Path, source: str) -> None:
        self.source = source
        self._top = os.path.realpath(top)
        self._links: list[tuple[str, str]] = []
        self._left = SOURCE_BYTES
        self._count = 0

    def refuse(self, reason: str) -> UnsafeArchive:
        return UnsafeArchive(self.source, reason=reason)

    def place(self, name: str) -> str:
        """Where a member of this name belongs. Raises UnsafeArchive."""
        self._count += 1
        if self._count > SOURCE_FILES:
            raise self.refuse(f"it has more than {SOURCE_FILES:,} members")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if name.startswith("/") or "\\" in name or ".." in parts or "\0" in name:
            raise self.refuse(f"its member `{name[:100]}` would be written outside of the folder")
        if len(os.fsencode(name)) > _LONGEST:
            raise self.refuse("a member has a path that is too long")
        return "/".join((self._top, *parts))

    def folder(self, name: str) -> None:
        os.makedirs(self.place(name), 0o755, exist_ok=True)

    def file(self, name: str, chunks: Iterator[bytes], *, is_executable: bool) -> None:
        place = self.place(name)
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        if os.path.lexists(place):  # the last member of a name counts
            os.unlink(place)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            for chunk in chunks:
                self._left -= len(chunk)
                if self._left < 0:
                    raise self.refuse(f"it holds more than {SOURCE_BYTES >> 20} MiB")
                file.write(chunk)
            file.flush()
            os.fchmod(handle, 0o755 if is_executable else 0o644)
            os.utime(handle, (EPOCH, EPOCH))

    def remember_link(self, name: str, target: str) -> None:
        self._links.append((self.place(name), target))

    def copy(self, name: str, of: str) -> None:
        """A hard link: a copy of a member that came before."""
        place, first = self.place(name), self.place(of)
        if not os.path.isfile(first) or place == first:
            raise self.refuse(f"its member `{name[:100]}` is a link to `{of[:100]}`, which it does not hold")
        self._left -= os.path.getsize(first)
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        shutil.copy2(first, place)

    def link(self) -> None:
        """Make the links, once all else is written. Raises UnsafeArchive if one leads out."""
        for place, target in self._links:
            if os.path.isabs(target) or "\0" in target:
                raise self.refuse(f"it holds a link to the absolute path `{target[:100]}`")
            folder = os.path.dirname(place)
            if os.path.realpath(folder) != folder:  # nothing is made through another link, which may lead out
                raise self.refuse(f"its member `{os.path.relpath(place, self._top)[:100]}` is below a link")
            os.makedirs(folder, 0o755, exist_ok=True)
            if os.path.lexists(place):
                raise self.refuse(f"it holds `{os.path.relpath(place, self._top)}` twice, once as a link")
            os.symlink(target, place)
        for place, target in self._links:
            if not f"{os.path.realpath(place)}/".startswith(f"{self._top}/"):
                raise self.refuse(f"it holds a link that leads out of it, to `{target[:100]}`")


class _Bounded(io.RawIOBase):
    """What an archive unpacks to, read up to a limit: a few bytes may stand for any number."""

    def __init__(self, file: io.BufferedIOBase, refuse: Callable[[str], UnsafeArchive]) -> None:
        self._file, self._refuse, self._left = file, refuse, 2 * SOURCE_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._left -= len(data)
        if self._left < 0:
            raise self._refuse(f"it unpacks to more than {SOURCE_BYTES >> 20} MiB")
        return data


class _Member(tarfile.TarInfo):
    """A member whose long names and attributes are short enough to be read at once."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        kinds = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if self.type in kinds and self.size > _LONGEST_ATTRIBUTES:
            raise tarfile.ReadError("the attributes of a member are too long")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while data := file.read(_CHUNK):
        yield data


def _unpack_tar(archive: Path, opener: Callable[[io.BufferedReader], io.BufferedIOBase], writer: _Writer) -> None:
    with (
        archive.open("rb") as raw,
        opener(raw) as unpacked,
        tarfile.open(fileobj=_Bounded(unpacked, writer.refuse), mode="r|", errorlevel=2, tarinfo=_Member) as tar,
    ):
        for member in tar:
            if member.isdir():
                writer.folder(member.name)
            elif member.issym():
                writer.remember_link(member.name, member.linkname)
            elif member.islnk():
                writer.copy(member.name, member.linkname)
            elif member.isreg():
                data = tar.extractfile(member)
                assert data is not None
                writer.file(member.name, _chunks(data), is_executable=bool(member.mode & stat.S_IXUSR))
            else:
                raise writer.refuse(f"its member `{member.name[:100]}` is a device or a pipe")


def _unpack_zip(archive: Path, writer: _Writer) -> None:
    with zipfile.ZipFile(archive) as found:
        for member in found.infolist():
            mode = member.external_attr >> 16
            if member.is_dir():
                writer.folder(member.filename)
            elif stat.S_ISLNK(mode):
                if member.file_size > _LONGEST:
                    raise writer.refuse("it holds a link to a path that is too long")
                writer.remember_link(member.filename, os.fsdecode(found.read(member)))
            elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
                with found.open(member) as data:
                    writer.file(member.filename, _chunks(data), is_executable=bool(mode & stat.S_IXUSR))
            else:
                raise writer.refuse(f"its member `{member.filename[:100]}` is a device or a pipe")
