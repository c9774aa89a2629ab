"""What is installed in a prefix, as the prefix itself has it: each file, and the package that brought it last."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Package(NamedTuple):
    """Who brought a file."""

    name: str
    version: str
    build: str
    """Of a conda package."""
    kind: str
    """`conda` or `wheel`."""

    def __str__(self) -> str:
        words = [self.name, self.version, self.build, f"({self.kind})"]
        return " ".join(word for word in words if word)


UNREADABLE = "unreadable"
"""In the place of a digest, where what was written down about a file is damaged itself."""


class Claim(NamedTuple):
    """What a package says of one of its files."""

    package: Package
    sha256: str
    """Of the bytes, or of the text of a link; empty where it says nothing, or UNREADABLE."""
    is_link: bool = False


@dataclass
class Installed:
    """The packages and the files of a prefix."""

    packages: dict[tuple[str, str], tuple[Package, str, str]] = field(default_factory=dict)
    """By kind (`conda`, `pypi`) and name: the package, where that is written, and its archive's SHA-256 if known."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """By path below the prefix, without bytecode. A wheel that was put over a conda package has the file."""


def installed(prefix: Path) -> Installed:
    """What is installed in a prefix. What cannot be read there counts as not installed."""
    found = Installed()
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = _object(path)
        if record is not None:
            _add_conda(found, record, path.relative_to(prefix).as_posix())
    of_conda = frozenset(found.claims)
    for record_file in sorted(prefix.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        if record_file.relative_to(prefix).as_posix() not in of_conda:
            _add_wheel(found, prefix, record_file)
    return found


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
        # What the archive says of a link is of what it led to; only what was seen when it was made is of the link.
        digest = in_prefix if is_link else in_prefix or entry.get("sha256") or ""
        found.claims[path] = Claim(package, digest, is_link)


def _add_wheel(found: Installed, prefix: Path, record_file: Path) -> None:
    folder = record_file.parent
    name, _, version = folder.name.removesuffix(".dist-info").partition("-")
    package = Package(_normalised(name), version.replace("_", "+"), "", "wheel")
    site = folder.parent
    found.packages["pypi", package.name] = package, record_file.relative_to(prefix).as_posix(), ""
    try:
        rows = list(_rows(record_file))
    except (OSError, csv.Error):
        rows = [(f"{folder.name}/{record_file.name}", UNREADABLE)]
    for path, digest in rows:
        below = os.path.relpath(site / path, prefix)
        if not below.startswith("../") and not is_bytecode(below):
            found.claims[below] = Claim(package, digest)


def _rows(record_file: Path) -> Iterator[tuple[str, str]]:
    """The files that a RECORD names, each with its SHA-256 in hex digits, or empty."""
    text = record_file.read_text(encoding="utf-8", errors="surrogateescape")
    for row in csv.reader(text.splitlines()):
        if row:
            algorithm, _, value = row[1].partition("=") if len(row) > 1 else ("", "", "")
            yield row[0], _hexadecimal(value) if algorithm == "sha256" else ""


def _hexadecimal(value: str) -> str:
    """A digest as RECORD spells it, in hex digits.

    >>> _hexadecimal("q80"), _hexadecimal("q") == UNREADABLE
    ('abcd', True)
    """
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except ValueError:
        return UNREADABLE


def is_bytecode(path: str) -> bool:
    """Whether Python writes this file as it likes.

    >>> is_bytecode("lib/demo/__pycache__/a.cpython-311.pyc"), is_bytecode("lib/demo/a.pyc")
    (True, False)
    """
    return path.endswith(".pyc") and os.path.basename(os.path.dirname(path)) == "__pycache__"  # noqa: PTH119, PTH120


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _object(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
