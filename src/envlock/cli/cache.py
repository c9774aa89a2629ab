"""`envlock cache`: what is in the cache, whether it is whole, and what nothing needs any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from envlock.cli.options import ConfigOption, JsonOption, open_project
from envlock.errors import one_line
from envlock.words import byte_size, count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from envlock.cache.contents import CachedEnvironment, Contents
    from envlock.cache.verify import CacheFinding
    from envlock.errors import EnvlockError
    from envlock.workflow.cache import VerifiedCache

_DAMAGED = 3
_ID_SHOWN = 12
_NAMES_SHOWN = 2


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="List, verify and clean up the cache.", no_args_is_help=True)
    app.add_typer(group, name="cache")

    @group.command()
    def ls(as_json: JsonOption = False, config: ConfigOption = None) -> int:
        """List the environments in the cache, with their packages and sizes.

        Examples: `envlock cache ls`, `envlock cache ls --json`.
        """
        from envlock.cli.console import err, out
        from envlock.workflow.cache import list_cache

        contents = list_cache(open_project(config))
        if as_json:
            out.print(json.dumps(contents_document(contents), indent=2))
        elif not contents.environments and not contents.packages:
            err.print(f"nothing is in {contents.url} yet; `envlock push` fills it")
        else:
            out.print(contents_table(contents))
            out.print(contents_summary(contents))
        _tell(() if as_json else contents.errors)
        return 0

    @group.command(epilog="Exit status: 0 all is whole, 3 something is damaged or missing.")
    def verify(
        repair: Annotated[
            bool, typer.Option("--repair", help="Fetch what is damaged or missing from upstream again.")
        ] = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Read every byte of the cache and compare it with its hash; each environment must have all of its packages.

        Examples: `envlock cache verify`, `envlock cache verify --repair`.
        """
        from envlock.cli.console import err, out
        from envlock.cli.progress import LiveReporter
        from envlock.workflow.cache import verify_cache

        with LiveReporter() as reporter:
            result = verify_cache(open_project(config), repair=repair, reporter=reporter)
        status = _DAMAGED if result.findings else 0
        if as_json:
            out.print(json.dumps(verification_document(result, status), indent=2))
            return status
        for finding in result.verification.findings:
            out.print(finding_text(finding, is_repaired=finding in result.repaired))
        out.print(verification_summary(result, repair=repair))
        for environment in result.verification.unread:
            err.print(f"note: {environment} was pushed by a newer envlock, which this one cannot read")
        _tell(result.failures)
        return status

    @group.command(epilog="Exit status: 0 done, 3 a file is damaged, and what it may need was kept.")
    def gc(
        keep_moves: Annotated[
            Optional[int],  # noqa: UP045
            typer.Option(
                "--keep-moves",
                metavar="N",
                min=1,
                help="Keep what a name stood for at its last N moves. Default: at all of them.",
                show_default=False,
            ),
        ] = None,
        runs: Annotated[
            str,
            typer.Option(
                "--pathspecs-younger-than",
                metavar="SPAN",
                help="Keep what runs that are younger ran in, such as `12h`, `90d`, `8 weeks`. Default: 90d.",
                show_default=False,
            ),
        ] = "90d",
        lock_tree: Annotated[
            Optional[list[Path]],  # noqa: UP045
            typer.Option(
                "--lock-tree",
                metavar="FOLDER",
                help="Keep what these locks of another project name, too. Repeatable.",
            ),
        ] = None,
        grace: Annotated[
            str,
            typer.Option(
                "--grace",
                metavar="SPAN",
                help="Keep everything that is younger. Default: 7d.",
                show_default=False,
            ),
        ] = "7d",
        delete: Annotated[
            bool, typer.Option("--delete", help="Delete it. Without this option, gc only shows it.")
        ] = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Show what is no longer needed in the cache; with `--delete`, delete it.

        It keeps what names stand for and stood for, what recent runs ran in, what the locks of this project and of
        every `--lock-tree` need, what running pushes need, and everything recent. Others can push at the same time.

        Examples: `envlock cache gc`, `envlock cache gc --lock-tree ../other-flows --delete`.
        """
        from envlock.cli.cache_sweep import sweep_document, sweep_text
        from envlock.cli.console import out
        from envlock.cli.progress import LiveReporter
        from envlock.workflow.cache import collect_garbage, limits_of

        limits = limits_of(grace=grace, runs=runs, moves=keep_moves)
        with LiveReporter() as reporter:
            swept = collect_garbage(
                open_project(config), limits, trees=lock_tree or (), delete=delete, reporter=reporter
            )
        if as_json:
            out.print(json.dumps(sweep_document(swept, limits, deleted=delete), indent=2))
        else:
            out.print(sweep_text(swept, deleted=delete))
            _tell(swept.unreadable)
        return max((error.exit_status for error in swept.unreadable), default=0)


def _tell(errors: Iterable[EnvlockError]) -> None:
    """Show errors that did not end the command, after what it did."""
    from envlock.cli.console import err, show_error

    for error in errors:
        err.print()
        show_error(error)


def contents_table(contents: Contents) -> Table:
    """The environments of a cache, one a row."""
    from rich.table import Table

    from envlock.errors import EnvlockError

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("environment", "arch", "identity", "python"):
        table.add_column(title, no_wrap=True)
    for title in ("packages", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in contents.environments:
        identity = f"{each.place.req_id[:_ID_SHOWN]}:{each.place.full_id[:_ID_SHOWN]}"
        if isinstance(each.lock, EnvlockError):
            table.add_row(f"({each.lock.code})", each.place.arch, identity, "", "", "")
            continue
        count = str(len(each.artifacts))
        if each.missing:
            count += f", {len(each.missing)} missing"
        python = each.lock.python.series if each.lock.python.source == "machine" else each.lock.python.version
        table.add_row(_names(each.lock.asked_by), each.place.arch, identity, python, count, byte_size(each.size))
    return table


def contents_summary(contents: Contents) -> str:
    """Totals, and what stands out."""
    from envlock.errors import EnvlockError

    environments = count(len(contents.environments), "environment")
    packages = f"{count(len(contents.packages), 'package')} ({byte_size(contents.size)})"
    lines = ["", f"{environments} and {packages} in {contents.url}"]
    if contents.unnamed:
        size = sum(contents.packages[path] for path in contents.unnamed)
        lines.append(f"{count(len(contents.unnamed), 'package')} of them ({byte_size(size)}) no environment names")
    is_damaged = any(each.missing or isinstance(each.lock, EnvlockError) for each in contents.environments)
    if is_damaged or contents.format_error is not None:
        lines.append("not everything is whole: `envlock cache verify` tells what is wrong")
    return "\n".join(lines)


def contents_document(contents: Contents) -> dict[str, object]:
    """A cache's contents, for machines."""
    return {
        "cache": contents.url,
        "packages": len(contents.packages),
        "bytes": contents.size,
        "unnamed_packages": list(contents.unnamed),
        "strangers": list(contents.strangers),
        "error": contents.format_error.as_dict() if contents.format_error else None,
        "environments": [_environment_document(each) for each in contents.environments],
    }


def _environment_document(each: CachedEnvironment) -> dict[str, object]:
    from envlock.errors import EnvlockError

    unreadable = isinstance(each.lock, EnvlockError)
    return {
        "identity": each.place.identity,
        "req_id": each.place.req_id,
        "full_id": each.place.full_id,
        "arch": each.place.arch,
        "asked_by": [] if isinstance(each.lock, EnvlockError) else list(each.lock.asked_by),
        "python": None if isinstance(each.lock, EnvlockError) else each.lock.python.version,
        "packages": None if unreadable else len(each.artifacts),
        "bytes": None if unreadable else each.size,
        "missing": [artifact.filename for artifact in each.missing],
        "error": each.lock.as_dict() if isinstance(each.lock, EnvlockError) else None,
    }


def finding_text(finding: CacheFinding, *, is_repaired: bool) -> str:
    """One finding, as a paragraph."""
    lines = [f"{finding.verdict}: {one_line(finding.path)}", f"  {one_line(finding.reason)}"]
    if finding.needed_by:
        lines.append(f"  needed by {_names(finding.needed_by)}")
    elif finding.verdict == "damaged-package":
        lines.append("  no environment names it")
    if is_repaired:
        lines.append("  repaired")
    return "\n".join(lines) + "\n"


def verification_summary(result: VerifiedCache, *, repair: bool) -> str:
    """What was read, how much of it was wrong, and what to do."""
    contents = result.verification.contents
    read = (
        f"{count(len(contents.packages), 'package')} ({byte_size(contents.size)}) and "
        f"{count(len(contents.environments), 'environment')} in {contents.url}"
    )
    if not result.verification.findings:
        return f"whole: {read}"
    found = f"read {read}: {count(len(result.verification.findings), 'finding')}"
    if not result.findings:
        return f"{found}, all repaired"
    if repair:
        hint = "a damaged lock is repaired where its project is: `envlock push` there"
        only_locks = all(finding.verdict == "damaged-lock" for finding in result.findings)
        return f"{found}, {len(result.findings)} not repaired" + (f"\n{hint}" if only_locks else "")
    return f"{found}\nrepair: envlock cache verify --repair"


def verification_document(result: VerifiedCache, status: int) -> dict[str, object]:
    """A verification, for machines."""
    contents = result.verification.contents
    return {
        "cache": contents.url,
        "exit_status": status,
        "packages": len(contents.packages),
        "bytes": contents.size,
        "environments": len(contents.environments),
        "unread_environments": list(result.verification.unread),
        "findings": [
            {
                "verdict": finding.verdict,
                "path": finding.path,
                "reason": finding.reason,
                "needed_by": list(finding.needed_by),
                "repaired": finding in result.repaired,
            }
            for finding in result.verification.findings
        ],
        "errors": [error.as_dict() for error in result.failures],
    }


def _names(names: tuple[str, ...]) -> str:
    hidden = len(names) - _NAMES_SHOWN
    return one_line(", ".join(names[:_NAMES_SHOWN])) + (f" and {hidden} more" if hidden > 0 else "")
