"""`export`: the locks of an environment in another tool's format. Reads the project, and writes nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

from envlock.config.layers import variable_of
from envlock.config.project import CONFIG_NAME, OF_METAFLOW
from envlock.config.selection import Selection, choose_one, one_of, options_of
from envlock.files import MEMO_BYTES, read_file
from envlock.interchange.exported import FORMATS, Export, Given, export
from envlock.lockfile.allowed_values import SHA256
from envlock.lockfile.rows import rows_in
from envlock.model.arch import UnsupportedHost, host_arch
from envlock.model.url import VARIABLE
from envlock.values import NamedTuple
from envlock.workflow.check import check_and_read
from envlock.workflow.find import own_choices
from envlock.workflow.needed_locks import locks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envlock.config.project import Environment, Project
    from envlock.interchange.dockerfile import BuildContext
    from envlock.interchange.exported import Format
    from envlock.lockfile.rows import LockRows
    from envlock.model.arch import Arch
    from envlock.reporter import Reporter

_LICENSES = "licenses"
"""The folder of the home with what was read of wheels."""


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
    name: str = "",
    archs: Sequence[Arch] = (),
    only: str = "",
    fetching: Reporter | None = None,
) -> Exported:
    """One environment of a project in a format, from locks that are fresh and whole; a `name` is one of any kind.

    Without `archs`, all of the project's if one file holds several, else this machine's. An SBOM has the licenses of
    wheels that are on this machine; with `fetching`, which hears of it, the others are fetched from the cache or
    upstream. Raises FormatCannotHold, and what `choose_one`, `fresh_locks` and `CacheThenUpstream.fetch` raise.
    """
    chosen = (
        one_of(project, own_choices(project, name))
        if name
        else choose_one(project, flow=flow, step=step, environment=environment)
    )
    wanted = tuple(dict.fromkeys(archs)) or _default_archs(project, FORMATS[format])
    given = Given(format, chosen.name, _locks(project, chosen, wanted), only)
    if FORMATS[format].is_image:
        given = given._replace(context=_build_context(project, chosen, given))
    if FORMATS[format].is_sbom:
        given = given._replace(licenses=licenses_of(project, given, fetching))
    return Exported(given, export(given))


def _default_archs(project: Project, chosen: Format) -> tuple[Arch, ...]:
    if chosen.is_image:
        return tuple(arch for arch in project.settings.archs if arch.startswith("linux-")) or project.settings.archs
    if chosen.holds_archs:
        return project.settings.archs
    try:
        here = host_arch()
    except UnsupportedHost:
        return project.settings.archs[:1]
    return (here,) if here in project.settings.archs else project.settings.archs[:1]


def _build_context(project: Project, environment: Environment, given: Given) -> BuildContext:
    """What the build of an image needs: all files that reading the project needs, and the locks."""
    from shlex import quote

    from envlock.interchange.dockerfile import BuildContext

    needed = {project.path, project.lock_folder, *project.team_files, *project.files}
    needed |= {file for flow in project.flows for file in (flow.file, *flow.modules)}
    needed |= {project.folder / path for each in project.environments() for _, path in each.local}
    written, cache = project.written_cache, Path(project.written_cache)
    saying = project.layers.that_have(("envlock", "cache")) if project.layers is not None else ()
    is_own = all(layer.is_of_repository for layer in saying[-1:]) and project.settings.cache != OF_METAFLOW
    if not is_own and "${" in written:  # of this machine, as what is in the variable is
        written = ""
    bucket = written.partition("://")[0].lower() if "://" in written else "all" if "${" in written else ""
    if not bucket and cache.is_relative_to(project.folder) and cache.is_dir():
        needed.add(cache)
    paths = sorted(os.path.relpath(path, project.folder).replace(os.sep, "/") for path in needed)
    outside = tuple(path for path in paths if path.split("/")[0] == "..")
    inside = [path for path in paths if path not in outside]
    texts = [project.text, *(file.read_text(encoding="utf-8", errors="replace") for file in project.team_files)]
    texts += [*(file.read_text(encoding="utf-8", errors="replace") for file in project.files)]
    config = "" if project.path.name == CONFIG_NAME else f" --config {quote(project.path.name)}"
    own = [lock.requirements for lock in given.locks]
    return BuildContext(
        choice=options_of(environment.key) + config,
        files=tuple(path for path in inside if not (project.folder / path).is_dir()),
        folders=tuple(path for path in inside if (project.folder / path).is_dir()),
        bucket=bucket,
        has_cache=bool(bucket) or cache in needed,
        variables=tuple(sorted({name for text in texts for name in re.findall(VARIABLE, text)})),
        has_own_hosts=any(
            each.get("default-index")
            or each.get("indexes")
            or each.get("package-indexes")
            or any("://" in channel for channel in each.get("channels", ()))
            for each in own
        ),
        outside=outside,
        settings=() if is_own or not bucket else tuple(_told(project, written)),
    )


def _told(project: Project, cache: str) -> Iterator[tuple[str, str]]:
    """The variables that tell a build of the cache that only this machine knows of; no profile, which it has not."""
    yield variable_of("cache"), cache
    options = project.cache_options._replace(profile="")._asdict()
    words = [f"{key}={str(value).lower() if value is True else value}" for key, value in options.items() if value]
    if words:
        yield variable_of("cache-options"), " ".join(words)


def licenses_of(project: Project, given: Given, fetching: Reporter | None) -> dict[str, str]:
    """The licenses that wheels declare, by SHA-256, as far as the wheels are on this machine.

    What was read is noted in the home, by lock: reading 150 wheels takes longer than the rest.
    """
    from envlock.places import home

    wheels = [each for lock in given.locks for each in given.packages(lock) if not each.conda]
    if fetching is not None:
        from envlock.model.artifact import Artifact
        from envlock.workflow.artifacts import artifact_source

        asked = [Artifact(each.filename, each.sha256, each.url, each.size) for each in wheels]
        artifact_source(project, fetching).fetch(asked)
    top = home()
    memo = top / _LICENSES / "-".join(lock.full_id for lock in given.locks)
    known = _noted(memo)
    folder = f"{top}/packages"
    found = [
        each
        for each in wheels
        if each.sha256 not in known and os.path.isdir(f"{folder}/{each.sha256[:2]}/{each.sha256}")  # noqa: PTH112
    ]
    if found:  # what reads wheels takes long to import
        from envlock.cache.layout import package_path
        from envlock.hydration.wheels import metadata_in
        from envlock.interchange.sbom import license_in

        places = {each.sha256: top / package_path(each.sha256, each.filename) for each in found}
        known |= {sha256: license_in(metadata_in(path)) for sha256, path in places.items() if path.is_file()}
        _note(memo, known)
    return known


def _noted(memo: Path) -> dict[str, str]:
    """The licenses that were noted, by SHA-256; none where nothing can be read."""
    try:
        lines = read_file(memo, MEMO_BYTES).decode().split("\n")
    except (OSError, UnicodeDecodeError):
        return {}
    return {sha256: text for sha256, _, text in (line.partition(" ") for line in lines) if re.fullmatch(SHA256, sha256)}


def _note(memo: Path, licenses: Mapping[str, str]) -> None:
    from envlock.files import write_atomically
    from envlock.places import folder_in_home

    try:
        folder_in_home(_LICENSES)
        write_atomically(memo, "".join(f"{sha256} {text}\n" for sha256, text in licenses.items()).encode())
    except OSError:
        return  # without it, the wheels are read again next time


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
