"""What differs between two locks of one arch, package by package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock, LockedPackage


@dataclass(frozen=True)
class PackageChange:
    """One package that came, went or became another."""

    kind: str
    """`conda` or `pypi`; `python` for the interpreter."""
    name: str
    before: str
    """The version, with the build where versions are equal; empty for one that came."""
    after: str
    """Empty for one that went."""

    @property
    def verb(self) -> str:
        """`added`, `removed` or `changed`."""
        return "added" if not self.before else "changed" if self.after else "removed"

    def __str__(self) -> str:
        if self.verb == "added":
            return f"+{self.name} {self.after}"
        return f"-{self.name} {self.before}" if self.verb == "removed" else f"{self.name} {self.before} -> {self.after}"


@dataclass(frozen=True)
class ArchChanges:
    """What differs on one arch."""

    arch: Arch
    changes: tuple[PackageChange, ...]
    """Python first, then by name."""
    same: int
    """How many packages are the same file in both."""

    def count(self, verb: str) -> int:
        """How many were `added`, `removed` or `changed`."""
        return sum(change.verb == verb for change in self.changes)


def compare(before: Lock, after: Lock) -> ArchChanges:
    """What differs from one lock to another of the same arch."""
    changes = []
    old_python, new_python = python_of(before), python_of(after)
    if old_python != new_python:
        changes.append(PackageChange("python", "Python", old_python, new_python))
    old = {(package.name, package.kind): package for package in before.packages}
    new = {(package.name, package.kind): package for package in after.packages}
    same = 0
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        if one and other and one.sha256 == other.sha256:
            same += 1
            continue
        told = one is not None and other is not None and one.version == other.version
        changes.append(PackageChange(key[1], key[0], _shown(one, told), _shown(other, told)))
    return ArchChanges(before.arch, tuple(changes), same)


def _shown(package: LockedPackage | None, with_build: bool) -> str:
    """A version; where both have the same, with what tells the two files apart."""
    if package is None:
        return ""
    return f"{package.version} ({package.build or package.sha256[:12]})" if with_build else package.version


def python_of(lock: Lock) -> str:
    """The interpreter as `full_id` counts it; a conda package is among the packages."""
    if lock.python.source == "conda":
        return "of conda"
    return lock.python.series if lock.python.source == "machine" else f"{lock.python.version} ({lock.python.filename})"
