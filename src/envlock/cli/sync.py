"""`envlock sync`: let the local names and the kernels of a project follow its locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cli.command import Argument, CommandLine, command
from envlock.cli.options import CONFIG, DRY_RUN, JSON, OFFLINE, open_project

if TYPE_CHECKING:
    from envlock.workflow.machine.sync import Synced

_NAMES = Argument(
    "names", "[NAME]...", "Only these names or kernels. Default: all of the project.", complete="names_of_project"
)


@command(
    _NAMES,
    DRY_RUN,
    OFFLINE,
    JSON,
    CONFIG,
    epilog="Exit status: 0; 1 if a name cannot be updated: it stays as it is, and the others are updated.",
)
def sync(line: CommandLine) -> int:
    """Update the project's local names and kernels on this machine to what is locked now.

    These are the names that `envlock create --name` gave, the links of `envlock create --in-project`, and the kernels
    of `envlock kernel install`. An environment that is not on this machine is created; each name then changes at once.

    For example:

    - `envlock sync`
    - `envlock sync base`
    - `envlock sync --dry-run --json`
    """
    from envlock.cli.console import aligned, say, write_err, write_json, write_reason
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.machine.sync import sync as sync_names

    project = open_project(line)
    with LiveReporter() as reporter:
        synced = sync_names(
            project, line.values(_NAMES), reporter, dry_run=line.has(DRY_RUN), offline=line.has(OFFLINE)
        )
    failed = [each for each in synced if each.error is not None]
    status = 1 if failed else 0
    if line.has(JSON):
        write_json({"names": [_as_document(each) for each in synced], "exit_status": status}, dry_run=line.has(DRY_RUN))
        return status
    for row in aligned([(each.name, each.environment or "?", _WORDS[each.state]) for each in synced]):
        say("  ".join(row).rstrip())
    for each in failed:
        assert each.error is not None
        write_reason(f"\n{each.name}: {each.error.render()}")
    if not synced:
        write_err(
            "note: this project has no local names or kernels here; `envlock create --name NAME` gives a name to an"
            " environment"
        )
    return status


def _as_document(synced: Synced) -> dict[str, object]:
    return {
        "name": synced.name,
        "kind": synced.kind,
        "place": str(synced.place),
        "environment": synced.environment or None,
        "state": synced.state,
        "before": str(synced.before) if synced.before else None,
        "after": str(synced.after) if synced.after else None,
        "error": synced.error.as_dict() if synced.error else None,
    }


_WORDS = {
    "current": "up to date",
    "updated": "updated",
    "outdated": "would be updated",
    "failed": "not updated",
}
