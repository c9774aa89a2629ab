"""The members of a pack's parts, written below a folder: regular files and symlinks, and nothing else.

A part is a pax archive (`envlock.pack.parts`). Whatever it says, nothing is written outside of the folder, through a
link, over another file, or where the environment has files of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
import threading

from .home import RECEIPT, VARIABLES, is_reserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, NamedTuple

    class _Member(NamedTuple):
        path: bytes
        kind: bytes
        mode: bytes
        target: bytes
        data: memoryview
        records: dict[bytes, bytes]


_BLOCK = 512
_HEADER = struct.Struct("100s8s16x12s20xc100s88x155s12x")
"""Path, mode, size, kind, target, and what comes before the path."""
_FILE, _LINK, _PAX = b"0", b"2", b"x"
_MODES = {b"0000644\0": 0o644, b"0000755\0": 0o755}
_PATH, _TARGET, _CHARSET = b"path", b"linkpath", b"hdrcharset"
_PREFIX, _OFFSET, _SIZE = b"ENVLOCK.prefix", b"ENVLOCK.offset", b"ENVLOCK.size"
_RECORDS = {_PATH, _TARGET, _CHARSET, _PREFIX, _OFFSET, _SIZE}
_NO_RECORDS: dict[bytes, bytes] = {}
_NO_NAMES = (b"", b".", b"..")
_OWN = ("pyvenv.cfg", RECEIPT, VARIABLES)
_OWN_OF_WHEELS = (*_OWN, "conda-meta", "lib64")
"""What is no folder in a prefix: its own files are there, or a link, or what marks it as conda's."""
_LONGEST_RESERVED = len("conda-meta")
_LONGEST_PATH, LONGEST_NAME = 4096, 255
"""Bytes: Linux takes no longer ones."""
DEEPEST = 128
"""Folders in each other: Python cannot remove a thousand of them."""
_MOST_DIGITS = 12
"""Of a size: with more, a file would be larger than disks are, and reading the number alone could take minutes."""
_TEXT, _BINARY = b"text", b"binary"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SHEBANG = re.compile(rb"#![ ]*(/(?:\\ |[^ \n\r\t])*)(.*)", re.DOTALL)
_LONGEST_SHEBANG = 127
"""Bytes that the oldest kernels read of the line that names a script's interpreter."""


NO_ARCHIVE = (ValueError, IndexError, KeyError, struct.error)
"""What reading something else than the archive of a pack raises."""


class BadMember(Exception):
    """An archive, or one of its members, that no maker of packs has made."""


class Placeholder:
    """The path that stands in files of conda packages for the one of their environment, and what replaces it.

    It does so as py-rattler does.
    """

    def __init__(self, placeholder: str, prefix: str) -> None:
        self._old = os.fsencode(placeholder)
        self._new = os.fsencode(prefix)
        self._strings = re.compile(re.escape(self._old) + rb"[^\0]*")

    def text(self, data: bytes) -> bytes:
        r"""A text with the prefix in it, however long. A first line that names an interpreter stays short enough.

        >>> Placeholder("/old/place", "/new").text(b"#!/old/place/bin/python -s\nhome=/old/place\n")
        b'#!/new/bin/python -s\nhome=/new\n'
        """
        line, end, rest = data.partition(b"\n")
        replaced = line.replace(self._old, self._new)
        if line.startswith(b"#!") and len(replaced) > _LONGEST_SHEBANG:
            match = _SHEBANG.match(replaced)
            if match is not None:
                replaced = b"#!/usr/bin/env " + match.group(1).rpartition(b"/")[2] + match.group(2)
        return replaced + end + rest.replace(self._old, self._new)

    def binary(self, data: bytes) -> bytes:
        r"""A program or a library with the prefix in it: each string that has it is filled with NULs to its length.

        >>> Placeholder("/old/place", "/new").binary(b"\1/old/place/a:/old/place/b\0end")
        b'\x01/new/a:/new/b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00end'
        """

        def replaced(match: re.Match[bytes]) -> bytes:
            found = match.group()
            return found.replace(self._old, self._new).ljust(len(found), b"\0")

        return self._strings.sub(replaced, data)


class _Slices:
    """What is there of a file that is in several parts."""

    def __init__(self, size: int, mode: int) -> None:
        self.size = size
        self.mode = mode
        self.there: list[tuple[int, int]] = []


class Members:
    """The folder that is filled with the members of parts. Any thread may call any method.

    Nothing is written through a link: a folder is made here, or is one and no link, before anything is written into it;
    and as each name is taken once, it stays one. Each method raises BadMember, OSError.
    """

    def __init__(self, folder: str, placeholder: Placeholder | None) -> None:
        """With a `placeholder` there are conda packages: they bring their Python, and records of their own."""
        self._folder = os.fsencode(folder) + b"/"
        self._placeholder = placeholder
        self._made = {b""}
        self._sliced: dict[bytes, _Slices] = {}
        self._guard = threading.Lock()

    def write(self, raw: memoryview, is_over: Callable[[], bool]) -> None:
        """Write what an archive holds, until it `is_over`."""
        folder: bytes | None = None
        try:
            for path, kind, mode, target, data, records in members_of(raw):
                if is_over():
                    return
                above, _, base = path.rpartition(b"/")
                if base in _NO_NAMES or path[:1] == b"/" or len(path) > _LONGEST_PATH or len(base) > LONGEST_NAME:
                    raise BadMember("%r is no path in it" % _shown(path))
                if above != folder:
                    self._make_folder(above)
                    folder = above
                if len(above) <= _LONGEST_RESERVED:
                    self._refuse_reserved(path, target)
                if kind == _FILE and mode in _MODES:
                    if len(records) > (_PATH in records):
                        self._write_special(path, _MODES[mode], data, records)
                    else:
                        self._write(path, _MODES[mode], data)
                elif kind == _LINK:
                    self._link(path, target)
                else:
                    raise BadMember("%r is neither a plain file nor a link" % _shown(path))
        except NO_ARCHIVE:
            raise BadMember("it is not the archive of a pack") from None
        except FileExistsError as error:
            path = os.fsencode(error.filename or b"")[len(self._folder) :]
            raise BadMember("%r is in the pack twice" % _shown(path)) from None

    def check_slices(self) -> None:
        """Refuse files of which a slice never came."""
        for path, slices in sorted(self._sliced.items()):
            if sum(end - start for start, end in slices.there) != slices.size:  # none of which overlap
                raise BadMember("not all of %r is in the pack" % _shown(path))

    def _write(self, path: bytes, mode: int, data: memoryview | bytes) -> None:
        file = os.open(self._folder + path, _NEW, mode)
        try:
            if len(data):
                _write_at(file, data, 0)
        finally:
            os.close(file)

    def _write_special(self, path: bytes, mode: int, data: memoryview, records: dict[bytes, bytes]) -> None:
        """Write a file that has its prefix in it, or a slice of one."""
        prefix = records.get(_PREFIX, b"")
        if _OFFSET in records or _SIZE in records:
            if prefix:
                raise BadMember("%r is a slice, and has its prefix in it" % _shown(path))
            self._write_slice(path, mode, data, _number(records[_OFFSET]), _number(records[_SIZE]))
        elif not prefix:
            self._write(path, mode, data)
        elif self._placeholder is None or prefix not in (_TEXT, _BINARY):
            raise BadMember("%r has its prefix in it, and nobody knows how" % _shown(path))
        else:
            rewrite = self._placeholder.text if prefix == _TEXT else self._placeholder.binary
            self._write(path, mode, rewrite(bytes(data)))

    def _write_slice(self, path: bytes, mode: int, data: memoryview, start: int, size: int) -> None:
        end = start + len(data)
        with self._guard:
            slices = self._sliced.get(path)
            if slices is None:
                os.close(os.open(self._folder + path, _NEW, mode))
                slices = self._sliced[path] = _Slices(size, mode)
            overlaps = any(start < until and since < end for since, until in slices.there)
            if overlaps or (slices.size, slices.mode) != (size, mode) or not 0 <= start < end <= size:
                raise BadMember("a slice of %r does not fit the others" % _shown(path))
            slices.there.append((start, end))
        file = os.open(self._folder + path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _write_at(file, data, start)
        finally:
            os.close(file)

    def _link(self, path: bytes, target: bytes) -> None:
        """Make a link that leads to a place in the folder: up by no more folders than it is below, and only at first.

        Through which links it leads then does not matter: each of them stays in the folder too.
        """
        depth = path.count(b"/")
        names = [name for name in target.split(b"/") if name not in (b"", b".")]
        while names and names[0] == b"..":
            names.pop(0)
            depth -= 1
        if depth < 0 or not target or target.startswith(b"/") or b".." in names or len(target) > _LONGEST_PATH:
            raise BadMember("the link %r leads out of the pack, to %r" % (_shown(path), _shown(target)))
        os.symlink(target, self._folder + path)

    def _make_folder(self, path: bytes) -> None:
        if path in self._made:
            return
        above, _, base = path.rpartition(b"/")
        own = _OWN_OF_WHEELS if self._placeholder is None else _OWN
        is_own = not above and _text(path).lower() in own
        if base in _NO_NAMES or len(base) > LONGEST_NAME or path.count(b"/") >= DEEPEST or is_own:
            raise BadMember("%r is no folder of a pack" % _shown(path))
        self._make_folder(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder + path, 0o755)
        if not stat.S_ISDIR(os.lstat(self._folder + path).st_mode):
            raise BadMember("%r is a file or a link, and something is below it" % _shown(path))
        self._made.add(path)

    def _refuse_reserved(self, path: bytes, target: bytes) -> None:
        """Refuse the files that the environment itself has. Conda's packages bring their Python and their records."""
        text = _text(path)
        if self._placeholder is not None:
            is_own = text.lower() in _OWN
        else:
            is_own = is_reserved(text) and (path, target) != (b"lib64", b"lib")
        if is_own:
            raise BadMember("%r belongs to the environment itself" % _shown(path))


def members_of(raw: memoryview) -> Iterator[_Member]:
    """The members of an archive. Raises BadMember and what is in NO_ARCHIVE for what no maker of packs has made."""
    unpack = _HEADER.unpack_from
    records = _NO_RECORDS
    position = 0
    while True:
        name, mode, digits, kind, target, before = unpack(raw, position)
        if not name[0]:
            if any(raw[position:]) or records:
                raise ValueError
            return
        size = int(digits[:11], 8)
        start = position + _BLOCK
        end = start + size
        position = start + (size + _BLOCK - 1 & -_BLOCK)
        if size < 0 or position > len(raw):
            raise ValueError
        if kind == _PAX:
            if records:
                raise ValueError
            records = _records(bytes(raw[start:end]))
            continue
        name = records.get(_PATH) or _joined(before, name)
        target = records.get(_TARGET) or target.rstrip(b"\0")
        if size and kind != _FILE:
            raise BadMember("%r has bytes, and is no file" % _shown(name))
        yield name, kind, mode, target, raw[start:end], records
        records = _NO_RECORDS


def _records(data: bytes) -> dict[bytes, bytes]:
    """Pax records. Raises ValueError."""
    found = {}
    position = 0
    while position < len(data):
        space = data.index(b" ", position)
        end = position + _number(data[position:space])
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end <= space or data[end - 1 : end] != b"\n" or not equals or key not in _RECORDS or key in found:
            raise ValueError
        found[key] = value
        position = end
    return found


def _number(digits: bytes) -> int:
    """A number that is no negative one. Raises ValueError."""
    if len(digits) > _MOST_DIGITS or not digits.isdigit():
        raise ValueError
    return int(digits)


def _joined(before: bytes, name: bytes) -> bytes:
    name, before = name.partition(b"\0")[0], before.partition(b"\0")[0]
    return before + b"/" + name if before else name


def _write_at(file: int, data: memoryview | bytes, position: int) -> None:
    written = os.pwrite(file, data, position)
    while written < len(data):
        written += os.pwrite(file, data[written:], position + written)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")
