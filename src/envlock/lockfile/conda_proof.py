"""The conda packages of a lock, read by one regular expression: the part of `proof` that only such locks need."""

from __future__ import annotations

import re

from envlock.lockfile.conda_values import (
    BUILD,
    CONDA_NAME,
    CONDA_URL,
    CONDA_VERSION,
    MD5,
    NOARCH,
    SITE_PACKAGES,
    TIMESTAMP,
    UNPRINTABLE,
    has_token,
    is_channel,
    is_conda_archive,
    parts,
    wrong_whole,
)
from envlock.lockfile.proof import ProvedPackages
from envlock.lockfile.text import CONDA, filename_of
from envlock.lockfile.values import NAME, SHA256, VERSION, twice

_CHARACTERS = rf'[^"\\{UNPRINTABLE}]*'
_TEXT = rf'"{_CHARACTERS}(?:\\["\\]{_CHARACTERS})*"'
_TEXTS = rf"\[{_TEXT}(?:, {_TEXT})*\]"
_PROVIDED = rf'\["{NAME}", "{VERSION}"\]'
_PACKAGE = re.compile(
    rf'    \{{name = "({CONDA_NAME})", version = "({CONDA_VERSION})", build = "({BUILD})"'
    rf'(?:, number = [0-9]{{1,15}})?(?:, noarch = "(?:{NOARCH})")?, url = "({CONDA_URL})"'
    rf'(?:, channel = "([^"\\]*)", subdir = "([a-z0-9-]+)")?(?:, filename = "([^"\\]*)")?'
    rf'(?:, size = [0-9]{{1,15}})?(?:, timestamp = {TIMESTAMP})?(?:, md5 = "{MD5}")?, sha256 = "({SHA256})"'
    rf"(?:, license = {_TEXT})?(?:, depends = {_TEXTS})?(?:, constrains = {_TEXTS})?"
    rf"(?:, provides = \[({_PROVIDED}(?:, {_PROVIDED})*)\])?"
    rf'(?:, site-packages = "{SITE_PACKAGES}")?\}},\n'
)
_NAMES = re.compile(rf'\["({NAME})"')


def with_conda(body: str, wheels: ProvedPackages, arch: str, source: str, version: str) -> ProvedPackages | None:
    """The conda packages whose lines follow those of the wheels, and the wheels; None for what takes a thorough look.

    `source` and `version` are the locked Python's.
    """
    if not body.startswith(CONDA, wheels.end):
        return None
    rows: list[tuple[str, str, str, str, str, str]] = []
    urls: list[str] = []
    provided: set[str] = set()
    subdirs = (arch, "noarch")
    position = wheels.end + len(CONDA)
    while match := _PACKAGE.match(body, position):
        name, number, build, url, channel, subdir, written, digest, provides = match.groups()
        filename = written or filename_of(url)
        if channel is None:
            channel, subdir = parts(url)
        if not is_channel(channel) or subdir not in subdirs or has_token(url):
            return None
        if not is_conda_archive(filename, name, number, build):
            return None
        if provides:
            provided.update(_NAMES.findall(provides))
        rows.append(("conda", name, number, build, filename, digest))
        urls.append(url)
        position = match.end()
    named = [(row[1], row[2]) for row in rows]
    if twice(name for name, _ in named) or wrong_whole(source, version, named, provided, [r[1] for r in wheels.rows]):
        return None
    return ProvedPackages(rows + wheels.rows, urls + wheels.urls, position)
