"""What a wheel holds, read from the file itself: which paths of an environment it will have, and what it says it is."""

from __future__ import annotations

import configparser
import re
import zipfile
import zlib
from typing import TYPE_CHECKING

from envlock.files import METADATA_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHEEL = ".whl"
_SCHEMES = {"purelib": "", "platlib": "", "scripts": "bin/", "data": "./"}
"""The folders below `.data/` (PEP 427) and where each goes; an empty one is site-packages."""
_SITE_PACKAGES = "site-packages/"
_MODULES = re.compile(r"^lib(64)?/python3\.\d+/site-packages/")
"""Where data files are modules: `lib64` is a link to `lib`."""
_LONGEST_ENTRY_POINTS = 1 << 20
_NO_WHEEL = (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError)
"""What is raised of a file that is no wheel, is encrypted, or is packed in a way that Python does not know."""


def paths_in(wheel: Path) -> dict[str, str]:
    """Each path that a wheel brings into an environment, and a digest of what is there: equal for equal bytes.

    Paths are relative to the prefix, those of modules begin with `site-packages/`. Commands are among them, headers are
    not. Nothing for a file that is no wheel. Costs a look at the end of the file: milliseconds for thousands of paths.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return dict(_paths(archive))
    except _NO_WHEEL:
        return {}


def metadata_in(wheel: Path) -> str:
    """The METADATA of a wheel; nothing for a file that is no wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                folder, _, name = member.filename.partition("/")
                if name == "METADATA" and folder.endswith(".dist-info") and member.file_size <= METADATA_BYTES:
                    return archive.read(member).decode("utf-8", "replace")
    except _NO_WHEEL:
        pass
    return ""


def unpacked_size(wheel: Path) -> int:
    """Bytes of everything in a wheel, unpacked; none for a file that is no wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return sum(member.file_size for member in archive.infolist())
    except _NO_WHEEL:
        return 0


def _paths(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    for member in archive.infolist():
        folder, _, name = member.filename.partition("/")
        if member.is_dir():
            continue
        digest = f"{member.CRC:08x}-{member.file_size}"
        if folder.endswith(".data"):
            scheme, _, rest = name.partition("/")
            if scheme in _SCHEMES:
                place = _SCHEMES[scheme] or _SITE_PACKAGES
                yield _MODULES.sub(_SITE_PACKAGES, f"{place.removeprefix('./')}{rest}"), digest
            continue
        yield f"{_SITE_PACKAGES}{member.filename}", digest
        if folder.endswith(".dist-info") and name == "entry_points.txt" and member.file_size <= _LONGEST_ENTRY_POINTS:
            for command, target in _commands(archive.read(member).decode("utf-8", "replace")):
                yield f"bin/{command}", target


def _commands(text: str) -> Iterator[tuple[str, str]]:
    r"""The commands of an entry_points.txt, each with what it calls.

    >>> list(_commands("[console_scripts]\nruff = ruff.cli:main\n[other]\nx = y\n"))
    [('ruff', 'ruff.cli:main')]
    """
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    for section in ("console_scripts", "gui_scripts"):
        if parser.has_section(section):
            yield from parser.items(section)
