"""What is installed in a prefix, as its installers recorded it: each file, and the package that it belongs to."""

from __future__ import annotations

import base64
import csv
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from envlock.files import MEMO_BYTES, RECORD_BYTES, json_of, read_file
from envlock.model.requirement import normalized


class Package(NamedTuple):
    """The package that a file belongs to."""

    name: str
    version: str
    build: str
    """Empty for a wheel."""
    kind: str
    """`conda` or `wheel`."""

    def __str__(self) -> str:
        words = [self.name, self.version, self.build, f"({self.kind})"]
        return " ".join(word for word in words if word)


_DIST_INFO = ".dist-info"
UNREADABLE = "unreadable"
"""In place of a digest, if the record of the file is itself damaged."""


class Claim(NamedTuple):
    """What the record of a package says about one file."""

    package: Package
    sha256: str
    """Of the file's bytes, or of a link's target; empty if the record has none; or UNREADABLE."""
    is_link: bool = False


@dataclass
class Installed:
    """The packages and the files of a prefix."""

    packages: dict[tuple[str, str], tuple[Package, str, str]] = field(default_factory=dict)
    """By kind (`conda`, `pypi`) and name: the package, the path of its record, and its archive's SHA-256 if known."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """By path below the prefix, without bytecode. If a conda package and a wheel contain a file, it is the wheel's."""


def installed(prefix: Path) -> Installed:
    """What is installed in a prefix. What cannot be read counts as not installed."""
    found = Installed()
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = _object(path)
        if record is not None:
            _add_conda(found, record, path.relative_to(prefix).as_posix())
    of_conda = frozenset(found.claims)
    # In the order of locks: a path belongs to the last wheel that contains it.
    for record_file in sorted(prefix.glob("lib/python*/site-packages/*.dist-info/RECORD"), key=_wheel_of):
        if record_file.relative_to(prefix).as_posix() not in of_conda:
            _add_wheel(found, prefix, record_file)
    return found


def records_of_uv(site_packages: Path) -> dict[str, Path]:
    """The RECORD of each wheel that uv installed, by the wheel's normalised name, in the order of locks.

    Takes two milliseconds for 90 wheels.
    """
    site = str(site_packages)
    found: dict[str, Path] = {}
    with suppress(FileNotFoundError):
        for folder in os.listdir(site):  # noqa: PTH208  only names
            if folder.endswith(_DIST_INFO):
                with suppress(FileNotFoundError, NotADirectoryError):  # it is of another installer
                    if read_file(f"{site}/{folder}/INSTALLER", MEMO_BYTES).strip() == b"uv":
                        found[_wheel_in(folder)] = Path(f"{site}/{folder}/RECORD")
    return dict(sorted(found.items()))


def named_in(record_file: Path) -> list[bytes]:
    """The files in a RECORD that uv wrote, spelled as there: equal paths are spelled alike.

    Those outside of site-packages begin with a dot, a slash or a quote. Takes a millisecond for 7,000 files.
    """
    return [line.partition(b",")[0] for line in read_file(record_file, RECORD_BYTES).splitlines()]


def paths_of(record_file: Path, prefix: Path) -> dict[str, str]:
    """The files in a RECORD, below `prefix`, each with its digest as spelled there, or an empty text.

    Skips bytecode, and what lies outside of the prefix. Raises OSError, and ValueError for what is no RECORD.
    """
    try:
        return dict(_paths(record_file, prefix))
    except csv.Error as error:
        raise ValueError(f"{record_file}: {error}") from error


def is_same_version(one: str, other: str) -> bool:
    """Whether two versions are equal, as PEP 440 has it where both are versions.

    >>> is_same_version("2.2", "2.2.0"), is_same_version("2.2", "2.3"), is_same_version("main", "2.2")
    (True, False, False)
    """
    if one == other:
        return True
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False


def _add_conda(found: Installed, record: dict[str, Any], where: str) -> None:
    try:
        package = Package(str(record["name"]), str(record["version"]), str(record.get("build", "")), "conda")
        entries = [(str(entry["_path"]), entry) for entry in record["paths_data"]["paths"]]
    except (KeyError, TypeError, AttributeError):
        return
    found.packages["conda", package.name] = package, where, record.get("sha256") or ""
    for path, entry in entries:
        if is_bytecode(path) or entry.get("path_type") == "directory":
            continue
        in_prefix = entry.get("sha256_in_prefix") or ""
        is_link = entry.get("path_type") == "softlink"
        # The archive's hash of a link is of its target's content; only the one recorded while linking is of the link.
        digest = in_prefix if is_link else in_prefix or entry.get("sha256") or ""
        found.claims[path] = Claim(package, digest, is_link)


def _add_wheel(found: Installed, prefix: Path, record_file: Path) -> None:
    version = record_file.parent.name.removesuffix(_DIST_INFO).partition("-")[2]
    package = Package(_wheel_of(record_file), version.replace("_", "+"), "", "wheel")
    where = record_file.relative_to(prefix).as_posix()
    found.packages["pypi", package.name] = package, where, ""
    try:
        paths = list(_paths(record_file, prefix))
    except (OSError, csv.Error):
        paths = [(where, UNREADABLE)]
    for path, digest in paths:
        algorithm, _, value = digest.partition("=")
        known = _hexadecimal(value) if algorithm == "sha256" else digest if digest == UNREADABLE else ""
        found.claims[path] = Claim(package, known)


def _wheel_of(file: Path) -> str:
    """The normalised name of the wheel whose `.dist-info` holds this file."""
    return _wheel_in(file.parent.name)


def _wheel_in(folder: str) -> str:
    return normalized(folder.removesuffix(_DIST_INFO).partition("-")[0])


def _paths(record_file: Path, prefix: Path) -> Iterator[tuple[str, str]]:
    """As `paths_of`; raises csv.Error for what is no RECORD."""
    site = record_file.parent.parent.relative_to(prefix).as_posix()
    is_linked = os.path.islink(prefix / "lib64")  # noqa: PTH114
    text = read_file(record_file, RECORD_BYTES).decode("utf-8", "surrogateescape")
    for row in csv.reader(text.splitlines()):
        if not row:
            continue
        path = f"{site}/{row[0]}"
        if row[0].startswith((".", "/")) or "/." in row[0]:
            path = below(site, row[0], is_linked=is_linked)
            if path.startswith(("../", "/")):
                continue
        if not path.endswith(".pyc") or not is_bytecode(path):
            yield path, row[1] if len(row) > 1 else ""


def below(site: str, path: str, *, is_linked: bool) -> str:
    """A path of a RECORD in the folder `site`, relative to the prefix.

    `is_linked` says that `lib64` is a link to `lib`, as uv makes it in virtual environments.

    >>> below("lib/python3.12/site-packages", "../../../lib64/python3.12/site-packages/a.py", is_linked=True)
    'lib/python3.12/site-packages/a.py'
    """
    found = os.path.normpath(os.path.join(site, path))  # noqa: PTH118
    return "lib" + found[len("lib64") :] if is_linked and found.startswith("lib64/") else found


def _hexadecimal(value: str) -> str:
    """A digest of a RECORD, in hex digits.

    >>> _hexadecimal("q80"), _hexadecimal("q") == UNREADABLE
    ('abcd', True)
    """
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except ValueError:
        return UNREADABLE


def is_bytecode(path: str) -> bool:
    """Whether a file is bytecode that Python may write at any time.

    >>> is_bytecode("lib/demo/__pycache__/a.cpython-311.pyc"), is_bytecode("lib/demo/a.pyc")
    (True, False)
    """
    return path.endswith(".pyc") and os.path.basename(os.path.dirname(path)) == "__pycache__"  # noqa: PTH119, PTH120


def _object(path: Path) -> dict[str, Any] | None:
    try:
        found = json_of(read_file(path, RECORD_BYTES))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
