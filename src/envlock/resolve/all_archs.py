"""One run of `uv lock` for all archs of an environment, where its answer is known to be that of a solve for each.

uv takes the newest version of a package that what it knows so far allows, and an older one only after a contradiction.
So if each package of an answer has the newest version that the request's own requirements and constraints allow, or the
one that is to be kept, every solve of the request ends with this answer, in whatever order it looks at packages: each
choice finds that version among those that are allowed, and none contradicts another. uv's log says of most packages
that no version is newer; uv, asked for the others without their dependencies, says it of them. Anything else (an older
version, another one for some release of Python, a package without a wheel for the arch) is for the solves of each arch.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import tomli

from envlock.lockfile.canonical_text import filename_of
from envlock.lockfile.document import format_upload_time
from envlock.model.arch import Arch
from envlock.model.lock import LockedPackage
from envlock.model.url import is_web, strip_credentials
from envlock.resolve.platform_tags import Target, allowed_releases, target_of, truths
from envlock.resolve.port import Request
from envlock.resolve.python_releases import Graph, environment_of, graph_of
from envlock.resolve.uv_compile import Answer, Compilation
from envlock.resolve.uv_failures import missing_extras
from envlock.resolve.wheel_fallback import alone, reads_like_a_series

if TYPE_CHECKING:
    from packaging.tags import Tag
    from packaging.version import Version

_FEW = 8
"""How many requirements without a version to keep are asked for at once. The more there are, the more likely is a
package that another keeps back, and then the run is one too many."""
_FOUND = re.compile(r"^TRACE Found candidate for package (\S+) with range (.*) after 1 steps: (\S+) version$", re.M)
_ONLY_ONE = re.compile(r"^TRACE Selecting candidate for (\S+) with range .* with 1 remote versions$", re.M)
_UPPER = re.compile(r"(?:[^<]*, )?(<=?)([^\s+]+?)(?:\.dev0)?\Z")
_NO_UPPER = re.compile(r"\*|>=?\S+")
_SPECIFIER = re.compile(r"(<=?|==|~=)\s*([^\s*]+?)(\.\*)?")
_FINAL = re.compile(r"(?:\d+!)?\d+(?:\.\d+)*(?:\.post\d+)?(?:\+\S+)?\Z")


@dataclass(frozen=True)
class Told:
    """What one run says of all archs."""

    answer: Answer
    archs: int = 1
    """How many archs it is for."""
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _alone: dict[tuple[str, ...], Mapping[str, str]] = field(default_factory=dict)

    def alone(self, asked: Iterable[str], compilation: Compilation, python: str) -> Mapping[str, str]:
        """The newest version of each package by itself, on any arch if there are several: asked once for them all.

        Without those of which one arch may have another version than the rest.
        """
        asked = tuple(asked)
        with self._guard:
            if asked not in self._alone:
                self._alone[asked] = alone(
                    compilation, asked, wheels_only=False, python=python, on_any_arch=self.archs > 1
                )
            return self._alone[asked]

    @cached_property
    def tables(self) -> list[dict[str, Any]]:
        """The packages of uv's lock."""
        found: list[dict[str, Any]] = tomli.loads(self.answer.output)["package"]
        return found

    @cached_property
    def newest(self) -> Mapping[str, frozenset[tuple[str, str, str]]]:
        """For each package, its newest versions below a bound: the version, and `<` or `<=` with the bound.

        Both are empty where there is no bound.
        """
        found: dict[str, set[tuple[str, str, str]]] = {}
        for name, allowed, version in _FOUND.findall(self.answer.log):
            last = allowed.rpartition(" | ")[2]
            upper = _UPPER.match(last)
            if upper is not None:
                found.setdefault(name, set()).add((version, upper[1], upper[2]))
            elif _NO_UPPER.fullmatch(last):
                found.setdefault(name, set()).add((version, "", ""))
        return {name: frozenset(each) for name, each in found.items()}

    @cached_property
    def single(self) -> frozenset[str]:
        """The packages of which there is one version."""
        return frozenset(_ONLY_ONE.findall(self.answer.log))


class Known(NamedTuple):
    """What is known of one arch."""

    graph: Graph
    packages: tuple[LockedPackage, ...] | None = None
    """What a solve for the arch would choose; None if only that solve can say it."""
    at_best: Mapping[str, str] | None = None
    """The newest version of each package that the request allows by itself, on any arch; None if that is unknown."""


class SharedRuns:
    """Runs for requests that are the same but for their arch: the first that asks runs it, the others wait."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._runs: dict[object, tuple[Future[Told], set[Arch]]] = {}

    def told(self, request: Request, run: Callable[[], Answer]) -> Told:
        """What a run says. An arch takes the answer of a run once: if it asks again, uv runs again."""
        key = _but_for_arch(request)
        with self._guard:
            future, waiting = self._runs.get(key, (None, set()))
            mine = future is None or request.arch not in waiting
            if mine:
                future, waiting = Future(), {request.arch, *request.together}
                self._runs[key] = future, waiting
            waiting.discard(request.arch)
            if not waiting:
                del self._runs[key]
        assert future is not None
        if mine:
            try:
                future.set_result(Told(run(), len(request.together) or 1))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()


def _but_for_arch(request: Request) -> object:
    return (
        *(request.requirements, request.python, request.together or request.arch, tuple(sorted(request.pins.items()))),
        *(request.provided, request.exclude_newer, request.index_urls, request.default_index_url),
        *(request.package_index_urls, request.offline),
    )


def is_for_one_run(request: Request) -> bool:
    """Whether a request is worth the run: of few packages, whose versions uv takes from an index one after another."""
    asked = request.requirements
    roots = asked.roots()
    return (
        not (request.wheels or asked.hashes or asked.pip_flags or asked.overrides)
        and not (request.find_links_urls or request.link_folders)
        and not any(each.url for each in (*roots, *asked.constraints))
        and sum(root.name not in request.pins for root in roots) <= _FEW
    )


def run_for_all(compilation: Compilation) -> Answer:
    """Run uv for all archs of which the same is asked, with the versions that are to be kept."""
    request = compilation.request
    together = request.together
    if any(root.from_index and root.marker for root in request.requirements.roots()):
        together = ()  # another arch may take a package from elsewhere
    archs = together if request.arch in together else (request.arch,)
    releases = allowed_releases(request)
    environments = [environment_of(target_of(request.requirements, arch, request.python), releases) for arch in archs]
    kept = [f"{name}=={version}" for name, version in _kept(request).items()]
    return compilation.lock(environments, constraints=kept, is_logged=True)


def _kept(request: Request) -> dict[str, str]:
    """The versions to keep that the request's own requirements allow."""
    if not request.pins:
        return {}
    from packaging.specifiers import SpecifierSet

    asked: dict[str, list[str]] = {}
    for each in (*request.requirements.roots(), *request.requirements.constraints):
        if each.specifier and not each.marker:
            asked.setdefault(each.name, []).append(each.specifier)
    return {
        name: version
        for name, version in request.pins.items()
        if name not in asked or SpecifierSet(",".join(asked[name])).contains(version, prereleases=True)
    }


def known_of(told: Told, compilation: Compilation) -> Known | None:
    """What a run says of the request's arch; None if that is of no use. May ask uv's cache for what it does not say."""
    request, target = compilation.request, compilation.target
    if told.answer.status != 0 or missing_extras(told.answer.error):
        return None
    tables = {(table["name"], table.get("version", "")): table for table in told.tables}
    graph = graph_of(told.tables, target, allowed_releases(request))
    if graph.several_sources or graph.differing is not None:
        return None
    provided = {each.name for each in request.provided}
    needed = graph.packages
    of_indexes = {item: tables[item] for item in needed.items() if item[0] not in provided}
    from_web = {name for name, index in graph.indexes.items() if is_web(index)}
    if not {name for name, _ in of_indexes} <= from_web or from_web & provided or _several_indexes(told, needed):
        return None
    packages = [_package(table, target) for table in of_indexes.values()]
    found = tuple(sorted((each for each in packages if each is not None), key=lambda each: each.name))
    versions = dict(of_indexes.keys())
    # When a pre-release counts depends on more than its version; and what only newer releases of Python need may be for
    # these alone, although it is installed on all.
    if len(found) < len(packages) or not all(map(_FINAL.match, versions.values())) or graph.not_of_oldest:
        return Known(graph)
    series = {
        each.name: version
        for each in request.requirements.pypi
        if each.name in versions and each.name not in told.single and (version := reads_like_a_series(each))
    }
    at_best = _at_best(told, compilation, versions, series)
    if at_best == versions:
        return Known(graph, found)
    if not all(at_best.values()):
        return Known(graph)
    return Known(graph, None, {**at_best, **{name: versions[name] for name in series}})


def _several_indexes(told: Told, needed: Container[str]) -> bool:
    """Whether a package is from another index for another arch."""
    sources: dict[str, object] = {}
    return any(
        sources.setdefault(table["name"], table["source"]) != table["source"]
        for table in told.tables
        if table["name"] in needed
    )


def _at_best(
    told: Told, compilation: Compilation, versions: Mapping[str, str], series: Mapping[str, str]
) -> Mapping[str, str]:
    """The newest version of each package that the request allows by itself, or the one that is to be kept.

    Of those in `series`, the newest of that series, which a note may have to name; empty for what uv cannot say.
    """
    request = compilation.request
    releases = allowed_releases(request)
    limits: dict[str, list[str]] = {}
    for each in (*request.requirements.roots(), *request.requirements.constraints):
        if not each.marker or all(truths(each.marker, compilation.target, releases)):
            limits.setdefault(each.name, []).extend(filter(None, each.specifier.split(",")))
    asked: dict[str, list[str]] = {}
    for name, version in versions.items():
        if request.pins.get(name) == version:
            continue
        if name in series:
            asked[name] = [f"{name}=={series[name]}.*"]
        elif name not in told.single and not _is_newest(version, told.newest.get(name, ()), limits.get(name, ())):
            asked[name] = [str(root) for root in request.requirements.roots() if root.name == name] or [name]
    if not asked:
        return versions
    newest = told.alone(chain.from_iterable(asked.values()), compilation.beside("alone"), releases[-1])
    return {name: newest.get(name, "") if name in asked else version for name, version in versions.items()}


def _is_newest(version: str, known: Collection[tuple[str, str, str]], limits: Iterable[str]) -> bool:
    """Whether no newer version is within the limits, by what uv's log says: see `Told.newest`.

    >>> _is_newest("2.0", {("2.0", "", "")}, []), _is_newest("1.9", {("1.9", "<", "2")}, [])
    (True, False)
    >>> _is_newest("1.9", {("1.9", "<", "2")}, ["<2.0"]), _is_newest("1.9", {("1.9", "<", "2")}, ["~=1.4"])
    (True, True)
    >>> _is_newest("1.4", (), ["==1.4.0"]), _is_newest("1.4.2", {("1.4.2", "<", "1.5")}, ["==1.4.*"])
    (True, True)
    """
    from packaging.version import Version

    bounds = {bound for bound in map(_bound, limits) if bound is not None}
    if ("==", Version(version)) in bounds:
        return True
    return any(
        each == version and (not operator or (operator, Version(bound)) in bounds) for each, operator, bound in known
    )


def _bound(specifier: str) -> tuple[str, Version] | None:
    """The upper bound that one specifier sets."""
    from packaging.version import InvalidVersion, Version

    match = _SPECIFIER.fullmatch(specifier)
    if match is None:
        return None
    operator, text, wildcard = match.groups()
    try:
        if operator in {"<", "<="} or (operator == "==" and not wildcard):
            return operator, Version(text)
        numbers = [int(part) for part in text.split(".")]
    except (InvalidVersion, ValueError):
        return None
    if operator == "~=":
        numbers.pop()
    numbers[-1] += 1
    return "<", Version(".".join(map(str, numbers)))


def _package(table: Mapping[str, Any], target: Target) -> LockedPackage | None:
    """A package with the wheel that the target takes first; None if it has none, or something else has to choose."""
    ranks = _ranks(target)
    fitting: list[tuple[int, Mapping[str, Any]]] = []
    for wheel in table.get("wheels", ()):
        if not is_web(url := wheel.get("url", "")):
            return None
        own = [ranks[tag] for tag in _tags(filename_of(strip_credentials(url))) if tag in ranks]
        if own:
            fitting.append((min(own), wheel))
    fitting.sort(key=lambda each: each[0])
    if not fitting or (len(fitting) > 1 and fitting[0][0] == fitting[1][0]):
        return None
    wheel = fitting[0][1]
    algorithm, _, digest = wheel.get("hash", "").partition(":")
    if algorithm != "sha256":
        return None
    url = strip_credentials(wheel["url"])
    return LockedPackage(
        name=table["name"],
        version=table["version"],
        filename=filename_of(url),
        url=url,
        sha256=digest,
        size=wheel.get("size"),
        upload_time=_moment(wheel["upload-time"]) if "upload-time" in wheel else "",
    )


def _moment(text: str) -> str:
    moment = tomli.loads(f"it = {text}")["it"]
    assert isinstance(moment, datetime)
    return format_upload_time(moment)


@lru_cache(maxsize=16)
def _ranks(target: Target) -> Mapping[Tag, int]:
    """The tags of a target, each with its place; the best has the lowest."""
    return {tag: place for place, tag in reversed(list(enumerate(target.tags())))}


@lru_cache(maxsize=1 << 12)
def _tags(filename: str) -> frozenset[Tag]:
    """The tags of a wheel; none if its name is not one of a wheel."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        return parse_wheel_filename(filename)[-1]
    except InvalidWheelFilename:
        return frozenset()
