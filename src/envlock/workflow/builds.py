"""Builds for a project: the wheels that no upstream has, made once, kept on this machine and in the cache.

A wheel that was built lies among this machine's packages, under its SHA-256, like any other: hydrating and pushing
find it there. A source keeps the wheel that a lock has of it, because a second build need not make the same bytes.
"""

from __future__ import annotations

import re
import shutil
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envlock.addresses import address
from envlock.build.errors import BadBuiltWheel, GitUnreachable, OfOneSource, SourceChanged, SourceHashMismatch
from envlock.build.git import commit_of, is_commit
from envlock.build.hooks import end_builds
from envlock.build.port import Built, Recipe
from envlock.build.wheels import build, built_in
from envlock.cache.errors import UpstreamHashMismatch
from envlock.cache.local import LocalPackages
from envlock.cache.open import open_cache
from envlock.cache.packages import BuiltFor, BuiltWheels
from envlock.errors import EnvlockError
from envlock.files import sha256_of
from envlock.interpreters import Interpreter, NoInterpreter, find_interpreter, machine_series
from envlock.model.arch import host_arch
from envlock.model.artifact import Artifact
from envlock.model.lock import LockedPackage, Source
from envlock.model.url import direct_url, direct_url_fault
from envlock.places import folder_in_home, home
from envlock.resolve.building import refuse_newer_system, refuse_unfit, refuse_unnamed
from envlock.resolve.errors import ARCH, BuiltForOtherArch, SourceNotHere
from envlock.resolve.platform_tags import wheel_fits
from envlock.resolve.port import BuiltWheel, Request
from envlock.stage import temporary_folder
from envlock.workflow.artifacts import FetchedHashes, artifact_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from envlock.config.project import Project
    from envlock.model.requirement import PypiRequirement
    from envlock.model.url import DirectUrl
    from envlock.reporter import Reporter

_BUILDING = "building"


class Builds:
    """Implements resolve's WheelBuilder for a project. Any thread may call it."""

    def __init__(self, project: Project, reporter: Reporter, *, offline: bool = False, keeps: bool = True) -> None:
        """`offline` asks no index and no repository; unless it `keeps`, wheels of older locks are built again."""
        self._project = project
        self._reporter = reporter
        self._offline = offline
        self._keeps = keeps
        self._paths = {url: path for each in project.environments() for url, path in each.local}
        self._guard = threading.Lock()
        self._locks: dict[object, threading.Lock] = {}
        self._commits: dict[tuple[str, str], str] = {}
        self._failures: dict[str, OfOneSource] = {}
        self._running = 0

    def of_requirement(self, requirement: PypiRequirement, request: Request) -> BuiltWheel:
        """As WheelBuilder has it."""
        asked = direct_url(requirement.url)
        assert asked is not None, "only a requirement with a source is built"
        if asked.is_here and requirement.url not in self._paths:
            kept = self._kept_of(asked, requirement.name, request)
            if kept is not None:
                return kept
            raise SourceNotHere(
                request.name,
                request.arch,
                f"{requirement.name} was locked from a {asked.kind} that this project does not name",
                hint=f"add it to envlock.toml: `{requirement.name} = {{ path = ... }}`",
                packages=(requirement.name,),
            )
        if asked.is_wheel:
            return self._local_wheel(requirement, asked, request)
        try:
            source, fetch_url = self._source(requirement, asked, request)
            return self._wheel(requirement.name, "", source, request, fetch_url=fetch_url)
        except OfOneSource as error:
            raise _about(error, requirement.name) from None

    def of_sdist(self, sdist: LockedPackage, request: Request) -> BuiltWheel:
        """As WheelBuilder has it."""
        source = Source("sdist", url=sdist.url, sha256=sdist.sha256, filename=sdist.filename)
        try:
            made = self._wheel(sdist.name, sdist.version, source, request)
        except OfOneSource as error:
            raise _about(error, sdist.name) from None
        return replace(made, index=sdist.index, upload_time=sdist.upload_time)

    def again(self, package: LockedPackage, request: Request) -> BuiltWheel:
        """A locked package that was built, built again from the same source; kept where it is the same bytes."""
        source = package.source
        assert source is not None, "only a package with a source is built"
        if source.path:
            place = self._project.path.parent / source.path
            urls = {path: direct_url(url) for url, path in self._paths.items()}
            asked = urls.get(source.path)
            if asked is None or asked.sha256 != source.sha256 or not place.exists():
                raise SourceNotHere(
                    request.name,
                    request.arch,
                    f"{source.said}, which {package.name} {package.version} was built from, is not here as it was",
                    hint="check out the commit that was locked, or lock again: `envlock lock`",
                    packages=(package.name,),
                )
        interpreter, _ = self._interpreter(request)
        recipe = self._recipe(package.name, package.version, source, request, interpreter)
        if source.kind == "git":
            recipe = recipe._replace(fetch_url=_repository(source.url)[1])
        with temporary_folder("again-", folder_in_home("builds", "wheels")) as folder, self._progress(recipe.said):
            try:
                built = build(recipe._replace(place=self._place(source)), folder / "wheel", self._reporter)
            except OfOneSource as error:
                raise _about(error, package.name) from None
            artifact = Artifact(built.filename, built.sha256, "", built.size)
            made = replace(source, requires=built.requires)
            return self._placed(artifact, built.path, built.name, built.version, made)

    def stop(self) -> None:
        """As WheelBuilder has it."""
        end_builds()

    # Where a wheel comes from.

    def _source(self, requirement: PypiRequirement, asked: DirectUrl, request: Request) -> tuple[Source, str]:
        """What to build, and the URL of its repository with credentials where it has any."""
        path, below = self._paths.get(requirement.url, ""), asked.subdirectory
        if asked.kind == "folder":
            return Source("folder", path=path, sha256=asked.sha256, subdirectory=below), ""
        if asked.kind == "file":
            source = Source("sdist", path=path, sha256=asked.sha256, filename=asked.filename, subdirectory=below)
            return source, ""
        known = [each.source for each in request.built_pins if each.name == requirement.name and each.source]
        if asked.kind == "git":
            url, fetch_url = _repository(asked.place)
            commits = [each.commit for each in known if (each.kind, each.url, each.subdirectory) == ("git", url, below)]
            commit = commits[0] if commits and self._keeps else self._commit(requirement, url, fetch_url, asked.ref)
            return Source("git", url=url, commit=commit, subdirectory=below), fetch_url
        place = address(asked.place)
        said = requirement.url.partition("sha256=")[2].partition("&")[0].lower()
        if said and not re.fullmatch("[0-9a-f]{64}", said):
            raise SourceHashMismatch(requirement.name, expected=said, got="a SHA-256 has 64 hex digits")
        digests = [each.sha256 for each in known if (each.kind, each.url) == ("sdist", place.kept)]
        sha256 = said or (digests[0] if digests and self._keeps else self._digest(requirement, place.kept, asked))
        return Source("sdist", url=place.kept, sha256=sha256, filename=asked.filename, subdirectory=below), ""

    def _commit(self, requirement: PypiRequirement, url: str, fetch_url: str, ref: str) -> str:
        with self._alone((url, ref)):
            known = self._commits.get((url, ref))
            if known is None:
                if self._offline and not is_commit(ref):
                    reason = "envlock is offline, and no lock has its commit"
                    raise GitUnreachable(requirement.name, url=url, details=(reason,))
                known = self._commits[url, ref] = commit_of(fetch_url, ref, requirement.name, kept=url)
            return known

    def _digest(self, requirement: PypiRequirement, url: str, asked: DirectUrl) -> str:
        """The SHA-256 of an sdist of the web, which is fetched for it."""
        package = LockedPackage(requirement.name, "", asked.filename, url, "")
        answer = FetchedHashes(self._project, self._reporter, offline=self._offline).digests(package, {})
        if answer is None:
            reason = "envlock is offline, and does not have the archive"
            raise BadBuiltWheel(requirement.name, reason=reason)
        return answer[0]["sha256"]

    def _place(self, source: Source) -> Path | None:
        """The folder or the archive of a source on this machine; None for git."""
        if source.kind == "git":
            return None
        if source.path:
            return self._project.path.parent / source.path
        artifact = Artifact(source.filename, source.sha256, source.url, is_source=True)
        try:
            fetched = artifact_source(self._project, self._reporter, offline=self._offline).fetch([artifact])
        except UpstreamHashMismatch as error:
            raise SourceHashMismatch(source.filename, expected=source.sha256, got=error.got) from None
        return fetched[source.sha256]

    # The wheel.

    def _local_wheel(self, requirement: PypiRequirement, asked: DirectUrl, request: Request) -> BuiltWheel:
        path = self._paths[requirement.url]
        place = self._project.path.parent / path
        try:
            name, version, _, _ = parse_wheel_filename(asked.filename)
        except InvalidWheelFilename as error:
            raise BadBuiltWheel(requirement.name, reason=str(error)) from None
        refuse_unfit(request, name, str(version), asked.filename, source=Source("wheel", path=path))
        artifact = Artifact(asked.filename, asked.sha256, "", place.stat().st_size)
        return self._placed(artifact, place, name, str(version), Source("wheel", path=path))

    def _wheel(self, name: str, version: str, source: Source, request: Request, *, fetch_url: str = "") -> BuiltWheel:
        """The wheel of a source: kept, built here, or, where that is of no use, the cache's."""
        kept = self._kept(name, source, request) if self._keeps else None
        if kept is not None:
            return kept
        interpreter, missing = self._interpreter(request)
        built = self._built(self._recipe(name, version, source, request, interpreter)._replace(fetch_url=fetch_url))
        made = replace(source, requires=built.requires)
        refuse_unnamed(request, built.name, built.from_folders)
        if built.is_pure or request.arch == host_arch():
            if missing is not None and not wheel_fits(built.name, built.version, built.filename, request):
                raise missing
            refuse_unfit(request, built.name, built.version, built.filename, source=source)
            refuse_newer_system(request, built.name, built.glibc, source=source)
            return self._placed(
                Artifact(built.filename, built.sha256, "", built.size), built.path, built.name, built.version, made
            )
        return self._of_cache(name, source, request)

    def _recipe(self, name: str, version: str, source: Source, request: Request, interpreter: Interpreter) -> Recipe:
        return Recipe(
            source=source,
            python=interpreter.path,
            python_version=interpreter.version,
            name=name,
            version=version,
            requires=_requires(request.built_pins, name),
            index_urls=request.index_urls,
            default_index_url=request.default_index_url,
            find_links_urls=request.find_links_urls,
            no_index="no-index" in request.requirements.pip_flags,
            exclude_newer=request.exclude_newer,
            offline=self._offline,
        )

    def _built(self, recipe: Recipe) -> Built:
        into = folder_in_home("builds", "wheels") / recipe.key
        with self._alone(recipe.key):
            found = built_in(into)
            if found is not None:
                return found
            if recipe.key in self._failures:  # for another arch
                raise self._failures[recipe.key]
            with self._progress(recipe.said):
                try:
                    return build(recipe._replace(place=self._place(recipe.source)), into, self._reporter)
                except OfOneSource as error:
                    self._failures[recipe.key] = error
                    raise

    def _kept(self, name: str, source: Source, request: Request) -> BuiltWheel | None:
        """The wheel that a lock had of the same source, if it is to be had and fits."""
        for package in request.built_pins:
            known = package.source
            if known is None or package.name != name or known.identity != source.identity:
                continue
            path = self._path_of(package, request)
            if path is not None:
                return _as_built(package, path, replace(known, path=source.path))
        return None

    def _kept_of(self, asked: DirectUrl, name: str, request: Request) -> BuiltWheel | None:
        """The wheel that a lock had of a folder or a file that is not in this project."""
        for package in request.built_pins:
            source = package.source
            if source is None or package.name != name or source.subdirectory != asked.subdirectory:
                continue
            same = package.sha256 if asked.is_wheel else source.sha256
            path = self._path_of(package, request) if same == asked.sha256 else None
            if path is not None:
                return _as_built(package, path, source)
        return None

    def _path_of(self, package: LockedPackage, request: Request) -> Path | None:
        """The wheel of a locked package, on this machine or in the cache, if it is for the request."""
        if not wheel_fits(package.name, package.version, package.filename, request):
            return None
        artifact = Artifact(package.filename, package.sha256, "", package.size)
        return LocalPackages(home()).find(artifact) or self._fetched(artifact)

    def _of_cache(self, name: str, source: Source, request: Request) -> BuiltWheel:
        """The wheel that a machine of the request's arch made of this source, and put into the cache."""
        found: BuiltFor | None = None
        with suppress(EnvlockError):
            found = BuiltWheels(open_cache(self._project)).find(source.key, request.arch, request.series)
        if found is not None and wheel_fits(name, found.version, found.filename, request):
            path = self._fetched(Artifact(found.filename, found.sha256, "", found.size))
            if path is not None:
                made = replace(source, requires=found.requires)
                return BuiltWheel(name, found.version, path, found.filename, found.sha256, found.size, made)
        raise BuiltForOtherArch(
            request.name,
            request.arch,
            f"{name} from {source.said} has compiled parts, so that a wheel for {ARCH} can only be built there",
            hint=f"run `envlock build --push` on a machine of that arch and then `envlock lock` here, or remove {ARCH} "
            "from `archs`",
            packages=(name,),
        )

    def _fetched(self, artifact: Artifact) -> Path | None:
        with suppress(EnvlockError):
            return artifact_source(self._project, self._reporter, offline=True).fetch([artifact])[artifact.sha256]
        return None

    def _placed(self, artifact: Artifact, file: Path, name: str, version: str, source: Source) -> BuiltWheel:
        """The wheel, among this machine's packages."""

        def fill(stage: Path) -> None:
            shutil.copyfile(file, stage)
            if sha256_of(stage) != artifact.sha256:
                raise SourceChanged(source.path or name)

        path = LocalPackages(home()).place(artifact, fill)
        return BuiltWheel(name, version, path, artifact.filename, artifact.sha256, artifact.size or 0, source)

    # Who builds, for whom.

    def _interpreter(self, request: Request) -> tuple[Interpreter, NoInterpreter | None]:
        """The interpreter to build with: of the locked series, else another, whose wheel has to fit all Pythons."""
        try:
            return find_interpreter(request.series, lambda _: True), None
        except NoInterpreter as missing:
            for other in reversed(machine_series()):
                with suppress(NoInterpreter):
                    return find_interpreter(other, lambda _: True), missing
            raise

    @contextmanager
    def _alone(self, key: object) -> Iterator[None]:
        with self._guard:
            each = self._locks.setdefault(key, threading.Lock())
        with each:
            yield

    @contextmanager
    def _progress(self, said: str) -> Iterator[None]:
        with self._guard:
            self._running += 1
            if self._running == 1:
                self._reporter.began(_BUILDING, 0, "packages")
        self._reporter.grew(_BUILDING, 1)
        self._reporter.doing(_BUILDING, said)
        try:
            yield
            self._reporter.advanced(_BUILDING, said)
        finally:
            with self._guard:
                self._running -= 1
                if not self._running:
                    self._reporter.ended(_BUILDING)


def _repository(written: str) -> tuple[str, str]:
    """The URL of a repository as a lock has it, and as git is asked: with its variables filled in."""
    place = address(f"git+{written}", fits=lambda url: not direct_url_fault(url), expected="a repository")
    return place.kept.removeprefix("git+"), place.url.removeprefix("git+")


def _as_built(package: LockedPackage, path: Path, source: Source) -> BuiltWheel:
    size = package.size or 0
    return BuiltWheel(package.name, package.version, path, package.filename, package.sha256, size, source)


def _requires(pins: Sequence[LockedPackage], name: str) -> tuple[str, ...]:
    """What built the package before: the versions to keep."""
    return next((each.source.requires for each in pins if each.name == name and each.source), ())


def _about(error: OfOneSource, package: str) -> OfOneSource:
    """The error, with the package whose line of envlock.toml it is about."""
    made = error.adding()
    made.packages = (package,)
    return made
