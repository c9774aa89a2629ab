"""`envlock list`: every environment of a project, or of all projects below folders, one a row."""

from __future__ import annotations

from envlock.cli.command import Argument, CommandLine, Flag, command
from envlock.cli.options import CONFIG, JSON, open_project
from envlock.errors import one_line
from envlock.words import byte_size, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from envlock.workflow.listing import Listed, ListedProject

_FOLDERS = Argument("folders", "[FOLDER]...", "With --all: where to look for projects. Default: this folder.")
_ALL = Flag("--all", "List every project below the folders, without those that git ignores and virtual environments.")
_ONLINE = Flag("--online", "Ask the cache which environments it has.")
_TITLES = ("environment", "state", "python", "packages", "download", "on this machine", "pushed", "aliases")


@command(
    _FOLDERS,
    _ALL,
    _ONLINE,
    JSON,
    CONFIG,
    epilog="Exit status: 0, whatever the states are; with --all, the status of the worst error.",
)
def list_(line: CommandLine) -> int:
    """List every environment: whether its lock is fresh, how large it is, and where it is.

    The state is `fresh`, `disabled`, `fetched` (when the step starts), or what `envlock check` finds: `stale`,
    `missing`, `damaged`, ... Sizes are those of this machine's arch. Whether a bucket has an environment is known
    without --online if this machine has pushed it or read it from there.

    For example:

    - `envlock list`
    - `envlock list --online --json`
    - `envlock list --all ~/work`
    """
    import gc

    folders = line.values(_FOLDERS)
    if folders and not line.has(_ALL):
        from envlock.cli.errors import BadUsage

        raise BadUsage("folders go with --all", "envlock list")
    if line.has(_ALL) and line.has(CONFIG):
        from envlock.cli.errors import BadUsage

        raise BadUsage("--all takes no --config: it finds every envlock.toml", "envlock list")
    gc.disable()  # nothing is garbage before the process ends
    try:
        from envlock.workflow.listing import list_below, list_project

        if not line.has(_ALL):
            return _show([list_project(open_project(line), online=line.has(_ONLINE))], as_json=line.has(JSON))
        projects = list_below(_existing(folders), online=line.has(_ONLINE))
        return _show(projects, as_json=line.has(JSON), is_all=True)
    finally:
        gc.enable()


def _existing(folders: Sequence[str]) -> list[Path]:
    """The folders as absolute paths. Raises BadUsage for one that is not there."""
    from pathlib import Path

    from envlock.cli.errors import BadUsage
    from envlock.places import expanded

    found = [Path(expanded(each)).absolute() for each in folders or (".",)]
    for folder in found:
        if not folder.is_dir():
            raise BadUsage(f"there is no folder {folder}", "envlock list")
    return found


def _show(projects: Iterable[ListedProject], *, as_json: bool, is_all: bool = False) -> int:
    """Show each project once it is read. Returns the exit status of the worst error."""
    from envlock.cli.console import show_error, write, write_err, write_json, write_table

    shown: list[ListedProject] = []
    for each in projects:
        shown.append(each)
        if as_json:
            continue
        if is_all:
            write(("\n" if len(shown) > 1 else "") + one_line(str(each.path)))
        if each.error is not None:
            show_error(each.error)
        elif not each.environments:
            write_err(f"{each.path.name} has no environment: add a flow or an `[env.NAME]`")
        else:
            titles, rows = _without_empty([_row(one) for one in each.environments])
            write_table(titles, rows, {at for at, title in enumerate(titles) if title in {"packages", "download"}})
        if each.others:
            write_err(f"{count(len(each.others), 'other finding')}: see `envlock check`")
    if as_json:
        write_json({"projects": [as_document(each) for each in shown]})
    elif not shown:
        write_err("there is no envlock.toml")
    return max((each.error.exit_status for each in shown if each.error), default=0)


def _without_empty(rows: Sequence[tuple[str, ...]]) -> tuple[list[str], list[list[str]]]:
    """The table without the columns at its end that no row has anything in."""
    last = max((at for row in rows for at, cell in enumerate(row) if cell), default=0)
    return list(_TITLES[: last + 1]), [list(row[: last + 1]) for row in rows]


def _row(listed: Listed) -> tuple[str, ...]:
    state = listed.state + (f" ({', '.join(listed.wanting)})" if listed.wanting else "")
    base = [f"{'extends' if listed.extends else 'is'} {listed.base}"] if listed.base else []
    there = byte_size(listed.prefix_size) if listed.prefix_size is not None else "yes"
    return (
        listed.name,
        state,
        listed.python,
        "" if listed.packages is None else str(listed.packages),
        byte_size(listed.download) if listed.download else "",
        "" if not listed.identity else there if listed.prefix else "no",
        listed.in_cache,
        ", ".join([*listed.aliases, *base]),
    )


def as_document(project: ListedProject) -> dict[str, object]:
    """The environments of a project, for `--json`."""
    return {
        "path": str(project.path),
        "error": project.error.as_dict() if project.error else None,
        "environments": [environment_document(each) for each in project.environments],
        "other_findings": len(project.others),
    }


def environment_document(listed: Listed) -> dict[str, object]:
    """One environment, for `--json`."""
    return {
        "name": listed.name,
        "state": listed.state,
        "archs": list(listed.archs),
        "archs_of_state": list(listed.wanting),
        "arch": listed.arch or None,
        "identity": listed.identity or None,
        "python": listed.python or None,
        "packages": listed.packages,
        "download_bytes": listed.download,
        "locally_present_as": listed.prefix or None,
        "prefix_bytes": listed.prefix_size,
        "pushed": dict(listed.pushed),
        "aliases": list(listed.aliases),
        "base": listed.base or None,
        "extends": listed.extends,
    }
