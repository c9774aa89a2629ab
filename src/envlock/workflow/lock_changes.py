"""What differs between two locks of one arch, package by package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock, LockedPackage


_CALLED = {"conda": "conda", "pypi": "PyPI"}


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
    of: str = ""
    """Where it is from, `conda` or `PyPI`, where both have one of the name."""

    @property
    def verb(self) -> str:
        """`added`, `removed` or `changed`."""
        return "added" if not self.before else "changed" if self.after else "removed"

    def __str__(self) -> str:
        """`+rich 14.0`, `-rich 13.0`, `rich 13.0 -> 14.0`, or `ninja 1.11 -> 1.13 (conda)` beside PyPI's."""
        said = f"{self.name} {self.before} -> {self.after}"
        if self.verb != "changed":
            said = f"+{self.name} {self.after}" if self.after else f"-{self.name} {self.before}"
        return f"{said} ({self.of})" if self.of else said


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


def compare(before: Lock | None, after: Lock) -> ArchChanges:
    """What differs from one lock to another of the same arch; everything, where there is none before."""
    changes = []
    if before is not None and python_of(before) != python_of(after):
        changes.append(PackageChange("python", "Python", python_of(before), python_of(after)))
    old = {(package.name, package.kind): package for package in before.packages} if before is not None else {}
    new = {(package.name, package.kind): package for package in after.packages}
    kinds: dict[str, set[str]] = {}
    for name, kind in {*old, *new}:
        kinds.setdefault(name, set()).add(kind)
    same = 0
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        if one and other and one.sha256 == other.sha256:
            same += 1
            continue
        told = one is not None and other is not None and one.version == other.version
        of = _CALLED[key[1]] if len(kinds[key[0]]) > 1 else ""
        changes.append(PackageChange(key[1], key[0], _shown(one, told), _shown(other, told), of))
    return ArchChanges(after.arch, tuple(changes), same)


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
