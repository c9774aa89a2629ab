"""The parts of a pack: a tree as tars of at most 48 MB, whose bytes depend on nothing but the tree.

Which files share a part is decided so that environments share parts. A package stays whole; a large one has parts of
its own, and small ones share a part. Who shares with whom is decided by the SHA-256 of their names: all small packages
are one group, and a group that is too large is halved by the next bit, like a trie. So what one package does, whether
it is added, removed or updated, changes the part that it is in, and no other; only where its group becomes too large,
or small enough to be one with its other half, do two parts take the place of one, or one of two.
"""

from __future__ import annotations

import hashlib
import sys
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from metaflow_extensions.envlock.plugins.node.members import NO_ARCHIVE, BadMember, members_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from envlock.pack.tree import TreeFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGEST = 48_000_000
"""Bytes that a part may have before compression. A file with a placeholder in it stays whole, and may need more."""
GROUP = 24_000_000
"""Bytes that small packages which share a part may have together."""
LEVEL = 10
"""Of zstd: the docs (explanation/packs) have what others cost and gain. Its window is 4 MB."""
MTIME = 315532800
"""The time of every member, which is that of every file in a wheel that envlock builds: 1980-01-01."""
UNREADABLE = (zstd.ZstdError, EOFError, BadMember, *NO_ARCHIVE)
"""What reading a damaged part raises."""
_WINDOW_LOG = 23
"""The largest window that decompresses: 8 MB."""
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_PIECE = 1 << 20


class Member(NamedTuple):
    """A file, a slice of one, or a link, in a part."""

    header: bytes
    """What stands before its bytes."""
    file: TreeFile
    offset: int = 0
    """Where in the file it begins."""
    size: int = 0
    """Bytes of the file that are in it."""

    @property
    def room(self) -> int:
        """The bytes that it takes in the tar."""
        return len(self.header) + -(-self.size // _BLOCK) * _BLOCK


class RawPart(NamedTuple):
    """A part before it is compressed. Its members are sorted by path."""

    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """The bytes of the tar."""
        return sum(member.room for member in self.members) + len(_END)

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the tar, in pieces of about a MB. Raises OSError, for a file that has changed too."""
        held = bytearray()
        for member in self.members:
            held += member.header
            if member.size:
                for piece in _content(member):
                    held += piece
                    if len(held) >= _PIECE:
                        yield bytes(held)
                        held.clear()
                held += bytes(-member.size % _BLOCK)
        yield bytes(held + _END)

    def sha256(self) -> str:
        """The SHA-256 of the tar. Reads every file."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


class Compressed(NamedTuple):
    """What `compress` wrote."""

    size: int
    sha256: str
    raw_size: int
    raw_sha256: str


def raw_parts(files: Iterable[TreeFile]) -> tuple[RawPart, ...]:
    """The parts of a tree, those of large packages first. The same files give the same parts, in whatever order."""
    packages: dict[str, list[Member]] = {}
    for file in sorted(files, key=lambda file: file.path.encode("utf-8", "surrogateescape")):
        packages.setdefault(file.package, []).extend(_members(file))
    large = {name: members for name, members in packages.items() if _room(members) > GROUP}
    small = [(name, members) for name, members in packages.items() if name not in large]
    split = [part for _, members in sorted(large.items()) for part in _split(members)]
    return tuple(RawPart(tuple(_sorted(members))) for members in [*split, *_grouped(small, 0)])


def compress(
    part: RawPart, to: Path, *, level: int = LEVEL, on_bytes: Callable[[int], object] = lambda _: None
) -> Compressed:
    """Write a part, compressed, into a file that does not exist yet. Holds some MB in memory, whatever its size.

    It is one frame of zstd that says how long it is. `on_bytes` is called with the size of each piece that was read.
    Raises OSError.
    """
    raw, packed, raw_size = hashlib.sha256(), hashlib.sha256(), part.size
    compressor = zstd.ZstdCompressor(level)
    compressor.set_pledged_input_size(raw_size)
    size = 0
    with to.open("xb") as file:
        for piece in part.pieces():
            raw.update(piece)
            data = compressor.compress(piece)
            packed.update(data)
            size += file.write(data)
            on_bytes(len(piece))
        data = compressor.flush()
        packed.update(data)
        size += file.write(data)
    return Compressed(size, packed.hexdigest(), raw_size, raw.hexdigest())


def decompressed(file: Path, raw_size: int) -> Iterator[bytes]:
    """The raw bytes of a compressed part, in pieces, at most one more than `raw_size`. Raises UNREADABLE."""
    left = raw_size + 1
    with zstd.open(file, "rb", options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}) as raw:
        while left and (piece := raw.read(min(_PIECE, left))):
            left -= len(piece)
            yield piece


def contents(pieces: Iterable[bytes]) -> dict[str, str]:
    """What the members of a raw part are, in hashes, by path and offset; two that are alike have the same.

    Reads as nodes do, who take nothing but what a maker writes, and holds the part in memory. Raises UNREADABLE.
    """
    found = {}
    with memoryview(b"".join(pieces)) as raw:
        for path, kind, mode, target, data, records in members_of(raw):
            offset = records.get(b"ENVLOCK.offset", b"").decode()
            digest = hashlib.sha256(repr((path, kind, mode, target, sorted(records.items()))).encode())
            digest.update(data)
            name = path.decode("utf-8", "surrogateescape")
            found[f"{name}{f' from {offset}' if offset else ''}"] = digest.hexdigest()
    return found


def _members(file: TreeFile) -> Iterator[Member]:
    """A file as a member, or as slices if it is larger than a part."""
    if file.size <= LARGEST - 8 * _BLOCK or file.prefix:
        records = {"ENVLOCK.prefix": file.prefix} if file.prefix else {}
        yield Member(_header(file, file.size, records), file, 0, file.size)
        return
    most = (LARGEST - 8 * _BLOCK) // _BLOCK * _BLOCK
    for offset in range(0, file.size, most):
        size = min(most, file.size - offset)
        records = {"ENVLOCK.offset": str(offset), "ENVLOCK.size": str(file.size)}
        yield Member(_header(file, size, records), file, offset, size)


def _header(file: TreeFile, size: int, records: dict[str, str]) -> bytes:
    info = tarfile.TarInfo(file.path)
    info.mtime = MTIME
    info.mode = 0o755 if file.executable else 0o644
    info.size = size
    info.pax_headers = records
    if file.link:
        info.type, info.linkname = tarfile.SYMTYPE, file.link
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _room(members: Iterable[Member]) -> int:
    return sum(member.room for member in members)


def _sorted(members: Iterable[Member]) -> list[Member]:
    return sorted(members, key=lambda each: (each.file.path.encode("utf-8", "surrogateescape"), each.offset))


def _split(members: Sequence[Member]) -> Iterator[list[Member]]:
    """A large package as parts of about the same size, in the order of its paths."""
    most = LARGEST - len(_END)
    total = _room(members)
    count = -(-total // most)
    part: list[Member] = []
    room = 0
    for member in members:
        if part and (room * count >= total or room + member.room > most):
            yield part
            part, room = [], 0
        part.append(member)
        room += member.room
    yield part


def _grouped(packages: Sequence[tuple[str, list[Member]]], bits: int) -> Iterator[list[Member]]:
    """Small packages whose names' hashes begin with the same bits, in groups that are not too large."""
    members = [member for _, own in packages for member in own]
    if len(packages) > 1 and _room(members) > GROUP and bits < 256:
        for bit in (0, 1):
            yield from _grouped([each for each in packages if _bit(each[0], bits) == bit], bits + 1)
    elif members:
        yield members


def _bit(name: str, number: int) -> int:
    """One bit of the SHA-256 of a package's name.

    >>> [_bit("wheel/pandas", number) for number in range(6)]
    [1, 0, 0, 1, 0, 1]
    """
    return hashlib.sha256(name.encode()).digest()[number // 8] >> (7 - number % 8) & 1


def _content(member: Member) -> Iterator[bytes]:
    assert member.file.source is not None
    left = member.size
    with member.file.source.open("rb") as file:
        file.seek((member.file.start or 0) + member.offset)
        while left and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece
        is_end = member.file.start is None and member.offset + member.size == member.file.size
        if left or (is_end and file.read(1)):
            raise OSError(f"{member.file.path} changed while it was packed")
