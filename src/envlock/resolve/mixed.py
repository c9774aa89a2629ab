"""The resolver of every environment: conda packages first, then PyPI packages on top of what they provide."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.lockfile.graph import edges_of, reachable
from envlock.resolve.conda_provided import extras_in, pypi_version
from envlock.resolve.errors import (
    CondaConflict,
    CondaOnlyWithPython,
    ConflictWithConda,
    ExtraOfCondaPackage,
    UnexpectedAnswer,
)
from envlock.resolve.extending import additions, conda_conflict, joined, new_of, provided_over, refuse_twice
from envlock.resolve.port import Extras, LockedBase, Request, Resolution, Resolver

if TYPE_CHECKING:
    from envlock.conda.archives import Archives
    from envlock.conda.event_loop import Calls
    from envlock.model.lock import LockedPackage


_GUESSED = "could not read {}: its PyPI names come from a published list"
_NO_VERSION = "{} from conda has a version that is not valid on PyPI: PyPI packages are locked without it"


class ByType:
    """Implements the Resolver port for `pypi`, `conda` and `mixed` environments. Any thread may call it.

    Either resolver may be given as what makes it: it is made when it is first needed.
    """

    def __init__(self, conda: Resolver | Callable[[], Resolver], pypi: Resolver | Callable[[], Resolver]) -> None:
        self._given = {"conda": conda, "pypi": pypi}
        self._guard = threading.Lock()
        self._made: dict[str, Resolver] = {}
        self._calls: Calls | None = None
        self._stopped = False

    def stop(self) -> None:
        """End all resolves, and start no more."""
        with self._guard:
            self._stopped = True
            made = list({**{k: v for k, v in self._given.items() if not callable(v)}, **self._made}.values())
            calls = self._calls
        for resolver in made:
            resolver.stop()
        if calls is not None:
            calls.end()

    def resolve(self, request: Request) -> Resolution:
        """The packages of both kinds, sorted by kind and name, and the Python if it is a conda package.

        Where PyPI packages are locked on top, each conda package tells which distributions it provides. Raises
        ResolveError.
        """
        if request.base is None and not request.requirements.has_conda:
            return self._resolver("pypi", request).resolve(request)
        from envlock.conda.event_loop import Ended

        try:
            return self._with_conda(request) if request.base is None else self._over_base(request, request.base)
        except Ended:
            raise _ended(request) from None

    def _with_conda(self, request: Request) -> Resolution:
        solved = self._resolver("conda", request).resolve(request)
        roots = request.requirements.roots()
        is_pypi = request.requirements.type == "pypi"
        if not roots and not (is_pypi and request.requirements.conda_only):
            return solved
        packages, notes = self._with_distributions(request, solved.packages)
        if is_pypi:
            _refuse_python(request, packages)
        if not roots:
            return replace(solved, packages=packages, notes=(*solved.notes, *notes))
        try:
            found = self._on_top(request, packages, _version_of_python(solved))
        except ConflictWithConda as error:
            # What the user asks of PyPI is theirs: what Metaflow needs, and collides with it, is met from PyPI then.
            moved = _with_metaflow_of_pypi(request, packages, error)
            if moved is None:
                raise
            return self._with_conda(moved)
        return Resolution(
            packages=tuple(sorted((*packages, *found.packages), key=lambda each: (each.kind, each.name))),
            notes=(*solved.notes, *notes, *found.notes),
            python=solved.python,
        )

    def _over_base(self, request: Request, base: LockedBase) -> Resolution:
        """Extend a base."""
        rest = additions(request, base)
        old: tuple[LockedPackage, ...] = base.lock.conda_packages
        new: tuple[LockedPackage, ...] = ()
        notes: tuple[str, ...] = ()
        if rest.requirements.conda:
            try:
                solved = self._resolver("conda", request).resolve(rest)
            except CondaConflict as error:
                raise conda_conflict(rest, base, error) from None
            new, notes = new_of(request, base, solved), solved.notes
        roots = rest.requirements.roots()
        if roots and base.lock.requirements.type == "conda":  # what is in its packages nobody had to know before
            old, more = self._with_distributions(request, old)
            notes += more
        if new and (roots or base.lock.pypi_packages or request.requirements.conda_only):
            new, more = self._with_distributions(request, new)
            notes += more
        refuse_twice(request, base, new)
        conda = (*old, *new)
        if request.requirements.type == "pypi":
            _refuse_python(request, conda)
        wheels: tuple[LockedPackage, ...] = ()
        if roots:
            found = self._on_top(rest, conda, rest.python)
            wheels, notes = found.packages, (*notes, *found.notes)
        return Resolution(joined(base, conda, wheels), notes, base.lock.python)

    def _on_top(self, request: Request, packages: Sequence[LockedPackage], python: str) -> Resolution:
        """Resolve the PyPI part. Looks up what an extra of conda's packages needs only if a requirement has one."""
        provided = provided_over(packages, request.base)
        while True:
            try:
                return self._resolver("pypi", request).resolve(replace(request, python=python, provided=provided))
            except ConflictWithConda as error:  # noqa: PERF203  a round or two, each of which runs uv
                raise _with_who_brings_it(error, request, packages) from None
            except ExtraOfCondaPackage as error:
                extras = self._extras(request, packages, error.wanted)
                if extras is None:
                    raise
                provided = tuple(replace(each, extras=extras.get(each.name, each.extras)) for each in provided)

    def _with_distributions(
        self, request: Request, packages: Sequence[LockedPackage]
    ) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
        """The conda packages with what each provides, and notes for the user."""
        return with_distributions(self._archives(request), packages, request.conda_pins)

    def _extras(
        self, request: Request, packages: Sequence[LockedPackage], wanted: Iterable[str]
    ) -> dict[str, Extras] | None:
        """The extras of these distributions; None for one whose metadata cannot be read."""
        found = {}
        for name in wanted:
            wheel = request.base and next((each for each in request.base.lock.pypi_packages if each.name == name), None)
            if wheel and request.base:
                text = request.base.metadata(wheel)
            else:
                package = next(each for each in packages if each.conda and name in dict(each.conda.provides))
                text = self._archives(request).metadata(package, name)
            extras = None if text is None else extras_in(text)
            if extras is None:
                return None
            found[name] = extras
        return found

    def _resolver(self, kind: str, request: Request) -> Resolver:
        given = self._given[kind]
        with self._guard:
            if self._stopped:
                raise _ended(request)
            if kind not in self._made:
                self._made[kind] = given() if callable(given) else given
            return self._made[kind]

    def _archives(self, request: Request) -> Archives:
        from envlock.conda.archives import Archives
        from envlock.conda.channels import mirrors_in_force
        from envlock.conda.event_loop import Calls

        with self._guard:
            if self._calls is None:
                self._calls = Calls()
            if self._stopped:
                self._calls.end()
        channels = request.channel_urls or request.requirements.channels
        mirrors = mirrors_in_force(request.channel_mirrors)
        return Archives(channels, mirrors, self._calls, offline=request.offline)


def with_distributions(
    archives: Archives, packages: Sequence[LockedPackage], before: Iterable[LockedPackage] = ()
) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
    """The conda packages with what each provides, and notes. `before` tells of archives that are out of reach."""
    known_before = {each.sha256: each.conda.provides for each in before if each.conda}
    contents = archives.contents(packages)
    done, guessed, nameless = [], [], []
    for package in packages:
        assert package.conda is not None
        distributions, is_known = contents[package.name]
        if not is_known and known_before.get(package.sha256):
            distributions, is_known = known_before[package.sha256], True
        if not is_known:
            guessed.append(package.name)
        versions = {name: pypi_version(version) for name, version in distributions}
        nameless += [f"{name} {version}" for name, version in distributions if not versions[name]]
        provides = tuple(sorted((name, version) for name, version in versions.items() if version))
        done.append(replace(package, conda=replace(package.conda, provides=provides)))
    return tuple(done), (*_note(guessed, _GUESSED), *_note(nameless, _NO_VERSION))


def _refuse_python(request: Request, packages: Sequence[LockedPackage]) -> None:
    """Refuse Python packages that `conda_only` brings, unless Python itself needs them. Raises CondaOnlyWithPython."""
    edges = edges_of(packages)
    of_python = reachable(edges, ["python"])
    holding = {
        each.name: each for each in packages if each.conda and each.conda.provides and each.name not in of_python
    }
    for root in [each.name for each in request.requirements.conda_only]:
        for name in sorted(reachable(edges, [root]) & holding.keys()):
            package = holding[name]
            assert package.conda is not None
            distributions = ", ".join(" ".join(each) for each in package.conda.provides)
            with_it = "is" if name == root else f"depends on {name}, which is"
            raise CondaOnlyWithPython(
                request.name,
                request.arch,
                f"`{root}` in `conda_only` {with_it} a Python package",
                details=(f"the conda package {package.name} {package.version} contains {distributions}",),
                hint="move it to `packages`, to take it from PyPI, or to a `conda` table, "
                "where Python packages are allowed",
                packages=(f"conda:{root}",),
            )


def _with_metaflow_of_pypi(
    request: Request, packages: Sequence[LockedPackage], error: ConflictWithConda
) -> Request | None:
    """The request with Metaflow's needs taken from PyPI if only they bring the conda packages of a conflict."""
    from envlock.conda.names import conda_name

    asked = request.requirements
    edges = edges_of(packages)
    conflicting = {thing.removeprefix("conda:") for thing in error.packages if thing.startswith("conda:")}
    if conflicting & reachable(edges, ["python", *(each.name for each in asked.all_conda)]):
        return None
    moved = tuple(
        needed for needed in asked.metaflow_of_conda if conflicting & reachable(edges, [conda_name(needed.name)])
    )
    if not moved:
        return None
    return replace(request, requirements=asked._replace(pypi=(*asked.pypi, *moved)))


def _with_who_brings_it(
    error: ConflictWithConda, request: Request, packages: Sequence[LockedPackage]
) -> ConflictWithConda:
    """The error, with the required conda packages that bring what conda provides."""
    edges = edges_of(packages)
    asked = [each.name for each in request.requirements.all_conda]
    for thing in error.packages:
        kind, _, name = thing.partition(":")
        if kind != "conda" or name in asked:
            continue
        bringing = [root for root in asked if name in reachable(edges, [root])]
        if bringing:
            error = error.adding(
                f"{name} is a dependency of {', '.join(bringing)}, required from conda",
                packages=tuple(f"conda:{root}" for root in bringing),
            )
    return error


def _version_of_python(solved: Resolution) -> str:
    assert solved.python is not None, "a conda resolver locks the Python too"
    return solved.python.version


def _note(names: Sequence[str], sentence: str) -> tuple[str, ...]:
    return (sentence.format(", ".join(names)),) if names else ()


def _ended(request: Request) -> UnexpectedAnswer:
    return UnexpectedAnswer(request.name, request.arch, "locking was interrupted", hint="envlock lock")
