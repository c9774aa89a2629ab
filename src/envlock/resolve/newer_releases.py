"""Which releases of a package are newer than the locked one: on an index, from the names of its files.

Counts as uv does: a yanked file is none, and pre-releases count if a specifier names one, or if there is nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from envlock.config.instants import absolute_instant
from envlock.model.lock import Newer
from envlock.resolve.index_check import FileFacts
from envlock.values import NamedTuple

if TYPE_CHECKING:
    from packaging.tags import Tag
    from packaging.version import Version

    from envlock.resolve.platform_tags import Target


class Limits(NamedTuple):
    """What may be locked for one environment on one arch."""

    target: Target
    specifiers: tuple[str, ...] = ()
    """Of the requirements and constraints of the package."""
    takes_sdists: bool = False
    """Whether what has no wheel may be built."""
    takes_pre_releases: bool = False
    exclude_newer: str = ""
    """The instant in force, RFC 3339; empty for none."""


def newer_releases(name: str, locked: str, files: Mapping[str, FileFacts], limits: Limits) -> Newer:
    """The newest releases among the files of a package. Sends no request.

    >>> from envlock.model.requirements import Requirements
    >>> from envlock.resolve.platform_tags import target_of
    >>> files = {f"a-{version}-py3-none-any.whl": FileFacts() for version in ("1.0", "1.5", "2.0", "3.0rc1")}
    >>> target = target_of(Requirements(), "linux-64", "3.12.0")
    >>> newer_releases("a", "1.0", files, Limits(target, specifiers=("<2",)))
    Newer(allowed='1.5', newest='2.0', is_allowed_newer=True, is_newer=True)
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        now = Version(locked)
    except InvalidVersion:  # older than every version that is one, as pip had it
        now = Version("0")
    specifier = SpecifierSet(",".join(each for each in limits.specifiers if each))
    there = _releases(name, files, limits)
    has_final = any(not version.is_prerelease for version in there)
    takes_pre = limits.takes_pre_releases or bool(specifier.prereleases) or now.is_prerelease or not has_final
    counted = [version for version in sorted(there, reverse=True) if takes_pre or not version.is_prerelease]
    newest = next(iter(counted), None)
    allowed = next(
        (version for version in counted if there[version] and specifier.contains(version, prereleases=True)), None
    )
    return Newer(
        allowed=str(allowed or ""),
        newest=str(newest or ""),
        is_allowed_newer=allowed is not None and allowed > now,
        is_newer=newest is not None and newest > now,
    )


def _releases(name: str, files: Mapping[str, FileFacts], limits: Limits) -> dict[Version, bool]:
    """The releases that were not yanked or published too late, and whether a file of each fits the target."""
    tags = _tags(limits.target)
    found: dict[Version, bool] = {}
    for filename, facts in files.items():
        read = _read(filename)
        if read is None or read[0] != name or facts.yanked is not None or not _in_time(facts, limits.exclude_newer):
            continue
        _, version, own = read
        if not found.get(version):
            is_file = limits.takes_sdists if own is None else not tags.isdisjoint(own)
            found[version] = is_file and _runs(facts.requires_python, limits.target.python)
    return found


@lru_cache(maxsize=64)
def _tags(target: Target) -> frozenset[Tag]:
    return frozenset(target.tags())


@lru_cache(maxsize=1 << 14)
def _read(filename: str) -> tuple[str, Version, frozenset[Tag] | None] | None:
    """The package, the version, and the tags of a wheel; None for a file that is neither a wheel nor an sdist."""
    from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

    try:
        if filename.endswith(".whl"):
            name, version, _, tags = parse_wheel_filename(filename)
            return name, version, tags
        return *parse_sdist_filename(filename), None
    except (InvalidWheelFilename, InvalidSdistFilename, ValueError):
        return None


def _in_time(facts: FileFacts, newest: str) -> bool:
    """Whether a file was published in time; one without a date was not, as uv has it."""
    if not newest:
        return True
    try:
        return bool(facts.uploaded) and absolute_instant(facts.uploaded) <= newest
    except ValueError:
        return False


@lru_cache(maxsize=1 << 12)
def _runs(requires_python: str, python: str) -> bool:
    """Whether a file is for a Python; one that says nothing readable is for all."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(requires_python).contains(python, prereleases=True)
    except InvalidSpecifier:
        return True
