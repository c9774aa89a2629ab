"""Read uv's output: packages from a pylock, and who needs whom."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from envlock.files import toml_of
from envlock.lockfile.canonical_text import filename_of
from envlock.lockfile.document import format_upload_time
from envlock.model.lock import LockedPackage, Source
from envlock.model.url import is_local, strip_credentials
from envlock.resolve.conda_provided import is_stub
from envlock.resolve.platform_tags import Target
from envlock.resolve.port import BuiltWheel, Provided

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.pylock import Package, PackageArchive, PackageWheel


@dataclass(frozen=True)
class Selected:
    """The packages with an artifact for the target, and those without."""

    packages: tuple[LockedPackage, ...]
    """Without a SHA-256 if the index publishes none."""
    unfit: tuple[str, ...]
    """`name==version` of packages whose every wheel is for another target."""
    not_wheels: tuple[str, ...]
    """Names of packages without a wheel, or only with one on this machine."""
    unfit_urls: tuple[str, ...] = ()
    """Names of packages whose direct URL is a wheel for another target."""
    contested: tuple[Provided, ...] = ()
    """What conda provides and uv still found elsewhere."""
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For packages without a SHA-256: by name, the hashes that the index publishes instead, by algorithm."""


class NotAPylock(ValueError):
    """uv's output is not a valid PEP 751 lock; the text says why."""


def select(
    text: str,
    target: Target,
    provided: Iterable[Provided] = (),
    hashes: Mapping[str, Container[str]] | None = None,
    wheels: Iterable[BuiltWheel] = (),
    folders: Iterable[Path] = (),
) -> Selected:
    """The best wheel of each package in uv's pylock (selected as in PEP 751, by PEP 425 tags).

    What is provided is not among the packages; `wheels` of this machine are as they are. Wheels of `folders` have no
    URL, and a source without a path. `hashes` are those that the file of a package may have: one with any of them is
    better than one without. Raises NotAPylock.
    """
    from packaging.pylock import PylockValidationError

    try:
        built = {each.name: each for each in wheels}
        return _select(text, target, provided, hashes or {}, built, tuple(f"{each.as_uri()}/" for each in folders))
    except (PylockValidationError, ValueError, KeyError) as error:
        raise NotAPylock(f"{type(error).__name__}: {error}") from error


def wheels_listed(text: str) -> dict[str, tuple[LockedPackage, ...]]:
    """All wheels in uv's pylock, whatever they are for, by the name of the package. Raises NotAPylock."""
    from packaging.pylock import Pylock, PylockValidationError

    try:
        lock = Pylock.from_dict(toml_of(text))
        return {
            package.name: tuple(
                replace(_package(package, wheel), index=strip_credentials(package.index or ""))
                for wheel in package.wheels or ()
            )
            for package in lock.packages
        }
    except (PylockValidationError, ValueError, KeyError) as error:
        raise NotAPylock(f"{type(error).__name__}: {error}") from error


def sdists_listed(text: str) -> dict[str, tuple[LockedPackage, ...]]:
    """The sdist of each package in uv's pylock, with the index that it is from. Raises NotAPylock."""
    from packaging.pylock import Pylock, PylockValidationError

    try:
        indexes = {str(each.name): each.index for each in Pylock.from_dict(toml_of(text)).packages}
    except (PylockValidationError, ValueError) as error:
        raise NotAPylock(f"{type(error).__name__}: {error}") from error
    found = sdists_in(text, indexes).packages
    return {each.name: (replace(each, index=strip_credentials(indexes[each.name] or "")),) for each in found}


def _select(
    text: str,
    target: Target,
    provided: Iterable[Provided],
    hashes: Mapping[str, Container[str]],
    built: Mapping[str, BuiltWheel],
    folders: tuple[str, ...],
) -> Selected:
    from packaging.pylock import Pylock
    from packaging.tags import create_compatible_tags_selector
    from packaging.utils import parse_wheel_filename

    lock = Pylock.from_dict(toml_of(text))
    best_of = create_compatible_tags_selector(target.tags())
    nothing: frozenset[str] = frozenset()
    markers: dict[str, str | frozenset[str]] = {
        **target.marker_texts(),
        "extras": nothing,
        "dependency_groups": nothing,
    }
    packages: list[LockedPackage] = []
    unfit: list[str] = []
    not_wheels: list[str] = []
    unfit_urls: list[str] = []
    contested: list[Provided] = []
    published: dict[str, Mapping[str, str]] = {}
    by_name = {each.name: each for each in provided}
    for package in lock.packages:
        if package.marker is not None and not package.marker.evaluate(markers, context="lock_file"):
            continue
        if package.name in by_name:
            if not _is_provided(package, by_name[package.name]):
                contested.append(by_name[package.name])
            continue
        if package.name in built and package.archive is not None and package.archive.url is None:
            packages.append(built[package.name].package)
            continue
        wheel: PackageWheel | PackageArchive | None
        if package.archive is not None and (package.archive.url or "").endswith(".whl"):
            # uv takes the word of whoever named the URL; whether that wheel installs here is for us to say.
            wheel = package.archive
            tags = parse_wheel_filename(filename_of(strip_credentials(wheel.url or "")))[-1]
            if next(iter(best_of([(wheel, tags)])), None) is None:
                unfit_urls.append(package.name)
                continue
        elif not package.wheels:
            not_wheels.append(package.name)
            continue
        else:
            fitting = list(best_of((each, parse_wheel_filename(each.filename)[-1]) for each in package.wheels))
            allowed = hashes.get(package.name)
            known = (each for each in fitting if allowed is not None and each.hashes.get("sha256") in allowed)
            wheel = next(known, fitting[0] if fitting else None)
        url = (wheel.url or "") if wheel is not None else ""
        is_of_folder = bool(folders) and url.startswith(folders)
        if wheel is None:
            unfit.append(f"{package.name}=={package.version}")
        elif is_local(url) and not is_of_folder:
            not_wheels.append(package.name)
        else:
            made = _package(package, wheel)
            packages.append(replace(made, url="", source=Source("wheel")) if is_of_folder else made)
            if not made.sha256:
                published[package.name] = wheel.hashes
    packages.sort(key=lambda each: each.name)
    return Selected(tuple(packages), tuple(unfit), tuple(not_wheels), tuple(unfit_urls), tuple(contested), published)


def _is_provided(package: Package, provided: Provided) -> bool:
    """Whether uv chose what conda provides: the stub, in its version."""
    from packaging.version import Version

    urls = [wheel.url or "" for wheel in package.wheels or ()]
    return bool(urls) and all(map(is_stub, urls)) and package.version == Version(provided.version)


def _package(package: Package, wheel: PackageWheel | PackageArchive) -> LockedPackage:
    from packaging.utils import parse_wheel_filename

    url = strip_credentials(wheel.url or "")
    filename = filename_of(url)
    version = package.version or parse_wheel_filename(filename)[1]
    return LockedPackage(
        name=package.name,
        version=str(version),
        filename=filename,
        url=url,
        sha256=wheel.hashes.get("sha256", ""),
        size=wheel.size,
        upload_time=format_upload_time(wheel.upload_time) if wheel.upload_time else "",
    )


def with_edges(
    packages: tuple[LockedPackage, ...],
    needed_by: Mapping[str, tuple[str, ...]],
    indexes: Mapping[str, str],
    beside: Iterable[str] = (),
) -> tuple[LockedPackage, ...]:
    """The packages with their dependencies and indexes.

    What conda provides is not among the packages; what its extras bring is needed by whoever asked for those. `beside`
    are wheels that are locked too.
    """
    names = {package.name for package in packages}
    edges: dict[str, set[str]] = {name: set() for name in names}
    for name in {*names, *beside} & needed_by.keys():
        for parent in _locked_parents(name, needed_by, names):
            edges[parent].add(name)
    return tuple(
        replace(
            package, dependencies=tuple(sorted(edges[package.name])), index=indexes.get(package.name, package.index)
        )
        for package in packages
    )


def _locked_parents(name: str, needed_by: Mapping[str, tuple[str, ...]], names: Container[str]) -> set[str]:
    """The packages that need one, directly or through others that are not in the list."""
    found: set[str] = set()
    seen = {name}
    todo = [name]
    while todo:
        for parent in needed_by.get(todo.pop(), ()):
            if parent in seen:
                continue
            seen.add(parent)
            if parent in names:
                found.add(parent)
            else:
                todo.append(parent)
    return found


def sdists_in(text: str, names: Container[str]) -> Selected:
    """The sdists of these packages in uv's pylock. Raises NotAPylock."""
    from packaging.pylock import Pylock, PylockValidationError

    try:
        lock = Pylock.from_dict(toml_of(text))
    except (PylockValidationError, ValueError) as error:
        raise NotAPylock(f"{type(error).__name__}: {error}") from error
    found = []
    published: dict[str, Mapping[str, str]] = {}
    for package in lock.packages:
        sdist = package.sdist
        if package.name not in names or sdist is None or sdist.url is None or is_local(sdist.url):
            continue
        url = strip_credentials(sdist.url)
        found.append(
            LockedPackage(
                name=package.name,
                version=str(package.version),
                filename=sdist.name or filename_of(url),
                url=url,
                sha256=sdist.hashes.get("sha256", ""),
                size=sdist.size,
                upload_time=format_upload_time(sdist.upload_time) if sdist.upload_time else "",
            )
        )
        if not found[-1].sha256:
            published[package.name] = sdist.hashes
    return Selected(tuple(found), (), (), published=published)
