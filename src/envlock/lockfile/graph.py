"""The packages of a lock as a graph: what a package brings with it, and why each one is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from envlock.conda.names import conda_name
from envlock.model.lock import Lock, LockedPackage

REQUIRED = "required"
FOR_METAFLOW = "for Metaflow"


def reachable(edges: Mapping[str, Sequence[str]], roots: Iterable[str]) -> set[str]:
    """What the roots need, themselves included, as far as `edges` has it.

    >>> sorted(reachable({"a": ["b"], "b": ["a", "c"], "c": [], "d": []}, ["a", "x"]))
    ['a', 'b', 'c']
    """
    seen: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name in edges and name not in seen:
            seen.add(name)
            todo += edges[name]
    return seen


def edges_of(packages: Iterable[LockedPackage]) -> dict[str, tuple[str, ...]]:
    """The names of the packages that each package needs, packages of one kind."""
    return {package.name: package.dependencies for package in packages}


def reasons_of(lock: Lock) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Why each package is there, by kind and name: `REQUIRED`, `FOR_METAFLOW`, and the packages that need it, sorted.

    Of its own kind alone: that a wheel needs what a conda package provides is known to the resolver, not to the lock.
    """
    found: dict[tuple[str, str], list[str]] = {(package.kind, package.name): [] for package in lock.packages}
    for kind, name, why in _roots(lock):
        if (kind, name) in found and why not in found[kind, name]:
            found[kind, name].append(why)
    for package in sorted(lock.packages, key=lambda package: package.name):
        for dependency in package.dependencies:
            if (package.kind, dependency) in found:
                found[package.kind, dependency].append(package.name)
    return {package: tuple(why) for package, why in found.items()}


def _roots(lock: Lock) -> list[tuple[str, str, str]]:
    required = lock.requirements
    roots = [("pypi", root.name, REQUIRED) for root in required.pypi]
    roots += [("conda", each.name, REQUIRED) for each in required.conda_of(lock.arch)]
    if required.has_conda:
        roots.append(("conda", "python", REQUIRED))
    roots += [("pypi", root.name, FOR_METAFLOW) for root in required.metaflow_of_pypi]
    of_conda = {package.name for package in lock.conda_packages}
    for root in required.metaflow_of_conda:  # PyPI's, where a conda package would have collided with a requirement
        name = conda_name(root.name)
        roots.append(("conda", name, FOR_METAFLOW) if name in of_conda else ("pypi", root.name, FOR_METAFLOW))
    return roots
