"""The files of wheels without a folder for them: unpacked one after another into one file for each wheel.

Creating thousands of files costs a disk more than their bytes. Most files of a wheel are in an environment as they are
in the wheel. So they need not be on the disk under their own names: what reads a tree takes each from its place in the
one file. The rest of a wheel is a small wheel that uv installs: the metadata, commands, data files and headers.

A wheel with anything that is unusual stays whole, and so do wheels that share a path. Then uv, which installs
environments, says what comes of it, or why it is refused.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from envlock.files import RECORD_BYTES, read_file, sha256_of_stream
from envlock.hydration.wheels import UNREADABLE_WHEEL, paths_of_archive
from metaflow_extensions.envlock.plugins.node.members import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from envlock.model.lock import Lock, LockedPackage
    from envlock.reporter import Reporter

PHASE = "unpacking"
_PIECE = 1 << 20
_MOST_AT_ONCE = 4
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ROW = re.compile(rb'([^",\r\n]+),(?:[a-z0-9]+=[A-Za-z0-9_=-]+)?,(?:0|[1-9][0-9]*)?')
"""A line of a RECORD that uv writes again as it is."""
_LOCAL_FILE = b"PK\3\4"
_LONGEST_PATH = 1024
"""Characters. uv may not be able to write a file with a longer path: it is to say so."""
_UTF_8, _ENCRYPTED = 0x800, 0x1
_NOTES_OF_UV = ("uv_cache.json", "uv_build.json", "direct_url.json")
_HEADERS, _CONDA_HEADERS = b"../../../include/site/", b"../../../include/"


class WheelFile(NamedTuple):
    """A file of a wheel."""

    path: str
    """In site-packages."""
    executable: bool
    start: int
    """Where its bytes begin."""
    size: int


class Divided(NamedTuple):
    """A wheel whose files are in one file, without those that uv installs."""

    content: Path
    """The bytes of all files, one after another."""
    files: tuple[WheelFile, ...]
    rows: tuple[bytes, ...]
    """The lines of the RECORD about these files."""
    rest: Path
    """The wheel for uv, of the same name."""
    sha256: str
    """Of the rest."""


class _Listed(NamedTuple):
    """What stands at the end of a wheel."""

    members: list[zipfile.ZipInfo]
    paths: frozenset[str]
    """In an environment."""


class _Unusual(Exception):
    """What uv is to judge."""


def divide(
    wheels: Iterable[LockedPackage], archives: Mapping[str, Path], folder: Path, reporter: Reporter
) -> dict[str, Divided]:
    """Divide wheels, by the SHA-256 of each; without those that stay whole.

    `archives` has the files by SHA-256. Each is hashed, and one that is another stays whole, so that uv refuses it.
    Costs decompressing, on all processors. Raises OSError if the folder cannot be written.
    """
    listed = {wheel.sha256: _listed(archives[wheel.sha256]) for wheel in wheels}
    whole = _sharing({sha256: found.paths for sha256, found in listed.items()})
    todo = [(sha256, found) for sha256, found in listed.items() if found.members and sha256 not in whole]
    reporter.began(PHASE, len(todo), "packages")

    def work(each: tuple[str, _Listed]) -> Divided | None:
        sha256, found = each
        place = folder / sha256
        place.mkdir()
        divided = _divided(archives[sha256], sha256, found.members, place)
        reporter.advanced(PHASE, archives[sha256].name, 1)
        return divided

    try:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_AT_ONCE)) as pool:
            done = zip(todo, pool.map(work, todo), strict=True)
            return {sha256: divided for (sha256, _), divided in done if divided is not None}
    finally:
        reporter.ended(PHASE)


def rest_of(lock: Lock, divided: Mapping[str, Divided]) -> Lock:
    """A lock of the rests of wheels, in place of those that were divided."""
    return replace(
        lock,
        packages=tuple(
            replace(each, sha256=divided[each.sha256].sha256) if each.sha256 in divided else each
            for each in lock.packages
        ),
    )


def settle_record(record: Path, rows: Iterable[bytes], *, is_beside_conda: bool) -> None:
    """Make the RECORD that uv wrote one of the whole wheel, and of any machine.

    `rows` are the lines of files that uv did not see, which uv would have sorted among the others. What uv notes for
    itself of where a wheel was, and when, goes. Headers have another folder with conda than in a virtual environment.
    """
    folder = record.parent
    notes = tuple(f"{folder.name}/{name},".encode() for name in _NOTES_OF_UV)
    text = read_file(record, RECORD_BYTES)
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(notes)]
    known = {line.partition(b",")[0] for line in lines}  # a uv that leaves lines of files that it does not see
    new = [row + b"\n" for row in rows if row.partition(b",")[0] not in known]
    if new:
        lines = sorted([*lines, *new], key=_path_in_row)
    if is_beside_conda:
        lines = [line.replace(_HEADERS, _CONDA_HEADERS, 1) if line.startswith(_HEADERS) else line for line in lines]
    replace_file(record, b"".join(lines))
    for name in _NOTES_OF_UV:
        (folder / name).unlink(missing_ok=True)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file, without writing into its other hard links."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def _path_in_row(line: bytes) -> bytes:
    return line.partition(b'",')[0][1:].replace(b'""', b'"') if line.startswith(b'"') else line.partition(b",")[0]


def _listed(wheel: Path) -> _Listed:
    """What a wheel contains; nothing for a file that is no wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return _Listed(archive.infolist(), frozenset(path for path, _ in paths_of_archive(archive)))
    except UNREADABLE_WHEEL:
        return _Listed([], frozenset())


def _sharing(paths: Mapping[str, frozenset[str]]) -> set[str]:
    """The wheels of which a path is one of another, too, or a folder of another.

    >>> sorted(_sharing({"a": frozenset({"x/m"}), "b": frozenset({"x/n"}), "c": frozenset({"y"}),
    ...     "d": frozenset({"y/z"}), "e": frozenset({"x/n"})}))
    ['b', 'c', 'd', 'e']
    """
    owners: dict[str, str] = {}
    found: set[str] = set()
    for wheel, own in paths.items():
        for path in own:
            other = owners.setdefault(path, wheel)
            if other != wheel:
                found |= {wheel, other}
    for wheel, own in paths.items():
        folders: set[str] = set()
        for path in own:
            folder = path.rpartition("/")[0]
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        for folder in folders & owners.keys():
            found |= {wheel, owners[folder]}
    return found


def _divided(wheel: Path, sha256: str, members: list[zipfile.ZipInfo], place: Path) -> Divided | None:
    """A wheel in two; None for one that stays whole."""
    content, rest = place / "content", place / wheel.name
    files: list[WheelFile] = []
    try:
        with wheel.open("rb") as opened:
            if sha256_of_stream(opened) != sha256:
                return None
            plain, others = _sorted_out(members)
            rows = _rows(b"".join(_bytes(opened, _record_of(others))), plain, members)
            start = 0
            with content.open("wb", _PIECE) as out:
                for member in plain:
                    for piece in _bytes(opened, member):
                        out.write(piece)
                    files.append(WheelFile(member.filename, _is_executable(member), start, member.file_size))
                    start += member.file_size
            with zipfile.ZipFile(rest, "w") as archive:
                for member in others:
                    info = zipfile.ZipInfo(member.filename)
                    info.external_attr, info.create_system = member.external_attr, member.create_system
                    archive.writestr(info, b"".join(_bytes(opened, member)))
    except (_Unusual, zlib.error, struct.error):
        return None
    with rest.open("rb") as opened:
        return Divided(content, tuple(files), rows, rest, sha256_of_stream(opened))


def _sorted_out(members: Iterable[zipfile.ZipInfo]) -> tuple[list[zipfile.ZipInfo], list[zipfile.ZipInfo]]:
    """The files of a wheel that are in site-packages as they are, and the others. Raises _Unusual."""
    plain: list[zipfile.ZipInfo] = []
    others: list[zipfile.ZipInfo] = []
    names: set[str] = set()
    for member in members:
        name = member.filename
        is_known = member.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
        if not is_known or member.flag_bits & _ENCRYPTED or name in names or "\\" in name:
            raise _Unusual
        if member.orig_filename != name or not (name.isascii() or member.flag_bits & _UTF_8):
            raise _Unusual
        names.add(name)
        folders = name.removesuffix("/").split("/")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if not {"", ".", ".."}.isdisjoint(folders) or len(name) > _LONGEST_PATH:
            raise _Unusual
        if max(len(each.encode()) for each in folders) > LONGEST_NAME:
            raise _Unusual
        if member.is_dir():
            continue
        if kind not in {0, stat.S_IFREG}:
            raise _Unusual
        if folders[0].endswith(".data") and len(folders) > 1:
            is_elsewhere = folders[1] in {"scripts", "headers"} or (
                folders[1] == "data" and not folders[2:][0].startswith("lib")
            )
            if len(folders) < 3 or not is_elsewhere:
                raise _Unusual
            others.append(member)
        elif folders[0].endswith(".dist-info"):
            others.append(member)
        else:
            plain.append(member)
    return plain, others


def _record_of(others: Iterable[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    found = [each for each in others if each.filename.endswith(".dist-info/RECORD") and each.file_size <= RECORD_BYTES]
    if len(found) != 1:
        raise _Unusual
    return found[0]


def _rows(record: bytes, plain: Iterable[zipfile.ZipInfo], members: Iterable[zipfile.ZipInfo]) -> tuple[bytes, ...]:
    """The lines of a RECORD about plain files. Raises _Unusual for one of which uv would make another."""
    lines: dict[bytes, bytes] = {}
    for line in record.splitlines():
        match = _ROW.fullmatch(line)
        if match is None or match[1] in lines:
            raise _Unusual
        lines[match[1]] = line
    if not lines.keys() <= {member.filename.encode() for member in members}:
        raise _Unusual
    try:
        return tuple(lines[member.filename.encode()] for member in plain)
    except KeyError:
        raise _Unusual from None


def _is_executable(member: zipfile.ZipInfo) -> bool:
    return bool(member.external_attr >> 16 & 0o111)


def _bytes(file: BinaryIO, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member, in pieces. Raises _Unusual for one that is not what its archive says, and zlib.error."""
    number, place, name = file.fileno(), member.header_offset, member.filename.encode()
    header = os.pread(number, _LOCAL_HEADER.size + len(name), place)
    signature, _, flags, method, *_, name_size, extra = _LOCAL_HEADER.unpack_from(header)
    if (signature, method, name_size) != (_LOCAL_FILE, member.compress_type, len(name)):
        raise _Unusual
    if header[_LOCAL_HEADER.size :] != name or flags & _ENCRYPTED:
        raise _Unusual
    place += len(header) + extra
    left, size, crc = member.compress_size, 0, 0
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if method == zipfile.ZIP_DEFLATED else None
    while left:
        packed = os.pread(number, min(left, _PIECE), place)
        if not packed:
            raise _Unusual
        place, left = place + len(packed), left - len(packed)
        while packed:
            piece = inflate.decompress(packed, _PIECE) if inflate else packed
            packed = inflate.unconsumed_tail if inflate else b""
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            if size > member.file_size:
                raise _Unusual
            yield piece
    if inflate:  # what it holds back of the last piece
        while piece := inflate.decompress(b"", _PIECE):
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            yield piece
        if not inflate.eof or inflate.unused_data:
            raise _Unusual
    if (size, crc) != (member.file_size, member.CRC):
        raise _Unusual
