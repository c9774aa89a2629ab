"""zstd on a node: the image's libzstd, Python's own, or that of the kit. Parts of packs are compressed with it.

The kit's is in a wheel of backports.zstd. Its module is for one series of CPython, but what it is linked with is there
for every program: the functions of libzstd are symbols of it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Decompress = Callable[[bytearray, int, bytearray, int], None]
    """Decompress so many bytes of the first to so many, and no more, at the start of the second. Raises BadFrame."""

_LIBRARY = "libzstd.so.1"
_MODULE = os.path.join("backports", "zstd")


class BadFrame(Exception):
    """Bytes that zstd did not make, or that hold more or less than was said."""


def open_zstd(folder: str | None = None) -> Decompress | None:
    """How to decompress in this image; None if it cannot. With the `folder` of the kit's wheel, by that one's libzstd.

    Any thread may call what this returns, and other threads run meanwhile.
    """
    return _of_image() if folder is None else _of_kit(folder)


def _of_image() -> Decompress | None:
    try:
        import ctypes

        return _by_library(ctypes.CDLL(_LIBRARY))
    except (ImportError, OSError, AttributeError):  # a Python without ctypes, an image without libzstd
        pass
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # before 3.14
        return None
    return by_module(zstd)


def _of_kit(folder: str) -> Decompress | None:
    modules = os.path.join(folder, _MODULE)
    try:
        import ctypes

        names = [name for name in sorted(os.listdir(modules)) if name.startswith("_zstd") and name.endswith(".so")]
        path = os.path.join(modules, names[0])
        # Lazily: it also wants functions of its own Python, which nothing here calls.
        load = ctypes.CDLL(None).dlopen
        load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        handle = load(os.fsencode(path), os.RTLD_LAZY | os.RTLD_LOCAL)
        return _by_library(ctypes.CDLL(path, handle=handle)) if handle else None
    except (ImportError, OSError, AttributeError, IndexError):
        return None


def _by_library(library: Any) -> Decompress:
    import ctypes

    decompress, is_error = library.ZSTD_decompress, library.ZSTD_isError
    decompress.restype = ctypes.c_size_t
    decompress.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
    is_error.restype, is_error.argtypes = ctypes.c_uint, (ctypes.c_size_t,)

    def by_library(source: bytearray, size: int, target: bytearray, raw_size: int) -> None:
        got = decompress(
            (ctypes.c_char * raw_size).from_buffer(target), raw_size, (ctypes.c_char * size).from_buffer(source), size
        )
        if is_error(got) or got != raw_size:
            raise BadFrame

    return by_library


def by_module(module: Any) -> Decompress:
    """How Python's own module decompresses."""

    def decompress(source: bytearray, size: int, target: bytearray, raw_size: int) -> None:
        decompressor = module.ZstdDecompressor()
        try:
            with memoryview(source) as view:
                # One byte more than there may be: a frame ends when its end was read.
                found = decompressor.decompress(view[:size], raw_size + 1)
        except module.ZstdError:
            raise BadFrame from None
        if len(found) != raw_size or not decompressor.eof or decompressor.unused_data:
            raise BadFrame
        target[:raw_size] = found

    return decompress
