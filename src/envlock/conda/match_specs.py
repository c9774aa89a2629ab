"""Match specifications against locked packages: which package one names, and whether a package meets it.

Reading a name takes a regular expression; judging versions takes conda's own rules, so py-rattler is imported for that
and for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.lock import LockedPackage

_NAME = re.compile(r"\s*(?:\S+?::)?([^\s<>=!~\[;]+)")


@lru_cache(maxsize=1 << 14)
def name_in(specification: str) -> str:
    """The name of the package in a match specification.

    >>> name_in("python >=3.11,<3.12.0a0"), name_in("conda-forge::numpy>=1"), name_in('x264 >=1[build="!164"]')
    ('python', 'numpy', 'x264')
    """
    match = _NAME.match(specification)
    return match[1].lower() if match else ""


def edges(depends: Iterable[str], locked: Container[str]) -> tuple[str, ...]:
    """The names in `depends` that are locked, sorted: `LockedPackage.dependencies` of a conda package.

    >>> edges(("python >=3.11", "__glibc >=2.17", "libzlib"), {"python", "libzlib", "zlib"})
    ('libzlib', 'python')
    """
    return tuple(sorted({name for name in map(name_in, depends) if name in locked}))


def satisfies(package: LockedPackage, requirement: str) -> bool:
    """Whether a locked conda package meets a requirement's canonical text: version, build and channel.

    Imports py-rattler, a quarter of a second. What is no requirement is satisfied by nothing.
    """
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    from envlock.conda.channels import channel_address
    from envlock.conda.records import record_of
    from envlock.errors import ConfigError

    channel, separator, plain = requirement.rpartition("::")
    try:
        if separator and (package.conda is None or channel_address(channel).kept != package.conda.channel):
            return False
    except ConfigError:  # which channel that is, only an environment says that has its variables
        return False
    try:
        return bool(MatchSpec(plain).matches(record_of(package)))
    except InvalidMatchSpecError:
        return False


def is_newer(package: LockedPackage, other: LockedPackage) -> bool:
    """Whether a conda package has a later version than another in conda's order, or a later build of the same."""
    from rattler import Version

    versions = Version(package.version), Version(other.version)
    if versions[0] != versions[1]:
        return bool(versions[0] > versions[1])
    builds = [each.conda.build_number if each.conda else 0 for each in (package, other)]
    return builds[0] > builds[1]
