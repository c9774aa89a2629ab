"""Trees and paths of packages that need each other in any way, in cycles too, and otherwise on each arch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from envlock.lockfile.graph import REQUIRED, Graph, Node, graph_of, reachable
from envlock.lockfile.rows import CondaRow, PackageRow
from envlock.model.arch import LINUX_64, OSX_ARM64, Arch
from envlock.model.requirement import PypiRequirement
from envlock.model.requirements import Requirements
from envlock.workflow.trees import Began, Tree, lines_of
from envlock.workflow.why import why

NAMES = tuple("abcdefg")
ARCHS = (LINUX_64, OSX_ARM64)
Edges = Mapping[str, frozenset[str]]
edges = st.dictionaries(st.sampled_from(NAMES), st.frozensets(st.sampled_from(NAMES), max_size=3), min_size=1)


@st.composite
def graphs(draw: st.DrawFn, arch: Arch) -> tuple[Graph, frozenset[str]]:
    """A graph of wheels, some of which need what a conda package provides, and the names that are required."""
    drawn = draw(edges)
    there = {*drawn, *(each for needed in drawn.values() for each in needed)}
    packages = [
        PackageRow(name, "1", "", "", "", dependencies=tuple(sorted(drawn.get(name, ())))) for name in sorted(there)
    ]
    packages.append(
        PackageRow("conda-z", "1", "", "", "", kind="conda", conda=CondaRow("", "", provides=(("z", "1"),)))
    )
    roots = draw(st.frozensets(st.sampled_from(sorted(there)), min_size=1))
    asked = Requirements(pypi=tuple(PypiRequirement(name) for name in sorted({*roots, "z"})))
    return graph_of(arch, packages, asked, needs_provided={min(there): ("z", "unknown")}), roots


def tree_of(found: Mapping[Arch, Graph]) -> Tree:
    began: dict[Began, tuple[Arch, ...]] = {}
    for arch, graph in found.items():
        for root in graph.roots:
            each = Began(root.node, root.why, root.requirement)
            began[each] = (*began.get(each, ()), arch)
    return Tree(("demo",), tuple(found), found, dict.fromkeys(found, "3.12"), began)


trees = st.tuples(*map(graphs, ARCHS)).map(lambda both: tree_of({a: g for a, (g, _) in zip(ARCHS, both, strict=True)}))


def reached(graph: Graph) -> set[Node]:
    names = {"/".join(node): ["/".join(each) for each in needed] for node, needed in graph.needs.items()}
    found = reachable(names, ["/".join(root.node) for root in graph.roots])
    return {(kind, name) for kind, _, name in (each.partition("/") for each in found)}


@given(graph=graphs(LINUX_64))
def test_every_package_is_reached_from_a_root(graph: tuple[Graph, frozenset[str]]) -> None:
    found, required = graph
    assert reached(found) == set(found.packages)
    assert required <= {root.node[1] for root in found.roots if root.why == REQUIRED}


@given(tree=trees, upwards=st.booleans())
def test_a_tree_has_every_edge_once_in_full(tree: Tree, upwards: bool) -> None:
    invert = tuple(node for arch in ARCHS for node in tree.graphs[arch].packages)[:2] if upwards else ()
    edges = tree.edges(upwards=upwards)
    above: list[tuple[Node, tuple[Arch, ...]]] = []
    below: dict[tuple[Node, Arch], set[Node]] = {}
    for line in lines_of(tree, invert=invert):
        del above[len(line.is_last) :]
        if above:
            node, archs = above[-1]
            assert set(line.archs) == set(edges[node][line.node]) & set(archs)
            for arch in line.archs:
                below.setdefault((node, arch), set()).add(line.node)
        if line.is_repeated:
            assert all(
                (line.node, arch) in below for arch in line.archs if line.node in arch_edges(tree, arch, upwards)
            )
        above.append((line.node, line.archs))
    for arch in ARCHS:
        own = arch_edges(tree, arch, upwards)
        starts = [*invert] or [root.node for root in tree.graphs[arch].roots]
        todo, seen = [each for each in starts if each in tree.graphs[arch].packages], set()
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                assert below.get((node, arch), set()) == own.get(node, set())
                todo += own.get(node, ())


def arch_edges(tree: Tree, arch: Arch, upwards: bool) -> dict[Node, set[Node]]:
    found: dict[Node, set[Node]] = {}
    for node, needed in tree.graphs[arch].needs.items():
        for each in needed:
            start, end = (each, node) if upwards else (node, each)
            found.setdefault(start, set()).add(end)
    return found


@given(tree=trees, depth=st.integers(0, 3))
def test_no_line_is_deeper_than_asked(tree: Tree, depth: int) -> None:
    cut = [*lines_of(tree, depth=depth)]
    assert all(len(line.is_last) <= depth for line in cut)
    whole = {(arch, node) for line in lines_of(tree) for arch in line.archs for node in [line.node]}
    assert {(arch, line.node) for line in cut for arch in line.archs} <= whole


@given(tree=trees, name=st.sampled_from((*NAMES, "z")))
def test_every_path_is_a_shortest_one_of_edges(tree: Tree, name: str) -> None:
    target: Node = ("conda", "conda-z") if name == "z" else ("pypi", name)
    if not tree.archs_of(target):
        return
    (found,) = why([tree], name)
    told = {
        (arch, reason.path.began, tuple(node for node, _ in reason.path.steps))
        for reason in found.reasons
        for _, archs in reason.places
        for arch in archs
    }
    assert found.hidden == 0
    assert told == {
        (arch, began, way)
        for began, archs in tree.began.items()
        for arch in archs
        for way in shortest(tree.graphs[arch], began.node, target)
    }


def test_of_very_many_paths_the_first_are_told_and_the_others_counted() -> None:
    layers = [[f"{letter}{n}" for n in range(3)] for letter in "abcde"]
    needs = {"root": layers[0], **{name: after for before, after in pairwise(layers) for name in before}}
    needs |= {key: ["end"] for key in layers[-1]}
    packages = [PackageRow(name, "1", "", "", "", dependencies=tuple(needs.get(name, ()))) for name in [*needs, "end"]]
    asked = Requirements(pypi=(PypiRequirement("root"),))
    (found,) = why([tree_of({LINUX_64: graph_of(LINUX_64, packages, asked)})], "end")
    assert (len(found.reasons), found.hidden) == (100, 3**5 - 100)


def shortest(graph: Graph, start: Node, end: Node) -> list[tuple[Node, ...]]:
    """All shortest paths, found by walking all paths."""
    ways = [(start,)]
    for _ in range(len(graph.packages)):
        found = [way for way in ways if way[-1] == end]
        if found:
            return found
        ways = [(*way, each) for way in ways for each in graph.needs.get(way[-1], ()) if each not in way]
    return []
