"""Exact Python builds: a verified archive, unpacked once on this machine, below the SHA-256 that names it."""

from __future__ import annotations

import gzip
import os
import posixpath
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.files import sha256_of
from envlock.hydrate.errors import BadPythonArchive, ChangedArtifact, storage_error
from envlock.hydrate.stage import make_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from envlock.model.lock import LockedPython

_FOLDER = "python"
_CHUNK = 1 << 20


def unpacked(python: LockedPython, pythons: Path) -> Path | None:
    """The interpreter of an exact build that was unpacked below `pythons`, or None."""
    path = _interpreter(pythons / python.sha256, python)
    return path if path.is_file() else None


def unpack(python: LockedPython, archive: Path, pythons: Path, *, waiting: Callable[[], None] = lambda: None) -> Path:
    """The interpreter of an exact build: unpacked from `archive`, unless it is already there.

    The archive's bytes are proved before the first is unpacked; nothing in it can be written outside of its folder.
    Takes about a second, once. Raises ChangedArtifact, BadPythonArchive, HydrateError.
    """
    place = pythons / python.sha256

    def build(stage: Path) -> None:
        found = sha256_of(archive)
        if found != python.sha256:
            raise ChangedArtifact("python", python.version, archive, expected=python.sha256, found=f"sha256 {found}")
        try:
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as members:
                _extract(members, stage)
                while stream.read(_CHUNK):  # tarfile takes bad bytes for the end: the checksum is behind them
                    pass
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadPythonArchive(python.filename, str(error)) from error
        if not _interpreter(stage, python).is_file():
            raise BadPythonArchive(python.filename, f"there is no {_interpreter(Path(), python)} in it")

    try:
        make_once(place, is_whole=place.is_dir, build=build, waiting=waiting)
    except OSError as error:
        raise storage_error(error, pythons) from error
    return _interpreter(place, python)


def _interpreter(folder: Path, python: LockedPython) -> Path:
    return folder / _FOLDER / "bin" / f"python{python.series}"


def _extract(members: tarfile.TarFile, folder: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        members.extractall(folder, filter="data")
        return
    # Python before 3.10.12 and 3.11.4 has no filters: what theirs would refuse is refused here.
    links: set[str] = set()
    for member in members.getmembers():
        if not _is_harmless(member, links):
            raise tarfile.TarError(f"{member.name} does not stay in its folder")
        if member.issym():
            links.add(posixpath.normpath(member.name))
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        member.mode &= 0o755
    members.extractall(folder)  # noqa: S202  just checked


def _is_harmless(member: tarfile.TarInfo, links: set[str]) -> bool:
    """Whether a member is a file, a folder or a link that stays in its folder, and is reached through none of `links`.

    >>> _is_harmless(tarfile.TarInfo("python/bin/python3.12"), set())
    True
    >>> _is_harmless(tarfile.TarInfo("../.profile"), set())
    False
    >>> _is_harmless(tarfile.TarInfo("python/link/file"), {"python/link"})
    False
    """
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        return False
    paths = [member.name]
    if member.islnk():
        paths.append(member.linkname)
    elif member.issym():
        paths.append(posixpath.join(posixpath.dirname(member.name), member.linkname))
    if posixpath.normpath(member.name) in links:
        return False
    return not any(
        path.startswith(("/", f"{link}/")) or posixpath.normpath(path).startswith("..")
        for path in paths
        for link in links or {"/"}
    )
