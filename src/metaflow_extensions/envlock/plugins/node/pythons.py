"""Which interpreter an environment on a node is made from: the image's own where the plan allows it, else the kit's."""

from __future__ import annotations

import gzip
import json
import os
import posixpath
import subprocess
import sys
import tarfile
import zlib

from .errors import Damaged, Misconfigured, NodeError
from .home import PYTHONS
from .kept import find, unpack_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Container, Iterator, Mapping

    from .plan import Build, Python

_ELF = b"\x7fELF"
_CHUNK = 1 << 20
_QUESTION = (
    "import json, sys; v = sys.version_info; p = {'alpha': 'a', 'beta': 'b', 'candidate': 'rc'}.get(v[3]);"
    "print(json.dumps([sys.implementation.name, '%d.%d.%d' % v[:3] + (p + str(v[4]) if p else ''),"
    " getattr(sys, 'abiflags', '')]))"
)


def version_of(path: str) -> str:
    """The version of the CPython at a path; empty if none runs there, or a special build. Starts it once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "__PYVENV"))}
    try:
        ran = subprocess.run(
            [path, "-I", "-S", "-c", _QUESTION],
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        implementation, version, flags = json.loads(ran.stdout.decode("utf-8"))
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired):
        return ""
    return version if implementation == "cpython" and not set(flags) & {"t", "d"} else ""


def in_ranges(version: str, python: Python) -> bool:
    """Whether an environment may be made from the image's Python of this version.

    >>> from collections import namedtuple
    >>> python = namedtuple("Python", "series image")("3.12", [[1, 4], [7, None]])
    >>> [in_ranges(version, python) for version in ("3.12.4", "3.12.5", "3.12.9", "3.11.9", "3.12.8rc1", "")]
    [True, False, True, False, False, False]
    """
    series, _, micro = version.rpartition(".")
    if series != python.series or not micro.isdigit():
        return False
    return any(first <= int(micro) and (last is None or int(micro) <= last) for first, last in python.image or ())


def of_image(python: Python, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The image's interpreter that a plan allows, and its version: the one that runs this before any on PATH."""
    seen = set()
    for path in _candidates(python.series, environ):
        real = os.path.realpath(path)
        if real in seen or not _is_program(real):
            continue
        seen.add(real)
        version = version_of(path)
        if in_ranges(version, python):
            return path, version
    return None


def newest_of_image(environ: Mapping[str, str]) -> str | None:
    """An interpreter of the image that runs py-rattler, which needs Python 3.10; None if there is none."""
    for minor in (sys.version_info[1], 14, 13, 12, 11, 10):
        if minor < 10:
            continue
        for path in _candidates("3.%d" % minor, environ):
            if _is_program(os.path.realpath(path)) and version_of(path).startswith("3.%d." % minor):
                return path
    return None


def unpack_build(build: Build, archive: str, home: str) -> str:
    """The interpreter of a Python build, unpacked from its archive below `pythons`, once for all environments.

    The archive has been verified; no member of it is written outside of its folder. Raises OSError, NodeError.
    """

    def unpack(folder: str) -> None:
        try:
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as members:
                extract(members, folder)
                # tarfile takes bad bytes for the end of the archive; gzip's checksum comes after them.
                while stream.read(_CHUNK):
                    pass
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Damaged(
                "%s is not an archive of a Python build (%s): %s" % (build.filename, error, _advice(build))
            ) from None
        python = os.path.join(folder, build.executable)
        if not os.path.isfile(python):
            raise Damaged("there is no %s in %s: %s" % (build.executable, build.filename, _advice(build)))

    return os.path.join(unpack_once(home, place_of(build), unpack), build.executable)


def _advice(build: Build) -> str:
    """What to do about a Python build that is none: the lock names it, or else `push` chose it."""
    if build.path.startswith("kits/"):
        return "set `python-mirror` in envlock.toml to another mirror, then `envlock push` and deploy again"
    return "lock again with `envlock lock --upgrade`, then `envlock push` and deploy again"


def unpacked_build(build: Build, home: str) -> str | None:
    """The interpreter of a Python build that was unpacked here before; None if it was not."""
    folder = find(home, place_of(build))
    return None if folder is None else os.path.join(folder, build.executable)


def place_of(build: Build) -> str:
    """The place of a Python build below a home."""
    return "%s/%s" % (PYTHONS, build.sha256)


def checked_version(path: str, build: Build) -> str:
    """The version of a Python build, if it runs here and is the one that the plan names. Raises NodeError."""
    version = version_of(path)
    if version != build.version:
        raise NodeError(
            "%s of the plan does not run in this image (it %s): use an image with a newer glibc"
            % (build.filename, "is %s" % version if version else "does not start")
        )
    return version


def no_python(python: Python, *, forced: bool) -> NodeError:
    """Why a plan has no interpreter for this image."""
    if forced:
        return Misconfigured(
            'remote-python = "kit" asks for a Python of the kit, and the plan has none: run `envlock push` where a '
            "Python build can be downloaded, and deploy again"
        )
    return Misconfigured(
        "the environment needs Python %s, this image's is %d.%d.%d, and the plan has no other: use an image with it, "
        "or run `envlock push` where a Python build can be downloaded, and deploy again"
        % ((python.series,) + sys.version_info[:3])
    )


def extract(members: tarfile.TarFile, folder: str) -> None:
    """Unpack an archive; raises tarfile.TarError for a member that would not stay in the folder."""
    if hasattr(tarfile, "data_filter"):
        members.extractall(folder, filter="data")
        return
    # Python before 3.8.17, 3.9.17, 3.10.12 and 3.11.4 has no filters: what theirs would refuse is refused here.
    found = members.getmembers()
    links = {_inside(member.name) for member in found if member.issym()}
    for member in found:
        if not is_harmless(member, links):
            raise tarfile.TarError("%s does not stay in its folder" % member.name)
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        member.mode &= 0o755
    members.extractall(folder)  # noqa: S202  just checked


def is_harmless(member: tarfile.TarInfo, links: Container[str | None]) -> bool:
    """Whether a member is a file, a folder or a link that stays in its folder, and is reached through none of `links`.

    >>> is_harmless(tarfile.TarInfo("python/bin/python3.12"), set())
    True
    >>> is_harmless(tarfile.TarInfo("../.profile"), set())
    False
    >>> is_harmless(tarfile.TarInfo("python/./link/file"), {"python/link"})
    False
    """
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        return False
    place = _inside(member.name, links)
    if place is None or (place in links and not member.issym()):
        return False
    if member.issym():
        return _inside(posixpath.join(posixpath.dirname(member.name), member.linkname), links) is not None
    return not member.islnk() or _inside(member.linkname, links) is not None


def _inside(path: str, links: Container[str | None] = ()) -> str | None:
    """The normal form of a path in an archive; None if it leads out of that, or through one of `links`.

    >>> _inside("a/./b//../c"), _inside("a/../../b"), _inside("/a"), _inside("a/./b/..", {"a/b"})
    ('a/c', None, None, None)
    """
    parts: list[str] = []
    if path.startswith("/"):
        return None
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if "/".join(parts) in links or (part == ".." and not parts):
            return None
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _candidates(series: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Where an interpreter of a series may be: the one that runs this, then those on PATH."""
    if "%d.%d" % sys.version_info[:2] == series:
        # Of a virtual environment, the interpreter that it was made from.
        own = os.path.join(sys.base_prefix, "bin", "python%s" % series)
        yield own if os.path.exists(own) else getattr(sys, "_base_executable", None) or sys.executable
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, "python%s" % series)
        if os.path.isabs(folder) and os.access(path, os.X_OK):
            in_environment = os.path.exists(os.path.join(os.path.dirname(folder), "pyvenv.cfg"))
            yield os.path.realpath(path) if in_environment else path


def _is_program(path: str) -> bool:
    """Whether a file is a program, and not a script that starts something else, such as pyenv's."""
    try:
        with open(path, "rb") as file:
            return sys.platform != "linux" or file.read(4) == _ELF
    except OSError:
        return False
