"""Match specifications against locked packages: which package one names, and whether a package meets it.

Reading a name takes a regular expression; judging versions takes conda's own rules, so py-rattler is imported for that
and for nothing else. Only the order of two versions is computed without it, for commands that have to be fast: a
property test holds that to py-rattler's.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from functools import lru_cache
from itertools import zip_longest

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
    order = version_order(package.version, other.version)
    if order:
        return order > 0
    builds = [each.conda.build_number if each.conda else 0 for each in (package, other)]
    return builds[0] > builds[1]


_RUNS = re.compile(r"[0-9]+|\*+|_+|[^0-9*_]+")
_ZERO = (1, 0, "")


def version_order(one: str, other: str) -> int:
    """Below 0 if a version is older than another, above if it is newer, 0 if they are equal, as conda orders them.

    https://docs.conda.io/projects/conda/en/stable/dev-guide/api/conda/models/version/ (VersionOrder).

    >>> [version_order("2024a", each) for each in ("2024b", "2024", "2024a")]
    [-1, -1, 0]
    """
    nothing: list[tuple[int, float, str]] = []
    for parts, others in zip(_parts(one), _parts(other), strict=True):
        for part, opposite in zip_longest(parts, others, fillvalue=nothing):
            for mine, yours in zip_longest(part, opposite, fillvalue=_ZERO):
                if mine != yours:
                    return -1 if mine < yours else 1
    return 0


def _parts(version: str) -> tuple[list[list[tuple[int, float, str]]], list[list[tuple[int, float, str]]]]:
    """The runs of digits and of letters in each part of a version, the epoch first, and those of its local version."""
    epoch, _, rest = version.lower().rpartition("!")
    public, _, local = rest.partition("+")
    return [_runs(epoch or "0"), *_split(public)], _split(local)


def _split(text: str) -> list[list[tuple[int, float, str]]]:
    if not text:
        return []
    kept = text.rstrip("_-")
    parts = re.split(r"[._-]", kept)
    parts[-1] += "_" * (len(text) - len(kept))
    return [_runs(part) for part in parts]


def _runs(part: str) -> list[tuple[int, float, str]]:
    """Runs as they compare: letters before numbers, `dev` before letters, `post` after numbers; a number is first."""
    found = [
        (1, float("inf") if run == "post" else int(run), "")
        if run == "post" or run.isdigit()
        else (0, 0, "DEV" if run == "dev" else run)
        for run in _RUNS.findall(part)
    ]
    return found if part[:1].isdigit() else [_ZERO, *found]
