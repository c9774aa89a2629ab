"""The packages of an imported lock of which it has only the source: built as `lock` builds them, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.config.edit.env_tables import new_environment
from envlock.config.local_sources import source_requirement
from envlock.config.project import Project
from envlock.config.read import project_of
from envlock.errors import ConfigError, Location
from envlock.interchange.conda_parts import asked_url
from envlock.interchange.errors import ImportHashMismatch, ImportIncomplete, ImportNeedsBuild
from envlock.interchange.imported import Imported
from envlock.model.lock import LockedPackage, Source
from envlock.model.requirement import PypiRequirement, parse_requirement
from envlock.model.url import direct_url
from envlock.reporter import Reporter
from envlock.workflow.import_completion import default_index, request_of

if TYPE_CHECKING:
    from envlock.resolve.port import Request
    from envlock.workflow.builds import Builds


def built_import(project: Project, file: Path, imported: Imported, reporter: Reporter, *, offline: bool) -> Imported:
    """The same, in which each package that the lock has only the source of has a wheel of it, built on this machine.

    An sdist of an index is built where `build` of the project allows it. What lies at a path, which is relative to the
    lock, is known by its content from then on. Raises ImportNeedsBuild, ImportHashMismatch, BadSource, and what
    building raises.
    """
    sources = {each.name: each.source for each in _to_build(imported) if each.source is not None}
    if not sources:
        return imported
    from envlock.workflow.builds import Builds

    allowed = project.settings.build
    of_index = {
        each.name
        for each in _to_build(imported)
        if each.source is not None and each.source.kind == "sdist"
        if each.index or imported.has_index_sdists or not (each.source.url or each.source.path)
    }
    refused = [] if allowed is True else sorted(of_index - {*(allowed or ())})
    if refused:
        raise ImportNeedsBuild(file.name, [f"{name} (sdist)" for name in refused])
    imported = _with_urls(project, file.name, imported, reporter, offline=offline)
    here, local = _of_paths(project, file, {name: each.path for name, each in sources.items() if each.path})
    if local:
        project = _naming(project, {name: path for name, (_, path) in local.items()})
    builds = Builds(project, reporter, offline=offline)
    locks = {}
    for arch, packages in imported.locks.items():
        request = request_of(project, imported, arch, (), offline=offline)
        locks[arch] = tuple(
            each
            if each.source is None or each.sha256
            else _built(file.name, builds, each, here.get(each.name), request)
            for each in packages
        )
    imported = imported._replace(locks=locks, local=tuple(sorted(local.values())))
    return imported._replace(roots=_with_sources(imported)) if imported.states_requirements else imported


def _with_urls(project: Project, shown: str, imported: Imported, reporter: Reporter, *, offline: bool) -> Imported:
    """The same, in which each sdist has the URL of the file with its SHA-256, which its index lists.

    Raises ImportIncomplete, and what asking an index raises.
    """
    asked = {
        arch: [each for each in packages if each.source and each.source.kind == "sdist" and _is_nowhere(each.source)]
        for arch, packages in imported.locks.items()
    }
    arch = next((arch for arch, packages in asked.items() if packages), None)
    if arch is None:
        return imported
    from envlock.resolve.pypi_uv import UvResolver

    packages = list({each.name: each for found in asked.values() for each in found}.values())
    reporter.doing("looking up", "sdists")
    listed = UvResolver().sdist_files_of(request_of(project, imported, arch, packages, offline=offline))
    found: dict[str, LockedPackage] = {}
    failures = []
    for each in packages:
        assert each.source is not None, "only packages with a source are asked for"
        (sdist,) = listed.get(each.name) or (None,)
        if sdist is None or sdist.filename != each.source.filename or sdist.sha256 not in {"", each.source.sha256}:
            failures.append(f"{each.source.filename}: its index does not list it, with the SHA-256 that the file has")
        else:
            place = replace(each.source, url=sdist.url)
            found[each.name] = replace(each, source=place, index=each.index or sdist.index or default_index(project))
    if failures:
        raise ImportIncomplete(shown, failures, offline=offline)
    return imported._replace(
        locks={
            arch: tuple(found.get(each.name, each) if each in asked[arch] else each for each in packages)
            for arch, packages in imported.locks.items()
        }
    )


def _is_nowhere(source: Source) -> bool:
    return not (source.url or source.path)


def _to_build(imported: Imported) -> Iterator[LockedPackage]:
    for packages in imported.locks.values():
        yield from (each for each in packages if each.source is not None and not each.sha256)


def _of_paths(
    project: Project, file: Path, paths: dict[str, str]
) -> tuple[dict[str, PypiRequirement], dict[str, tuple[str, str]]]:
    """By name, the requirement of what lies at a path beside the lock, and its URL with the path from envlock.toml."""
    here: dict[str, PypiRequirement] = {}
    local: dict[str, tuple[str, str]] = {}
    for name, path in paths.items():
        try:
            here[name], found = source_requirement(
                name, {"path": path}, folder=file.absolute().parent, project=project.folder
            )
        except ConfigError as error:
            raise error.at(Location(file.name)) from None
        assert found is not None, "a path has a place"
        local[name] = found
    return here, local


def _naming(project: Project, paths: dict[str, str]) -> Project:
    """The project with an environment that names these paths: what it names, it may build."""
    name = next(
        f"import-{number}" for number in range(1000) if f"import-{number}" not in {e.name for e in project.named}
    )
    packages = {package: {"path": path} for package, path in paths.items()}
    return project_of(project.path, new_environment(project.text, name, {"pypi": {"packages": packages}}))


def _built(
    shown: str, builds: Builds, package: LockedPackage, here: PypiRequirement | None, request: Request
) -> LockedPackage:
    source = package.source
    assert source is not None, f"{package.name} has no source"
    if here is not None:
        content = direct_url(here.url)
        if source.kind != "folder" and content is not None and content.sha256 != source.sha256:
            expected, got = f"sha256 {source.sha256}", f"sha256 {content.sha256}"
            raise ImportHashMismatch(shown, source.path, expected, "the file", got)
        wheel = builds.of_requirement(here, request)
    elif source.kind == "git":
        wheel = builds.of_requirement(parse_requirement(f"{package.name} @ {asked_url(package)}"), request)
    else:
        sdist = replace(package, url=source.url, filename=source.filename, sha256=source.sha256, source=None)
        wheel = builds.of_sdist(sdist, request)
    if package.version and not _is_same_version(package.version, wheel.version):
        expected, found = f"version {package.version}", f"version {wheel.version}"
        raise ImportHashMismatch(shown, f"what {package.name} is built from", expected, "its wheel", found)
    return replace(wheel.package, dependencies=package.dependencies)


def _is_same_version(one: str, other: str) -> bool:
    from packaging.version import Version

    return one == other or Version(one) == Version(other)


def _with_sources(imported: Imported) -> tuple[PypiRequirement, ...]:
    """The requirements of a lock, in which each package that is built from a source of its own names that.

    Nothing but the requirement says where such a package comes from: by its name alone, an index would be asked.
    """
    urls = {each.name: asked_url(each) for packages in imported.locks.values() for each in packages if asked_url(each)}
    roots = [
        root._replace(url=urls[root.name], specifier="") if root.name in urls and not root.url else root
        for root in imported.roots
    ]
    named = {root.name for root in roots}
    return (*roots, *(PypiRequirement(name, url=url) for name, url in sorted(urls.items()) if name not in named))
