"""Why a package is there: the shortest paths to it from what is required, over environments and archs.

Values and walks alone: `cli/why.py` shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from envlock.lockfile.changes import places_of
from envlock.lockfile.graph import Graph, Node
from envlock.model.requirement import normalized
from envlock.values import NamedTuple
from envlock.workflow.trees import Began, Tree, nodes_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.lockfile.changes import Places
    from envlock.model.arch import Arch

_MOST_PATHS = 100
"""The most paths that are shown from one root; packages that need each other in many ways have thousands."""


class Path(NamedTuple):
    """A shortest way from what begins it to a package, each package with its version."""

    began: Began
    steps: tuple[tuple[Node, str], ...]


class Reason(NamedTuple):
    """A path, and the environments with the archs that have it."""

    path: Path
    places: Places


class Why(NamedTuple):
    """Why a package is there, in each of its versions."""

    node: Node
    version: str
    provides: str
    """The PyPI distribution that was asked for, if a conda package of another name provides it."""
    places: Places
    reasons: tuple[Reason, ...]
    hidden: int
    """Further paths, from roots that have very many."""


def why(trees: Sequence[Tree], name: str) -> tuple[Why, ...]:
    """Every shortest path from a root to the packages that a name means. Raises PackageNotLocked."""
    found: dict[tuple[Node, str], dict[Path, dict[str, list[Arch]]]] = {}
    everywhere: dict[tuple[Node, str], dict[str, list[Arch]]] = {}
    hidden: dict[tuple[Node, str], int] = {}
    provides: dict[Node, str] = {}
    for node in nodes_named(trees, name):
        for tree in trees:
            for arch in tree.archs_of(node):
                graph = tree.graphs[arch]
                target = (node, graph.version(node))
                provides[node] = _provided(graph, node, name)
                for each in tree.names:
                    everywhere.setdefault(target, {}).setdefault(each, []).append(arch)
                began = [each for each, archs in tree.began.items() if arch in archs]
                paths, more = paths_to(graph, node, began)
                hidden[target] = max(more, hidden.get(target, 0))
                for path in paths:
                    places = found.setdefault(target, {}).setdefault(path, {})
                    for each in tree.names:
                        places.setdefault(each, []).append(arch)
    return tuple(
        Why(
            *target,
            provides[target[0]],
            places_of(everywhere[target]),
            tuple(Reason(path, places_of(found[target][path])) for path in _by_root(found.get(target, {}))),
            hidden[target],
        )
        for target in everywhere
    )


def _by_root(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths, those from one root together."""
    groups: dict[Began, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.began, []).append(path)
    for group in groups.values():
        yield from group


def _provided(graph: Graph, node: Node, name: str) -> str:
    """The distribution of that name in a conda package that is called otherwise."""
    package = graph.packages.get(node)
    wanted = normalized(name)
    if package is None or package.conda is None or package.name == name.lower():
        return ""
    return next((each for each, _ in package.conda.provides if each == wanted), wanted)


def paths_to(graph: Graph, target: Node, began: Sequence[Began]) -> tuple[list[Path], int]:
    """The shortest paths from each root to a package, and how many more there are than are shown.

    A path does not go through its own root twice, so there are as many steps as packages at most.
    """
    needed_by: dict[Node, list[Node]] = {}
    for node, needed in graph.needs.items():
        for other in needed:
            needed_by.setdefault(other, []).append(node)
    far, count, todo = {target: 0}, {target: 1}, [target]
    for node in todo:  # grows: nearest first
        for other in needed_by.get(node, ()):
            if other not in far:
                far[other], count[other] = far[node] + 1, 0
                todo.append(other)
            if far[other] == far[node] + 1:
                count[other] += count[node]
    found: list[Path] = []
    hidden = 0
    for each in began:
        if each.node in far:
            ways = islice(_ways(graph, each.node, far), _MOST_PATHS)
            found += [Path(each, tuple((node, graph.version(node)) for node in way)) for way in ways]
            hidden += max(0, count[each.node] - _MOST_PATHS)
    return found, hidden


def _ways(graph: Graph, start: Node, far: Mapping[Node, int]) -> Iterator[tuple[Node, ...]]:
    """Every shortest path from a package to the one that is 0 away, one after another."""
    todo: list[tuple[Node, ...]] = [(start,)]
    while todo:
        way = todo.pop()
        left = far[way[-1]]
        if left == 0:
            yield way
            continue
        nearer = [each for each in graph.needs.get(way[-1], ()) if far.get(each, left) == left - 1]
        todo += [(*way, each) for each in reversed(nearer)]
