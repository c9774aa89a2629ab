"""What an imported lock does not say of its packages: asked of channels and indexes, and held to its hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.config.project import Project
from envlock.interchange.errors import ImportHashMismatch, ImportIncomplete
from envlock.interchange.imported import Imported
from envlock.model.arch import Arch
from envlock.model.lock import LockedPackage
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from envlock.workflow.artifacts import FetchedHashes


def completed_import(
    project: Project, shown: str, imported: Imported, reporter: Reporter, *, offline: bool
) -> tuple[Imported, int]:
    """The same with all that its lock does not say, and of how many packages that was something.

    Raises ImportHashMismatch and ImportIncomplete.
    """
    from envlock.interchange.conda_parts import settled
    from envlock.workflow.artifacts import FetchedHashes

    hashes = FetchedHashes(project, reporter, offline=offline)
    packages = {(package.kind, package.url): package for each in imported.locks.values() for package in each}
    conda = [
        package
        for package in packages.values()
        if package.kind == "conda" and not (package.sha256 and imported.has_conda_facts)
    ]
    wheels = [package for package in packages.values() if package.kind == "pypi" and not package.sha256]
    known = _conda(project, shown, conda, hashes, offline=offline)
    done = {("conda", package.url): package for package in known}
    done |= {("pypi", package.url): package for package in _hashed(shown, wheels, hashes, offline=offline)}
    locks = {arch: _put_in(each, done) for arch, each in imported.locks.items()}
    notes: tuple[str, ...] = ()
    if any(package.kind == "pypi" for each in locks.values() for package in each):
        locks, notes = _with_distributions(project, locks, offline=offline)
    return settled(imported._replace(locks=locks, notes=(*imported.notes, *notes))), len(done)


def _put_in(
    packages: Sequence[LockedPackage], done: Mapping[tuple[str, str], LockedPackage]
) -> tuple[LockedPackage, ...]:
    from envlock.conda.lock_files import completed

    names = {package.name for package in packages if package.kind == "conda"}
    found = []
    for package in packages:
        known = done.get((package.kind, package.url))
        if known is None:
            found.append(package)
        elif package.kind == "conda":
            found.append(completed(package, known, names))
        else:
            found.append(replace(package, sha256=known.sha256, size=known.size))
    return tuple(found)


def _conda(
    project: Project, shown: str, packages: Sequence[LockedPackage], hashes: FetchedHashes, *, offline: bool
) -> list[LockedPackage]:
    """What the channels say of these conda packages, or else their archives, which are fetched for it."""
    if not packages:
        return []
    from envlock.conda.archives import Archives
    from envlock.conda.errors import ChannelFailure
    from envlock.conda.lock_files import in_channels, key_of, of_index

    urls, mirrors = _channels(project)
    try:
        known = in_channels(packages, urls, mirrors, offline=offline)
    except ChannelFailure as failure:
        raise ImportIncomplete(shown, [f"{failure.url}: {failure.reason}"], offline=offline) from None
    found: list[LockedPackage] = []
    failures: list[str] = []
    archives = Archives(urls, mirrors, offline=offline)
    for package in packages:
        in_channel = known.get(key_of(package))
        if in_channel is not None and in_channel.sha256:
            _compare(shown, package, in_channel, "the channel")
            found.append(replace(in_channel, url=package.url))
            continue
        assert package.conda is not None
        published = {"md5": package.conda.md5} if package.conda.md5 else {}
        answer = hashes.digests(package, {**published, **({"sha256": package.sha256} if package.sha256 else {})})
        if answer is None:
            failures.append(f"{package.filename}: {package.conda.channel} does not list it")
            continue
        digests, size = answer
        got = replace(package, sha256=digests["sha256"], size=size)
        _compare(shown, package, replace(got, conda=replace(package.conda, md5=digests.get("md5", ""))), "its archive")
        index = archives.index(got)
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
