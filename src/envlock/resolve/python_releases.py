"""One set of packages that works for every allowed release of Python.

A lock from `machine` is for a series, and each machine has its own release of it. A marker that one release meets and
another does not (`python_full_version < '3.11.3'`), or one of the kernel, must not decide what is installed where. So
uv locks the same requirements for all allowed releases at once, with the versions that were chosen for the oldest: what
that has beyond the solution is added, and where releases cannot have the same version of a package, there is no lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import tomli

from envlock.lockfile.graph import reachable
from envlock.model.lock import LockedPackage
from envlock.model.python_range import releases_of
from envlock.model.url import strip_credentials
from envlock.resolve.errors import ARCH, ReleasesDiffer
from envlock.resolve.index_check import missing_index
from envlock.resolve.platform_tags import UNKNOWN, Target, allowed_releases, truths
from envlock.resolve.port import Provided, Request
from envlock.resolve.uv_compile import PROJECT, Answer, Compilation
from envlock.resolve.uv_failures import explain, mentioned, not_kept, reason_of, root_names

_SPLIT = re.compile(r"for split \(markers: (.*)\)")
_FITTING = re.compile(r"no\s+`[^`]*`-compatible\s+wheels")
_RUNS = 40
"""How many uv runs may look for versions that work for all releases; each costs as much as a warm solve."""
_OF_ARCH = (
    *("sys_platform", "platform_machine", "os_name", "platform_system"),
    *("implementation_name", "platform_python_implementation"),
)


class Edge(NamedTuple):
    """One package's need of another."""

    name: str
    version: str
    extras: tuple[str, ...]
    marker: str


class Reached(NamedTuple):
    """What one release needs."""

    packages: frozenset[tuple[str, str]]
    """Names and versions."""
    edges: frozenset[tuple[str, Edge]]
    """By name, version and extra; the extra is empty for needs without one."""


@dataclass(frozen=True)
class Graph:
    """Who needs whom, with which release of Python."""

    target: Target
    releases: tuple[str, ...]
    edges: Mapping[tuple[str, str, str], tuple[Edge, ...]]
    """By name, version and extra; the extra is empty for what is needed without one."""
    indexes: Mapping[str, str]
    """The index of each package, without credentials; none for a direct URL."""
    several_sources: frozenset[str] = frozenset()
    """Packages of which two URLs give two files of one version."""

    @cached_property
    def by_release(self) -> Mapping[str, Reached]:
        """What each allowed release needs."""
        markers = {edge.marker for edges in self.edges.values() for edge in edges if edge.marker}
        holding_at = {marker: truths(marker, self.target, self.releases) for marker in markers}
        known: dict[tuple[bool, ...], Reached] = {}
        found: dict[str, Reached] = {}
        for number, release in enumerate(self.releases):
            row = tuple(truth[number] for truth in holding_at.values())
            if row not in known:
                holding = {"", *(marker for marker, truth in holding_at.items() if truth[number])}
                known[row] = self._reached(holding)
            found[release] = known[row]
        return found

    @property
    def packages(self) -> dict[str, str]:
        """The version of each needed package; the lowest, if releases differ."""
        from packaging.version import Version

        versions: dict[str, str] = {}
        for name, version in sorted({each for reached in self.by_release.values() for each in reached.packages}):
            if name not in versions or Version(version) < Version(versions[name]):
                versions[name] = version
        return versions

    @property
    def differing(self) -> str | None:
        """A package that not all releases have in the same version."""
        seen: dict[str, str] = {}
        for name, version in sorted({each for reached in self.by_release.values() for each in reached.packages}):
            if seen.setdefault(name, version) != version:
                return name
        return None

    @property
    def needed_by(self) -> dict[str, tuple[str, ...]]:
        """For each package, the others that need it with some release."""
        parents: dict[str, set[str]] = {}
        for name, edge in {each for reached in self.by_release.values() for each in reached.edges}:
            parents.setdefault(edge.name, set()).update({name} - {PROJECT, edge.name})
        return {name: tuple(sorted(each)) for name, each in parents.items()}

    @property
    def not_of_oldest(self) -> frozenset[str]:
        """The packages that the oldest release does not need."""
        markers = {edge.marker for edges in self.edges.values() for edge in edges if edge.marker}
        sure = [m for m in markers if not UNKNOWN.search(m) and truths(m, self.target, self.releases[:1])[0]]
        return frozenset(self.packages) - {name for name, _ in self._reached({"", *sure}).packages}

    def why(self, name: str) -> tuple[str, ...]:
        """Who needs a package: one sentence for each need that not all releases have."""
        sentences = []
        for parent, edge in sorted({each for reached in self.by_release.values() for each in reached.edges}):
            if edge.name == name and (edge.marker or self.differing == name):
                where = self._where(parent, edge)
                who = "required" if parent == PROJECT else f"required by {parent}"
                sentences.append(f"{name} {edge.version}: {who}{f' if `{where}`' if where else ''}")
        return tuple(sentences)

    def runs(self, name: str) -> tuple[tuple[str, str], ...]:
        """The first and last of each row of releases with the same version of a package, or without it."""
        rows: list[tuple[object, list[str]]] = []
        for release, reached in self.by_release.items():
            files: object = frozenset(version for each, version in reached.packages if each == name)
            if name in self.several_sources:  # which only the requirements tell apart
                files = frozenset(edge for _, edge in reached.edges if edge.name == name)
            if not rows or rows[-1][0] != files:
                rows.append((files, []))
            rows[-1][1].append(release)
        return tuple((row[0], row[-1]) for _, row in rows)

    def roots_of(self, name: str) -> tuple[str, ...]:
        """The requirements that bring a package, itself included."""
        asked = {edge.name for (parent, _, _), edges in self.edges.items() if parent == PROJECT for edge in edges}
        return tuple(sorted(({name} | reachable(self.needed_by, [name])) & asked))

    def _where(self, parent: str, edge: Edge) -> str:
        """The marker of an edge: in a few words for releases of Python, else as written."""
        if "python" not in edge.marker or UNKNOWN.search(edge.marker):
            return edge.marker
        has = [release for release, reached in self.by_release.items() if (parent, edge) in reached.edges]
        first, last = has[0], has[-1]
        bounds = [f"python_full_version >= '{first}'"] if first != self.releases[0] else []
        if last != self.releases[-1]:
            after = self.releases[self.releases.index(last) + 1]
            bounds.append(f"python_full_version < '{after}'")
        return " and ".join(bounds) if bounds else edge.marker

    def _reached(self, holding: set[str]) -> Reached:
        packages: set[tuple[str, str]] = set()
        edges: set[tuple[str, Edge]] = set()
        (start,) = (key for key in self.edges if key[0] == PROJECT)
        seen, todo = {start}, [start]
        while todo:
            key = todo.pop()
            for edge in self.edges.get(key, ()):
                if edge.marker not in holding:
                    continue
                packages.add((edge.name, edge.version))
                edges.add((key[0], edge))
                for extra in ("", *edge.extras):
                    following = (edge.name, edge.version, extra)
                    if following not in seen:
                        seen.add(following)
                        todo.append(following)
        return Reached(frozenset(packages), frozenset(edges))


@dataclass(frozen=True)
class More:
    """What the solve needs beside the requirements, so that one solution works for all releases."""

    roots: tuple[str, ...] = ()
    limits: Mapping[str, str] = field(default_factory=dict)
    """By name, the highest version that works for all releases."""

    @property
    def constraints(self) -> tuple[str, ...]:
        """The limits as requirements."""
        return tuple(_at_most(name, version) for name, version in self.limits.items())

    def lacking(
        self, graph: Graph, packages: Iterable[LockedPackage], provided: Iterable[Provided]
    ) -> Mapping[str, str]:
        """What the releases need and the packages lack, with the version that works for all releases."""
        found = {each.name: each.version for each in packages}
        elsewhere = {each.name for each in provided}
        return {
            name: version
            for name, version in graph.packages.items()
            if name not in elsewhere and not _is_same(found.get(name), version)
        }

    def adding(self, lacking: Mapping[str, str], packages: Iterable[LockedPackage], request: Request) -> More:
        """The same, with what is lacking: by URL if a requirement has one."""
        new = lacking.keys() - {each.name for each in packages}
        by_url = {root.name: str(root._replace(marker="")) for root in request.requirements.roots() if root.url}
        return More(tuple(sorted({*self.roots, *(by_url.get(name, name) for name in new)})), {**self.limits, **lacking})


def needed_by_releases(compilation: Compilation, packages: Sequence[LockedPackage]) -> Graph:
    """What all allowed releases need, in the versions of `packages` if possible.

    Costs a run of uv out of its cache; more, and requests, only where releases need different packages. Raises
    ReleasesDiffer, or what uv's failure means.
    """
    request = compilation.request
    pins = {package.name: package.version for package in packages}
    releases = allowed_releases(request)
    marker = environment_of(compilation.target, releases)
    pinned = [f"{name}=={version}" for name, version in pins.items()]
    known = {*pins, *(each.name for each in request.provided)}
    for offline in (True, False):
        answer = compilation.lock([marker], constraints=pinned, offline=offline)
        if answer.status == 0:
            graph = _read(answer, compilation.target, releases)
            # Offline, uv would choose what its cache happens to hold of a package that was not solved for.
            if not offline or request.offline or graph.packages.keys() <= known:
                if graph.several_sources:
                    raise releases_differ(request, graph, min(graph.several_sources))
                return graph
        if offline and request.offline:
            break
    return _with_other_versions(compilation, pins, answer, marker)


def _with_other_versions(compilation: Compilation, pins: Mapping[str, str], answer: Answer, marker: str) -> Graph:
    """One version of each package, as few as possible of them other than in `pins`."""
    request, releases = compilation.request, allowed_releases(compilation.request)
    if answer.status != 0 and "No solution found" not in answer.error:
        raise explain(request, answer.error, lambda: missing_index(request))
    free: set[str] = set()
    limits: list[str] = []
    first: Graph | None = None
    for _ in range(_RUNS):
        if answer.status == 0:
            graph = _read(answer, compilation.target, releases)
            name = graph.differing
            if name is None:
                return graph
            first = first or graph
            free.add(name)
            limits.append(_at_most(name, graph.packages[name]))
        else:
            named = mentioned(pins, answer.error) - free
            if not named and (first is not None or free >= pins.keys()):
                break
            free |= named or pins.keys()
        pinned = [f"{name}=={version}" for name, version in pins.items() if name not in free]
        answer = compilation.lock([marker], constraints=[*pinned, *limits], fewest=True)
    if first is not None:
        raise releases_differ(request, first, str(first.differing))
    if request.offline:  # uv says that there is no version of what is not kept
        raise not_kept(request)
    split = _SPLIT.search(answer.error)
    if split is not None:
        raise _release_without(request, compilation.target, split[1], answer.error)
    raise explain(request, answer.error, lambda: missing_index(request))


def releases_differ(request: Request, graph: Graph, name: str, *, reason: Sequence[str] = ()) -> ReleasesDiffer:
    """The error of a package that the releases cannot have as one file, or, with a reason, cannot have at all."""
    runs = graph.runs(name)
    ranges = [range_of(first, last, graph.releases) for first, last in runs] if len(runs) > 1 else []
    asked = " or ".join(f'`python = "{each}"`' for each in reversed(ranges))
    what = "releases of Python" if ranges else "machines"
    sentence = f"the allowed {what} need different versions of {name}"
    if reason:
        sentence = f"some of the allowed {what} need {name}, which cannot be locked"
    return ReleasesDiffer(
        request.name,
        request.arch,
        sentence,
        details=(*graph.why(name), *reason),
        hint=f"set {asked}" if ranges else f"choose one version of {name} for all of them",
        packages=("python", *graph.roots_of(name)) if ranges else graph.roots_of(name),
    )


def _release_without(request: Request, target: Target, marker: str, text: str) -> ReleasesDiffer:
    """The error of releases that have no solution although the oldest has one; `text` is uv's."""
    releases = allowed_releases(request)
    failing = truths(marker, target, releases)
    spared = [release for release, fails in zip(releases, failing, strict=True) if not fails]
    rows = [list(row) for has, row in groupby(releases, key=spared.__contains__) if has]
    asked = " or ".join(f'`python = "{range_of(row[0], row[-1], releases)}"`' for row in reversed(rows))
    who = f"Python {releases[failing.index(True)]}" if spared else "another machine"
    return ReleasesDiffer(
        request.name,
        request.arch,
        f"no solution found for {who}, which is allowed",
        details=reason_of(_FITTING.sub(f"no wheel for {ARCH}", text)),
        hint=f"set {asked}, or change one of the lines above" if asked else "change one of the lines above",
        packages=(*(["python"] if asked else []), *sorted(mentioned(root_names(request), text))),
    )


def range_of(first: str, last: str, releases: Sequence[str]) -> str:
    """The specifier of exactly these releases: `>=3.11.4,<3.12`."""
    major, minor, _ = (int(part) for part in last.split("."))
    upper = f"{major}.{minor + 1}" if last == releases[-1] else releases[releases.index(last) + 1]
    return f">={first},<{upper}"


def _is_same(version: str | None, other: str) -> bool:
    """Whether two versions are equal: 2.2 and 2.2.0 are."""
    from packaging.version import Version

    return version == other or (version is not None and Version(version) == Version(other))


def _at_most(name: str, version: str) -> str:
    return f"{name}=={version}" if "+" in version else f"{name}<={version}"


def environment_of(target: Target, releases: Sequence[str]) -> str:
    """The marker of exactly one arch and these releases."""
    texts = target.marker_texts()
    parts = [f"{variable} == '{texts[variable]}'" for variable in _OF_ARCH]
    if len(releases) == 1:
        return " and ".join([*parts, f"python_full_version == '{releases[0]}'"])
    major, minor, _ = (int(part) for part in releases[-1].split("."))
    series = releases_of(releases[0], "")
    within = series[: series.index(releases[-1])]
    goes_on = releases[-1] == series[-1]
    parts.append(f"python_full_version >= '{releases[0]}'")
    parts += [f"python_full_version != '{each}'" for each in within if each not in releases]
    parts.append(
        f"python_full_version < '{major}.{minor + 1}'" if goes_on else f"python_full_version <= '{releases[-1]}'"
    )
    return " and ".join(parts)


def _read(answer: Answer, target: Target, releases: tuple[str, ...]) -> Graph:
    return graph_of(tomli.loads(answer.output)["package"], target, releases)


def graph_of(tables: Sequence[Mapping[str, Any]], target: Target, releases: tuple[str, ...]) -> Graph:
    """Who needs whom, by the packages of uv's lock."""
    versions: dict[str, list[str]] = {}
    for table in tables:
        versions.setdefault(table["name"], []).append(table.get("version", ""))
    edges: dict[tuple[str, str, str], tuple[Edge, ...]] = {}
    indexes: dict[str, str] = {}
    for table in tables:
        name, version = table["name"], table.get("version", "")
        edges[name, version, ""] = tuple(_edges(table.get("dependencies", ()), versions))
        for extra, needed in table.get("optional-dependencies", {}).items():
            edges[name, version, extra] = tuple(_edges(needed, versions))
        if "registry" in table["source"]:
            indexes[name] = strip_credentials(table["source"]["registry"])
    several = {table["name"] for table in tables if versions[table["name"]].count(table.get("version", "")) > 1}
    return Graph(target, releases, edges, indexes, frozenset(several))


def _edges(tables: Iterable[Mapping[str, object]], versions: Mapping[str, Sequence[str]]) -> Iterator[Edge]:
    for table in tables:
        name = str(table["name"])
        extras = table.get("extra", [])
        assert isinstance(extras, list)
        yield Edge(name, str(table.get("version", versions[name][0])), tuple(extras), str(table.get("marker", "")))
