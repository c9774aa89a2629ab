"""An environment of conda packages, with wheels on top or none, from what a lock of another tool has of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.conda.channels import channel_base
from envlock.config.system_packages import CONDA_DEFAULT_SYSTEM, DEFAULT_SYSTEM, packages_of, system_version
from envlock.interchange.errors import (
    BrokenImport,
    ImportLacksArch,
    ImportNeedsBuild,
    ImportWithoutPython,
    UnfitPackage,
    UnknownImportChoice,
)
from envlock.interchange.imported import Choice, Imported, known_archs, roots_among
from envlock.lockfile.allowed_values import is_python
from envlock.lockfile.canonical_text import MARKERS, filename_of
from envlock.lockfile.conda_packages import is_archive
from envlock.model.arch import Arch
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.lock import LockedPackage, LockedPython
from envlock.model.python_range import python_allows
from envlock.model.requirement import PypiRequirement, normalized, parse_requirement
from envlock.model.url import is_channel, is_web, strip_credentials

if TYPE_CHECKING:
    from envlock.conda.lock_files import PlatformPart, PypiRow

_DEFAULT = "conda-forge"
"""The channel from whose URL the base URL of all named channels is taken."""
_FLOOR = re.compile(r"(__(?:glibc|osx|linux|cuda)) *>=([0-9]+(?:\.[0-9]+)*)")
_PARTS = {"__glibc": 2, "__osx": 2, "__linux": 2, "__cuda": 2}
"""How many numbers the version of a system package has."""


def environment(
    kind: str,
    shown: str,
    parts: Mapping[str, PlatformPart],
    channels: Sequence[str],
    choice: Choice,
    *,
    has_conda_facts: bool,
    notes: Sequence[str] = (),
) -> Imported:
    """The environment with these platforms. `shown` is how messages call the file.

    Raises ImportLacksArch, ImportWithoutPython, ImportNeedsBuild, BrokenImport.
    """
    archs, others = known_archs(parts)
    if others:
        notes = (*notes, f"envlock does not know {', '.join(others)}: not imported")
    odd = next((channel for channel in channels if not is_channel(channel) or "${" in channel), None)
    if odd is not None:
        raise UnfitPackage(shown, "a channel", f"`{odd}` is not one")
    archs = wanted_archs(shown, archs, choice)
    locks: dict[Arch, tuple[LockedPackage, ...]] = {}
    pythons: dict[Arch, LockedPython] = {}
    fine: set[int] = set()  # packages for all archs, of which many locks have the same for each
    for arch in archs:
        part = parts[arch]
        if part.sources:
            raise ImportNeedsBuild(shown, part.sources)
        conda = _each_once(kind, shown, part.conda)
        _refuse_odd(shown, arch, [package for package in conda if id(package) not in fine])
        fine |= {id(package) for package in conda if package.conda is not None and package.conda.subdir == "noarch"}
        python = next((package for package in conda if package.name == "python"), None)
        if python is None:
            raise ImportWithoutPython(shown, arch)
        if not is_python("conda", python.version):
            raise UnfitPackage(shown, f"python {python.version}", "it is not a version that a Python can have")
        if not python_allows(choice.python, python.version):
            raise UnknownImportChoice(shown, "Python", choice.python, [python.version])
        pythons[arch] = LockedPython(source="conda", version=python.version)
        locks[arch] = (*conda, *wheels_of(kind, shown, part.pypi))
    return Imported(
        kind=kind,
        locks=locks,
        pythons=pythons,
        python=range_of(python.series for python in pythons.values()),
        channels=channels_of(channels, locks),
        system=tuple(
            (arch, name, version)
            for arch in archs
            for name, version in sorted(system_of(arch, parts[arch].virtual_packages, ()).items())
        ),
        notes=tuple(notes),
        has_conda_facts=has_conda_facts,
        has_index_sdists=True,
    )


def settled(imported: Imported) -> Imported:
    """The same, when all facts of its packages are known: with the requirements that its lock did not state."""
    system = {(arch, name): version for arch, name, version in imported.system}
    for arch, packages in imported.locks.items():
        own = [
            f"{name}={version}" for (where, name), version in system.items() if where == arch and name != "__archspec"
        ]
        system |= {(arch, name): version for name, version in system_of(arch, own, packages).items()}
    imported = imported._replace(system=tuple((*where, version) for where, version in sorted(system.items())))
    if imported.states_requirements:
        return imported
    roots, conda_roots = requirements_of(imported.locks)
    return imported._replace(roots=roots, conda_roots=conda_roots)


def wanted_archs(shown: str, archs: Sequence[Arch], choice: Choice) -> tuple[Arch, ...]:
    """The archs to import of those that a file has. Raises ImportLacksArch."""
    lacking = [arch for arch in choice.archs if arch not in archs]
    if lacking or not archs:
        has = f"it has: {', '.join(archs)}" if archs else "it has no arch that envlock knows"
        raise ImportLacksArch(shown, lacking or ["any arch"], has)
    return tuple(arch for arch in archs if arch in choice.archs) if choice.archs else tuple(archs)


def _refuse_odd(shown: str, arch: Arch, packages: Iterable[LockedPackage]) -> None:
    """Raise UnfitPackage for a package that is not at a channel's place: nobody shall be asked for such a one."""
    for package in packages:
        assert package.conda is not None, f"{package.name} is no conda package"
        row = (package.url, package.filename, package.name, package.version, package.build)
        if package.conda.subdir not in {arch, "noarch"} or not is_archive(*row):
            said = f"`{package.filename}`, from {package.url}, is not its archive for {arch}"
            raise UnfitPackage(shown, f"{package.name} {package.version}", said)


def _each_once(kind: str, shown: str, packages: Iterable[LockedPackage]) -> tuple[LockedPackage, ...]:
    found: dict[str, LockedPackage] = {}
    for package in packages:
        if found.setdefault(package.name, package).url != package.url:
            raise BrokenImport(shown, kind, f"it has two files of {package.name}")
    return tuple(found[name] for name in sorted(found))


def wheels_of(kind: str, shown: str, rows: Iterable[PypiRow]) -> tuple[LockedPackage, ...]:
    """The PyPI packages of a lock that has one file, or one source, for each. Raises ImportNeedsBuild, BrokenImport."""
    rows = list(rows)
    names = {normalized(row.name) for row in rows}
    if len(names) < len(rows):
        raise BrokenImport(shown, kind, "it has two files of one PyPI package")
    packages = [_wheel(row, names) if is_wheel_url(row.location) else _from_source(row, names) for row in rows]
    odd = [row.name for row, package in zip(rows, packages, strict=True) if not (package.url or package.source)]
    if odd:
        raise ImportNeedsBuild(shown, odd)
    return tuple(sorted(packages, key=lambda package: package.name))


def is_wheel_url(url: str) -> bool:
    """Whether it is the URL of a wheel that other machines can download, whatever credentials and fragment it has.

    >>> is_wheel_url("https://files.example/demo-1-py3-none-any.whl#sha256=ab"), is_wheel_url("./demo-1.whl")
    (True, False)
    """
    return is_web(url) and filename_of(strip_credentials(url)).endswith(".whl")


def _wheel(row: PypiRow, names: set[str]) -> LockedPackage:
    url = strip_credentials(row.location)
    filename = filename_of(url)
    needed = {each.name for each in map(_needed, row.requires) if each is not None}
    return LockedPackage(
        name=normalized(row.name),
        version=row.version or filename.split("-")[1],
        filename=filename,
        url=url,
        sha256=row.sha256,
        dependencies=tuple(sorted(needed & names - {normalized(row.name)})),
    )


def _from_source(row: PypiRow, names: set[str]) -> LockedPackage:
    """A package that is built from an sdist or a commit; without a source where its place is neither, or unknown."""
    from envlock.interchange.universal import commit_of, sdist_of

    place, _, fragment = row.location.partition("#")
    below = next((part[13:] for part in fragment.split("&") if part.startswith("subdirectory=")), "")
    if place.startswith("git+"):
        url, _, commit = place.removeprefix("git+").partition("?")[0].rpartition("@")
        source = commit_of(url, commit, below) or commit_of(place, fragment.partition("&")[0])
    else:
        source = sdist_of(place, row.sha256, below)
    return replace(
        _wheel(row._replace(version=row.version or "0"), names), filename="", url="", sha256="", source=source
    )


def _needed(text: str) -> PypiRequirement | None:
    """What a package needs wherever it is installed; None for what an extra brings, and for what is no requirement."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        found = Requirement(text)
    except InvalidRequirement:
        return None
    return None if found.marker and "extra" in str(found.marker) else PypiRequirement(normalized(found.name))


def requirements_of(
    locks: Mapping[Arch, Sequence[LockedPackage]],
) -> tuple[tuple[PypiRequirement, ...], tuple[CondaRequirement, ...]]:
    """What nothing else needs on some arch, as requirements of PyPI and of conda for the archs that have it."""
    conda: dict[str, dict[Arch, str]] = {}
    pypi: dict[str, dict[Arch, str]] = {}
    for arch, packages in locks.items():
        for kind, found in (("conda", conda), ("pypi", pypi)):
            own = {package.name: package for package in packages if package.kind == kind}
            for name in roots_among({name: package.dependencies for name, package in own.items()}):
                found.setdefault(name, {})[arch] = own[name].version if kind == "conda" else _said(own[name])
    conda.pop("python", None)
    there: dict[str, dict[Arch, str]] = {name: {} for name in conda}
    for arch, packages in locks.items():
        for package in packages:
            if package.kind == "conda" and package.name in there:
                there[package.name][arch] = package.version
    conda_roots = (
        CondaRequirement(
            name,
            "|".join(f"=={version}" for version in dict.fromkeys(there[name].values())),
            archs=tuple(there[name]) if len(there[name]) < len(locks) else (),
        )
        for name in sorted(there)
    )
    return pinned_for(pypi, locks), tuple(conda_roots)


def pinned_for(versions: Mapping[str, Mapping[Arch, str]], archs: Iterable[Arch]) -> tuple[PypiRequirement, ...]:
    """PyPI packages as `==version`, with a marker where not all of the archs have one version."""
    everywhere, found = set(archs), []
    for name, by_arch in sorted(versions.items()):
        for version in dict.fromkeys(by_arch.values()):
            own = [arch for arch, each in by_arch.items() if each == version]
            marker = "" if {*own} == everywhere else f" ; {marker_of(own)}"
            found.append(parse_requirement(f"{name}{version}{marker}"))
    return tuple(found)


def _said(package: LockedPackage) -> str:
    """What a requirement of exactly this package says after its name."""
    url = asked_url(package)
    return f" @ {url}" if url else f"=={package.version}"


def asked_url(package: LockedPackage) -> str:
    """The URL by which a requirement asks for just the source of a package; empty if it is asked for by its version."""
    source = package.source
    if source is None or (source.kind == "sdist" and package.index):
        return ""
    below = f"subdirectory={source.subdirectory}" if source.subdirectory else ""
    if source.kind == "git":
        return f"git+{source.url}@{source.commit}{below and '#' + below}"
    if source.kind == "folder":
        return f"folder+sha256:{source.sha256}{below and '#' + below}"
    if source.path:
        name, digest = (
            (source.filename, source.sha256) if source.kind == "sdist" else (package.filename, package.sha256)
        )
        return f"file+sha256:{digest}/{name}{below and '#' + below}"
    return f"{source.url}#sha256={source.sha256}{below and '&' + below}"


def marker_of(archs: Sequence[Arch]) -> str:
    """The marker of these archs.

    >>> marker_of([Arch("osx-arm64")])
    "sys_platform == 'darwin' and platform_machine == 'arm64'"
    """
    markers = [MARKERS[arch] for arch in archs]
    return markers[0] if len(markers) == 1 else " or ".join(f"({marker})" for marker in markers)


def range_of(series: Iterable[str]) -> str:
    """The range of these series of Python.

    >>> range_of(["3.12", "3.12"]), range_of(["3.11", "3.13"])
    ('==3.12.*', '<3.14,>=3.11')
    """
    found = sorted({tuple(int(part) for part in each.split(".")) for each in series})
    (major, first), (_, last) = found[0], found[-1]
    return f"=={major}.{first}.*" if first == last else f"<{major}.{last + 1},>={major}.{first}"


def channels_of(written: Iterable[str], locks: Mapping[Arch, Sequence[LockedPackage]]) -> tuple[str, ...]:
    """The channels of a lock in order, then those that only its packages tell; by name where one has a name."""
    used = (each.conda.channel for packages in locks.values() for each in packages if each.conda is not None)
    return tuple(dict.fromkeys(map(_named, (*written, *dict.fromkeys(used)))))


def _named(channel: str) -> str:
    """The channel's name, where its URL is where all that have one are.

    >>> _named(channel_base("bioconda")), _named("https://conda.example/main")
    ('bioconda', 'https://conda.example/main')
    """
    alias = channel_base(_DEFAULT).removesuffix(_DEFAULT)
    base = channel_base(channel)
    return base.removeprefix(alias) if base.startswith(alias) and base != alias else base


def system_of(arch: Arch, written: Iterable[str], packages: Iterable[LockedPackage]) -> dict[str, str]:
    """The system packages that a lock names, and those that its packages need beyond envlock's defaults.

    >>> system_of(Arch("linux-64"), ["__unix=0=0", "__glibc=2.34=0", "__archspec=1=x86_64_v3"], [])
    {'__glibc': '2.34', '__archspec': 'x86_64_v3'}
    """
    found: dict[str, str] = {}
    for text in written:
        name, version, build = (*text.replace("==", "=").split("="), "", "")[:3]
        if name in packages_of(arch):
            found[name] = _version(name, build if name == "__archspec" else version)
    defaults = {**DEFAULT_SYSTEM[arch], **CONDA_DEFAULT_SYSTEM[arch]}
    for package in packages:
        for text in package.conda.depends if package.conda is not None else ():
            match = _FLOOR.match(text)
            if match is None or match[1] not in packages_of(arch):
                continue
            name, version = match[1], _version(match[1], match[2])
            if version and _numbers(version) > _numbers(found.get(name) or defaults.get(name, "0")):
                found[name] = version
    return {name: version for name, version in found.items() if version}


def _version(package: str, text: str) -> str:
    if package == "__archspec":
        return text if text not in {"", "0"} else ""
    numbers = [part for part in text.split(".") if part.isdigit()][: _PARTS[package]]
    return system_version(package, ".".join([*numbers, "0"][: max(2, len(numbers))])) if numbers else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
