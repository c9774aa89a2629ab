"""Parts of packs, made by the format alone and not by envlock's own maker: as they should be, and as nobody should."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

TIME = 315532800
FILE, LINK, HARD_LINK, DEVICE, FOLDER, FIFO, PAX = b"0", b"2", b"1", b"3", b"5", b"6", b"x"
LARGEST = 48 << 20
_BLOCK = 512
_ZSTD = ctypes.CDLL("libzstd.so.1")
_ZSTD.ZSTD_compressBound.restype = _ZSTD.ZSTD_compress.restype = ctypes.c_size_t
_ZSTD.ZSTD_compressBound.argtypes = (ctypes.c_size_t,)
_ZSTD.ZSTD_compress.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)


class Member(NamedTuple):
    """A member of a part. Paths are of any bytes, so that they may be hostile."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    kind: bytes = FILE
    link: str = ""
    records: Mapping[str, str] = {}
    """Pax records."""


class Part(NamedTuple):
    """A part, and how a plan names it."""

    data: bytes
    fields: dict[str, Any]

    @property
    def path(self) -> str:
        return str(self.fields["path"])


def tar_of(members: Iterable[Member]) -> bytes:
    """A pax archive."""
    return b"".join([*map(_member, members), bytes(2 * _BLOCK)])


def compressed(raw: bytes, level: int = 3) -> bytes:
    """One zstd frame, which says how long its content is."""
    out = ctypes.create_string_buffer(_ZSTD.ZSTD_compressBound(len(raw)))
    size = _ZSTD.ZSTD_compress(out, len(out), raw, len(raw), level)
    return out.raw[:size]


def part_of(members: Iterable[Member] | bytes, **more: Any) -> Part:
    """A part of members, or of the bytes of an archive; `more` replaces what a plan says of it."""
    raw = members if isinstance(members, bytes) else tar_of(members)
    return as_part(compressed(raw), raw, **more)


def as_part(data: bytes, raw: bytes, **more: Any) -> Part:
    """Some bytes as a part, whatever they are."""
    sha256 = hashlib.sha256(data).hexdigest()
    fields = {
        "path": f"parts/{sha256[:2]}/{sha256}.tar.zst",
        "size": len(data),
        "sha256": sha256,
        "raw_size": len(raw),
        "raw_sha256": hashlib.sha256(raw).hexdigest(),
        **more,
    }
    return Part(data, fields)


def pack_of(parts: Iterable[Part], placeholder: str = "", compiler: str = "3.12.4") -> dict[str, Any]:
    """How a plan names a pack."""
    fields = [part.fields for part in parts]
    raw = hashlib.sha256("".join(f"{each['raw_sha256']}\n" for each in fields).encode()).hexdigest()
    return {"compiler": compiler, "placeholder": placeholder, "raw": raw, "parts": fields}


def members_in(folder: Path, skip: Iterable[str] = ()) -> Iterator[Member]:
    """The files and links of a folder, sorted by the bytes of their paths."""
    passed = set(skip)
    for path in sorted(folder.rglob("*"), key=os.fsencode):
        name = path.relative_to(folder).as_posix()
        if name in passed:
            continue
        if path.is_symlink():
            yield Member(name, kind=LINK, link=str(path.readlink()))
        elif path.is_file():
            yield Member(name, path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)


def parts_in(folder: Path, skip: Iterable[str] = (), largest: int = LARGEST) -> list[Part]:
    """The parts of a folder: a file that is longer than one is cut into slices."""
    found, waiting, size = [], [], 0
    for member in members_in(folder, skip):
        for each in slices(member, largest):
            if size and size + len(each.data) > largest:
                found.append(part_of(waiting))
                waiting, size = [], 0
            waiting.append(each)
            size += len(each.data)
    return [*found, part_of(waiting)]


def slices(member: Member, largest: int) -> Iterator[Member]:
    """A member, or as many of the same file if it is too long for one."""
    if len(member.data) <= largest:
        yield member
        return
    for offset in range(0, len(member.data), largest):
        records = {"ENVLOCK.offset": str(offset), "ENVLOCK.size": str(len(member.data))}
        yield member._replace(data=member.data[offset : offset + largest], records={**member.records, **records})


def _member(member: Member) -> bytes:
    path, link = os.fsencode(member.path), os.fsencode(member.link)
    records = {key.encode(): value.encode() for key, value in member.records.items()}
    if len(path) > 100 or not path.isascii():
        records[b"path"], path = path, path[:100]
    if len(link) > 100 or not link.isascii():
        records[b"linkpath"], link = link, link[:100]
    header = _header(path, member.mode, len(member.data), member.kind, link)
    found = header + _padded(member.data)
    if records:
        data = b"".join(_record(key, value) for key, value in sorted(records.items()))
        found = _header(b"././@PaxHeader", 0o644, len(data), PAX, b"") + _padded(data) + found
    return found


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while length != len(b"%d %s=%s\n" % (length, key, value)):
        length = len(b"%d %s=%s\n" % (length, key, value))
    return b"%d %s=%s\n" % (length, key, value)


def _header(path: bytes, mode: int, size: int, kind: bytes, link: bytes) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, TIME)
    start, end = path.ljust(100, b"\0") + numbers, kind + link.ljust(100, b"\0") + b"ustar\0" + b"00"
    end = end.ljust(_BLOCK - len(start) - 8, b"\0")
    return start + b"%06o\0 " % sum(start + b" " * 8 + end) + end


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)
