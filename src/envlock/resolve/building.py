"""Requests with packages that are built: first their wheels are made, then a resolver finds the rest around them.

No resolver builds anything itself. A requirement that names a source (a repository, a folder, an sdist) is built first,
and stands in the solve as a wheel of this machine, so that all others who need the package get that wheel. A package of
an index that has no wheel is built if `build` allows it: a solve chooses its sdist that takes it for one that needs
nothing, and built; then the request is solved again with that wheel, until no package is lacking.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError
from envlock.model.requirement import PypiRequirement
from envlock.model.url import direct_url
from envlock.resolve.errors import (
    ARCH,
    BuiltForNewerSystem,
    CannotBuild,
    NoSolution,
    NoWheel,
    OfOneEnvironment,
    SourceNotHere,
)
from envlock.resolve.platform_tags import allowed_releases, target_of, truths, wheel_fits
from envlock.resolve.port import BuiltWheel, Request, Resolution, Resolver, may_build
from envlock.words import listed

if TYPE_CHECKING:
    from envlock.model.lock import LockedPackage, Source
    from envlock.resolve.port import WheelBuilder
    from envlock.resolve.pypi_uv import UvResolver

_ROUNDS = 20
"""How often packages may turn out to be lacking; each round is a solve."""


class BuildingResolver:
    """Implements the Resolver port for PyPI packages, some of which are built. Any thread may call it."""

    def __init__(self, inner: Resolver, uv: UvResolver) -> None:
        """`inner` resolves what needs no build; `uv` finds sdists."""
        self.inner = inner
        self._uv = uv

    def stop(self) -> None:
        """End the running solves, and start no more."""
        self.inner.stop()
        self._uv.stop()

    def resolve(self, request: Request) -> Resolution:
        """As Resolver has it. Raises what building raises, too."""
        found = self._resolved(request)
        if request.builder is None or not request.link_folders:
            return found
        placed = (_placed(each, request, request.builder) for each in found.packages)
        return replace(found, packages=tuple(placed))

    def _resolved(self, request: Request) -> Resolution:
        builds = request.may_build or request.requirements.flagged("no-binary")
        if not builds and not any(_is_source(root.url) for root in _asked(request)):
            return self.inner.resolve(request)
        sources = _sources(request)
        builder = request.builder
        if builder is None and not sources:  # what may be built is only known to be lacking once it is
            return self.inner.resolve(_with_wheels(request, {}))
        if builder is None:
            raise CannotBuild(
                request.name,
                request.arch,
                f"{', '.join(str(each) for each in sources)} has to be built",
                hint="envlock lock",
                packages=tuple(each.name for each in sources),
            )
        asked = _with_wheels(request, {each: builder.of_requirement(each, request) for each in sources})
        kept = _kept(asked, builder)
        if kept:
            try:
                return self._around(replace(asked, wheels=(*asked.wheels, *kept)), builder)
            except NoSolution:
                pass  # the requirements may need another version of what was built
        return self._around(asked, builder)

    def _around(self, request: Request, builder: WheelBuilder) -> Resolution:
        """Resolve around the wheels that there are, and build what is lacking.

        Where all packages may be built, one that cannot be is no reason to fail: then it stays as it is without.
        """
        broken: dict[str, EnvlockError] = {}
        for _ in range(_ROUNDS):
            failure: OfOneEnvironment | None = None
            try:
                found = self.inner.resolve(request)
                lacking = (*found.lacking, *_to_be_built(request, found))
            except OfOneEnvironment as error:
                failure, lacking = error, error.lacking
            built: list[BuiltWheel] = []
            for sdist in self._sdists(request, [each for each in _may_build(request, lacking) if each not in broken]):
                try:
                    built.append(builder.of_sdist(sdist, request))
                except EnvlockError as error:  # noqa: PERF203  each is a build
                    if request.may_build is not True or request.requirements.is_built(sdist.name):
                        raise
                    broken[sdist.name] = error
            if built:
                request = replace(request, wheels=(*request.wheels, *built))
            elif failure is None and (wheels := _to_be_built(request, found)):
                raise NoSolution(
                    request.name,
                    request.arch,
                    f"`no-binary` takes no wheel of {listed(wheels)}, and there is no sdist",
                    hint="remove the flag, or require a version that has an sdist",
                    packages=wheels,
                )
            elif failure is not None:
                raise failure.adding(*_why(request, broken, lacking))
            else:
                return replace(found, notes=(*found.notes, *_why(request, broken, lacking), *_said(found, request)))
        assert failure is not None, "what is built is not lacking again"
        raise failure

    def _sdists(self, request: Request, names: Collection[str]) -> tuple[LockedPackage, ...]:
        if not names:
            return ()
        found = self._uv.sdists_of(request, names)
        if not found and len(names) > 1:  # one of them has no sdist
            found = tuple(each for name in names for each in self._uv.sdists_of(request, [name]))
        return found


def _placed(package: LockedPackage, request: Request, builder: WheelBuilder) -> LockedPackage:
    """The package; one of a folder with wheels as what lies there."""
    if package.source is None or package.source.kind != "wheel" or package.source.path:
        return package
    url = f"file+sha256:{package.sha256}/{package.filename}"
    found = builder.of_requirement(PypiRequirement(package.name, url=url), request)
    return replace(package, source=found.source, size=found.size, index="", upload_time="")


def _to_be_built(request: Request, found: Resolution) -> tuple[str, ...]:
    """The packages that are to be built, and of which a wheel of an index was taken."""
    if not request.requirements.flagged("no-binary"):
        return ()
    return tuple(
        each.name
        for each in found.packages
        if each.kind == "pypi" and each.source is None and request.requirements.is_built(each.name)
    )


def _why(request: Request, broken: Mapping[str, EnvlockError], lacking: Iterable[str]) -> tuple[str, ...]:
    """Why packages could not be built that are lacking, in short."""
    said = (broken[name].message for name in lacking if name in broken)
    return tuple(text.removeprefix(f"{request.name} on {request.arch}: ").partition(" (")[0] for text in said)


def _sources(request: Request) -> tuple[PypiRequirement, ...]:
    """The requirements whose wheel has to be built, or is on this machine alone, as far as this arch needs them."""
    named = [root for root in _asked(request) if _is_source(root.url)]
    if not named:
        return ()
    target = target_of(request.requirements, request.arch, request.python)
    releases = allowed_releases(request)
    return tuple(root for root in named if not root.marker or any(truths(root.marker, target, releases)))


def _asked(request: Request) -> tuple[PypiRequirement, ...]:
    return request.requirements.all_pypi


def _is_source(url: str) -> bool:
    found = direct_url(url) if url else None
    return found is not None and (found.kind != "web" or not found.is_wheel)


def _with_wheels(request: Request, wheels: dict[PypiRequirement, BuiltWheel]) -> Request:
    """The request, with a wheel in the place of each source. Those that this arch does not need are left out."""

    def asked(roots: Iterable[PypiRequirement]) -> tuple[PypiRequirement, ...]:
        found = []
        for root in roots:
            if root in wheels:
                found.append(root._replace(url=wheels[root].path.as_uri()))
            elif not _is_source(root.url):
                found.append(root)
        return tuple(found)

    requirements = request.requirements
    requirements = requirements._replace(
        pypi=asked(requirements.pypi),
        metaflow=asked(requirements.metaflow),
        constraints=asked(requirements.constraints),
        overrides=asked(requirements.overrides),
    )
    by_name = {each.name: each for each in wheels.values()}
    return replace(request, requirements=requirements, wheels=tuple(by_name[name] for name in sorted(by_name)))


def _kept(request: Request, builder: WheelBuilder) -> tuple[BuiltWheel, ...]:
    """The packages that were built from an index's sdist, and may stay as they are."""
    names = _may_build(request, [each.name for each in request.built_pins if each.is_of_index_sdist])
    found = []
    for package in request.built_pins:
        if package.name in names and package.source is not None:
            source = package.source
            sdist = replace(package, filename=source.filename, url=source.url, sha256=source.sha256, size=None)
            found.append(builder.of_sdist(replace(sdist, source=None), request))
    return tuple(found)


def _may_build(request: Request, names: Iterable[str]) -> list[str]:
    known = {each.name for each in request.wheels} | {each.name for each in request.provided}
    return sorted({name for name in names if name not in known and may_build(request, name)})


def _said(found: Resolution, request: Request) -> tuple[str, ...]:
    """A sentence for each package that was built, as far as it is locked anew."""
    before = {(each.name, each.sha256) for each in request.built_pins}
    return tuple(
        f"{each.name} {each.version} was built from {each.source.said}"
        for each in found.packages
        if each.source is not None and each.source.kind != "wheel" and (each.name, each.sha256) not in before
    )


# What a wheel has to be for a request.


def refuse_unfit(request: Request, name: str, version: str, filename: str, *, source: Source) -> None:
    """Raises NoWheel unless a wheel is for the request's arch and Python."""
    if not wheel_fits(name, version, filename, request):
        raise NoWheel(
            request.name,
            request.arch,
            f"the wheel {filename}, from {source.said}, is not for {ARCH} with Python {request.python}",
            hint="add a marker, such as `marker = \"sys_platform == 'linux'\"`, or use another wheel or an sdist",
            packages=(name,),
        )


def refuse_unnamed(request: Request, name: str, from_folders: Sequence[str]) -> None:
    """Raises SourceNotHere if a wheel needs packages from folders beside its source, and nothing names these folders.

    Without that, the packages would come from an index, which may have others of their names.
    """
    named = {each.name for each in request.requirements.roots() if each.url}
    lacking = [each for each in from_folders if each not in named]
    if lacking:
        raise SourceNotHere(
            request.name,
            request.arch,
            f"{name} needs {listed(lacking)} from a folder beside it, which nothing names",
            hint=f"add it to envlock.toml: `{lacking[0]} = {{ path = ... }}`, or `{{ git = ..., subdirectory = ... }}`",
            packages=(name,),
        )


def refuse_newer_system(request: Request, name: str, glibc: str, *, source: Source) -> None:
    """Raises BuiltForNewerSystem if the binaries of a wheel need a newer glibc than the environment promises.

    `glibc` is the oldest that they run with, as `2.17`; empty if they need none.
    """
    promised = target_of(request.requirements, request.arch, request.python).glibc
    needed = tuple(map(int, glibc.split("."))) if glibc else ()
    if not request.arch.startswith("linux") or needed <= promised:
        return
    floor = "{}.{}".format(*promised)
    raise BuiltForNewerSystem(
        request.name,
        request.arch,
        f"{name} from {source.said}, built here, needs glibc {glibc}, and the lock promises glibc {floor}",
        hint=f'build it on an older system, or raise the floor: `{ARCH} = {{ __glibc = "{glibc}" }}` in '
        "[envlock.system-requirements]",
        packages=(name, "__glibc"),
    )
