"""`envlock show`: what is locked: all environments in a table, or one in full."""

from __future__ import annotations

from envlock.cli.command import Argument, CommandLine, command
from envlock.cli.options import ARCHS, CONFIG, JSON, PATHSPEC, archs, open_project
from envlock.errors import one_line
from envlock.words import short_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from envlock.config.project import Project
    from envlock.model.arch import Arch
    from envlock.workflow.show import Description, Disabled, Line, Overview

_NAMES = Argument(
    "names",
    "[STEP|FLOW|ENV|ID|NAME]...",
    "What to show; a STEP may be `FLOW/STEP`; an ID is `req_id:full_id`, a full_id, or its beginning; a NAME in the "
    "cache is `team/base:v1`, or `team/base:stable@3` for one of its moves. Default: all, in brief.",
    complete="shown",
)


@command(_NAMES, ARCHS, PATHSPEC, JSON, CONFIG)
def show(line: CommandLine) -> int:
    """Show what is locked: packages, Python, sources, ids, who locked it and when, and where it is on this machine.

    For example:

    - `envlock show`
    - `envlock show train`
    - `envlock show TrainFlow/train --arch osx-arm64`
    - `envlock show team/base:v1`
    - `envlock show --pathspec TrainFlow/142/train`
    """
    import gc

    names, as_json = line.values(_NAMES), line.has(JSON)
    if line.has(PATHSPEC) and (names or line.has(ARCHS)):
        from envlock.cli.errors import BadUsage

        raise BadUsage("--pathspec takes no names and no --arch: the task determines both", "envlock show")
    gc.disable()  # an eighth of what is imported to ask a bucket is search for garbage, in a process that ends soon
    try:
        from envlock.workflow.show import describe, describe_task

        chosen = archs(line)
        project = open_project(line)
        if line.has(PATHSPEC):
            _show_environments(describe_task(project, line.value(PATHSPEC)), as_json=as_json)
        elif names:
            found = dict.fromkeys(each for name in names for each in describe(project, name, chosen))
            _show_environments(list(found), as_json=as_json)
        else:
            _show_overview(project, chosen, as_json=as_json)
    finally:
        gc.enable()
    return 0


def _show_environments(found: Sequence[Description | Disabled], *, as_json: bool) -> None:
    from envlock.cli.console import console, is_drawn, write, write_json
    from envlock.cli.show_environment import document, pretty, text

    if as_json:
        write_json({"environments": [document(each) for each in found]})
        return
    for number, each in enumerate(found):
        if number:
            write("")
        if is_drawn():
            console().print(*pretty(each), sep="\n")
        else:
            write(text(each))


def _show_overview(project: Project, chosen: Sequence[Arch], *, as_json: bool) -> None:
    from envlock.cli.console import console, write, write_err, write_json
    from envlock.workflow.show import overview

    overviews = [overview(project, each) for each in chosen or (None,)]
    if as_json:
        write_json({"archs": [overview_document(each) for each in overviews]})
        return
    for number, each in enumerate(overviews):
        if number:
            write("")
        console().print(overview_table(each))
    if not all(each.is_fresh for each in overviews):
        write_err("\nnot everything is locked: see `envlock check`, then run `envlock lock`")


def overview_table(overview: Overview) -> Table:
    """Every flow with its steps, and the named environments, one a row."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (f"on {overview.arch}", "state", "python"):
        table.add_column(title, no_wrap=True)
    table.add_column("packages", justify="right", no_wrap=True)
    for title in ("identity", "on this machine"):
        table.add_column(title, no_wrap=True)
    for flow, file, steps in overview.flows:
        table.add_row(one_line(f"{flow} ({file})"))
        for step in steps:
            table.add_row(*_row(step, indent="  "))
    if overview.named:
        table.add_row("named environments")
        for environment in overview.named:
            table.add_row(*_row(environment, indent="  "))
    return table


def _row(line: Line, *, indent: str) -> tuple[str, ...]:
    name = indent + one_line(line.name)
    if line.lock is None:
        return (name, line.words)
    identity = short_ids(line.lock.identity)
    there = "yes" if line.prefix else "no"
    return (name, line.state, line.lock.python.series, str(len(line.lock.packages)), identity, there)


def overview_document(overview: Overview) -> dict[str, object]:
    """The overview, for `--json`."""
    return {
        "arch": overview.arch,
        "flows": [
            {"name": flow, "file": file, "steps": [_line_document(step) for step in steps]}
            for flow, file, steps in overview.flows
        ],
        "environments": [_line_document(environment) for environment in overview.named],
    }


def _line_document(line: Line) -> dict[str, object]:
    lock = line.lock
    return {
        "name": line.name,
        "state": line.state,
        "identity": lock.identity if lock else None,
        "python": lock.python.version if lock else None,
        "packages": len(lock.packages) if lock else None,
        "locally_present_as": str(line.prefix) if line.prefix else None,
    }
