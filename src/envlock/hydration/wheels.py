"""The content of wheels: the paths that they bring into an environment, and whether their METADATA fits the lock.

A lock is resolved from the metadata that an index publishes beside a wheel (PEP 658), without fetching the wheel. So
once the wheel is on this machine, its own METADATA has to agree: else the environment would lack a dependency, or have
one that nothing needs.
"""

from __future__ import annotations

import configparser
import re
import zipfile
import zlib
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from envlock.files import METADATA_BYTES
from envlock.hydration.collisions import collisions, refuse_reserved
from envlock.hydration.errors import MisdescribedWheel
from envlock.hydration.installed import is_same_version
from envlock.model.arch import MARKER_VALUES
from envlock.model.artifact import artifacts_of
from envlock.model.requirement import normalized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from packaging.markers import Marker

    from envlock.hydration.collisions import Collision
    from envlock.model.artifact import Artifact
    from envlock.model.lock import Lock, LockedPackage

WHEEL = ".whl"
_SCHEMES = {"purelib": "", "platlib": "", "scripts": "bin/", "data": "./"}
"""The folders below `.data/` (PEP 427) and where each goes; an empty one is site-packages."""
_SITE_PACKAGES = "site-packages/"
_MODULES = re.compile(r"^lib(64)?/python3\.\d+/site-packages/")
"""Where data files are modules: `lib64` is a link to `lib`."""
_LONGEST_ENTRY_POINTS = 1 << 20
_Content = TypeVar("_Content")
UNREADABLE_WHEEL = (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError)
"""Raised for a file that cannot be read or is not a wheel; for one with a compression that Python does not know or
that is encrypted (RuntimeError); for one that is damaged or cut off (the last two)."""

_FIELDS = frozenset(("Name", "Version", "Requires-Python", "Requires-Dist"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"\bextra\s*==")
_LONGEST = 4096
"""Characters of a field. Longer ones are ignored."""
_OF_THE_MACHINE = ("platform_release", "platform_version")
"""Variables of markers that depend on the machine."""


def paths_in(wheel: Path) -> dict[str, str]:
    """Each path that a wheel brings into an environment, with a digest that is equal for equal bytes.

    Paths are relative to the prefix; those of modules begin with `site-packages/`. Includes commands, but no headers.
    Empty for a file that is not a wheel. Reads the end of the file: milliseconds for thousands of paths.
    """
    return _read(wheel, lambda archive: dict(paths_of_archive(archive)), {})


def metadata_in(wheel: Path) -> str:
    """The METADATA of a wheel; empty for a file that is not a wheel."""
    return _read(wheel, _metadata, "")


def requires_in(wheel: Path) -> list[tuple[str, str]]:
    """What a wheel needs, by its METADATA: normalized names, and markers, which may be empty."""
    found: list[tuple[str, str]] = []
    for field, value in _fields_in(metadata_in(wheel)):
        if field == "Requires-Dist":
            with suppress(InvalidRequirement):
                requirement = Requirement(value.strip())
                found.append((normalized(requirement.name), str(requirement.marker or "")))
    return found


def unpacked_size(wheel: Path) -> int:
    """The size of a wheel's content, in bytes; 0 for a file that is not a wheel."""
    return _read(wheel, lambda archive: sum(member.file_size for member in archive.infolist()), 0)


def _read(wheel: Path, read: Callable[[zipfile.ZipFile], _Content], otherwise: _Content) -> _Content:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return read(archive)
    except UNREADABLE_WHEEL:
        return otherwise


def _metadata(archive: zipfile.ZipFile) -> str:
    for member in archive.infolist():
        folder, _, name = member.filename.partition("/")
        if name == "METADATA" and folder.endswith(".dist-info") and member.file_size <= METADATA_BYTES:
            return archive.read(member).decode("utf-8", "replace")
    return ""


def paths_of_archive(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """As `paths_in`, of a wheel that is open. Raises UNREADABLE_WHEEL."""
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


def check_metadata(lock: Lock, texts: Mapping[str, str]) -> None:
    """Compare the METADATA of wheels, by their packages' names, with the lock.

    Takes less than a millisecond for a wheel. Raises MisdescribedWheel for the first, in the order of the lock, that
    disagrees.
    """
    locked = versions_of(lock)
    for package in lock.pypi_packages:
        if texts.get(package.name):  # uv reports a wheel without METADATA
            found = tuple(differences(lock, package, texts[package.name], locked))
            if found:
                raise MisdescribedWheel(package, found)


def versions_of(lock: Lock) -> dict[str, str]:
    """The version of each wheel in a lock, by its name."""
    return {each.name: each.version for each in lock.pypi_packages}


def differences(lock: Lock, package: LockedPackage, text: str, locked: Mapping[str, str]) -> Iterator[str]:
    """How a wheel's METADATA differs from the lock, a sentence each. Ignores what cannot be parsed, as uv does.

    `locked` has the version of each wheel in the lock, by its name.
    """
    fields: dict[str, list[str]] = {}
    for name, value in _fields_in(text):
        fields.setdefault(name, []).append(value.strip())
    named, version = fields.get("Name", [""])[0], fields.get("Version", [""])[0]
    if named and (normalized(named) != package.name or not is_same_version(package.version, version)):
        yield f"the wheel is of `{named}` {version}"
    requires_python = fields.get("Requires-Python", [""])[0]
    if not _allows(requires_python, lock.python.version):
        yield f"the wheel is for Python {requires_python}, and Python {lock.python.version} is locked"
    needed = [(normalized(match[0]), each) for each in fields.get("Requires-Dist", []) if (match := _NAME.match(each))]
    yield from _unmet(lock, locked, package, needed)
    known = {name for name, _ in needed}
    for name in package.dependencies:
        if name not in known:
            yield f"it was locked with `{name}`, which the wheel does not need"


def _fields_in(metadata: str) -> Iterator[tuple[str, str]]:
    r"""The fields of a METADATA that count here, each with its value.

    >>> list(_fields_in("Name: a\nSummary: b\nRequires-Dist: c\n\nVersion: no field\n"))
    [('Name', ' a'), ('Requires-Dist', ' c')]
    """
    text = metadata.replace("\r\n", "\n") if "\r\n" in metadata else metadata
    for line in text.partition("\n\n")[0].split("\n"):
        name, colon, value = line.partition(":")
        if colon and name in _FIELDS and len(value) <= _LONGEST:
            yield name, value


def _unmet(
    lock: Lock, locked: Mapping[str, str], package: LockedPackage, requirements: Iterable[tuple[str, str]]
) -> Iterator[str]:
    """The dependencies of the wheel, each with its name, that the lock lacks; without those of extras."""
    has_conda_packages = bool(lock.conda_packages)
    overridden = {each.name for each in lock.requirements.overrides}
    for name, text in requirements:
        # Conda packages may provide it, and an override stands in the place of what a wheel needs.
        if name == package.name or name in overridden or (name not in locked and has_conda_packages):
            continue
        if _EXTRA.search(text.partition(";")[2]) and " or " not in text:  # most are, and parsing takes time
            continue
        needed = _parsed(text)
        if needed is None or not _applies(needed.marker, lock):
            continue
        if name not in locked:
            yield f"the wheel needs `{text}`, and no `{name}` is locked"
        elif not needed.url and not _allows(str(needed.specifier), locked[name]):
            yield f"the wheel needs `{text}`, and `{name}` {locked[name]} is locked"


@lru_cache(4096)
def _parsed(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except (ValueError, RecursionError):
        return None


def _applies(marker: Marker | None, lock: Lock) -> bool:
    """Whether a requirement applies to the lock's arch and Python; False if that depends on the machine."""
    if marker is None:
        return True
    if any(name in str(marker) for name in _OF_THE_MACHINE):
        return False
    try:
        return marker.evaluate(
            {
                **MARKER_VALUES[lock.arch],
                "extra": "",
                "implementation_version": lock.python.version,
                "python_full_version": lock.python.version,
                "python_version": lock.python.series,
            }
        )
    except (ValueError, KeyError, TypeError, RecursionError):  # of a marker with variables from elsewhere
        return False


@lru_cache(4096)
def _allows(specifier: str, version: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except ValueError:
        return True


class WheelContents:
    """The content of the wheels of locks, of those that were read, or are on this machine."""

    def __init__(self, find: Callable[[Artifact], Path | None]) -> None:
        """`find` tells where an artifact is on this machine, if it is."""
        self._find = find
        self._paths: dict[str, Mapping[str, str]] = {}
        self._metadata: dict[str, str] = {}

    def read(self, artifact: Artifact, file: Path) -> None:
        """Remember what a wheel contains; other files are skipped. Raises ReservedPath for what no prefix may hold."""
        if artifact.filename.endswith(WHEEL):
            self._metadata[artifact.sha256] = metadata_in(file)
            paths = self._paths[artifact.sha256] = paths_in(file)
            refuse_reserved(artifact.filename.partition("-")[0], paths)

    def misdescribed(self, lock: Lock) -> MisdescribedWheel | None:
        """What is wrong with the first wheel of a lock, of those that were read, that is not as it was locked."""
        known = {each.name: self._metadata[each.sha256] for each in lock.pypi_packages if each.sha256 in self._metadata}
        try:
            check_metadata(lock, known)
        except MisdescribedWheel as error:
            return error
        return None

    def collisions(self, lock: Lock) -> tuple[Collision, ...]:
        """The paths that several wheels of a lock contain. Reads the wheels that are on this machine."""
        paths: dict[str, Mapping[str, str]] = {}
        for package, artifact in zip(lock.packages, artifacts_of(lock), strict=False):  # a Python build is the last
            if package.kind == "conda":
                continue
            local = None if artifact.sha256 in self._paths else self._find(artifact)
            if local is not None:
                self._paths[artifact.sha256] = paths_in(local)
            paths[package.name] = self._paths.get(artifact.sha256, {})
        return collisions(paths)
