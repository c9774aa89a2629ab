"""What a wheel says of itself, held against its lock.

A lock is made of what an index says that a wheel needs (PEP 658), since no wheel is fetched for it. So when the wheel
is first here, its own METADATA has to agree: else the environment lacks something, or has what nobody needs.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from envlock.hydrate.errors import MisdescribedWheel
from envlock.model.arch import MARKER_VALUES
from envlock.model.requirement import normalized

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from packaging.markers import Marker

    from envlock.model.lock import Lock, LockedPackage

_FIELD = re.compile(r"(?m)^(Name|Version|Requires-Python|Requires-Dist):(.*)$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"\bextra\s*==")
_LONGEST = 4096
"""Letters of a field. What is longer, nobody wrote to be read."""
_OF_THE_MACHINE = ("platform_release", "platform_version")
"""What markers may ask of a system, and no lock says."""


def prove_metadata(lock: Lock, texts: Mapping[str, str]) -> None:
    """Hold the METADATA of wheels, by their packages' names, against their lock.

    Costs less than a millisecond a wheel. Raises MisdescribedWheel for the first, in the order of the lock, that
    disagrees.
    """
    for package in lock.pypi_packages:
        if texts.get(package.name):  # a wheel without any says nothing, and uv says so
            found = tuple(differences(lock, package, texts[package.name]))
            if found:
                raise MisdescribedWheel(package, found)


def differences(lock: Lock, package: LockedPackage, text: str) -> Iterator[str]:
    """What a wheel's METADATA says that its lock does not, a sentence each.

    What the METADATA says in a way that cannot be read says nothing, as it does to uv.
    """
    fields: dict[str, list[str]] = {}
    for name, value in _FIELD.findall(text.replace("\r\n", "\n").partition("\n\n")[0]):
        if len(value) <= _LONGEST:
            fields.setdefault(name, []).append(value.strip())
    named, version = fields.get("Name", [""])[0], fields.get("Version", [""])[0]
    if named and (normalized(named) != package.name or not _is_version(package.version, version)):
        yield f"the wheel is of `{named}` {version}"
    requires_python = fields.get("Requires-Python", [""])[0]
    if not _allows(requires_python, lock.python.version):
        yield f"the wheel is for Python {requires_python}, and Python {lock.python.version} is locked"
    requirements = fields.get("Requires-Dist", [])
    yield from _unmet(lock, package, requirements)
    known = {normalized(match[0]) for each in requirements if (match := _NAME.match(each))}
    for name in package.dependencies:
        if name not in known:
            yield f"it was locked with `{name}`, which the wheel does not need"


def _unmet(lock: Lock, package: LockedPackage, requirements: list[str]) -> Iterator[str]:
    """What the wheel needs, extras aside, and the lock does not have."""
    locked = {each.name: each.version for each in lock.pypi_packages}
    for text in requirements:
        match = _NAME.match(text)
        name = normalized(match[0]) if match else ""
        # Of what conda packages provide, nobody is sure.
        if not name or name == package.name or (name not in locked and lock.conda_packages):
            continue
        if _EXTRA.search(text.partition(";")[2]) and " or " not in text:  # most are, and reading them takes its time
            continue
        needed = _read(text)
        if needed is None or not _applies(needed.marker, lock):
            continue
        if name not in locked:
            yield f"the wheel needs `{text}`, and no `{name}` is locked"
        elif not needed.url and not _allows(str(needed.specifier), locked[name]):
            yield f"the wheel needs `{text}`, and `{name}` {locked[name]} is locked"


@lru_cache(4096)
def _read(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except (ValueError, RecursionError):
        return None


def _applies(marker: Marker | None, lock: Lock) -> bool:
    """Whether a requirement is one of the lock's arch and Python; not where only the machine could tell."""
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
    except (ValueError, KeyError, TypeError, RecursionError):  # of a marker that only some other place has words for
        return False


@lru_cache(4096)
def _allows(specifier: str, version: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except ValueError:
        return True


def _is_version(locked: str, found: str) -> bool:
    try:
        return Version(locked) == Version(found)
    except ValueError:
        return locked == found
