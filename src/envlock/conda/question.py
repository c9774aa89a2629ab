"""What is asked of conda channels, as py-rattler is asked it, and what can come of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from envlock.conda.channels import channel_address
from envlock.conda.client import Place
from envlock.model.arch import Arch
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.lock import LockedPackage

if TYPE_CHECKING:
    from rattler import GenericVirtualPackage, MatchSpec, RepoDataRecord


class BadSpecification(Exception):
    """A requirement that conda's own language does not know."""

    def __init__(self, requirement: CondaRequirement, reason: str) -> None:
        super().__init__(f"{requirement}: {reason}")
        self.requirement = requirement
        self.reason = reason


class Unsolvable(Exception):
    """No set of packages is what is asked; the text is the solver's own."""

    def __init__(self, text: str, shadowed: Mapping[str, str]) -> None:
        super().__init__(text)
        self.text = text
        self.shadowed = shadowed
        """Packages that were not taken from a channel, for the channel named here has one of that name and counts
        more."""


class TookTooLong(Exception):
    """The solver was given up on after this many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds} s")
        self.seconds = seconds


class Unlockable(Exception):
    """The solver chose a package that cannot be locked, for the reason."""

    def __init__(self, package: str, reason: str) -> None:
        super().__init__(f"{package}: {reason}")
        self.package = package
        self.reason = reason


@dataclass(frozen=True)
class Question:
    """What is asked of some channels, for one arch."""

    arch: Arch
    places: tuple[Place, ...]
    """The channels, the first of which counts most, then those that are asked for single packages."""
    wanted: tuple[CondaRequirement, ...]
    system: tuple[tuple[str, str], ...] = ()
    """What the machine has: virtual packages and their versions, and none beyond them."""
    keep: tuple[LockedPackage, ...] = ()
    """To be chosen again wherever that is allowed and the channels still have them."""
    fixed: tuple[LockedPackage, ...] = ()
    """To be chosen whatever the channels have, each exactly as it is."""
    is_strict: bool = True
    """Whether a package comes only from the first channel that has one of its name."""
    exclude_newer: str = ""
    """An instant, RFC 3339; packages that are not known to be newer stay."""
    single: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The canonical URLs of channels that have no say but in these packages."""

    @property
    def subdirs(self) -> tuple[str, str]:
        """The parts of a channel that have packages for the arch."""
        return (self.arch, "noarch")

    @property
    def channels(self) -> list[str]:
        """The channels that have a say in every package, as py-rattler is told them."""
        return [place.source for place in self.places if place.base not in self.single]

    def gives(self, base: str, name: str) -> bool:
        """Whether a package of that name may come from a channel."""
        return name in self.single.get(base, {name})

    @cached_property
    def by_source(self) -> Mapping[str, Place]:
        """The channels by the URL that records name, as py-rattler spells it."""
        from rattler import Channel

        return {Channel(place.source).base_url.rstrip("/"): place for place in self.places}

    def place_of(self, record: RepoDataRecord) -> Place:
        """The channel that a record is from."""
        return self.by_source[(record.channel or "").rstrip("/")]


class Solved(NamedTuple):
    """The answer to a question."""

    packages: tuple[LockedPackage, ...]
    """Sorted by name."""
    gone: tuple[LockedPackage, ...] = ()
    """Of those to keep, the ones that no channel has any more."""


class Offer(NamedTuple):
    """One package that a channel has."""

    subdir: str
    version: str
    build: str


def match_spec(requirement: CondaRequirement, question: Question) -> MatchSpec:
    """A requirement as py-rattler knows it, its channel as the URL of the channel that is asked.

    Raises BadSpecification.
    """
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError, InvalidPackageNameError, InvalidVersionSpecError

    channel = ""
    if requirement.channel:
        base = channel_address(requirement.channel).kept
        channel = next((place.source for place in question.places if place.base == base), base) + "::"
    try:
        return MatchSpec(f"{channel}{requirement._replace(channel='')}")
    except (InvalidMatchSpecError, InvalidPackageNameError, InvalidVersionSpecError) as error:
        raise BadSpecification(requirement, str(error)) from None


def virtual_packages(arch: Arch, system: Sequence[tuple[str, str]]) -> list[GenericVirtualPackage]:
    """What a machine of the arch brings, by conda's names: these, and `__unix` and `__linux`, which are always there.

    The microarchitecture that `__archspec` names is its build, not its version.
    """
    from rattler import GenericVirtualPackage, PackageName, Version
    from rattler.package.build_string import BuildString

    versions = {"__unix": "0", **({"__linux": "0"} if arch.startswith("linux-") else {}), **dict(system)}
    return [
        GenericVirtualPackage(
            PackageName(name),
            Version("1" if name == "__archspec" else version),
            BuildString(version if name == "__archspec" else "0"),
        )
        for name, version in sorted(versions.items())
    ]
