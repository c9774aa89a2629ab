"""Extending a locked environment: its packages stay as they are, to the hash, and only the additions are resolved.

What a base has already is not asked of any index or channel, so it does not matter what has become of it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.model.arch import MARKER_VALUES
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.lock import LockedPackage
from envlock.model.marker import holds
from envlock.model.python_range import releases_of
from envlock.model.requirement import PypiRequirement
from envlock.resolve.conda_provided import provided_by
from envlock.resolve.errors import BaseWithoutConda, CondaConflict, ConflictWithBase, UnexpectedAnswer
from envlock.resolve.port import LockedBase, Provided, Request, Resolution
from envlock.resolve.provided_conflicts import HINT_OF_BASE

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_KEPT = re.compile(r"(\S+ \S+) is locked, but another version is required as reported above")


def additions(request: Request, base: LockedBase) -> Request:
    """The request without what the base already meets.

    What remains is in `requirements.pypi` and, Metaflow's needs among them, in `requirements.conda`. Raises
    ConflictWithBase for what contradicts the base by itself, and BaseWithoutConda.
    """
    asked = request.requirements
    _refuse_python(request, base)
    _refuse_overrides(request, base)
    _refuse_limits(request, base)
    if base.lock.python.source != "conda" and asked.conda_of(request.arch):
        raise _without_conda(request, base)
    served = _Served(base)
    conda = [each for each in asked.conda_of(request.arch) if not served.has_conda(request, each)]
    conda += [each for each in map(served.lacking, asked.metaflow_of_conda) if each is not None]
    roots = [root for root in asked.roots() if not served.has_pypi(root)]
    return replace(
        request,
        requirements=asked._replace(
            python="", pypi=tuple(roots), metaflow=(), conda=tuple(dict.fromkeys(conda)), conda_only=()
        ),
        python=base.lock.python.version,
        fixed=base.lock.conda_packages,
    )


def _refuse_overrides(request: Request, base: LockedBase) -> None:
    """Refuse a base with overrides that what extends it does not have: its wheels would need what is not there.

    Raises ConflictWithBase.
    """
    missing = [each for each in base.lock.requirements.overrides if each not in request.requirements.overrides]
    if missing:
        raise ConflictWithBase(
            request.name,
            request.arch,
            f"`{base.name}` was locked with the override {missing[0].said}, which is missing here",
            hint=f"add `{missing[0].name}` to `overrides` of `pypi`, as the base has it",
            packages=("named_env",),
        )


def _refuse_limits(request: Request, base: LockedBase) -> None:
    """Refuse constraints, overrides and hashes that a wheel of the base does not meet. Raises ConflictWithBase."""
    wheels = {package.name: package for package in base.lock.pypi_packages}
    values = MARKER_VALUES[request.arch]
    hashes: dict[str, set[str]] = {}
    for name, sha256 in request.requirements.hashes:
        hashes.setdefault(name, set()).add(sha256)
    sides = [
        (limit.name, f"{kind} is {limit.name}{limit.specifier}")
        for kind, limits in (
            ("a constraint", request.requirements.constraints),
            ("an override", request.requirements.overrides),
        )
        for limit in limits
        if limit.name in wheels
        and (not limit.marker or holds(limit.marker, values))
        and not _specifiers(limit.specifier).contains(wheels[limit.name].version)
    ]
    sides += [
        (f"hash:{name}", f"{name} is required with other hashes")
        for name, allowed in hashes.items()
        if name in wheels and allowed.isdisjoint({wheels[name].sha256, getattr(wheels[name].source, "sha256", "")})
    ]
    if sides:
        key, side = sides[0]
        theirs = wheels[key.removeprefix("hash:")]
        raise ConflictWithBase(
            request.name,
            request.arch,
            f"{side}, but `{base.name}` has {theirs.name} {theirs.version}",
            hint=HINT_OF_BASE,
            packages=(key, "named_env"),
        )


def provided_over(packages: Sequence[LockedPackage], base: LockedBase | None) -> tuple[Provided, ...]:
    """What conda packages provide, and what the base has: all that PyPI packages may rely on."""
    found = provided_by(packages)
    if base is None:
        return found
    own = {package.name for package in base.lock.conda_packages}
    return (
        *(replace(each, base=base.name) if each.package.partition(" ")[0] in own else each for each in found),
        *(Provided(each.name, each.version, "", base=base.name) for each in base.lock.pypi_packages),
    )


def conda_conflict(request: Request, base: LockedBase, error: CondaConflict) -> ConflictWithBase:
    """The error of conda packages that contradict the base's, with both sides named."""
    text = "\n".join(error.details)
    kept = list(dict.fromkeys(_KEPT.findall(text)))
    added = [str(each).partition(" ")[0] for each in request.requirements.conda]
    mentioned = [name for name in added if f"conda:{name.rpartition('::')[2]}" in error.packages] or added
    theirs = f"{', '.join(kept)} of `{base.name}`" if kept else f"`{base.name}`"
    return ConflictWithBase(
        request.name,
        request.arch,
        f"{', '.join(mentioned)} {'conflicts' if len(mentioned) == 1 else 'conflict'} with {theirs}",
        details=tuple(_KEPT.sub(rf"\1 is in `{base.name}`, which never changes", line) for line in error.details),
        hint=HINT_OF_BASE,
        packages=(*error.packages, "named_env"),
    )


def new_of(request: Request, base: LockedBase, solved: Resolution) -> tuple[LockedPackage, ...]:
    """The conda packages of a solution that the base lacks. Raises UnexpectedAnswer if one of the base's changed."""
    found = {package.name: package for package in solved.packages}
    changed = [each.name for each in base.lock.conda_packages if found.pop(each.name, each).sha256 != each.sha256]
    if changed:
        raise UnexpectedAnswer(
            request.name, request.arch, f"the solver changed {', '.join(changed)} of `{base.name}`", hint=HINT_OF_BASE
        )
    return tuple(found.values())


def refuse_twice(request: Request, base: LockedBase, packages: Iterable[LockedPackage]) -> None:
    """Refuse new conda packages that contain what the base has as a wheel. Raises ConflictWithBase."""
    wheels = {package.name: package.version for package in base.lock.pypi_packages}
    for package in packages:
        for name, version in package.conda.provides if package.conda else ():
            if name in wheels:
                raise ConflictWithBase(
                    request.name,
                    request.arch,
                    f"the conda package {package.name} {package.version} contains {name} {version}, "
                    f"but `{base.name}` has {name} {wheels[name]} from PyPI",
                    hint="move it to `pypi.packages`, or extend another environment",
                    packages=(f"conda:{package.name}", "named_env"),
                )


def joined(
    base: LockedBase, conda: Sequence[LockedPackage], wheels: Sequence[LockedPackage]
) -> tuple[LockedPackage, ...]:
    """The base's packages and the new ones, sorted. `conda` holds those of both."""
    packages = (*conda, *base.lock.pypi_packages, *wheels)
    rows = {(each.kind, each.name): each.sha256 for each in packages}
    assert len(rows) == len(packages), "a package is in the base, and new too"
    assert all(rows[each.kind, each.name] == each.sha256 for each in base.lock.packages), "the base was changed"
    return tuple(sorted(packages, key=lambda each: (each.kind, each.name)))


class _Served:
    """The requirements that a base meets."""

    def __init__(self, base: LockedBase) -> None:
        self.name = base.name
        self.conda = {package.name: package for package in base.lock.conda_packages}
        self.versions = {each.name: each.version for each in provided_by(base.lock.conda_packages)}
        self.versions |= {package.name: package.version for package in base.lock.pypi_packages}
        self.indexes = {package.name: package.index for package in base.lock.pypi_packages}
        self.urls = {(root.name, root.url) for root in base.lock.requirements.pypi}

    def has_pypi(self, root: PypiRequirement) -> bool:
        """Whether the base meets a requirement for certain."""
        version = self.versions.get(root.name)
        if root.from_index and self.indexes.get(root.name, "").rstrip("/") != root.from_index.rstrip("/"):
            return False
        if version is None or root.extras or (root.url and (root.name, root.url) not in self.urls):
            return False
        return _specifiers(root.specifier).contains(version)

    def has_conda(self, request: Request, requirement: CondaRequirement) -> bool:
        """Whether the base meets a conda requirement. Raises ConflictWithBase if it has another of that name."""
        from envlock.conda.match_specs import satisfies

        name = requirement.name
        package = self.conda.get(name)
        if package is None:
            return False
        if not satisfies(package, str(requirement)):
            raise ConflictWithBase(
                request.name,
                request.arch,
                f"`{requirement}` is required from conda, "
                f"but `{self.name}` has {name} {package.version} {package.build}",
                hint=HINT_OF_BASE,
                packages=(f"conda:{requirement.name}", "named_env"),
            )
        return True

    def lacking(self, needed: PypiRequirement) -> CondaRequirement | None:
        """The conda requirement of what Metaflow needs and the base lacks, by either name; None where it has it."""
        from envlock.conda.names import conda_name
        from envlock.resolve.conda_rattler import conda_version

        name = conda_name(needed.name)
        if name in self.conda or self.has_pypi(needed):
            return None
        return CondaRequirement(name, conda_version(needed.specifier))


def _refuse_python(request: Request, base: LockedBase) -> None:
    asked, has = request.requirements.python, base.lock.python
    if not _specifiers(asked).contains(has.version):
        oldest = " or later" if has.source == "machine" else ""
        raise ConflictWithBase(
            request.name,
            request.arch,
            f"Python {asked} is required, but `{base.name}` has Python {has.version}{oldest}",
            hint=f"remove `python` to use that of `{base.name}`, or extend another environment",
            packages=("python", "named_env"),
        )
    of_base = base.lock.requirements.python
    if has.source == "machine" and set(releases_of(has.version, asked)) - set(releases_of(has.version, of_base)):
        raise ConflictWithBase(
            request.name,
            request.arch,
            f"`python` allows releases of {has.series} that `{base.name}` is not locked for: that has {of_base}",
            hint=f'set `python = "{of_base}"`, or extend another environment',
            packages=("python", "named_env"),
        )


def _without_conda(request: Request, base: LockedBase) -> BaseWithoutConda:
    asked = request.requirements
    names = [each.name for each in asked.conda_of(request.arch)]
    source = "this machine" if base.lock.python.source == "machine" else base.lock.python.source
    return BaseWithoutConda(
        request.name,
        request.arch,
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} required from conda, "
        f"but `{base.name}` has no conda packages",
        details=(f"its Python comes from {source} and never changes; conda packages need a Python from conda",),
        hint="move it to a `pypi` table, or extend an environment that was locked with a `conda` table",
        packages=(*(f"conda:{name}" for name in names), "named_env"),
    )


def _specifiers(text: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(text, prereleases=True)
