"""The packages of environments as trees, folded over archs: what each brings, and what brings each.

Values and walks alone: `cli/tree.py` shows them. Reads locks, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from envlock.conda.names import conda_name
from envlock.errors import ConfigError, Location
from envlock.lockfile.graph import BUILDS, FOR_METAFLOW, REQUIRED, UNNEEDED, Graph, Node, Root, by_kind, graph_of
from envlock.model.requirement import normalized
from envlock.model.requirements import requirements_from
from envlock.values import NamedTuple
from envlock.words import limits_in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.config.project import Environment, KeyPath, Project
    from envlock.lockfile.rows import LockRows
    from envlock.model.arch import Arch
    from envlock.model.requirements import Requirements
    from envlock.workflow.references import Referred


class Began(NamedTuple):
    """What begins a tree, and where it stands."""

    node: Node
    why: str
    """As in Root."""
    requirement: str = ""
    at: Location | None = None
    """The line of envlock.toml or of a requirement file; None if it stands in neither."""

    @property
    def words(self) -> str:
        """What began it, for a person.

        >>> Began(("pypi", "pandas"), REQUIRED, "pandas>=2", Location("envlock.toml", 7)).words
        'pandas>=2, envlock.toml:7'
        """
        return ", ".join(filter(None, (self.requirement, *self._why, self._place)))

    @property
    def words_beside_name(self) -> str:
        """The same, where the name of the package stands already.

        >>> Began(("pypi", "pandas"), REQUIRED, "pandas>=2", Location("envlock.toml", 7)).words_beside_name
        '>=2, envlock.toml:7'
        >>> Began(("conda", "numpy"), REQUIRED, "numpy").words_beside_name
        'required'
        """
        limits = self.requirement.removeprefix(self.node[1]).strip()
        return ", ".join(filter(None, (limits, *self._why, self._place))) or self.why

    @property
    def _place(self) -> str:
        return str(self.at) if self.at else ""

    @property
    def _why(self) -> tuple[str, ...]:
        return () if self.why == REQUIRED else (self.why,)


class Tree(NamedTuple):
    """One environment over all archs, or several that are locked to the same."""

    names: tuple[str, ...]
    archs: tuple[Arch, ...]
    graphs: Mapping[Arch, Graph]
    """One and the same for archs that do not differ in it."""
    pythons: Mapping[Arch, str]
    """The series of Python, `3.12`."""
    began: Mapping[Began, tuple[Arch, ...]]
    """Each root, with the archs that have it."""
    unread: tuple[str, ...] = ()
    """Wheels that are not on this machine, so that it is not known which conda packages they need."""

    def archs_of(self, node: Node) -> tuple[Arch, ...]:
        """The archs that have a package."""
        return tuple(arch for arch in self.archs if has(self.graphs[arch], node))

    def versions(self, node: Node, archs: Collection[Arch]) -> tuple[tuple[str, tuple[Arch, ...]], ...]:
        """The versions of a package, each with those of the archs that have it."""
        found: dict[str, list[Arch]] = {}
        for arch in archs:
            found.setdefault(self.graphs[arch].version(node), []).append(arch)
        return tuple([(version, tuple(each)) for version, each in found.items()])

    def edges(self, *, upwards: bool = False) -> dict[Node, dict[Node, tuple[Arch, ...]]]:
        """What each package needs, or what needs it, with the archs on which it does."""
        found: dict[Node, dict[Node, tuple[Arch, ...]]] = {}
        for graph, archs in self._by_graph():
            for node, needed in graph.needs.items():
                for other in needed:
                    start, end = (other, node) if upwards else (node, other)
                    ends = found.setdefault(start, {})
                    ends[end] = (*ends[end], *archs) if end in ends else archs
        return {
            node: {
                each: tuple(arch for arch in self.archs if arch in ends[each])
                if len(ends[each]) < len(self.archs)
                else self.archs
                for each in sorted(ends, key=by_kind)
            }
            for node, ends in found.items()
        }

    def _by_graph(self) -> Iterator[tuple[Graph, tuple[Arch, ...]]]:
        groups: dict[int, list[Arch]] = {}
        for arch in self.archs:
            groups.setdefault(id(self.graphs[arch]), []).append(arch)
        for archs in groups.values():
            yield self.graphs[archs[0]], tuple(archs)

    def began_by_node(self) -> dict[Node, list[tuple[Began, tuple[Arch, ...]]]]:
        """The roots by their package, of which there may be several."""
        found: dict[Node, list[tuple[Began, tuple[Arch, ...]]]] = {}
        for each, archs in self.began.items():
            found.setdefault(each.node, []).append((each, archs))
        return found


class TreeLine(NamedTuple):
    """A package at one place of a tree."""

    node: Node
    is_last: tuple[bool, ...]
    """Of each level down to this one: whether the line is the last there. Empty for the first level."""
    archs: tuple[Arch, ...]
    """Those on which it is at this place."""
    is_partial: bool
    """Whether the line above it, or the environment, has more archs."""
    began: Sequence[tuple[Began, tuple[Arch, ...]]]
    is_repeated: bool = False
    """Whether all that it brings stands above."""


def trees_of(referred: Sequence[Referred]) -> tuple[Tree, ...]:
    """The trees of environments that have a lock; those with the same locks share one.

    Raises DamagedLock, ConflictMarkersInLock, NewerLockFormat.
    """
    groups: dict[object, list[Referred]] = {}
    for each in referred:
        if each.files:
            began = each.environment.origins if each.environment else ()
            groups.setdefault((tuple(each.full_ids.items()), began if each.project else each.name), []).append(each)
    return tuple(map(_tree, groups.values()))


def _began(referred: Referred, roots: Iterable[Root], known: dict[Root, Began]) -> Iterator[Began]:
    """What begins the roots of a lock; `known` are those of the environment's other locks."""
    environment, project = referred.environment, referred.project
    origins = dict(environment.origins) if environment else {}
    for root in roots:
        if root not in known:
            key = _key(project, environment, origins, root) if project and environment else None
            at = project.place_of(key) if project and key is not None else None
            said = _requirement(root, environment.local if environment else ())
            known[root] = Began(root.node, root.why, said, at)
        yield known[root]


def _requirement(root: Root, local: Iterable[tuple[str, str]]) -> str:
    """The requirement of a root as people write it: a folder or a file by its path, not by its hash."""
    paths = (path for url, path in local if root.things and url in root.things[0])
    path = next(paths, "")
    return f"{root.node[1]} from {path}" if path else limits_in_order(root.requirement)


def _key(project: Project, environment: Environment, origins: Mapping[str, KeyPath], root: Root) -> KeyPath | None:
    """The key of envlock.toml, or the line of a file, that a root comes from."""
    base = environment.base
    if root.things == ("named_env",) or (base is not None and not base.extends):
        return base.key if base else None
    if root.why == UNNEEDED:
        return None
    if root.why == FOR_METAFLOW:
        return ("envlock", "datastore") if "datastore" in project.settings.written else None
    return next((origins[thing] for thing in root.things if thing in origins), environment.key)


def _tree(group: Sequence[Referred]) -> Tree:
    first = group[0]
    graphs: dict[Arch, Graph] = {}
    pythons: dict[Arch, str] = {}
    began: dict[Began, list[Arch]] = {}
    known: dict[Root, Began] = {}
    alike: dict[object, Graph] = {}
    unread: dict[Arch, tuple[str, ...]] = {}
    for arch in first.archs:
        rows = first.rows(arch)
        pythons[arch] = rows.python.series
        requirements, base = _requirements(first, rows)
        provided, unread[arch] = _needs_provided(rows, requirements)
        key = None if provided else _what_makes_a_graph(rows, (requirements, base))
        if key is None or key not in alike:
            alike[key or arch] = graph_of(arch, rows.packages, requirements, base, provided)
        graphs[arch] = alike[key or arch]
        for each in _began(first, graphs[arch].roots, known):
            began.setdefault(each, []).append(arch)
    return Tree(
        tuple(each.name for each in group),
        first.archs,
        graphs,
        pythons,
        {each: tuple(archs) for each, archs in began.items()},
        tuple(sorted({name for names in unread.values() for name in names})),
    )


def _needs_provided(rows: LockRows, requirements: Requirements) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """What each wheel needs of the distributions in conda packages, and the wheels of which that is not known.

    No lock says that: it is in the metadata of those wheels that are on this machine.
    """
    provided = {name for package in rows.conda_packages if package.conda for name, _ in package.conda.provides}
    wheels = rows.pypi_packages if provided else ()
    if not wheels:
        return {}, ()
    from envlock.cache.layout import package_path
    from envlock.places import home

    top = home()
    paths = {wheel.name: top / package_path(wheel.sha256, wheel.filename) for wheel in wheels}
    here = {name: path for name, path in paths.items() if path.is_file()}
    found: dict[str, list[str]] = {}
    if here:  # what reads wheels takes long to import
        from envlock.hydration.wheels import requires_in
        from envlock.resolve.platform_tags import target_of, truths

        target, release = target_of(requirements, rows.arch, rows.python.version), (rows.python.version,)
        for wheel, path in here.items():
            needed = ((name, marker) for name, marker in requires_in(path) if name in provided)
            found[wheel] = sorted({name for name, marker in needed if not marker or truths(marker, target, release)[0]})
    return found, tuple(name for name in paths if name not in here)


def _what_makes_a_graph(rows: LockRows, asked: Sequence[Requirements | None]) -> object:
    """What two archs with the same graph have in common; None if requirements are for some archs only."""
    for each in filter(None, asked):
        if any(one.marker for one in (*each.pypi, *each.metaflow)) or any(one.archs for one in each.all_conda):
            return None
    return tuple(
        [
            (one.kind, one.name, one.version, one.dependencies, one.source, one.conda and one.conda.provides)
            for one in rows.packages
        ]
    )


def _requirements(referred: Referred, rows: LockRows) -> tuple[Requirements, Requirements | None]:
    """The requirements of a lock, and those of what it extends, if the pin of that is here."""
    environment = referred.environment
    if environment is None or environment.requirements.req_id != rows.req_id:
        try:
            return requirements_from(rows.requirements), None
        except (
            KeyError,
            TypeError,
            ValueError,
            ConfigError,
        ):  # a lock that envlock did not write: what is wrong with it?
            return referred.lock(rows.arch).requirements, None
    base = environment.base
    pinned = base.pin.requirements if base is not None and base.extends and base.pin is not None else None
    return environment.requirements, pinned


def has(graph: Graph, node: Node) -> bool:
    """Whether a package is in a graph, or built another one."""
    return node in graph.packages or node in graph.built_with


# A tree, line by line.


def lines_of(tree: Tree, *, depth: int | None = None, invert: Collection[Node] = ()) -> Iterator[TreeLine]:
    """The tree from its roots down, or upside down: from the packages `invert` up to what needs them.

    What a package brings is shown once, in full; where it comes again, only its line is. So cycles end. `depth` is how
    many levels there are below the first.
    """
    edges = tree.edges(upwards=bool(invert))
    roots = tree.began_by_node()
    told: dict[Node, tuple[frozenset[Arch], float]] = {}
    todo: list[_Place] = []
    for node in reversed(tuple(invert) or tuple(roots)):
        own = {arch for _, archs in roots[node] for arch in archs} if not invert else tree.archs_of(node)
        todo.append(_Place(node, tuple(arch for arch in tree.archs if arch in own), tree.archs, ()))
    while todo:
        node, archs, around, is_last = todo.pop()
        if not archs:
            continue
        left = float("inf") if depth is None else depth - len(is_last)
        below = edges.get(node, {}).items()
        if archs != tree.archs:
            below = {
                each: some for each, on in below if (some := tuple([arch for arch in on if arch in archs]))
            }.items()
        children = [*below]
        known, how_deep = told.get(node, (frozenset(), -1.0))
        is_repeated = bool(children) and known.issuperset(archs) and how_deep >= left
        began = roots.get(node, ()) if invert or not is_last else ()
        yield TreeLine(node, is_last, archs, len(archs) < len(around), began, is_repeated)
        if is_repeated or left <= 0:
            continue
        told[node] = (frozenset(archs) | (known if how_deep >= left else frozenset()), left)
        last = len(children) - 1
        todo += [_Place(each, on, archs, (*is_last, at == last)) for at, (each, on) in reversed([*enumerate(children)])]


class _Place(NamedTuple):
    """A package that is still to be shown."""

    node: Node
    archs: tuple[Arch, ...]
    around: tuple[Arch, ...]
    is_last: tuple[bool, ...]


def nodes_named(trees: Sequence[Tree], name: str) -> tuple[Node, ...]:
    """The packages that a name means: of a conda package, a wheel, a distribution that a conda package provides.

    Raises PackageNotLocked.
    """
    conda, pypi = name.strip().lower(), normalized(name.strip())
    graphs = [tree.graphs[arch] for tree in trees for arch in tree.archs]
    wanted: tuple[Node, ...] = (("conda", conda), ("pypi", pypi))
    found = {node for graph in graphs for node in wanted if node in graph.packages}
    for graph in graphs:
        found |= {
            node
            for node, package in graph.packages.items()
            if package.conda is not None and any(each == pypi for each, _ in package.conda.provides)
        }
    if not found:
        published = ("conda", conda_name(pypi))
        built: Node = (BUILDS, pypi)
        found = {node for graph in graphs for node in (published, built) if has(graph, node)}
    if found:
        return tuple(sorted(found))
    from envlock.workflow.errors import PackageNotLocked

    names = {each for graph in graphs for _, each in (*graph.packages, *graph.built_with)}
    names |= {
        each
        for graph in graphs
        for package in graph.packages.values()
        if package.conda is not None
        for each, _ in package.conda.provides
    }
    raise PackageNotLocked(name, sorted(names), [each for tree in trees for each in tree.names])
