"""The port of resolvers: a request in, a resolution out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython, Source
from envlock.model.requirement import PypiRequirement
from envlock.model.requirements import Requirements


@dataclass(frozen=True)
class Extras:
    """The extras of a distribution, from its metadata."""

    names: tuple[str, ...]
    requires: tuple[str, ...]
    """Its requirements (PEP 508) whose marker names an extra."""


@dataclass(frozen=True)
class Provided:
    """A PyPI distribution that a conda package, or the base, already has."""

    name: str
    """Normalized (PEP 503)."""
    version: str
    """As PEP 440 spells it."""
    package: str
    """The conda package that has it, name and version, for messages. Empty for a wheel of a base."""
    extras: Extras | None = None
    """None if unknown: they are looked up only if a requirement names one."""
    base: str = ""
    """The name of the base, if the base has it."""


@dataclass(frozen=True)
class LockedBase:
    """The base of an environment: all of its packages stay as they are."""

    name: str
    """As envlock.toml names it."""
    lock: Lock
    metadata: Callable[[LockedPackage], str | None]
    """Reads METADATA from one of its wheels; None if that is not possible. May download the wheel."""


class FileHashes(Protocol):
    """Finds the SHA-256 of files whose index publishes only other hashes."""

    def digests(self, package: LockedPackage, published: Mapping[str, str]) -> tuple[Mapping[str, str], int] | None:
        """The hashes of a package's file by algorithm, `sha256` and those in `published`, and its size in bytes.

        Downloads the file, unless one with these hashes was downloaded before; None if that is not allowed. Any thread
        may call it. Raises what downloading raises.
        """


@dataclass(frozen=True)
class BuiltWheel:
    """A wheel on this machine that no index has."""

    name: str
    """Normalized (PEP 503)."""
    version: str
    path: Path
    filename: str
    sha256: str
    size: int
    source: Source
    index: str = ""
    """Of an sdist of an index: that index, without credentials."""
    upload_time: str = ""
    """Of an sdist of an index: as LockedPackage has it."""

    @property
    def package(self) -> LockedPackage:
        """It as a package, whose needs are not known yet."""
        return LockedPackage(
            name=self.name,
            version=self.version,
            filename=self.filename,
            url="",
            sha256=self.sha256,
            size=self.size,
            source=self.source,
            index=self.index,
            upload_time=self.upload_time,
        )


class WheelBuilder(Protocol):
    """Makes wheels for requests; each once, whatever asks for it. Any thread may call it."""

    def of_requirement(self, requirement: PypiRequirement, request: Request) -> BuiltWheel:
        """The wheel of a requirement with a URL, for the request's arch and Python: built, or as it lies there.

        Raises BuildError, or what fetching it raises.
        """

    def of_sdist(self, sdist: LockedPackage, request: Request) -> BuiltWheel:
        """The wheel of an index's sdist: `filename`, `url` and `sha256` are the sdist's. Raises as above."""

    def stop(self) -> None:
        """End the running builds: their calls raise."""


@dataclass(frozen=True)
class Request:
    """One environment to resolve for one arch."""

    name: str
    """The environment's name, for messages."""
    arch: Arch
    requirements: Requirements
    python: str
    """The Python to resolve for: three numbers. If Python is a conda package, the series that it must be of."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """Preferences: versions to keep if the requirements allow, by the name of the PyPI package."""
    conda_pins: tuple[LockedPackage, ...] = ()
    """Preferences: conda packages to keep if the requirements allow, exactly as they were locked."""
    provided: tuple[Provided, ...] = ()
    """What conda packages of the environment, or its base, provide. PyPI packages may need it, and never replace it."""
    base: LockedBase | None = None
    """What the environment extends. `python` is empty then: it is the base's."""
    fixed: tuple[LockedPackage, ...] = ()
    """Conda packages that stay exactly as they are, even if no channel has them any longer."""
    exclude_newer: str = ""
    """The instant that applies, RFC 3339; empty for none."""
    index_urls: tuple[str, ...] = ()
    """`requirements.indexes` with credentials."""
    default_index_url: str = ""
    package_index_urls: tuple[str, ...] = ()
    """The indexes that single requirements name, with credentials."""
    channel_urls: tuple[str, ...] = ()
    """`requirements.channels` with credentials."""
    file_hashes: FileHashes | None = None
    """None if nothing may be downloaded for it."""
    offline: bool = False
    """Whether only the cached data of indexes and channels may be used."""
    allow_older: tuple[str, ...] = ()
    """PyPI packages that may go back a major version if a newer one has no wheel."""
    builder: WheelBuilder | None = None
    """None if nothing is built: then a requirement that needs it is an error."""
    may_build: tuple[str, ...] | bool = False
    """PyPI packages that may be built from an index's sdist where no wheel fits; True for all."""
    wheels: tuple[BuiltWheel, ...] = ()
    """Wheels of this machine that packages of these names have to be: a resolver that builds nothing gets them."""
    built_pins: tuple[LockedPackage, ...] = ()
    """Preferences: packages that were built, whose wheel is kept if its source is the same."""
    find_links_urls: tuple[str, ...] = ()
    """`requirements.find_links` with credentials, without those of folders."""
    link_folders: tuple[Path, ...] = ()
    """The folders of wheels that are among `requirements.find_links`."""
    channel_mirrors: tuple[tuple[str, str], ...] = ()
    """Channels as `requirements.channels` names them, each with the URL of its mirror."""

    together: tuple[Arch, ...] = ()
    """All archs of which the same is asked at this time, its own among them: one solve may serve them all."""

    @property
    def series(self) -> str:
        """The series of its Python: `3.11`."""
        return ".".join(self.python.split(".")[:2])

    @property
    def every_index_url(self) -> tuple[str, ...]:
        """All indexes, as written: those of single packages, pages of links, the others in order, the default one."""
        urls = (*self.package_index_urls, *self.find_links_urls, *self.index_urls, self.default_index_url)
        return tuple(url for url in urls if url)


def may_build(request: Request, name: str) -> bool:
    """Whether a package may be built from an sdist of an index."""
    if request.requirements.is_built(name):
        return True
    return request.may_build is True or (request.may_build is not False and name in request.may_build)


@dataclass(frozen=True)
class Resolution:
    """The packages that a request resolved to."""

    packages: tuple[LockedPackage, ...]
    """Sorted by kind and name, one artifact each."""
    notes: tuple[str, ...] = ()
    """What the user should know about the choice."""
    python: LockedPython | None = None
    """The Python, if it was resolved with the packages."""
    lacking: tuple[str, ...] = ()
    """Packages that would be newer, or let others be newer, if they were built."""
    not_of_oldest: frozenset[str] = frozenset()
    """Packages that newer allowed releases of Python need, and the oldest may not."""


class Resolver(Protocol):
    """Resolves requests. Any thread may call it."""

    def resolve(self, request: Request) -> Resolution:
        """Choose the exact packages for a request. Downloads metadata only. Raises ResolveError."""

    def stop(self) -> None:
        """End all resolves soon: running and later calls of `resolve` raise."""
