"""The locks of conda-lock and of pixi, read by py-rattler, and what a channel adds to what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from envlock.conda.channels import without_secrets
from envlock.conda.client import Place, places_of
from envlock.conda.event_loop import Calls
from envlock.conda.fetch import failure_of
from envlock.conda.host_check import while_alive
from envlock.conda.match_specs import edges, name_in
from envlock.conda.records import instant, package_of
from envlock.conda.repodata import Gateways
from envlock.model.lock import CondaFacts, LockedPackage

if TYPE_CHECKING:
    from rattler import Gateway, RepoDataRecord
    from rattler.lock import Environment, LockPlatform


_LARGEST_SECONDS = 253402300799
"""A timestamp above it is in milliseconds, as conda's are but for the oldest."""


class NotALock(ValueError):
    """py-rattler cannot read a file; the text says why."""


class PypiRow(NamedTuple):
    """A PyPI package of a lock, as the lock has it."""

    name: str
    version: str
    location: str
    sha256: str
    requires: tuple[str, ...]


class PlatformPart(NamedTuple):
    """What an environment has on one platform."""

    virtual_packages: tuple[str, ...]
    """As pixi writes them, such as `__glibc=2.28`."""
    conda: tuple[LockedPackage, ...]
    """Sorted by name, with edges. A package has no SHA-256 where the file has none."""
    pypi: tuple[PypiRow, ...]
    sources: tuple[str, ...]
    """Names of conda packages that would have to be built."""


class FileEnvironment(NamedTuple):
    """An environment of a lock."""

    channels: tuple[str, ...]
    """Names or URLs, without secrets, in order."""
    platforms: Mapping[str, PlatformPart]
    """By subdir."""


def read_lock_file(path: Path, *, is_bare: bool = False) -> Mapping[str, FileEnvironment]:
    """The environments of a conda-lock.yml or a pixi.lock, by name. Raises NotALock, and OSError.

    Bare are the records of conda-lock.yml: what they do not have is not looked for, and edges are left to who completes
    them. Costs py-rattler's own reading of the file, and as much again.
    """
    from rattler.lock import LockFile

    try:
        found = LockFile.from_path(path).environments()
        records = [environment.conda_repodata_records() for _, environment in found]
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  what is wrong with a record has no class of its own
        raise NotALock(str(error)) from None
    return {
        name: _environment(environment, each, is_bare=is_bare)
        for (name, environment), each in zip(found, records, strict=True)
    }


def _environment(
    environment: Environment, records: Mapping[str, Sequence[RepoDataRecord]], *, is_bare: bool
) -> FileEnvironment:
    channels = tuple(without_secrets(str(channel).rstrip("/")) for channel in environment.channels())
    platforms: dict[str, LockPlatform] = {}
    for platform in environment.platforms():  # a platform of pixi may have a name of its own
        subdir = str(platform.subdir)
        if subdir not in platforms or platform.name == subdir:
            platforms[subdir] = platform
    seen: _Seen = {}
    parts = {
        subdir: _part(environment, platform, records.get(platform.name, ()), seen, is_bare=is_bare)
        for subdir, platform in platforms.items()
    }
    return FileEnvironment(channels, parts)


def _part(
    environment: Environment, platform: LockPlatform, records: Sequence[RepoDataRecord], seen: _Seen, *, is_bare: bool
) -> PlatformPart:
    from rattler.lock import CondaLockedSourcePackage, PypiLockedPackage

    rows: list[PypiRow] = []
    sources: list[str] = []
    if not is_bare or environment.pypi_packages_for_platform(platform):
        for each in environment.packages(platform) or ():
            if isinstance(each, PypiLockedPackage):
                rows.append(_pypi_row(each))
            elif isinstance(each, CondaLockedSourcePackage):
                sources.append(each.name)
    if is_bare:
        packages = [_bare(record, seen) for record in records]
    else:
        names = {record.name.normalized for record in records}
        packages = [_locked(record, names) for record in records]
    return PlatformPart(
        virtual_packages=tuple(platform.virtual_packages),
        conda=tuple(sorted(packages, key=lambda package: package.name)),
        pypi=tuple(sorted(rows)),
        sources=tuple(sources),
    )


def _locked(record: RepoDataRecord, names: set[str]) -> LockedPackage:
    url = without_secrets(record.url)
    package = package_of(record, url.rsplit("/", 2)[0], edges(record.depends, names), url=url)
    return replace(package, filename=unquote(url.rpartition("/")[2]))  # a record of a lock file has it as in the URL


_Seen: TypeAlias = dict[tuple[str, bytes], LockedPackage]
"""Packages by URL and SHA-256: a `noarch` one is a row of each platform."""


def _bare(record: RepoDataRecord, seen: _Seen) -> LockedPackage:
    url, sha256 = record.url, record.sha256
    if sha256 is None:
        return _new_bare(record, url, sha256)
    key = (url, sha256)
    if key not in seen:
        seen[key] = _new_bare(record, url, sha256)
    return seen[key]


def _new_bare(record: RepoDataRecord, url: str, sha256: bytes | None) -> LockedPackage:
    url = without_secrets(url)
    folder, _, filename = url.rpartition("/")
    filename = unquote(filename)
    # Of what the file's name says too, py-rattler would make an object each.
    _, version, build = (*filename.removesuffix(".conda").removesuffix(".tar.bz2").rsplit("-", 2), "", "")[:3]
    md5 = record.md5
    return LockedPackage(
        kind="conda",
        name=record.name.normalized,
        version=version,
        build=build,
        filename=filename,
        url=url,
        sha256=sha256.hex() if sha256 else "",
        conda=CondaFacts(
            channel=folder.rpartition("/")[0],
            subdir=folder.rpartition("/")[2],
            depends=tuple(record.depends),
            md5=md5.hex() if md5 else "",
        ),
    )


def _pypi_row(package: Any) -> PypiRow:
    hashes = package.hashes._hashes if package.hashes is not None else None  # noqa: SLF001  its own property fails without
    digest = hashes.sha256 if hashes is not None else None
    return PypiRow(
        name=package.name,
        version=str(package.version or ""),
        location=package.location,
        sha256=digest.hex() if digest else "",
        requires=tuple(package.requires_dist),
    )


FoundKey: TypeAlias = tuple[str, str]
"""The channel's canonical URL, and the archive's file below it: `linux-64/zlib-1.3-0.conda`."""


def key_of(package: LockedPackage) -> FoundKey:
    """What a channel knows a package by."""
    assert package.conda is not None, f"{package.name} is no conda package"
    return package.conda.channel, f"{package.conda.subdir}/{package.filename}"


def in_channels(
    packages: Iterable[LockedPackage],
    channel_urls: Sequence[str],
    mirrors: Mapping[str, str],
    *,
    offline: bool = False,
    calls: Calls | None = None,
) -> Mapping[FoundKey, LockedPackage]:
    """What the channels of these packages say of them, without edges; those that a channel lacks are left out.

    `channel_urls` are as they were configured, with credentials. Costs what reading the repodata of these packages
    costs. Raises ChannelFailure for a channel that does not deliver, and Ended.
    """
    wanted: dict[str, list[LockedPackage]] = {}
    for package in packages:
        wanted.setdefault(key_of(package)[0], []).append(package)
    if not wanted:
        return {}
    known = places_of([*channel_urls, *wanted], mirrors)
    places = [place for place in known if place.base in wanted]
    gateways = Gateways(offline=offline)

    async def ask() -> dict[FoundKey, LockedPackage]:
        answers = await asyncio.gather(*(_asked(gateways.of(places), place, wanted[place.base]) for place in places))
        return {key: package for answer in answers for key, package in answer.items()}

    from rattler.exceptions import FetchRepoDataError, GatewayError

    try:
        return (calls or Calls()).run(ask() if offline else while_alive(ask, places))
    except (GatewayError, FetchRepoDataError) as error:
        raise failure_of(str(error), places=places) from None


async def _asked(gateway: Gateway, place: Place, packages: Sequence[LockedPackage]) -> dict[FoundKey, LockedPackage]:
    from rattler import MatchSpec, Subdir

    specs = {f"{package.name} =={package.version} {package.build}" for package in packages}
    subdirs = {package.conda.subdir for package in packages if package.conda is not None}
    files = {key_of(package) for package in packages}
    answers = await gateway.query(
        [place.source],
        [Subdir(subdir) for subdir in sorted(subdirs)],
        [MatchSpec(spec) for spec in sorted(specs)],
        recursive=False,
        channel_relations="disabled",
    )
    found = {}
    for record in (record for answer in answers for record in answer):
        key = (place.base, f"{record.subdir}/{record.file_name}")
        if key in files:
            found[key] = package_of(record, place.base, (), url=place.canonical(record.url))
    return found


def of_index(package: LockedPackage, index: Mapping[str, Any]) -> LockedPackage:
    """The package with the facts that its archive states (`info/index.json`), without edges.

    Raises KeyError, TypeError or ValueError where the archive is of another package.
    """
    assert package.conda is not None, f"{package.name} is no conda package"
    if (index["name"], index["version"], index["build"]) != (package.name, package.version, package.build):
        raise ValueError(f"it is {index['name']} {index['version']} {index['build']}")
    stamp = index.get("timestamp")
    return replace(
        package,
        upload_time=instant(datetime.fromtimestamp(stamp / (1000 if stamp > _LARGEST_SECONDS else 1), timezone.utc))
        if stamp
        else "",
        conda=replace(
            package.conda,
            build_number=int(index["build_number"]),
            depends=tuple(map(str, index.get("depends", ()))),
            constrains=tuple(map(str, index.get("constrains", ()))),
            noarch=index.get("noarch") or "",
            license=" ".join(str(index.get("license") or "").split()),
            site_packages=index.get("python_site_packages_path") or "",
        ),
    )


class Needs(NamedTuple):
    """What a package of another lock needs, by the lock and by its channel together."""

    depends: tuple[str, ...]
    names: frozenset[str]
    is_as_told: bool
    """Whether it is just what the channel says."""


def needs_of(package: LockedPackage, found: LockedPackage, *, states_needs: bool) -> Needs:
    """What a package needs, of which a channel or its archive says what was `found`.

    Which packages are needed is for the lock to say, if it states that. A channel may have corrected what a package
    needs since, and such a correction may name what is not locked.
    """
    assert package.conda is not None
    assert found.conda is not None
    depends = found.conda.depends
    told = list(map(name_in, depends))
    if not states_needs or depends == package.conda.depends:
        return Needs(depends, frozenset(told), is_as_told=True)
    said = set(map(name_in, package.conda.depends))
    if said == {*told}:
        return Needs(depends, frozenset(told), is_as_told=True)
    kept = [text for name, text in zip(told, depends, strict=True) if name in said or name.startswith("__")]
    lost = said.difference(told)
    depends = (*kept, *(text for text in package.conda.depends if name_in(text) in lost))
    return Needs(depends, frozenset(map(name_in, depends)), is_as_told=False)


def completed(
    package: LockedPackage, found: LockedPackage, needs: Needs, dependencies: tuple[str, ...]
) -> LockedPackage:
    """A package of another lock with what a channel or its archive says beyond that; the hashes of the lock stay.

    `dependencies` are the locked packages that it needs.
    """
    facts, more = package.conda, found.conda
    assert facts is not None
    assert more is not None
    place = (package.url, package.sha256, facts.channel, facts.subdir)
    is_there = (found.url, found.sha256, more.channel, more.subdir) == place and facts.md5 in {"", more.md5}
    if needs.is_as_told and is_there:  # as nearly all are
        return found if dependencies == found.dependencies else replace(found, dependencies=dependencies)
    return LockedPackage(
        kind="conda",
        name=package.name,
        version=package.version,
        build=package.build,
        filename=package.filename,
        url=package.url,
        sha256=package.sha256 or found.sha256,
        size=package.size if package.size is not None else found.size,
        upload_time=package.upload_time or found.upload_time,
        dependencies=dependencies,
        conda=CondaFacts(
            channel=facts.channel,
            subdir=facts.subdir,
            build_number=more.build_number,
            depends=needs.depends,
            constrains=more.constrains,
            noarch=more.noarch,
            md5=facts.md5 or more.md5,
            license=more.license,
            site_packages=more.site_packages,
        ),
    )
