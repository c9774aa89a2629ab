"""`envlock get`: fetch the locks of an environment from the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cli.command import Argument, CommandLine, Value, command
from envlock.cli.options import ARCHS, CONFIG, DRY_RUN, JSON, PATHSPEC, archs, looked_up, open_project
from envlock.errors import one_line
from envlock.words import did

if TYPE_CHECKING:
    from envlock.config.project import Project
    from envlock.workflow.get import GetResult

_NAME = Argument(
    "name",
    "[NAME[:TAG]|REQ_ID:FULL_ID]",
    "An alias, one of its moves (`name:tag@MOVE`), or the first digits of both ids.",
    complete="aliases",
)
_INTO = Value("--into", "FOLDER", "Write the locks into this folder, whether or not envlock.toml needs them.")


@command(_NAME, PATHSPEC, ARCHS, _INTO, DRY_RUN, JSON, CONFIG)
def get(line: CommandLine) -> int:
    """Fetch the locks of an environment from the cache into envlock.lock, if envlock.toml needs them.

    Replaces the locks for the same requirements. If no environment in envlock.toml needs them, nothing is written,
    except with `--into`.

    For example:

    - `envlock get team/base:v1`
    - `envlock get --pathspec TrainFlow/142/train`
    - `envlock get team/base:v1 --into locks`
    - `envlock get team/base:v1 --dry-run`
    """
    from envlock.cli.console import say, write_err, write_json
    from envlock.cli.errors import BadUsage
    from envlock.cli.lock_text import git_add
    from envlock.cli.progress import LiveReporter
    from envlock.named.lookup import Lookup
    from envlock.workflow.get import get as fetch

    if line.has(_NAME) == line.has(PATHSPEC):
        raise BadUsage("give one environment to fetch: an alias, ids, or --pathspec", "envlock get")
    chosen = archs(line)
    dry_run = line.has(DRY_RUN)
    lookup = Lookup(open_project(line), recalls=not dry_run)
    found = looked_up(line, lookup, _NAME)
    with LiveReporter() as reporter:
        fetched = fetch(
            lookup,
            found,
            chosen,
            into=Path(line.value(_INTO)) if line.has(_INTO) else None,
            dry_run=dry_run,
            reporter=reporter,
        )
    if line.has(JSON):
        write_json(as_document(lookup.project, fetched), dry_run=dry_run)
    else:
        say(as_text(lookup.project, fetched, dry_run=dry_run))
        changed = (fetched.written or fetched.replaced) and not (dry_run or line.has(_INTO))
        if changed and (command := git_add(lookup.project)):
            write_err(f"hint: {command}")
    return 0


def as_text(project: Project, fetched: GetResult, *, dry_run: bool) -> str:
    """The files written, and the environments that use them."""
    lines = [f"{did('wrote', dry_run=dry_run)} {project.shown(path)}" for path in fetched.written]
    lines += [f"kept {project.shown(path)}: already up to date" for path in fetched.kept]
    lines += [f"{did('replaced', dry_run=dry_run)} {project.shown(path)}" for path in fetched.replaced]
    archs = ", ".join(lock.arch for lock in fetched.locks)
    users = ", ".join(fetched.serves) or "no environment in envlock.toml"
    lines.append(f"{fetched.found.reference} on {archs} is used by {users}")
    if fetched.left_out:
        lines.append(f"also available for {', '.join(fetched.left_out)}")
    return "\n".join(map(one_line, lines))


def as_document(project: Project, fetched: GetResult) -> dict[str, object]:
    """The same, for `--json`."""
    return {
        "said": fetched.found.reference,
        "req_id": fetched.found.req_id,
        "full_ids": dict(fetched.found.full_ids),
        "archs": [lock.arch for lock in fetched.locks],
        "written": [project.shown(path) for path in fetched.written],
        "kept": [project.shown(path) for path in fetched.kept],
        "replaced": [project.shown(path) for path in fetched.replaced],
        "serves": list(fetched.serves),
        "left_out": list(fetched.left_out),
    }
