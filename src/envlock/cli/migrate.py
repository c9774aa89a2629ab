"""`envlock migrate`: a repository moved from decorators to envlock.toml."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cli.command import Argument, CommandLine, Flag, command
from envlock.cli.options import DRY_RUN, JSON
from envlock.words import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.workflow.migrate import Left, Migration

_FOLDER = Argument("folder", "[FOLDER]", "The repository, or a part of it. Default: this folder.")
_APPLY = Flag("--apply", "Delete the decorators, where it otherwise prints a patch.")

_EPILOG = """Exit status: 0 if every decorator is carried over and no step's requirements changed; 1 if something stays
to be done by hand, which is listed with its line."""


@command(_FOLDER, _APPLY, DRY_RUN, JSON, epilog=" ".join(_EPILOG.split()))
def migrate(line: CommandLine) -> int:
    """Move all flows of a repository from @conda, @pypi, @named_env and @sys_packages to envlock.toml.

    Finds the flows with such decorators, writes their requirements into envlock.toml, and prints a patch that deletes
    the decorators, and imports that only they needed. Reads flows and never runs them. For each step, it compares the
    requirements of the decorators with those of the written envlock.toml. What cannot be carried over stays with its
    decorator, and is listed with its line.

    All flows get one envlock.toml in FOLDER, or the nearest existing one. If two flows have one name, the flows
    of their folders get one there.

    For example:

    - `envlock migrate`
    - `envlock migrate | git apply`
    - `envlock migrate flows/ --apply`
    - `envlock migrate --dry-run --json`
    """
    from envlock.cli.errors import BadUsage
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.migrate import plan, write

    folder = Path(line.value(_FOLDER) or ".")
    if not folder.is_dir():
        raise BadUsage(f"there is no folder `{folder}`", "envlock migrate")
    apply, dry_run = line.has(_APPLY), line.has(DRY_RUN)
    if apply and dry_run:
        raise BadUsage("`--apply` and `--dry-run` exclude each other", "envlock migrate")
    with LiveReporter() as reporter:
        migration = plan(folder, reporter)
    if not dry_run:
        write(migration, delete_decorators=apply)
    base = _base_of(migration.folder)
    patch = migration.patch(base)
    if line.has(JSON):
        from envlock.cli.console import write_json

        write_json(_document(migration, base, patch, applied=apply, written=not dry_run), dry_run=dry_run)
    else:
        if not apply:
            sys.stdout.flush()
            sys.stdout.buffer.write(patch)
            sys.stdout.buffer.flush()
        _print(migration, base, applied=apply, written=not dry_run)
    return 0 if migration.is_whole else 1


def _base_of(folder: Path) -> Path:
    """The folder that paths are shown from, and where the patch fits: this one, if the repository is below it."""
    here = Path.cwd()
    return here if here == folder or here in folder.parents else folder


def _shown(path: Path | str, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _print(migration: Migration, base: Path, *, applied: bool, written: bool) -> None:
    """What was done and what is left: on stdout if the decorators were deleted, beside a patch on stderr."""
    from rich.table import Table

    from envlock.cli.console import console, write_err, write_reason
    from envlock.cli.console import say as say_out

    say = say_out if applied else write_err
    if not migration.configs:
        say("nothing to migrate: no flow here has @conda, @pypi, @named_env or @sys_packages")
    for config in migration.configs:
        done = "no change" if not config.is_changed else "would write" if not written else "wrote"
        say(f"{done}: {_shown(config.path, base)}, {count(len(config.edited.flows), 'flow')}")
    for source in migration.sources:
        done = "deleted" if applied else "to delete"
        say(f"{done}: {count(len(source.lines), 'decorator')} of {_shown(source.path, base)}")
    if migration.proofs:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("step", "packages", "requirements", "req_id"):
            table.add_column(name, no_wrap=True)
        for each in migration.proofs:
            table.add_row(
                f"{each.flow}/{each.step}", str(each.packages), each.verdict, each.written_id[:12] or "no environment"
            )
        say("")
        console(stderr=not applied).print(table)
    for title, stays in (("stays, to be done by hand:", True), ("look at:", False)):
        listed = [
            f"{_shown(left.path, base)}:{left.line} {_of(left)}{left.reason}"
            for left in migration.left
            if left.stays == stays
        ]
        listed += _unread_lines(migration) if stays else ()
        tell = write_reason if stays else write_err
        if listed:
            tell(f"\n{title}")
        for line in listed:
            tell(f"  {line}")
    if todo := [*_next_lines(migration, base, applied=applied)]:
        write_err("\nnext:")
    for line in todo:
        write_err(f"  {line}")


def _unread_lines(migration: Migration) -> Iterator[str]:
    for error in migration.unread:
        place = f"{error.locations[0].path}:{error.locations[0].line} " if error.locations else ""
        yield f"{place}not read: {error.message}"
    if migration.is_cut:
        yield "there are more Python files than are looked at: migrate one folder after the other"


def _of(left: Left) -> str:
    """What a line is about: the step, or the flow."""
    name = "/".join(filter(None, (left.flow, left.step)))
    return f"{name}: " if name else ""


def _next_lines(migration: Migration, base: Path, *, applied: bool) -> Iterator[str]:
    if migration.sources and not applied:
        yield "envlock migrate --apply"
    if any(each.stays for each in migration.left):
        yield "write what stays into envlock.toml, or `envlock add` it, and delete its decorators"
    for config in migration.configs:
        folder = _shown(config.path.parent, base)
        yield "envlock lock" if folder == "." else f"envlock lock --config {folder}/envlock.toml"
    if migration.configs and migration.configs[0].edited.flows:
        yield f"python {_shown(migration.configs[0].edited.flows[0].path, base)} --environment=envlock run"


def _document(migration: Migration, base: Path, patch: bytes, *, applied: bool, written: bool) -> dict[str, object]:
    """The result, for `--json`."""
    return {
        "whole": migration.is_whole,
        "applied": applied,
        "configs": [
            {
                "path": _shown(config.path, base),
                "written": written and config.is_changed,
                "flows": [flow.name for flow in config.edited.flows],
                "added": [".".join(key) for key in config.edited.added],
            }
            for config in migration.configs
        ],
        "files": [{"path": _shown(each.path, base), "decorators": list(each.lines)} for each in migration.sources],
        "steps": [
            {
                "flow": each.flow,
                "step": each.step,
                "requirements": each.verdict,
                "packages": each.packages,
                "of_decorators": each.decorators_id or None,
                "of_config": each.written_id or None,
                "changes": list(each.changes),
            }
            for each in migration.proofs
        ],
        "left": [
            {
                "file": _shown(each.path, base),
                "line": each.line,
                "flow": each.flow or None,
                "step": each.step or None,
                "reason": each.reason,
                "stays": each.stays,
            }
            for each in migration.left
        ],
        "unread": list(_unread_lines(migration)),
        "patch": patch.decode("utf-8", "surrogateescape"),
    }
