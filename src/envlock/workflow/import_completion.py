"""What an imported lock does not say of its packages: asked of channels and indexes, and held to its hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.config.project import Project
from envlock.interchange.errors import ImportHashMismatch, ImportIncomplete
from envlock.interchange.imported import Imported
from envlock.model.arch import Arch
from envlock.model.lock import LockedPackage
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.model.url import strip_credentials
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from envlock.conda.lock_files import Needs
    from envlock.resolve.port import Request
    from envlock.workflow.artifacts import FetchedHashes

_COMPLETING = "completing"


def completed_import(
    project: Project, shown: str, imported: Imported, reporter: Reporter, *, offline: bool
) -> tuple[Imported, int]:
    """The same with all that its lock does not say, and of how many packages that was something.

    Raises ImportHashMismatch and ImportIncomplete.
    """
    from envlock.interchange.conda_parts import settled
    from envlock.workflow.artifacts import FetchedHashes

    hashes = FetchedHashes(project, reporter, offline=offline)
    located = {_key(package) for each in imported.locks.values() for package in each if not package.url}
    imported = with_files(project, shown, imported, reporter, offline=offline)
    packages = {_key(package): package for each in imported.locks.values() for package in each}
    conda = [
        package
        for package in packages.values()
        if package.kind == "conda" and not (package.sha256 and imported.has_conda_facts)
    ]
    wheels = [package for package in packages.values() if package.kind == "pypi" and not package.sha256]
    reporter.began(_COMPLETING, len(conda), "packages")
    try:
        known = _conda(project, shown, conda, hashes, reporter, offline=offline)
    finally:
        reporter.ended(_COMPLETING)
    done = {_key(package): package for package in known}
    done |= {_key(package): package for package in _hashed(shown, wheels, hashes, offline=offline)}
    put_in = _Completion(done)
    locks = {arch: put_in.all_of(each) for arch, each in imported.locks.items()}
    notes: tuple[str, ...] = ()
    if any(package.kind == "pypi" for each in locks.values() for package in each):
        locks, notes = _with_distributions(project, locks, offline=offline)
    return settled(imported._replace(locks=locks, notes=(*imported.notes, *notes))), len(done) + len(
        located - {*packages}
    )


def _key(package: LockedPackage) -> tuple[str, ...]:
    """What tells the files of a lock apart."""
    return (package.kind, package.url) if package.url else (package.kind, package.name, package.version, package.sha256)


class _Completion:
    """Puts what was found into the packages of a lock. A `noarch` package, which several archs have, is made once."""

    def __init__(self, done: Mapping[tuple[str, ...], LockedPackage]) -> None:
        self._done = done
        self._needs: dict[tuple[int, bool], Needs] = {}
        self._made: dict[tuple[int, bool, tuple[str, ...]], LockedPackage] = {}

    def all_of(self, packages: Sequence[LockedPackage]) -> tuple[LockedPackage, ...]:
        """The packages of an arch, which somebody keeps as long as this object."""
        names = {package.name for package in packages if package.kind == "conda"}
        states_needs = any(package.conda.depends for package in packages if package.conda is not None)
        found = []
        for package in packages:
            known = self._done.get(_key(package))
            if known is None:
                found.append(package)
            elif package.kind == "conda":
                found.append(self._conda(package, known, names, states_needs=states_needs))
            else:
                found.append(replace(package, sha256=known.sha256, size=known.size))
        return tuple(found)

    def _conda(
        self, package: LockedPackage, known: LockedPackage, names: set[str], *, states_needs: bool
    ) -> LockedPackage:
        from envlock.conda.lock_files import completed, needs_of

        key = (id(package), states_needs)
        needs = self._needs.get(key)
        if needs is None:
            needs = self._needs[key] = needs_of(package, known, states_needs=states_needs)
        edges = tuple(sorted(names & needs.names))
        row = (*key, edges)
        if row not in self._made:
            self._made[row] = completed(package, known, needs, edges)
        return self._made[row]


def with_files(project: Project, shown: str, imported: Imported, reporter: Reporter, *, offline: bool) -> Imported:
    """The same, in which each wheel has a URL: that of the file with its SHA-256, which its index tells.

    Raises ImportHashMismatch, ImportIncomplete, and what asking an index raises.
    """
    unknown = {
        arch: [each for each in packages if not each.url and each.source is None]
        for arch, packages in imported.locks.items()
    }
    unknown = {arch: packages for arch, packages in unknown.items() if packages}
    if not unknown:
        return imported
    from envlock.resolve.pypi_uv import UvResolver

    resolver = UvResolver()
    reporter.began("looking up", len(unknown), "archs")
    try:
        with ThreadPoolExecutor(len(unknown)) as pool:
            asked = {
                arch: pool.submit(resolver.files_of, request_of(project, imported, arch, packages, offline=offline))
                for arch, packages in unknown.items()
            }
            listed = {}
            try:
                for arch, answer in asked.items():
                    listed[arch] = answer.result()
                    reporter.advanced("looking up", arch)
            except BaseException:  # before the pool waits for the others
                resolver.stop()
                raise
    finally:
        reporter.ended("looking up")
    only_index = "" if imported.indexes or project.settings.extra_indices else default_index(project)
    locks: dict[Arch, tuple[LockedPackage, ...]] = {}
    failures: dict[str, None] = {}
    for arch, packages in imported.locks.items():
        found = []
        for package in packages:
            file = (
                package
                if package.url or package.source
                else _file_of(project, shown, imported, arch, package, listed[arch].get(package.name, ()))
            )
            if file is not None and not file.index and file is not package:
                file = replace(file, index=only_index)
            if file is None:
                said = package.filename or f"{package.name} {package.version}"
                failures[f"{said}: its index lists no wheel of it that fits"] = None
            else:
                found.append(file)
        locks[arch] = tuple(found)
    if failures:
        raise ImportIncomplete(shown, list(failures), offline=offline)
    indexes = [each.index for packages in locks.values() for each in packages if each.index]
    return imported._replace(locks=locks, indexes=tuple(dict.fromkeys([*imported.indexes, *indexes])))


def request_of(
    project: Project, imported: Imported, arch: Arch, packages: Sequence[LockedPackage], *, offline: bool
) -> Request:
    """Just these versions, each from the index that the lock names for it, with the credentials of the project."""
    from envlock.resolve.port import Request

    settings = project.settings
    of_environments = [url for environment in project.environments() for url in environment.every_index_url]
    written = {strip_credentials(url): url for url in (*settings.extra_indices, *of_environments)}
    names = [index for index in imported.indexes if index]
    return Request(
        name=shown_name(imported),
        arch=arch,
        requirements=Requirements(
            pypi=tuple(
                parse_requirement(f"{each.name}=={each.version}")._replace(from_index=each.index) for each in packages
            ),
            system=_floors(project, imported),
        ),
        python=imported.pythons[arch].version,
        index_urls=tuple(
            written.get(url, project.mirrored(url))
            for url in dict.fromkeys([*names, *map(strip_credentials, settings.extra_indices)])
        ),
        default_index_url=project.asked_default(settings.index_url),
        package_index_urls=tuple(written.get(url, project.mirrored(url)) for url in names),
        offline=offline,
    )


def shown_name(imported: Imported) -> str:
    """What messages call the environment that is imported."""
    return f"the packages of {imported.kind}"


def default_index(project: Project) -> str:
    """The index that is asked where no other is named, without credentials."""
    from envlock import uv_command

    return strip_credentials(project.settings.index_url or uv_command.default_index())


def _floors(project: Project, imported: Imported) -> tuple[tuple[Arch, str, str], ...]:
    """The system packages of the project, or later ones where the lock needs them."""
    from envlock.config.inherit import defaults_of
    from envlock.config.system_packages import system_rows

    rows = system_rows(defaults_of(project.settings).system, {}, has_conda=False)
    later = {(arch, name): version for arch, name, version in imported.system}
    return tuple((arch, name, later.get((arch, name), version)) for arch, name, version in rows)


def _file_of(
    project: Project,
    shown: str,
    imported: Imported,
    arch: Arch,
    package: LockedPackage,
    listed: Sequence[LockedPackage],
) -> LockedPackage | None:
    """The file of a package among those that its index lists; None if it is not there. Raises ImportHashMismatch."""
    from envlock.interchange.universal import Wheel, best_wheel
    from envlock.resolve.platform_tags import target_of

    allowed = imported.hashes.get((package.name, package.version), frozenset())
    if package.filename:
        file = next((each for each in listed if each.filename == package.filename), None)
        if file is not None and file.sha256 and package.sha256 and file.sha256 != package.sha256:
            expected, found = f"sha256 {package.sha256}", f"sha256 {file.sha256}"
            raise ImportHashMismatch(shown, package.filename, expected, "the index", found)
    else:
        target = target_of(Requirements(system=_floors(project, imported)), arch, imported.pythons[arch].version)
        wheels = {each.url: each for each in listed if each.sha256 in allowed}
        best = best_wheel((Wheel(each.filename, each.url) for each in wheels.values()), target)
        file = wheels[best.url] if best is not None else None
    if file is None:
        return None
    return replace(
        package,
        url=file.url,
        filename=file.filename,
        sha256=package.sha256 or file.sha256,
        size=file.size,
        upload_time=file.upload_time,
        index=package.index or file.index,
    )


def _conda(
    project: Project,
    shown: str,
    packages: Sequence[LockedPackage],
    hashes: FetchedHashes,
    reporter: Reporter,
    *,
    offline: bool,
) -> list[LockedPackage]:
    """What the channels say of these conda packages, or else their archives, which are fetched for it."""
    if not packages:
        return []
    from envlock.conda.archives import Archives
    from envlock.conda.errors import ChannelFailure
    from envlock.conda.lock_files import in_channels, key_of, of_index

    urls, mirrors = _channels(project)
    reporter.doing(_COMPLETING, "repodata of channels")
    try:
        known = in_channels(packages, urls, mirrors, offline=offline)
    except ChannelFailure as failure:
        reasons = [f"{failure.url}: {failure.reason}"]
        raise ImportIncomplete(shown, reasons, packages=len(packages), offline=offline) from None
    found: list[LockedPackage] = []
    failures: list[str] = []
    reporter.advanced(_COMPLETING, "repodata of channels", 0)
    archives = Archives(urls, mirrors, offline=offline)
    for package in packages:
        in_channel = known.get(key_of(package))
        if in_channel is not None and in_channel.sha256:
            reporter.advanced(_COMPLETING, package.filename)
            _compare(shown, package, in_channel, "the channel")
            found.append(in_channel if in_channel.url == package.url else replace(in_channel, url=package.url))
            continue
        assert package.conda is not None
        reporter.doing(_COMPLETING, package.filename)
        published = {"md5": package.conda.md5} if package.conda.md5 else {}
        answer = hashes.digests(package, {**published, **({"sha256": package.sha256} if package.sha256 else {})})
        if answer is None:
            failures.append(f"{package.filename}: {package.conda.channel} does not list it")
            continue
        digests, size = answer
        got = replace(package, sha256=digests["sha256"], size=size)
        _compare(shown, package, replace(got, conda=replace(package.conda, md5=digests.get("md5", ""))), "its archive")
        index = archives.index(got)
        reporter.advanced(_COMPLETING, package.filename)
        try:
            found.append(of_index(got, index or {}))
        except (KeyError, TypeError, ValueError) as error:
            failures.append(f"{package.filename}: its archive does not say what it is ({error})")
    if failures:
        raise ImportIncomplete(shown, failures, offline=offline)
    return found


def _compare(shown: str, package: LockedPackage, found: LockedPackage, place: str) -> None:
    """Raise ImportHashMismatch where what was found is another file than the lock names."""
    assert package.conda is not None
    assert found.conda is not None
    for name, expected, got in (
        ("sha256", package.sha256, found.sha256),
        ("md5", package.conda.md5, found.conda.md5),
    ):
        if expected and got and expected != got:
            raise ImportHashMismatch(shown, package.filename, f"{name} {expected}", place, f"{name} {got}")


def _hashed(
    shown: str, wheels: Sequence[LockedPackage], hashes: FetchedHashes, *, offline: bool
) -> list[LockedPackage]:
    """Wheels with the SHA-256 that their lock does not have: they are fetched for it."""
    found, failures = [], []
    for wheel in wheels:
        answer = hashes.digests(wheel, {})
        if answer is None:
            failures.append(f"{wheel.filename}: its SHA-256 is not known")
        else:
            found.append(replace(wheel, sha256=answer[0]["sha256"], size=answer[1]))
    if failures:
        raise ImportIncomplete(shown, failures, offline=offline)
    return found


def _with_distributions(
    project: Project, locks: Mapping[Arch, tuple[LockedPackage, ...]], *, offline: bool
) -> tuple[dict[Arch, tuple[LockedPackage, ...]], tuple[str, ...]]:
    """The locks, in which each conda package tells which PyPI distributions it provides."""
    from envlock.conda.archives import Archives
    from envlock.resolve.mixed import with_distributions

    urls, mirrors = _channels(project)
    archives = Archives(urls, mirrors, offline=offline)
    done: dict[Arch, tuple[LockedPackage, ...]] = {}
    notes: dict[str, None] = {}
    for arch, packages in locks.items():
        conda = [package for package in packages if package.kind == "conda"]
        known, said = with_distributions(archives, conda) if conda else ((), ())
        done[arch] = (*known, *(package for package in packages if package.kind == "pypi"))
        notes.update(dict.fromkeys(said))
    return done, tuple(notes)


def _channels(project: Project) -> tuple[list[str], Mapping[str, str]]:
    """The channels that the project knows, as configured, and the mirrors in force."""
    from envlock.conda.channels import mirrors_in_force

    urls = [url for environment in project.environments() for url in environment.channel_urls]
    return [*urls, *project.settings.channels], mirrors_in_force(project.settings.channel_mirrors)
