"""What resolving is: a request in, a resolution out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements


@dataclass(frozen=True)
class Extras:
    """The extras of a distribution, as its own metadata has them."""

    names: tuple[str, ...]
    requires: tuple[str, ...]
    """What they bring: its requirements (PEP 508) whose marker names an extra."""


@dataclass(frozen=True)
class Provided:
    """A PyPI distribution that is there already: a conda package contains it, or the environment that is extended."""

    name: str
    """Normalised, as PyPI knows it."""
    version: str
    """As PEP 440 has it."""
    package: str
    """The conda package that it is in: name and version, for messages. Empty for a wheel of a base."""
    extras: Extras | None = None
    """None where they are not known: they are looked up only when one is asked for."""
    base: str = ""
    """The name of the environment that is extended, where that has it."""


@dataclass(frozen=True)
class LockedBase:
    """The environment that is extended: all of its packages stay as they are."""

    name: str
    """As the user names it."""
    lock: Lock
    metadata: Callable[[LockedPackage], str | None]
    """The METADATA in one of its wheels; None where that cannot be had. May fetch the wheel."""


class FileHashes(Protocol):
    """Finds out the SHA-256 of files whose index tells other digests only."""

    def digests(self, package: LockedPackage, told: Mapping[str, str]) -> tuple[Mapping[str, str], int] | None:
        """The digests of a package's file by algorithm, `sha256` and those that are `told`, and its size in bytes.

        Fetches the file, unless one with these digests was fetched from there before; None where it may not. Threads
        may share it. Raises what fetching raises.
        """


@dataclass(frozen=True)
class Request:
    """One environment to resolve for one arch."""

    name: str
    """The environment's name, for messages."""
    arch: Arch
    requirements: Requirements
    python: str
    """The Python to solve for: three numbers. Where Python is itself a conda package to be solved for, the series that
    it has to be of, or nothing."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """Versions to keep wherever the requirements allow, by the name of the PyPI package."""
    conda_pins: tuple[LockedPackage, ...] = ()
    """Conda packages to keep wherever the requirements allow, exactly as they were locked."""
    provided: tuple[Provided, ...] = ()
    """What conda packages of the environment, or its base, bring: PyPI packages rest on it, and never replace it."""
    base: LockedBase | None = None
    """What the environment extends; `python` is empty then, for it is the base's."""
    fixed: tuple[LockedPackage, ...] = ()
    """Conda packages that stay exactly as they are, whether or not a channel still has them."""
    exclude_newer: str = ""
    """The instant in force, RFC 3339."""
    index_urls: tuple[str, ...] = ()
    """`requirements.indexes` with their credentials."""
    default_index_url: str = ""
    package_index_urls: tuple[str, ...] = ()
    """The indexes that single requirements name, with their credentials."""
    channel_urls: tuple[str, ...] = ()
    """`requirements.channels` with their credentials."""
    file_hashes: FileHashes | None = None
    """None where nothing may be fetched for it."""
    offline: bool = False
    """Whether only what is kept on this machine, of indexes and of channels, may be asked."""
    allow_older: tuple[str, ...] = ()
    """PyPI packages that may go back a major version where a newer one has no wheel."""
    channel_mirrors: tuple[tuple[str, str], ...] = ()
    """Channels as they are named in `requirements.channels`, each with the URL that is asked in its place."""

    @property
    def every_index_url(self) -> tuple[str, ...]:
        """All indexes that may be asked, as written: those of single packages, the others in order, the default."""
        urls = (*self.package_index_urls, *self.index_urls, self.default_index_url)
        return tuple(url for url in urls if url)


@dataclass(frozen=True)
class Resolution:
    """What a request was resolved to."""

    packages: tuple[LockedPackage, ...]
    """Sorted by kind and name, one artifact each."""
    notes: tuple[str, ...] = ()
    """What the user should know about how it came about."""
    python: LockedPython | None = None
    """The Python, where it was solved for together with the packages."""
    not_of_oldest: frozenset[str] = frozenset()
    """Those of the packages that the oldest allowed release of Python may do without, and others need."""


class Resolver(Protocol):
    """Resolves requests; may be called from several threads at once."""

    def resolve(self, request: Request) -> Resolution:
        """The exact packages for a request. Downloads metadata only. Raises ResolveError."""

    def stop(self) -> None:
        """End what is being resolved, soon: its `resolve` then raises, and so does every later one."""
