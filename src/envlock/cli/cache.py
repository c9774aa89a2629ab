"""`envlock cache`: list, verify and clean up the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cli.command import CommandLine, Flag, Group, Value, command
from envlock.cli.options import CONFIG, JSON, open_project
from envlock.errors import DamageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envlock.errors import EnvlockError


@command(JSON, CONFIG)
def ls(line: CommandLine) -> int:
    """List the environments in the cache, with their packages and sizes, and how many plans they have.

    For example:

    - `envlock cache ls`
    - `envlock cache ls --json`
    """
    from envlock.cli.cache_text import contents_document, contents_summary, contents_table, empty_text
    from envlock.cli.console import console, write, write_err, write_json
    from envlock.workflow.cache import list_cache

    contents = list_cache(open_project(line))
    if line.has(JSON):
        write_json(contents_document(contents))
        return 0
    if contents.is_empty:
        write_err(empty_text(contents))
    else:
        console().print(contents_table(contents))
        write(contents_summary(contents))
    _show_errors(contents.errors)
    return 0


_REPAIR = Flag(
    "--repair",
    "Fetch damaged and missing packages again from upstream. Delete what is damaged of plans and kits: "
    "`envlock push` writes it again.",
)


@command(_REPAIR, JSON, CONFIG, epilog="Exit status: 0 nothing is damaged, 3 something is damaged or missing.")
def verify(line: CommandLine) -> int:
    """Compare every file in the cache with its hash, and find packages and files of kits that are missing.

    For example:

    - `envlock cache verify`
    - `envlock cache verify --repair`
    """
    from envlock.cli.cache_text import finding_text, names_in, verification_document, verification_summary
    from envlock.cli.console import say, write, write_err, write_json
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.cache import verify_cache

    with LiveReporter() as reporter:
        result = verify_cache(open_project(line), repair=line.has(_REPAIR), reporter=reporter)
    status = DamageError.exit_status if result.findings else 0
    if line.has(JSON):
        write_json(verification_document(result, status))
        return status
    names = names_in(result.verification.contents)
    for finding in result.verification.findings:
        write(finding_text(finding, names, is_repaired=finding in result.repaired))
    say(verification_summary(result, repair=line.has(_REPAIR)))
    for environment in result.verification.unread:
        write_err(f"note: {environment} was pushed by a newer envlock, which this one cannot read")
    for environment in result.verification.unread_plans:
        write_err(f"note: a plan of {environment} is of a newer envlock, which this one cannot read")
    _show_errors(result.failures)
    return status


_KEEP_MOVES = Value(
    "--keep-moves", "N", "Keep the environments of the last N moves of each tag. Default: of all moves.", least=1
)
_RUNS = Value(
    "--pathspecs-younger-than",
    "SPAN",
    "Keep environments used by runs newer than SPAN, such as `12h`, `90d`, `8 weeks`.",
    default="90d",
)
_LOCK_TREE = Value(
    "--lock-tree",
    "FOLDER",
    "Also keep what the locks in this folder of another project need.",
    repeatable=True,
)
_GRACE = Value("--grace", "SPAN", "Keep everything newer than SPAN.", default="7d")
_DELETE = Flag("--delete", "Delete it. Without this option, gc only lists it.")


@command(
    _KEEP_MOVES,
    _RUNS,
    _LOCK_TREE,
    _GRACE,
    _DELETE,
    JSON,
    CONFIG,
    epilog="Exit status: 0 done, 3 a file is damaged (everything that it may need was kept).",
)
def gc(line: CommandLine) -> int:
    """List what the cache no longer needs; with `--delete`, delete it.

    Keeps the environments of all aliases and their moves, of recent runs, of the locks of this project and of every
    `--lock-tree`, and of running pushes; and everything recent. Others can push at the same time.

    For example:

    - `envlock cache gc`
    - `envlock cache gc --lock-tree ../other-flows --delete`
    """
    from envlock.cli.cache_text import sweep_document, sweep_text
    from envlock.cli.console import say, write, write_json
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.cache import collect_garbage, limits_of

    delete = line.has(_DELETE)
    limits = limits_of(grace=line.value(_GRACE), runs=line.value(_RUNS), moves=line.number(_KEEP_MOVES))
    trees = [Path(each) for each in line.values(_LOCK_TREE)]
    with LiveReporter() as reporter:
        swept = collect_garbage(open_project(line), limits, trees=trees, delete=delete, reporter=reporter)
    if line.has(JSON):
        write_json(sweep_document(swept, limits, deleted=delete))
    else:
        (say if delete else write)(sweep_text(swept, deleted=delete))
        _show_errors(swept.unreadable)
    return max((error.exit_status for error in swept.unreadable), default=0)


cache = Group("cache", "List, verify and clean up the cache.", (ls, verify, gc))


def _show_errors(errors: Iterable[EnvlockError]) -> None:
    """Show errors that did not end the command, after its result."""
    from envlock.cli.console import show_error, write_err

    for error in errors:
        write_err("")
        show_error(error)
