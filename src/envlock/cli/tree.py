"""`envlock tree`: the packages of environments as a tree, conda packages and wheels in one."""

from __future__ import annotations

import sys

from envlock.cli.command import Argument, CommandLine, Value, command
from envlock.cli.options import ARCHS, CONFIG, JSON, archs, open_project
from envlock.errors import one_line, place_document
from envlock.words import count, first_of, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envlock.lockfile.graph import Node
    from envlock.model.arch import Arch
    from envlock.workflow.references import Referred
    from envlock.workflow.trees import Began, Tree, TreeLine

REFERENCE = Argument(
    "reference",
    "[REFERENCE]",
    "A step, FLOW/STEP, a flow, an `[env.NAME]`, ids, an alias (`team/base:v1`), a pathspec, a lock file or "
    "a prefix. Default: the whole project.",
    complete="shown",
)
_INVERT = Value(
    "--invert",
    "PKG",
    "Turn the tree upside down: show what needs this package, up to what is required.",
    complete="packages",
    repeatable=True,
)
_DEPTH = Value("--depth", "N", "Show only N levels below the first.", least=0)


@command(REFERENCE, _INVERT, _DEPTH, ARCHS, JSON, CONFIG)
def tree(line: CommandLine) -> int:
    """Show what each required package brings with it, conda packages and wheels in one tree.

    Each tree begins with what is required, and where that is written. Archs with the same packages are shown together;
    a package that only some have is marked with them. `(*)` marks a package whose tree is shown in full above.

    For example:

    - `envlock tree`
    - `envlock tree train --depth 1`
    - `envlock tree team/base:v1 --arch linux-64`
    - `envlock tree --invert urllib3`
    """
    import gc

    gc.disable()  # nothing is garbage before the process ends
    try:
        from envlock.cli.console import write_json
        from envlock.workflow.references import all_referred
        from envlock.workflow.trees import lines_of, nodes_named, trees_of

        chosen, depth = archs(line), line.number(_DEPTH)
        project = open_project(line)
        referred = locked(all_referred(project, line.value(REFERENCE), archs=chosen), chosen)
        trees = trees_of(referred)
        invert = tuple(dict.fromkeys(node for name in line.values(_INVERT) for node in nodes_named(trees, name)))
        if line.has(JSON):
            write_json({"environments": [as_document(each) for each in trees]})
        else:
            _show([(each, [*lines_of(each, depth=depth, invert=invert)]) for each in trees])
        tell_missing(referred)
        tell_unread(trees)
    finally:
        gc.enable()
    return 0


def locked(referred: Sequence[Referred], chosen: Sequence[Arch]) -> Sequence[Referred]:
    """The environments, if one of them is locked. Else raises what is wrong with the first."""
    from envlock.workflow.references import of_environment

    if referred and not any(each.files for each in referred):
        first = referred[0]
        if first.project is not None and first.environment is not None:
            of_environment(first.project, first.environment, archs=chosen)
    return referred


def tell_missing(referred: Sequence[Referred]) -> None:
    """Say which environments have no lock, and so are not shown."""
    from envlock.cli.console import write_err

    missing = [each.name for each in referred if not each.files]
    if missing:
        write_err(f"not locked, and not shown: {one_line(listed(missing))}; see `envlock check`")


def tell_unread(trees: Sequence[Tree]) -> None:
    """Say of which wheels it is not known what they need of conda packages."""
    from envlock.cli.console import write_err

    unread = sorted({name for each in trees for name in each.unread})
    if unread:
        write_err(
            f"note: {count(len(unread), 'wheel')} not on this machine ({first_of(unread, 3)}): what they need of conda "
            "packages is not shown"
        )


class Style:
    """How a tree is drawn: with lines that stdout can write, in colour on a terminal."""

    def __init__(self) -> None:
        from envlock.cli.console import is_drawn

        self.is_drawn = is_drawn()
        self.is_wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"

    def branch(self, is_last: Sequence[bool]) -> str:
        """What stands before a package: the lines from those above it."""
        if not is_last:
            return ""
        bar, fork, end = ("│   ", "├── ", "└── ") if self.is_wide else ("|   ", "|-- ", "`-- ")
        return "".join("    " if each else bar for each in is_last[:-1]) + (end if is_last[-1] else fork)


def _show(shown: Sequence[tuple[Tree, Sequence[TreeLine]]]) -> None:
    from envlock.cli.console import write_styled

    style = Style()
    lines: list[Sequence[tuple[str, str]]] = []
    for each, found in shown:
        if not found and any(own for _, own in shown):  # of an inverted tree: this environment lacks the package
            continue
        lines += [[]] if lines else []
        lines.append([(title(each), "bold")])
        is_mixed = len({line.node[0] for line in found} - {"build"}) > 1
        for line in found:
            lines.append([(style.branch(line.is_last), "dim"), *_parts(each, line, is_mixed=is_mixed)])
    write_styled(lines)


def title(tree: Tree) -> str:
    """The heading of a tree: its environments, Python and archs."""
    series = listed(dict.fromkeys(tree.pythons.values()), "or")
    return one_line(f"{listed(tree.names)}: Python {series} on {listed(tree.archs)}")


def _parts(tree: Tree, line: TreeLine, *, is_mixed: bool) -> Iterator[tuple[str, str]]:
    """What is said of a package in its line, each part with its style."""
    kind, name = line.node
    yield one_line(name), "bold" if line.began else ""
    versions = tree.versions(line.node, line.archs)
    said = [version if len(versions) == 1 else f"{version} on {listed(archs)}" for version, archs in versions]
    yield f" {', '.join(said)}", ""
    if kind == "build":
        yield " (only to build it)", "dim"
    elif is_mixed:
        yield f" [{kind}]", "dim"
    source = source_of(tree, line.node)
    if source and not any(source in began.requirement for began, _ in line.began):
        yield f" from {one_line(source)}", ""
    if line.is_partial and len(versions) == 1:
        yield f" on {listed(line.archs)}", "yellow"
    for began, of in line.began:
        some = f" on {listed(of)}" if not set(line.archs) <= set(of) else ""
        yield f" ({one_line(began.words_beside_name)}{some})", "cyan"
    if line.is_repeated:
        yield " (*)", "dim"


def source_of(tree: Tree, node: Node) -> str:
    """What a wheel was built from, or where it lies; empty for what an index or a channel has."""
    for arch in tree.archs:
        package = tree.graphs[arch].packages.get(node)
        if package is not None and package.source is not None:
            source = package.source
            place = source.path or source.url or package.filename
            return f"{place} at {source.commit[:12]}" if source.commit else place
    return ""


def as_document(tree: Tree) -> dict[str, object]:
    """A tree for `--json`: its packages and what each needs, by kind and name."""
    edges = tree.edges()
    nodes = dict.fromkeys(node for arch in tree.archs for node in tree.graphs[arch].needs)
    return {
        "names": list(tree.names),
        "archs": list(tree.archs),
        "python": dict(tree.pythons),
        "unread": list(tree.unread),
        "roots": [{**began_document(began), "archs": list(archs)} for began, archs in tree.began.items()],
        "packages": [
            {
                "kind": node[0],
                "name": node[1],
                "versions": {arch: tree.graphs[arch].version(node) for arch in tree.archs_of(node)},
                "source": source_of(tree, node) or None,
                "needs": [
                    {"kind": kind, "name": name, "archs": list(archs)}
                    for (kind, name), archs in edges.get(node, {}).items()
                ],
            }
            for node in sorted(nodes)
        ],
    }


def began_document(began: Began) -> dict[str, object]:
    """What begins a tree or a path, for `--json`."""
    return {
        "kind": began.node[0],
        "name": began.node[1],
        "why": began.why,
        "requirement": began.requirement or None,
        **place_document(began.at),
    }
