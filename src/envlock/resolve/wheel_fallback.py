"""Notes on packages that are older than the newest release, for want of a wheel or for an older Python.

Then the user is told; where a whole major version is given up for want of a wheel, that is an error, unless
`allow-older` names the package. Everything here is asked of uv's cache, without building anything: which release of a
package would be chosen on its own, with and without wheels, and whether the rest would go with it. Only where metadata
is wanted that no solve has read yet is the index asked for it, so that the answer is the same with any cache.
Packages whose version was kept from an older lock are not looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from envlock.model.arch import ARCHS
from envlock.model.lock import LockedPackage
from envlock.model.requirement import PypiRequirement
from envlock.resolve.errors import ARCH, OlderMajorVersion
from envlock.resolve.platform_tags import allowed_releases, target_of
from envlock.resolve.port import Request
from envlock.resolve.python_releases import range_of
from envlock.resolve.uv_compile import Answer, Compilation
from envlock.resolve.uv_failures import NO_WHEEL, culprit, root_names, to_build

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)
_NEEDED_BY = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\S*\s+# via (.*)$", re.MULTILINE)
_LIKE_A_SERIES = re.compile(r"==(\d+(?:\.\d+)?)\Z")
_NOT_KEPT = re.compile(r"network was disabled|not found in the cache")


@dataclass(frozen=True)
class _Older:
    """A package that would be newer if others could be built."""

    name: str
    newest: str
    locked: str
    culprits: tuple[str, ...]
    """What the newest release needs and has no wheel; empty if it has none itself."""

    @property
    def is_major(self) -> bool:
        return _major(self.newest) != _major(self.locked)

    def sentence(self, arch: str) -> str:
        """What the newest release lacks."""
        if self.culprits:
            have = "has" if len(self.culprits) == 1 else "have"
            needed = ", ".join(self.culprits)
            return f"{self.name} {self.newest} needs {needed}, which {have} no wheel for {arch}"
        return f"{self.name} {self.newest} has no compatible wheel for {arch}"


class Fallbacks(NamedTuple):
    """What is older than it could be."""

    notes: tuple[str, ...] = ()
    """A sentence for each package that would be newer if packages were built, or if Python were newer."""
    lacking: tuple[str, ...] = ()
    """The packages that would have to be built."""


def fallbacks(
    compilation: Compilation, packages: Iterable[LockedPackage], at_best: Mapping[str, str] | None = None
) -> Fallbacks:
    """What is older than the newest release, for want of a wheel or a newer Python. Raises OlderMajorVersion.

    `at_best` has the newest versions that the request allows each package by itself, if they are known: for any arch,
    so that none is newer on this one.
    """
    request = compilation.request
    locked = {p.name: p.version for p in packages if request.pins.get(p.name) != p.version}
    roots = {root.name for root in request.requirements.roots() if not root.url}
    asked = _asked_alone(request, locked)
    if not asked:
        return Fallbacks()
    exact = _of_exact_versions(compilation, locked)
    releases = allowed_releases(request)
    is_of_arch = at_best is None
    if at_best is None:
        at_best = alone(compilation, chain.from_iterable(asked.values()), wheels_only=False, python=releases[-1])
    newer = {name: texts for name, texts in asked.items() if (at_best.get(name) or locked[name]) != locked[name]}
    if not newer:
        return Fallbacks(exact)
    wheels = alone(compilation, chain.from_iterable(newer.values()))
    sources = at_best
    stuck = [text for name, texts in newer.items() if wheels.get(name, locked[name]) == locked[name] for text in texts]
    if stuck and (len(releases) > 1 or not is_of_arch):
        sources = alone(compilation, stuck, wheels_only=False)
    older: list[_Older] = []
    notes: list[str] = []
    for name in sorted(newer):
        version = locked[name]
        wheel, source = wheels.get(name, version), sources.get(name, version)
        if wheel == version:
            if source == version:
                notes += _for_an_older_python(compilation, newer[name], name, version, releases)
            elif _would_serve(compilation, name, source):
                older.append(_Older(name, source, version, ()))
        elif name in roots or _major(wheel) != _major(version):
            culprits = _culprits(compilation, f"{name}=={wheel}")
            if culprits:
                older.append(_Older(name, wheel, version, culprits))
    _refuse(compilation, [each for each in older if each.is_major and each.name not in request.allow_older], locked)
    sentences = (f"{each.sentence(request.arch)}; locked {each.locked} instead" for each in older)
    return Fallbacks((*sentences, *notes, *exact), _lacking(older))


def _asked_alone(request: Request, locked: Iterable[str]) -> dict[str, list[str]]:
    """For each package that no URL names, what the request asks of it by itself."""
    asked: dict[str, list[str]] = {name: [] for name in locked}
    for root in request.requirements.roots():
        if root.url:
            asked.pop(root.name, None)
        elif root.name in asked:
            asked[root.name].append(str(root))
    return {name: texts or [name] for name, texts in asked.items()}


def _of_exact_versions(compilation: Compilation, locked: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each requirement such as `2.2` that reads like a series with later releases."""
    series = {
        root.name: version
        for root in compilation.request.requirements.pypi
        if root.name in locked and (version := reads_like_a_series(root))
    }
    if not series:
        return ()
    newest = alone(compilation, [f"{name}=={version}.*" for name, version in series.items()])
    return tuple(
        f'`{name} = "{version}"` means exactly {version}; for any {version}, such as {newest[name]}: "{version}.*"'
        for name, version in sorted(series.items())
        if name in newest and newest[name] not in {locked[name], version}
    )


def reads_like_a_series(root: PypiRequirement) -> str:
    """The version of a requirement that allows it alone, where it reads like a series; else empty.

    >>> from envlock.model.requirement import parse_requirement
    >>> [reads_like_a_series(parse_requirement(each)) for each in ("alpha==2.2", "alpha==2.2.0", "alpha>=2.2")]
    ['2.2', '', '']
    """
    match = _LIKE_A_SERIES.match(root.specifier)
    return match[1] if match else ""


def _refuse(compilation: Compilation, older: Sequence[_Older], locked: Mapping[str, str]) -> None:
    """Raise OlderMajorVersion if there is any."""
    if not older:
        return
    request = compilation.request
    floor = ", ".join(_on_newer_systems(compilation, older))
    went = ", ".join(f"{each.name} from {each.newest} to {each.locked}" for each in older)
    asked = " and ".join(f"`{each.name}<{_major(each.newest)[1]}`" for each in older)
    names = ", ".join(f'"{each.name}"' for each in older)
    brought = _brought(compilation, [each.name for each in older], locked)
    out = f", or remove {ARCH} from `archs`" if _on_other_archs(compilation, older) else ""
    raise OlderMajorVersion(
        request.name,
        request.arch,
        f"without compatible wheels, only an older major version can be locked: {went}",
        details=(*(each.sentence(ARCH) for each in older), *map(_dependency_path, brought)),
        hint=f"require {asked} to accept the older one, or set `allow-older = [{names}]` in [envlock]{out}; "
        + (
            f"{floor} has wheels for newer systems, so raise the floor in [envlock.system-requirements]"
            if floor
            else to_build(request, _lacking(older))
        ),
        packages=tuple(dict.fromkeys((*(each.name for each in older), *(path[0] for path in brought)))),
        lacking=_lacking(older),
    )


def _lacking(older: Iterable[_Older]) -> tuple[str, ...]:
    """The packages without a wheel that keep others back, or themselves."""
    return tuple(sorted({name for each in older for name in (each.culprits or (each.name,))}))


def _brought(compilation: Compilation, names: Iterable[str], locked: Mapping[str, str]) -> list[tuple[str, ...]]:
    """For each package that no requirement names, the shortest path from one that does: `(root, ..., package)`."""
    roots = root_names(compilation.request)
    wanted = [name for name in names if name not in roots]
    if not wanted:
        return []
    kept = [f"{name}=={version}" for name, version in locked.items()]
    answer = compilation.run(compilation.roots, "--offline", "--annotation-style", "line", "--quiet", constraints=kept)
    needed_by = {name: by.split(", ") for name, by in _NEEDED_BY.findall(answer.output)}
    found = []
    for name in wanted:
        ways: list[tuple[str, ...]] = [(name,)]
        seen = {name}
        for way in ways:  # which grows: the nearest come first
            if way[0] in roots:
                found.append(way)
                break
            new = [each for each in needed_by.get(way[0], ()) if each not in seen]
            seen.update(new)
            ways += [(each, *way) for each in new]
    return found


def _dependency_path(path: Sequence[str]) -> str:
    """Which requirement depends on a package, and through which others.

    >>> _dependency_path(("lab", "server", "crypt")), _dependency_path(("lab", "server"))
    ('lab depends on crypt, through server', 'lab depends on server')
    """
    return f"{path[0]} depends on {path[-1]}" + (f", through {', '.join(path[1:-1])}" if path[1:-1] else "")


def _on_other_archs(compilation: Compilation, older: Sequence[_Older]) -> bool:
    """Whether another arch has wheels for all of them."""
    request = compilation.request
    if any(each.culprits for each in older):
        return False
    newest = [f"{each.name}=={each.newest}" for each in older]
    targets = (target_of(request.requirements, arch, request.python) for arch in ARCHS if arch != request.arch)
    return any(len(alone(compilation.beside("arch", target=target), newest)) == len(older) for target in targets)


def _on_newer_systems(compilation: Compilation, older: Sequence[_Older]) -> list[str]:
    """The packages whose newest release has a wheel for a newer glibc or macOS."""
    newest = replace(compilation.target, glibc=(2, 40), macos=(26, 0))
    beside = compilation.beside("newer", target=newest)
    return [each.name for each in older if not each.culprits and alone(beside, [f"{each.name}=={each.newest}"])]


def _for_an_older_python(
    compilation: Compilation, asked: Sequence[str], name: str, version: str, releases: Sequence[str]
) -> tuple[str, ...]:
    """A sentence if a newer release works for all but the oldest allowed releases of Python."""

    def at(release: str) -> str:
        return alone(compilation, asked, python=release).get(name, version)

    newest = at(releases[-1])
    if newest == version:
        return ()
    low, high = 0, len(releases) - 1  # the newest release of Python has it, the oldest has not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at(releases[middle]) == newest else (middle, high)
    needed = range_of(releases[high], releases[-1], releases)
    why = f"{name} {newest} needs Python {releases[high]} or later, but `python` allows {releases[0]}"
    return (f'{why}; locked {version} instead: `python = "{needed}"` allows the newer one',)


def alone(
    compilation: Compilation,
    asked: Iterable[str],
    *,
    wheels_only: bool = True,
    python: str = "",
    offline: bool = True,
    on_any_arch: bool = False,
) -> Mapping[str, str]:
    """The version of each package that uv would choose on its own; on any arch, of those with one for all archs."""
    network = ("--offline",) if offline else ()
    universal = ("--universal", "--fork-strategy", "fewest") if on_any_arch else ()
    answer = compilation.run(
        asked, "--no-deps", "--no-annotate", "--quiet", *network, *universal, wheels_only=wheels_only, python=python
    )
    pinned = set(_PINNED.findall(answer.output)) if answer.status == 0 else set()
    several = {name for name, count in Counter(name for name, _ in pinned).items() if count > 1}
    return {name: version for name, version in pinned if name not in several}


def _would_serve(compilation: Compilation, name: str, version: str) -> bool:
    """Whether only its missing wheel rules a release out."""
    constraint = f"{name}=={version}"
    return _ask(compilation, compilation.roots, constraints=[constraint], built=(name, version)).status == 0


def _culprits(compilation: Compilation, requirement: str) -> tuple[str, ...]:
    """The packages whose missing wheels alone rule a release out; empty if something else does."""
    without: list[str] = []
    while True:
        answer = _ask(compilation, [requirement], excludes=without)
        if answer.status == 0:
            break
        is_known = NO_WHEEL.search(answer.error) and not _NOT_KEPT.search(answer.error)
        found = culprit(answer.error) if is_known else None
        if found is None or found in without or requirement.startswith(f"{found}=="):
            return ()
        without.append(found)
    if not without:
        return ()
    for name in without[:-1]:  # some of its releases may have no wheel, and others need what has none
        fewer = [each for each in without if each != name]
        if _ask(compilation, [requirement], excludes=fewer).status == 0:
            without = fewer
    answer = _ask(compilation, compilation.roots, constraints=[requirement], excludes=without)
    return tuple(without) if answer.status == 0 else ()


def _ask(
    compilation: Compilation,
    asked: Sequence[str],
    *,
    constraints: Sequence[str] = (),
    excludes: Sequence[str] = (),
    built: tuple[str, str] | None = None,
) -> Answer:
    """Solve from uv's cache, or with the network if the cache lacks something and the request allows it."""

    def run(*network: str) -> Answer:
        quiet = ("--no-annotate", "--quiet")
        return compilation.run(
            asked, *network, *quiet, constraints=constraints, excludes=excludes, built=[built] if built else ()
        )

    answer = run("--offline")
    return run() if answer.status != 0 and _NOT_KEPT.search(answer.error) else answer


def _major(version: str) -> tuple[int, int]:
    """The epoch and the first number."""
    from packaging.version import Version

    parsed = Version(version)
    return parsed.epoch, parsed.major
