"""`export`: the locks of an environment in another tool's format. Reads the project, and writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from envlock.config.selection import Selection, choose_one
from envlock.interchange.exported import FORMATS, Export, Given, export
from envlock.lockfile.rows import rows_in
from envlock.model.arch import UnsupportedHost, host_arch
from envlock.workflow.check import check_and_read
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.config.project import Environment, Project
    from envlock.lockfile.rows import LockRows, PackageRow
    from envlock.model.arch import Arch
    from envlock.reporter import Reporter


class Exported(NamedTuple):
    """What was exported, and as what."""

    given: Given
    export: Export


def export_environment(
    project: Project,
    format: str,  # noqa: A002
    *,
    flow: str = "",
    step: str = "",
    environment: str = "",
    archs: Sequence[Arch] = (),
    only: str = "",
    fetching: Reporter | None = None,
) -> Exported:
    """One environment of a project in a format, from locks that are fresh and whole.

    Without `archs`, all of the project's if one file holds several, else this machine's. An SBOM has the licenses of
    wheels that are on this machine; with `fetching`, which hears of it, the others are fetched from the cache or
    upstream. Raises FormatCannotHold, and what `choose_one`, `fresh_locks` and `CacheThenUpstream.fetch` raise.
    """
    chosen = choose_one(project, flow=flow, step=step, environment=environment)
    wanted = tuple(dict.fromkeys(archs)) or _default_archs(project, several=FORMATS[format].holds_archs)
    given = Given(format, chosen.name, _locks(project, chosen, wanted), only)
    if FORMATS[format].is_sbom:
        wheels = [each for lock in given.locks for each in given.packages(lock) if not each.conda]
        given = given._replace(licenses=_licenses(project, wheels, fetching))
    return Exported(given, export(given))


def _default_archs(project: Project, *, several: bool) -> tuple[Arch, ...]:
    if several:
        return project.settings.archs
    try:
        here = host_arch()
    except UnsupportedHost:
        return project.settings.archs[:1]
    return (here,) if here in project.settings.archs else project.settings.archs[:1]


def _licenses(project: Project, wheels: Sequence[PackageRow], fetching: Reporter | None) -> dict[str, str]:
    """The licenses that wheels declare, by SHA-256, as far as the wheels are on this machine."""
    from envlock.places import home

    if fetching is not None:
        from envlock.model.artifact import Artifact
        from envlock.workflow.artifacts import artifact_source

        asked = [Artifact(each.filename, each.sha256, each.url, each.size) for each in wheels]
        artifact_source(project, fetching).fetch(asked)
    top = home()
    if not (top / "packages").is_dir():  # what reads wheels takes long to import
        return {}
    from envlock.cache.layout import package_path
    from envlock.hydration.wheels import metadata_in
    from envlock.interchange.sbom import license_in

    places = {each.sha256: top / package_path(each.sha256, each.filename) for each in wheels}
    return {sha256: license_in(metadata_in(path)) for sha256, path in places.items() if path.is_file()}


def _locks(project: Project, environment: Environment, archs: tuple[Arch, ...]) -> tuple[LockRows, ...]:
    """The lock for each arch, after `check` found nothing wrong with them."""
    if not environment.is_fetched and set(archs) <= set(project.settings.archs):
        named = (environment.name,)
        selection = Selection(
            steps=named if environment.is_step else (), environments=() if environment.is_step else named, archs=archs
        )
        result, read = check_and_read(project, selection)
        if not result.findings:
            places = [locks_of(project, environment, arch)[0] for arch in archs]
            return tuple(rows_in(read[path]) for path in places)
    from envlock.lockfile.document import render
    from envlock.workflow.fresh_locks import fresh_locks

    fresh = [fresh_locks(project, (environment,), arch)[environment.name] for arch in archs]
    return tuple(rows_in(render(lock).encode()) for lock in fresh)
