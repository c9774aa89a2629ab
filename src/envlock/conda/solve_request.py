"""A request to py-rattler's solver, its result, and the ways in which it fails."""

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
    """A requirement that is not a valid conda match specification."""

    def __init__(self, requirement: CondaRequirement, reason: str) -> None:
        super().__init__(f"{requirement}: {reason}")
        self.requirement = requirement
        self.reason = reason


class Unsolvable(Exception):
    """No set of packages meets the requirements; `text` is the solver's own."""

    def __init__(self, text: str, shadowed: Mapping[str, str]) -> None:
        super().__init__(text)
        self.text = text
        self.shadowed = shadowed
        """Packages that were not taken from a channel because an earlier one, named here, has one of that name."""


class TookTooLong(Exception):
    """The solver took longer than this many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds} s")
        self.seconds = seconds


class Unlockable(Exception):
    """The solver chose a package that cannot be locked."""

    def __init__(self, package: str, reason: str) -> None:
        super().__init__(f"{package}: {reason}")
        self.package = package
        self.reason = reason


@dataclass(frozen=True)
class SolveRequest:
    """What to solve for, from which channels, for one arch."""

    arch: Arch
    places: tuple[Place, ...]
    """The channels, by priority, then those that only single packages come from."""
    wanted: tuple[CondaRequirement, ...]
    system: tuple[tuple[str, str], ...] = ()
    """The virtual packages of the machine and their versions, all of them."""
    keep: tuple[LockedPackage, ...] = ()
    """Locked packages to prefer, where they are allowed and the channels still have them."""
    fixed: tuple[LockedPackage, ...] = ()
    """Packages to choose exactly as they are, whatever the channels have."""
    is_strict: bool = True
    """Whether a package comes only from the first channel that has one of its name (strict priority)."""
    exclude_newer: str = ""
    """An instant (RFC 3339). Packages without a known date are not excluded."""
    single: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Channels, by canonical URL, that only these packages come from."""

    @property
    def subdirs(self) -> tuple[str, str]:
        """The subdirs of a channel that have packages for the arch."""
        return (self.arch, "noarch")

    @property
    def channels(self) -> list[str]:
        """The channels of every package, as py-rattler takes them."""
        return [place.source for place in self.places if place.base not in self.single]

    def gives(self, base: str, name: str) -> bool:
        """Whether a package of that name may come from a channel."""
        return name in self.single.get(base, {name})

    @cached_property
    def by_source(self) -> Mapping[str, Place]:
        """The channels by the URL in py-rattler's records."""
        from rattler import Channel

        return {Channel(place.source).base_url.rstrip("/"): place for place in self.places}

    def place_of(self, record: RepoDataRecord) -> Place:
        """The channel of a record."""
        return self.by_source[(record.channel or "").rstrip("/")]


class Solved(NamedTuple):
    """The solution of a request."""

    packages: tuple[LockedPackage, ...]
    """Sorted by name."""
    gone: tuple[LockedPackage, ...] = ()
    """Packages to keep that no channel has any longer."""


class Offer(NamedTuple):
    """One package of a channel."""

    subdir: str
    version: str
    build: str


def match_spec(requirement: CondaRequirement, request: SolveRequest) -> MatchSpec:
    """A requirement as py-rattler's match specification, its channel as the URL that is asked.

    Raises BadSpecification.
    """
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError, InvalidPackageNameError, InvalidVersionSpecError

    channel = ""
    if requirement.channel:
        base = channel_address(requirement.channel).kept
        channel = next((place.source for place in request.places if place.base == base), base) + "::"
    try:
        return MatchSpec(f"{channel}{requirement._replace(channel='')}")
    except (InvalidMatchSpecError, InvalidPackageNameError, InvalidVersionSpecError) as error:
        raise BadSpecification(requirement, str(error)) from None


def virtual_packages(arch: Arch, system: Sequence[tuple[str, str]]) -> list[GenericVirtualPackage]:
    """The virtual packages of a machine: these, and `__unix` and `__linux`, which are always there.

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


def microarchitecture() -> str:
    """The name of this machine's processor in archspec, such as `skylake_avx512`; empty if it has none.

    Costs the import of py-rattler.
    """
    from rattler import VirtualPackage

    found = (package.into_generic() for package in VirtualPackage.detect())
    return next((str(each.build_string) for each in found if each.name.normalized == "__archspec"), "")
