"""Why each package of a lock is there: who asked for it, and which locked packages need it."""

from __future__ import annotations

from collections.abc import Mapping

from envlock.conda.matching import name_in
from envlock.conda.names import conda_name
from envlock.model.lock import Lock

ASKED = "asked for"
FOR_METAFLOW = "for Metaflow"


def needs(lock: Lock) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """For each package, by kind and name: `ASKED` where it was, `FOR_METAFLOW`, then the packages that need it, sorted.

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
    asked = lock.requirements
    roots = [("pypi", root.name, ASKED) for root in asked.pypi]
    roots += [("conda", name_in(text), ASKED) for text in (*asked.conda, *asked.conda_only)]
    if asked.has_conda:
        roots.append(("conda", "python", ASKED))
    roots += [("pypi", root.name, FOR_METAFLOW) for root in asked.metaflow_of_pypi]
    of_conda = {package.name for package in lock.conda_packages}
    for (
        root
    ) in asked.metaflow_of_conda:  # or PyPI's, where a conda package would have collided with what is asked there
        name = conda_name(root.name)
        roots.append(("conda", name, FOR_METAFLOW) if name in of_conda else ("pypi", root.name, FOR_METAFLOW))
    return roots
