"""What resolving is: a request in, a resolution out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from envlock.model.arch import Arch
from envlock.model.lock import LockedPackage
from envlock.model.requirements import Requirements


@dataclass(frozen=True)
class Request:
    """One environment to resolve for one arch."""

    name: str
    """The environment's name, for messages."""
    arch: Arch
    requirements: Requirements
    python: str
    """The Python to solve for: three numbers."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """Versions to keep wherever the requirements allow, by package name."""
    exclude_newer: str = ""
    """The instant in force, RFC 3339."""
    index_urls: tuple[str, ...] = ()
    """`requirements.indexes` with their credentials."""
    default_index_url: str = ""


@dataclass(frozen=True)
class Resolution:
    """What a request was resolved to."""

    packages: tuple[LockedPackage, ...]
    """Sorted by name, one artifact each."""
    notes: tuple[str, ...] = ()
    """What the user should know about how it came about."""


class Resolver(Protocol):
    """Resolves requests; may be called from several threads at once."""

    def resolve(self, request: Request) -> Resolution:
        """The exact packages for a request. Downloads metadata only. Raises ResolveError."""

    def stop(self) -> None:
        """End what is being resolved, soon: its `resolve` then raises, and so does every later one."""
