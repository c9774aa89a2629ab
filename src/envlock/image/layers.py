"""The layers of an image: which files are in which, and their bytes.

An environment is always in the same folder of an image, and a layer holds nothing that depends on its neighbours. So
two images that have a package in common, below the same Python series, have a layer in common, and an update of one
package changes its layer and the small last one.

A package with many bytes has a layer of its own. The others share a few, and the hash of a package's name decides
which: a package that comes, goes or changes moves no other one. Large ones come first, because they change rarely, and
because docker unpacks again what is above a layer that changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import sys
import tarfile
import zlib
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, NamedTuple, Protocol

from envlock.image.errors import NotForImage
from envlock.image.manifests import OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from envlock.pack.bytecode import Span
from envlock.redaction import shown
from metaflow_extensions.envlock.plugins.node.members import Placeholder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from envlock.pack.tree import TreeFile

OWN_LAYER_BYTES = 4 << 20
"""Raw bytes from which on a package has a layer of its own."""
SHARED_LAYERS = 24
"""How many layers the other packages of an environment share."""
MOST_LAYERS = 56
"""Layers of the packages of one environment. Storage drivers stack 127 in all, those of the base included."""
GZIP, ZSTD = "gzip", "zstd"
COMPRESSIONS = (GZIP, ZSTD)
MEDIA_TYPES = {GZIP: OCI_LAYER_GZIP, ZSTD: OCI_LAYER_ZSTD}
_GZIP_LEVEL, _ZSTD_LEVEL = 6, 10
_CHUNK = 1 << 20
_WHITEOUT = ".wh."
"""How the name of an entry of a layer begins that deletes what a layer below has: OCI's image-spec, layer.md."""
MTIME = 315532800
"""1980-01-01: the first instant that every archive format can say."""


class LayerFile(NamedTuple):
    """A file or a link of a layer."""

    path: str
    """In the image, without a `/` before it."""
    source: Path | None = None
    """Where its bytes are; None for `data`, and for a link."""
    data: bytes = b""
    link: str = ""
    """The target of a symlink; else empty."""
    size: int = 0
    executable: bool = False
    prefix: str = ""
    """`text` or `binary` if it holds the placeholder; else empty."""
    start: int = 0
    """Where its bytes begin in `source`."""

    @property
    def bytes(self) -> int:
        """How many bytes it has, before its placeholders are replaced."""
        return self.size if self.source is not None else len(self.data)


class Layer(NamedTuple):
    """What is in one layer."""

    name: str
    """Its packages, or what else it is, for people."""
    files: tuple[LayerFile, ...]
    placeholder: Placeholder | None = None
    """What stands in files for the prefix, if it stands in any."""

    @property
    def bytes(self) -> int:
        """Its files' bytes."""
        return sum(each.bytes for each in self.files)


class PackedLayer(NamedTuple):
    """A layer as a registry has it."""

    name: str
    descriptor: Descriptor
    diff_id: str
    """Of its bytes before compression."""
    raw_size: int
    file: Path


def refuse_whiteouts(environment: str, files: Iterable[TreeFile]) -> None:
    """Raise NotForImage for a file that could not be in a layer: its name means that another file is deleted."""
    for file in files:
        if any(name.startswith(_WHITEOUT) for name in file.path.split("/")):
            owner = file.package.rpartition("/")[2] or "the environment"
            reason = f"`{shown(file.path)}` of {owner} would delete a file, because its name begins with `{_WHITEOUT}`"
            raise NotForImage(environment, reason, f"lock a release of {owner} without it")


def package_layers(
    files: Sequence[TreeFile], prefix: str, placeholder: str = "", *, most: int = MOST_LAYERS
) -> list[Layer]:
    """The layers of an environment's packages, in the order of the image: large ones by name, then shared ones.

    `prefix` is the environment's folder in the image, absolute. Files of no package are in none of them
    (see `own_files`). The threshold doubles until there are at most `most` layers, which may be one.

    >>> from collections import namedtuple
    >>> File = namedtuple("File", "path source link size executable prefix package start")
    >>> files = [File(f"lib/{name}.so", Path(name), "", size << 20, False, "", f"wheel/{name}", None)
    ...          for name, size in (("a", 9), ("b", 1), ("c", 1), ("d", 70))]
    >>> [layer.name for layer in package_layers(files, "/opt/e")]
    ['d', 'a', 'b, c']
    >>> len(package_layers(files, "/opt/e", most=SHARED_LAYERS + 1)) <= SHARED_LAYERS + 1
    True
    """
    packages: dict[str, list[TreeFile]] = {}
    for file in files:
        if file.package:
            packages.setdefault(file.package, []).append(file)
    sizes = {name: sum(file.size for file in of_it) for name, of_it in packages.items()}
    shares = min(SHARED_LAYERS, (most + 1) // 2)
    threshold = OWN_LAYER_BYTES
    while sum(size >= threshold for size in sizes.values()) > most - shares:
        threshold *= 2
    large = sorted(
        (name for name, size in sizes.items() if size >= threshold), key=lambda name: (-_magnitude(sizes[name]), name)
    )
    shared: dict[int, list[str]] = {}
    for name in sorted(packages.keys() - set(large)):
        shared.setdefault(_share_of(name, shares), []).append(name)
    groups = [[name] for name in large] + [names for _, names in sorted(shared.items())]
    in_files = Placeholder(placeholder, prefix) if placeholder else None
    return [
        Layer(
            ", ".join(name.partition("/")[2] for name in names),
            tuple(_placed(file, prefix) for name in names for file in packages[name]),
            in_files,
        )
        for names in groups
    ]


def own_files(files: Sequence[TreeFile], prefix: str) -> list[LayerFile]:
    """The files of an environment that are of no package."""
    return [_placed(file, prefix) for file in files if not file.package]


def folder_layer(name: str, folder: Path, place: str) -> Layer:
    """A layer with everything below a folder, put at an absolute path of the image. Raises OSError."""
    files = []
    for top, folders, names in os.walk(folder):
        links = [each for each in folders if (Path(top) / each).is_symlink()]
        for each in (*names, *links):
            path = Path(top) / each
            inside = f"{place.lstrip('/')}/{path.relative_to(folder).as_posix()}"
            if path.is_symlink():
                files.append(LayerFile(inside, link=os.readlink(path)))  # noqa: PTH115  as it is written
            else:
                found = path.stat()
                files.append(LayerFile(inside, path, size=found.st_size, executable=bool(found.st_mode & 0o100)))
    return Layer(name, tuple(files))


def write_layer(layer: Layer, folder: Path, compression: str = GZIP) -> PackedLayer:
    """Make the bytes of a layer in a new file below a folder: a tar, compressed. The same layer gives the same bytes.

    Members are sorted, of root, and from 1980; their folders are among them, because runtimes make missing ones
    without rights for other users. Holds a few MB in memory. Any number of threads may write at once. Raises OSError.
    """
    raw, packed, raw_size, size = hashlib.sha256(), hashlib.sha256(), 0, 0
    handle, path = mkstemp(dir=folder)
    compressor = _compressor(compression)
    with open(handle, "wb") as file:  # noqa: PTH123  a descriptor
        for piece in _gathered(_tar(layer)):
            raw.update(piece)
            raw_size += len(piece)
            data = compressor.compress(piece)
            packed.update(data)
            size += file.write(data)
        data = compressor.flush()
        packed.update(data)
        size += file.write(data)
    descriptor = Descriptor(MEDIA_TYPES[compression], f"sha256:{packed.hexdigest()}", size)
    return PackedLayer(layer.name, descriptor, f"sha256:{raw.hexdigest()}", raw_size, Path(path))


def _placed(file: TreeFile, prefix: str) -> LayerFile:
    path = f"{prefix.lstrip('/')}/{file.path}"
    return LayerFile(path, file.source, b"", file.link, file.size, file.executable, file.prefix, file.start or 0)


def _magnitude(size: int) -> int:
    """Sizes within a factor of four are of one magnitude, so that an update rarely moves a package among others."""
    return size.bit_length() // 2


def _share_of(name: str, shares: int) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % shares


def _members(layer: Layer) -> Mapping[str, LayerFile | None]:
    """What a layer's archive has, by path: None for the folders of its files."""
    found: dict[str, LayerFile | None] = {}
    for each in layer.files:
        folder = each.path.rpartition("/")[0]
        while folder and folder not in found:
            found[folder] = None
            folder = folder.rpartition("/")[0]
        found[each.path] = each
    return found


def _tar(layer: Layer) -> Iterator[bytes]:
    """The bytes of a layer's archive. Raises OSError, for a file that has changed too."""
    for path, file in sorted(_members(layer).items(), key=lambda each: os.fsencode(each[0])):
        member = tarfile.TarInfo(path)
        member.mtime, member.mode = MTIME, 0o755
        if file is None:
            member.type = tarfile.DIRTYPE
            yield _header(member)
        elif file.link:
            member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, file.link
            yield _header(member)
        else:
            member.mode = 0o755 if file.executable else 0o644
            yield from _file(member, file, layer)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _file(member: tarfile.TarInfo, file: LayerFile, layer: Layer) -> Iterator[bytes]:
    placeholder = layer.placeholder if file.prefix else None
    if file.source is None or placeholder is not None:
        data = file.data if file.source is None else Span(file.source, file.start, file.size).read()
        if placeholder is not None:
            data = placeholder.text(data) if file.prefix == "text" else placeholder.binary(data)
        member.size = len(data)
        yield _header(member)
        yield data
    else:
        left = member.size = file.size
        yield _header(member)
        with file.source.open("rb") as stream:
            stream.seek(file.start)
            while data := stream.read(min(_CHUNK, left)):
                left -= len(data)
                yield data
        if left:
            raise OSError(errno.EIO, "the file has become shorter", str(file.source))
    yield bytes(-member.size % tarfile.BLOCKSIZE)


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about a MB, with which hashing and compressing leave other threads alone."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= _CHUNK:
            yield bytes(held)
            held.clear()
    yield bytes(held)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Gzip:
    """gzip without a time, a name or a system in its header: zlib's own writes which system it is."""

    _HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc = self._size = 0

    def compress(self, data: bytes) -> bytes:
        """Some of the compressed bytes of the data so far."""
        header = b"" if self._size else self._HEADER
        self._crc, self._size = zlib.crc32(data, self._crc), self._size + len(data)
        return header + self._deflate.compress(data)

    def flush(self) -> bytes:
        """The rest."""
        return self._deflate.flush() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


def _compressor(compression: str) -> _Compressor:
    if compression == GZIP:
        return _Gzip()
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    found: _Compressor = zstd.ZstdCompressor(_ZSTD_LEVEL)
    return found
