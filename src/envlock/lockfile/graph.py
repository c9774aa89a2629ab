"""The packages of a lock as a graph: what a package brings with it, and why each one is there.

Works on locks and on their rows alike (`lockfile.rows`): both have the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from envlock.conda.names import conda_name
from envlock.model.arch import MARKER_VALUES, Arch
from envlock.model.marker import holds
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:  # defining a dataclass takes longer than reading a lock
    from typing import TypeAlias

    from envlock.lockfile.rows import PackageRow
    from envlock.model.lock import Lock, LockedPackage
    from envlock.model.requirement import PypiRequirement
    from envlock.model.requirements import Requirements

    Package: TypeAlias = "LockedPackage | PackageRow"

REQUIRED = "required"
FOR_METAFLOW = "for Metaflow"
OF_BASE = "of the base"
OF_EXTRA = "for its extras"
UNNEEDED = "nothing requires it"
BUILDS = "build"
"""The kind of what only built another package: it is not installed."""

Node: TypeAlias = tuple[str, str]
"""A package in a graph: its kind (`conda`, `pypi`, or `BUILDS`), and its name."""
_ORDER = {"conda": 0, "pypi": 1, BUILDS: 2}


def by_kind(node: Node) -> tuple[int, str]:
    """The order in which packages are shown: conda packages first, and by name.

    >>> sorted([("build", "a"), ("pypi", "b"), ("pypi", "a"), ("conda", "z")], key=by_kind)
    [('conda', 'z'), ('pypi', 'a'), ('pypi', 'b'), ('build', 'a')]
    """
    return _ORDER[node[0]], node[1]


class Root(NamedTuple):
    """What brings a package, and all that it needs, into an environment."""

    node: Node
    why: str
    """`REQUIRED`, `FOR_METAFLOW`, `OF_BASE`, `OF_EXTRA`: needed by an extra of what a conda package provides, or
    `UNNEEDED`, which `check` does not accept."""
    requirement: str = ""
    """As it is written; empty if the lock does not say."""
    things: tuple[str, ...] = ()
    """What `Environment.origins` may call it, the most exact first."""


class Graph(NamedTuple):
    """One lock: its packages, what each needs, and what begins it all."""

    packages: Mapping[Node, Package]
    needs: Mapping[Node, tuple[Node, ...]]
    """What each package needs, of every kind; conda packages first, and by name."""
    roots: tuple[Root, ...]
    """From these, every package is reached. What is required comes first, and python before other names."""
    built_with: Mapping[Node, str]
    """The versions of what only built others."""

    def version(self, node: Node) -> str:
        """The version of a package."""
        return self.built_with[node] if node[0] == BUILDS else self.packages[node].version


def reachable(edges: Mapping[str, Sequence[str]], roots: Iterable[str]) -> set[str]:
    """What the roots need, themselves included, as far as `edges` has it.

    >>> sorted(reachable({"a": ["b"], "b": ["a", "c"], "c": [], "d": []}, ["a", "x"]))
    ['a', 'b', 'c']
    """
    seen: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name in edges and name not in seen:
            seen.add(name)
            todo += edges[name]
    return seen


def edges_of(packages: Iterable[LockedPackage]) -> dict[str, tuple[str, ...]]:
    """The names of the packages that each package needs, packages of one kind."""
    return {package.name: package.dependencies for package in packages}


def reasons_of(lock: Lock) -> Mapping[Node, tuple[str, ...]]:
    """Why each package is there, by kind and name: `REQUIRED`, `FOR_METAFLOW`, and the packages that need it, sorted.

    Of its own kind alone: that a wheel needs what a conda package provides is known to the resolver, not to the lock.
    """
    found: dict[Node, list[str]] = {(package.kind, package.name): [] for package in lock.packages}
    for root in roots_of(lock.arch, lock.packages, lock.requirements):
        if root.why not in found[root.node]:
            found[root.node].append(root.why)
    for package in sorted(lock.packages, key=lambda package: package.name):
        for dependency in package.dependencies:
            if (package.kind, dependency) in found:
                found[package.kind, dependency].append(package.name)
    return {package: tuple(why) for package, why in found.items()}


def graph_of(
    arch: Arch,
    packages: Sequence[Package],
    requirements: Requirements,
    base: Requirements | None = None,
    needs_provided: Mapping[str, Sequence[str]] | None = None,
) -> Graph:
    """The graph of a lock's packages. `requirements` are those of the lock, `base` those of what it extends, if known.

    `needs_provided` has, of each wheel, the distributions that it needs and that conda packages provide: a lock does
    not say that.
    """
    by_node: dict[Node, Package] = {(each.kind, each.name): each for each in packages}
    needs: dict[Node, tuple[Node, ...]] = {}
    built_with: dict[Node, str] = {}
    providers = providers_in(packages)
    for node, package in by_node.items():
        own = {(package.kind, name) for name in package.dependencies}
        for name in (needs_provided or {}).get(package.name, ()) if package.kind == "pypi" else ():
            own.update({("conda", providers[name])} if name in providers else ())
        for text in package.source.requires if package.source else ():
            name, _, version = text.partition("==")
            built_with[BUILDS, name] = version
            own.add((BUILDS, name))
        needs[node] = tuple(sorted(own & {*by_node, *built_with}, key=by_kind))
    roots = roots_of(arch, packages, requirements)
    if base is not None:
        taken = {root.node for root in roots}
        found = roots_of(arch, packages, base)
        roots += [root._replace(why=OF_BASE, things=("named_env",)) for root in found if root.node not in taken]
    roots += _unexplained(by_node, needs, roots, requirements, providers)
    return Graph(by_node, needs, tuple(roots), built_with)


def providers_in(packages: Iterable[Package]) -> Mapping[str, str]:
    """The PyPI distributions in conda packages, each with the package that provides it."""
    return {
        name: package.name for package in packages if package.conda is not None for name, _ in package.conda.provides
    }


def roots_of(arch: Arch, packages: Iterable[Package], requirements: Requirements) -> list[Root]:
    """The locked packages that the requirements name: the user's, python first, then what Metaflow needs."""
    packages = tuple(packages)
    names = {(package.kind, package.name) for package in packages}
    providers = providers_in(packages)
    asked = [_of_pypi(each, providers, names, REQUIRED) for each in requirements.pypi if applies(each, arch)]
    asked += [
        Root(("conda", each.name), REQUIRED, str(each), (f"conda:{each.name}",)) for each in requirements.conda_of(arch)
    ]
    if requirements.has_conda and not any(root.node == ("conda", "python") for root in asked):
        asked.append(Root(("conda", "python"), REQUIRED, f"python{requirements.python}", ("python",)))
    asked.sort(key=lambda root: (root.node[1] != "python", root.node[1], _ORDER[root.node[0]]))
    for needed in requirements.metaflow:
        if applies(needed, arch):
            root = _of_pypi(needed, providers, names, FOR_METAFLOW)
            by_name = ("conda", conda_name(needed.name))  # PyPI's, where a conda package would have collided
            is_of_pypi = needed in requirements.metaflow_of_pypi
            asked.append(root if is_of_pypi or by_name not in names else root._replace(node=by_name))
    return [root for root in asked if root.node in names]


def _of_pypi(requirement: PypiRequirement, providers: Mapping[str, str], names: Iterable[Node], why: str) -> Root:
    """A requirement of a PyPI package, which a conda package may meet."""
    name = requirement.name
    is_provided = ("pypi", name) not in names and name in providers
    node = ("conda", providers[name]) if is_provided else ("pypi", name)
    things = (str(requirement), name) if why == REQUIRED else ()
    return Root(node, why, requirement.said, things)


def applies(requirement: PypiRequirement, arch: Arch) -> bool:
    """Whether a requirement may hold on an arch, as far as that decides its marker."""
    return not requirement.marker or holds(requirement.marker, MARKER_VALUES[arch]) is not False


def _unexplained(
    packages: Mapping[Node, Package],
    needs: Mapping[Node, Sequence[Node]],
    roots: Sequence[Root],
    requirements: Requirements,
    providers: Mapping[str, str],
) -> list[Root]:
    """Roots for what the others do not reach: packages of a base, and what extras of conda packages bring."""
    left = {node: needs[node] for node in packages}
    todo = [root.node for root in roots]
    while todo:
        todo += left.pop(todo.pop(), ())
    extras = [each for each in requirements.pypi if each.extras and each.name in providers]
    made = Root(("", ""), UNNEEDED)
    if requirements.base:
        made = Root(("", ""), OF_BASE, things=("named_env",))
    elif extras:
        things = tuple(name for each in extras for name in (str(each), each.name))
        made = Root(("", ""), OF_EXTRA, ", ".join(each.said for each in extras), things)
    found: list[Root] = []
    while left:
        needed = {node for node, own in left.items() for node in own if node in left}
        first = min([*(left.keys() - needed)] or left, key=lambda node: (node[1], _ORDER[node[0]]))
        found.append(made._replace(node=first))
        todo = [first]
        while todo:
            todo += left.pop(todo.pop(), ())
    return found
