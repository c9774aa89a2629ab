"""What a lock for all archs and Pythons has for one Python: packages reached by markers, and the best wheel of each.

Both are decided as envlock's own resolver decides them (`resolve/platform_tags.py`, `resolve/python_releases.py`): what
any allowed release of the Python needs is locked, and of several wheels the first that the tags of the arch name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from envlock.interchange.conda_parts import is_wheel_url
from envlock.interchange.errors import ImportLacksArch, ImportNeedsBuild, ImportUnclear
from envlock.interchange.imported import Choice, Imported, parts_of
from envlock.lockfile.canonical_text import filename_of
from envlock.model.arch import ARCHS, Arch
from envlock.model.lock import LockedPackage, LockedPython, Source
from envlock.model.python_range import releases_of
from envlock.model.requirement import PypiRequirement, normalize_specifier
from envlock.model.requirements import Requirements
from envlock.model.url import COMMIT, SDISTS, direct_url, is_web, strip_credentials
from envlock.resolve.platform_tags import Target, target_of, truths
from envlock.resolve.python_releases import Edge, Graph
from envlock.resolve.uv_compile import PROJECT
from envlock.resolve.uv_output import with_edges

_FLOOR = re.compile(r"(?:manylinux_([0-9]+)_([0-9]+)|macosx_([0-9]+)_([0-9]+))_")
_HIGHEST = {"glibc": (2, 99), "macos": (99, 0)}
ROOT = (PROJECT, "0", "")
"""The key of what the project itself needs."""
NEVER = "python_version < '0'"
"""A marker that holds nowhere."""
_ALWAYS = "python_version >= '0'"
_IN_SET = re.compile(
    r"(?P<quote>['\"])(?P<name>[^'\"]*)(?P=quote) +(?P<not>not +)?in +(?P<set>extras|dependency_groups)"
)
_EXTRA = re.compile(r"extra *(?P<operator>==|!=) *(?P<quote>['\"])(?P<name>[^'\"]*)(?P=quote)")


class Wheel(NamedTuple):
    """A wheel that a lock lists; empty where it does not say."""

    filename: str
    url: str = ""
    sha256: str = ""
    size: int | None = None
    upload_time: str = ""


class Candidate(NamedTuple):
    """A package in one version, with all the wheels that a lock lists for it."""

    name: str
    version: str
    wheels: tuple[Wheel, ...] = ()
    from_index: str = ""
    built_from: str = ""
    """What it would be built from, where there is no wheel: `git`, `sdist`, `folder`."""
    source: Source | None = None
    """The same, where that is at hand for every machine."""


class Universal(NamedTuple):
    """A lock for all archs and Pythons."""

    kind: str
    requires_python: str
    edges: Mapping[tuple[str, str, str], tuple[Edge, ...]]
    """By name, version and extra, those of `ROOT` among them: what is reached from there is taken."""
    candidates: Mapping[tuple[str, str], Candidate]
    needs: Mapping[str, tuple[tuple[str, str], ...]] | None = None
    """Who needs whom with which marker, by name; None where `edges` say it."""
    environments: tuple[str, ...] = ()
    """Markers, one of which holds where the lock can be used; none if it can be used everywhere."""
    roots: tuple[PypiRequirement, ...] | None = None
    """The requirements that the lock states; None if it does not."""
    overrides: tuple[PypiRequirement, ...] = ()
    """As in Imported."""
    notes: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    """Indexes, if the lock names them beside its packages."""
    hashes: Mapping[tuple[str, str], frozenset[str]] = {}
    """As in Imported."""
    itself: str = ""
    """The name of the project that is locked, which may need its own extras, and is no package of the environment."""


class _Lacking(Exception):
    """An arch for which a package has no wheel."""

    def __init__(self, package: str) -> None:
        super().__init__(package)
        self.package = package


def imported(lock: Universal, shown: str, choice: Choice) -> Imported:
    """The environment for the archs of the choice, and for one Python.

    Raises ImportLacksArch, ImportNeedsBuild, ImportUnclear, BrokenImport, and what choosing a Python raises.
    """
    with parts_of(shown, lock.kind):  # markers and versions are read last
        return _imported(lock, shown, choice)


def _imported(lock: Universal, shown: str, choice: Choice) -> Imported:
    asked = choice.archs or ARCHS
    pythons = choice.pythons(lock.requires_python, asked)
    locks: dict[Arch, tuple[LockedPackage, ...]] = {}
    system: list[tuple[Arch, str, str]] = []
    lacking: dict[Arch, str] = {}
    for arch in asked:
        try:
            locks[arch], floors = _of_arch(lock, shown, arch, pythons[arch], choice)
        except _Lacking as error:  # noqa: PERF203  the other archs may have all
            lacking[arch] = error.package
        else:
            system += [(arch, name, version) for name, version in floors]
    if lacking and (choice.archs or not locks):
        reasons = "; ".join(f"{arch}: {package}" for arch, package in lacking.items())
        raise ImportLacksArch(shown, list(lacking), reasons)
    notes = [f"not imported for {arch}: {package}" for arch, package in lacking.items()]
    notes += [f"its packages need {name} {version} on {arch}" for arch, name, version in system]
    of_packages = [each.index for packages in locks.values() for each in packages if each.index]
    return Imported(
        kind=lock.kind,
        locks=locks,
        pythons={arch: pythons[arch] for arch in locks},
        python=_both(choice.python, lock.requires_python),
        states_requirements=lock.roots is not None,
        roots=lock.roots or (),
        overrides=lock.overrides,
        indexes=tuple(dict.fromkeys([*lock.indexes, *of_packages])),
        hashes=lock.hashes,
        system=tuple(system),
        notes=(*lock.notes, *notes),
    )


def _both(asked: str, allowed: str) -> str:
    """The Pythons of both ranges; one series, or one release, says it alone.

    >>> _both("==3.11.*", ">=3.10"), _both(">=3.9", "<3.14,>=3.10"), _both("", ">=3.10")
    ('==3.11.*', '<3.14,>=3.10,>=3.9', '>=3.10')
    """
    if not asked or not allowed or asked.startswith("=="):
        return asked or allowed
    return normalize_specifier(f"{asked},{allowed}")


def _of_arch(
    lock: Universal, shown: str, arch: Arch, python: LockedPython, choice: Choice
) -> tuple[tuple[LockedPackage, ...], list[tuple[str, str]]]:
    """The packages for an arch, sorted by name, and the floors that must be higher than the project's."""
    target = target_of(Requirements(system=choice.system), arch, python.version)
    releases: tuple[str, ...] = (python.version,)
    if python.source == "machine":
        releases = releases_of(python.version, _both(choice.python, lock.requires_python)) or releases
    if lock.environments and not any(any(truths(each, target, releases)) for each in lock.environments):
        raise _Lacking("the file is not for it")
    graph = Graph(target, releases, lock.edges, {})
    if graph.differing is not None:
        what = f"versions of {graph.differing} for the Pythons that are allowed"
        raise ImportUnclear(shown, what, graph.why(graph.differing), "--python")
    needed = sorted((name, version) for name, version in graph.packages.items() if name != lock.itself)
    chosen = [lock.candidates[row] for row in needed]
    built = [each for each in chosen if not each.wheels and each.built_from and each.source is None]
    if built:
        raise ImportNeedsBuild(shown, [f"{each.name} ({each.built_from})" for each in built])
    floor, packages = _with_wheels(chosen, target)
    needed_by = graph.needed_by if lock.needs is None else _needed_by(lock.needs, target, releases)
    indexes = {each.name: each.from_index for each in chosen if each.from_index}
    return with_edges(packages, needed_by, indexes), _floors(target, floor)


def _needed_by(
    needs: Mapping[str, Sequence[tuple[str, str]]], target: Target, releases: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for parent, each in needs.items():
        for name, marker in each:
            if name != parent and (not marker or any(truths(marker, target, releases))):
                found.setdefault(name, set()).add(parent)
    return {name: tuple(sorted(parents)) for name, parents in found.items()}


def _with_wheels(chosen: Sequence[Candidate], target: Target) -> tuple[Target, tuple[LockedPackage, ...]]:
    """The packages with their best wheels, and the target, whose floors are raised where no wheel is for older ones."""
    while True:
        best = {each.name: best_wheel(each.wheels, target) for each in chosen if each.wheels}
        unfit = next((each for each in chosen if each.wheels and best[each.name] is None), None)
        if unfit is None:
            return target, tuple(_package(each, best.get(each.name)) for each in chosen)
        raised = _raised(unfit, target)
        if raised is None or raised == target:
            raise _Lacking(f"{unfit.name} {unfit.version} has no wheel for it")
        target = raised


def best_wheel(wheels: Iterable[Wheel], target: Target) -> Wheel | None:
    """The wheel that the target's tags name first; None if none is for it."""
    from packaging.tags import create_compatible_tags_selector
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    rows = []
    for wheel in wheels:
        with suppress(InvalidWheelFilename):  # of old tools; none of today's installs it
            rows.append((wheel, parse_wheel_filename(wheel.filename)[-1]))
    return next(iter(create_compatible_tags_selector(target.tags())(rows)), None)


def _raised(candidate: Candidate, target: Target) -> Target | None:
    """The target with the lowest floor for which the package has a wheel; None if there is none at all."""
    highest = replace(target, glibc=_HIGHEST["glibc"], macos=_HIGHEST["macos"])
    floors = []
    for wheel in candidate.wheels:
        if best_wheel([wheel], highest) is not None:
            floors += [
                tuple(int(number) for number in found if number)
                for found in _FLOOR.findall(wheel.filename)
                if bool(found[0]) == target.is_linux
            ]
    if not floors:
        return None
    floor = (min(floors)[0], min(floors)[1])
    return replace(target, glibc=floor) if target.is_linux else replace(target, macos=floor)


def _floors(before: Target, after: Target) -> list[tuple[str, str]]:
    """The floors of a target that were raised."""
    return [
        (name, f"{new[0]}.{new[1]}")
        for name, old, new in (("__glibc", before.glibc, after.glibc), ("__osx", before.macos, after.macos))
        if old != new
    ]


def _package(candidate: Candidate, wheel: Wheel | None) -> LockedPackage:
    found = wheel or Wheel("")
    texts = (candidate.name, candidate.version, found.filename, found.url, found.sha256, found.upload_time)
    if not all(isinstance(text, str) for text in texts) or not isinstance(found.size, int | None):
        raise TypeError(f"{candidate.name} {candidate.version} has something else than a text")
    url = strip_credentials(found.url)
    return LockedPackage(
        name=candidate.name,
        version=candidate.version,
        filename=found.filename,
        url=url,
        sha256=found.sha256,
        size=found.size,
        upload_time=found.upload_time,
        index=candidate.from_index,
        source=candidate.source if wheel is None else None,
    )


def wheel_of(url: str, sha256: str, size: int | None = None, upload_time: str = "") -> Wheel | None:
    """The wheel at a URL; None where that is no wheel that other machines can download."""
    return Wheel(filename_of(strip_credentials(url)), url, sha256, size, upload_time) if is_wheel_url(url) else None


def wheel_named(filename: str, sha256: str) -> Wheel | None:
    """The wheel of an index that a lock has by its name alone; None where that is not the name of a wheel."""
    return Wheel(filename, sha256=sha256) if filename.endswith(".whl") and "/" not in filename else None


def sha256_in(digest: str) -> str:
    """The SHA-256 in a hash as locks write it; empty for one of another algorithm.

    >>> sha256_in("sha256:00ff"), sha256_in("md5:00ff"), sha256_in("")
    ('00ff', '', '')
    """
    algorithm, _, digits = digest.partition(":")
    return digits if algorithm == "sha256" else ""


def sdist_of(url: str, sha256: str, subdirectory: str = "") -> Source | None:
    """The sdist at a URL; None where other machines cannot download it, or nothing says what it has to be."""
    plain = strip_credentials(url)
    if not (is_web(plain) and sha256):
        return None
    return Source("sdist", url=plain, sha256=sha256, filename=filename_of(plain), subdirectory=subdirectory)


def sdist_named(files: Iterable[tuple[str, str]]) -> Source | None:
    """The sdist among files, each with its SHA-256, of which the lock has no URL: its index has it.

    >>> sdist_named([("demo-1.0-py3-none-any.whl", "ab"), ("demo-1.0.tar.gz", "cd")]).filename
    'demo-1.0.tar.gz'
    """
    found = [(name, sha256) for name, sha256 in files if name.endswith(SDISTS) and sha256]
    return Source("sdist", filename=found[0][0], sha256=found[0][1]) if found else None


def commit_of(url: str, commit: str, subdirectory: str = "") -> Source | None:
    """The commit of a repository; None where other machines cannot fetch it, or it is no whole commit.

    >>> commit_of("https://me:pw@code.example/tool.git?rev=main", "ab" * 20).url
    'https://code.example/tool.git'
    """
    plain = strip_credentials(url.removeprefix("git+"))
    found = direct_url(f"git+{plain}@{commit}")
    if found is None or not re.fullmatch(COMMIT, commit):
        return None
    return Source("git", url=plain, commit=commit, subdirectory=subdirectory.strip("/"))


def with_extras(marker: str, names: Iterable[str]) -> str:
    """The marker with each comparison of `extra` decided: true for these names.

    >>> with_extras("python_version < '3.12' and extra == 'gpu'", ["gpu"])
    "python_version < '3.12'"
    >>> with_extras("extra == 'gpu'", ["gpu"]), with_extras("extra == 'gpu'", [])
    ('', "python_version < '0'")
    """
    names = set(names)

    def decided(found: re.Match[str]) -> str:
        return _ALWAYS if (found["name"] in names) is (found["operator"] == "==") else NEVER

    text = _EXTRA.sub(decided, marker)
    if text in {_ALWAYS, marker}:
        return "" if text == _ALWAYS else text
    if " or " not in text:
        parts = [part for part in text.split(" and ") if part.strip("() ") != _ALWAYS]
        return NEVER if any(part.strip("() ") == NEVER for part in parts) else " and ".join(parts)
    return text


def either(markers: Sequence[str]) -> str:
    """The marker that holds where one of these does.

    >>> either(["os_name == 'posix'", ""]), either(["os_name == 'nt'", NEVER, "os_name == 'posix'"])
    ('', "(os_name == 'nt') or (os_name == 'posix')")
    """
    found = list(dict.fromkeys(marker for marker in markers if marker != NEVER))
    if "" in found:
        return ""
    return found[0] if len(found) == 1 else " or ".join(f"({each})" for each in found) or NEVER


def with_sets(marker: str, extras: Iterable[str], groups: Iterable[str]) -> str:
    """The marker with each comparison of `extras` and `dependency_groups` (PEP 751) decided.

    >>> with_sets("'gpu' in extras or sys_platform == 'linux'", ["gpu"], [])
    "python_version >= '0' or sys_platform == 'linux'"
    """
    sets = {"extras": {*extras}, "dependency_groups": {*groups}}

    def decided(found: re.Match[str]) -> str:
        return _ALWAYS if (found["name"] in sets[found["set"]]) is (found["not"] is None) else NEVER

    return _IN_SET.sub(decided, marker)
