"""What `envlock show` prints of all environments, in brief."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.errors import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from envlock.workflow.show import Line, Overview

_ID_SHOWN = 12
_STATES = {
    "missing": "not locked",
    "arch-missing": "not locked for this arch",
    "stale": "changed since",
    "restamp": "changed since",
    "two-locks": "locked twice",
    "base-lacks-arch": "named for another arch",
    "unknown-name": "name not known",
    "fetched": "fetched when the step starts",
    "not-yet": "not yet possible",
    "unreadable": "of a newer version",
    "host-not-allowed": "host not allowed",
}


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
        return (name, _STATES.get(line.state, line.state))
    identity = f"{line.lock.req_id[:_ID_SHOWN]}:{line.lock.full_id[:_ID_SHOWN]}"
    there = "yes" if line.prefix else "no"
    return (name, line.state, line.lock.python.series, str(len(line.lock.packages)), identity, there)


def overview_document(overview: Overview) -> dict[str, object]:
    """The overview, for machines."""
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
