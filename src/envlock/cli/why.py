"""`envlock why`: what brings a package into an environment, and which line of envlock.toml began it."""

from __future__ import annotations

from envlock.cli.command import Argument, CommandLine, command
from envlock.cli.options import ARCHS, CONFIG, JSON, archs, open_project
from envlock.cli.tree import REFERENCE, Style, began_document, locked, tell_missing, tell_unread
from envlock.errors import one_line
from envlock.words import first_of, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.lockfile.changes import Places
    from envlock.model.arch import Arch
    from envlock.workflow.why import Reason, Why

_NAMES = 4
_PACKAGE = Argument("package", "PKG", "A conda or PyPI package, or what a conda package provides.", complete="packages")


@command(
    _PACKAGE,
    REFERENCE,
    ARCHS,
    JSON,
    CONFIG,
    epilog="Exit status: 0; 1 if nothing is locked; 2 if no lock has the package.",
)
def why(line: CommandLine) -> int:
    """Say why a package is there: every shortest path to it, from the line that requires the first package.

    The line is in envlock.toml or in a requirement file; or Metaflow needs the first package, or a base has it.
    Environments and archs with the same path are shown together. A PyPI name also finds the conda package that provides
    it.

    For example:

    - `envlock why urllib3`
    - `envlock why urllib3 train --arch linux-64`
    - `envlock why opencv-python --json`
    """
    import gc

    gc.disable()  # nothing is garbage before the process ends
    try:
        from envlock.cli.console import write_json
        from envlock.workflow.references import all_referred
        from envlock.workflow.trees import trees_of
        from envlock.workflow.why import why as reasons

        chosen = archs(line)
        project = open_project(line)
        referred = locked(all_referred(project, line.value(REFERENCE), archs=chosen), chosen)
        trees = trees_of(referred)
        found = reasons(trees, line.value(_PACKAGE))
        if line.has(JSON):
            write_json({"packages": [as_document(each) for each in found]})
        else:
            _show(found)
        tell_missing(referred)
        if any(each.node[0] == "conda" for each in found):
            tell_unread(trees)
    finally:
        gc.enable()
    return 0


def _show(found: Sequence[Why]) -> None:
    from envlock.cli.console import write_styled

    style = Style()
    arrow = " → " if style.is_wide else " -> "
    is_mixed = len({each.node[0] for each in found}) > 1
    lines: list[list[tuple[str, str]]] = []
    for each in found:
        kind, name = each.node
        lines += [[]] if lines else []
        of_kind = f" [{kind}]" if is_mixed or each.provides else ""
        provides = f", which provides {each.provides}," if each.provides else ""
        where = [_place(names, archs) for names, archs in each.places]
        heading = f" {each.version}{of_kind}{provides} in {'; '.join(where)}"
        lines.append([(one_line(name), "bold"), (one_line(heading), "")])
        last = None
        for reason in each.reasons:
            began = reason.path.began
            some = _some(reason, each)
            if last != (began, some):
                lines.append([(f"  {one_line(began.words)}", "cyan"), (one_line(some), "yellow")])
                last = (began, some)
            steps = [f"{node[1]} {version}" for node, version in reason.path.steps]
            lines.append([("    ", ""), (one_line(arrow.join(steps)), "")])
        if each.hidden:
            lines.append([(f"  and {each.hidden} more paths", "dim")])
    write_styled(lines)


def _some(reason: Reason, of: Why) -> str:
    """Where a path is, if it is not wherever the package is."""
    if reason.places == of.places:
        return ""
    own, all_archs = reason.places, {archs for _, archs in (*reason.places, *of.places)}
    if len(all_archs) == 1:
        return f" in {_names(own[0][0])}"
    return f" in {'; '.join(_place(names, archs) for names, archs in own)}"


def _place(names: Sequence[str], archs: Sequence[Arch]) -> str:
    return f"{_names(names)} on {listed(archs)}"


def _names(names: Sequence[str]) -> str:
    return listed(names) if len(names) <= _NAMES else first_of(names, _NAMES)


def as_document(found: Why) -> dict[str, object]:
    """Why a package is there, for `--json`."""
    return {
        "kind": found.node[0],
        "name": found.node[1],
        "version": found.version,
        "provides": found.provides or None,
        "places": places_document(found.places),
        "paths": [
            {
                "began": began_document(each.path.began),
                "packages": [
                    {"kind": kind, "name": name, "version": version} for (kind, name), version in each.path.steps
                ],
                "places": places_document(each.places),
            }
            for each in found.reasons
        ],
        "more_paths": found.hidden,
    }


def places_document(places: Places) -> list[dict[str, object]]:
    """Environments, and the archs on which they have something, for `--json`."""
    return [{"environments": list(names), "archs": list(archs)} for names, archs in places]
