"""What of an older lock is kept when it is locked again: the least that an upgrade leaves alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from envlock.model.requirement import name_in_either

if TYPE_CHECKING:
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock, LockedPackage
    from envlock.model.requirements import Requirements
    from envlock.workflow.lock_result import Upgrade


def pypi_pins(before: Lock | None, upgrade: Upgrade) -> dict[str, str]:
    """The versions of PyPI packages to keep."""
    if before is None or upgrade.everything:
        return {}
    return {each.name: each.version for each in before.pypi_packages if each.name not in upgrade.packages}


def conda_pins(before: Lock | None, arch: Arch, upgrade: Upgrade) -> tuple[LockedPackage, ...]:
    """The conda packages to keep as they are; of another arch's lock, those that are for any arch."""
    if before is None or upgrade.everything:
        return ()
    return tuple(
        package
        for package in before.conda_packages
        if package.conda is not None
        and package.conda.subdir in {arch, "noarch"}
        and upgrade.packages.isdisjoint(names_of(package))
    )


def names_of(package: LockedPackage) -> Iterator[str]:
    """The names that `--upgrade-package` may call a locked package by: its own, and for a conda package PyPI's too."""
    yield name_in_either(package.name)
    if package.conda is not None:
        yield from (name for name, _ in package.conda.provides)


def names_asked(requirements: Requirements) -> Iterator[str]:
    """The names of everything that is asked for."""
    yield from (root.name for root in requirements.roots())
    yield from (name_in_either(each.name) for each in requirements.all_conda)


def upgradable(locks: Iterable[Lock], asked: Iterable[Requirements]) -> set[str]:
    """Every name that an upgrade can mean."""
    names = {"python"}
    for lock in locks:
        for package in lock.packages:
            names.update(names_of(package))
    for requirements in asked:
        names.update(names_asked(requirements))
    return names
