"""The conda packages of a lock, read by one regular expression: the part of `proof` that only such locks need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from envlock.conda.matching import name_in
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
from envlock.lockfile.values import COUNT, NAME, SHA256, VERSION, missing, twice

_CHARACTERS = rf'[^"\\{UNPRINTABLE}]*'
_TEXT = rf'"{_CHARACTERS}(?:\\["\\]{_CHARACTERS})*"'
_SOME_TEXT = rf'(?!""){_TEXT}'
_TEXTS = rf"\[{_TEXT}(?:, {_TEXT})*\]"
_PROVIDED = rf'\["{NAME}", "{VERSION}"\]'
_PACKAGE = re.compile(
    rf'    \{{name = "({CONDA_NAME})", version = "({CONDA_VERSION})", build = "({BUILD})"'
    rf'(?:, number = [1-9][0-9]{{0,14}})?(?:, noarch = "(?:{NOARCH})")?, url = "({CONDA_URL})"'
    rf'(?:, channel = "([^"\\]*)", subdir = "([a-z0-9-]+)")?(?:, filename = "([^"\\]*)")?'
    rf'(?:, size = {COUNT})?(?:, timestamp = {TIMESTAMP})?(?:, md5 = "{MD5}")?, sha256 = "({SHA256})"'
    rf"(?:, license = {_SOME_TEXT})?(?:, depends = ({_TEXTS}))?(?:, constrains = {_TEXTS})?"
    rf"(?:, provides = \[({_PROVIDED}(?:, {_PROVIDED})*)\])?"
    rf'(?:, site-packages = "{SITE_PACKAGES}")?\}},\n'
)
_NAMES = re.compile(rf'\["({NAME})"')
_NEEDED = re.compile(rf'"{_CHARACTERS}(?:\\["\\]{_CHARACTERS})*"')


def with_conda(
    body: str, wheels: ProvedPackages, arch: str, source: str, version: str, asked: Iterable[str]
) -> ProvedPackages | None:
    """The conda packages whose lines follow those of the wheels, and the wheels; None for what takes a thorough look.

    `source` and `version` are the locked Python's; `asked` are match specifications.
    """
    if not body.startswith(CONDA, wheels.end):
        return None
    rows: list[tuple[str, str, str, str, str, str]] = []
    urls: list[str] = []
    others = set(wheels.others)
    provided: set[str] = set()
    needed: dict[str, None] = {}
    subdirs = (arch, "noarch")
    position = wheels.end + len(CONDA)
    while match := _PACKAGE.match(body, position):
        name, number, build, url, channel, subdir, written, digest, depends, provides = match.groups()
        filename = filename_of(url)
        if written is not None:
            if written == filename:
                return None
            filename = written
        if channel is None:
            channel, subdir = parts(url)
        elif (channel, subdir) == parts(url):
            return None
        else:
            others.add(channel)
        if not is_channel(channel) or subdir not in subdirs or has_token(url):
            return None
        if not is_conda_archive(filename, name, number, build):
            return None
        if depends:
            needed.update(dict.fromkeys(_NEEDED.findall(depends)))
        if provides:
            provided.update(_NAMES.findall(provides))
        rows.append(("conda", name, number, build, filename, digest))
        urls.append(url)
        position = match.end()
    named = [(row[1], row[2]) for row in rows]
    if twice(name for name, _ in named) or wrong_whole(source, version, named, provided, [r[1] for r in wheels.rows]):
        return None
    names = {name for name, _ in named}
    lacking = missing(map(name_in, asked), _names_in(needed), names)
    return ProvedPackages(
        rows + wheels.rows,
        urls + wheels.urls,
        position,
        others,
        frozenset(provided | names),
        wheels.indexes,
        lacking,
    )


def _names_in(needed: Iterable[str]) -> Iterator[str]:
    """The packages in match specifications, each in quotes; not what the machine brings, or what has a condition."""
    return (name_in(text[1:-1]) for text in needed if not text.startswith('"__') and ";" not in text)
