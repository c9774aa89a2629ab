"""Reading aliases: `envlock alias log`, `diff` and `ls`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envlock.cli.command import Argument, CommandLine, command
from envlock.cli.options import CONFIG, JSON, open_project
from envlock.errors import DamageError, EnvlockError, one_line, printable
from envlock.lockfile.changes import grouped
from envlock.words import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table
    from rich.text import Text

    from envlock.named.alias import Alias
    from envlock.named.diff import MoveDiff
    from envlock.named.move import Move
    from envlock.workflow.diff import EnvironmentDiff
    from envlock.workflow.references import Referred

_CHANGES_SHOWN = 6

ALIAS = Argument("name", "NAME[:TAG]", "The alias. Default tag: `latest`.", complete="aliases")
REFERENCE = "an alias, `name:tag@MOVE`, or the first digits of both ids, as `req_id:full_id`"
_BEFORE = Argument("before", "A", f"From: {REFERENCE}.", complete="aliases")
_AFTER = Argument("after", "B", f"To: {REFERENCE}.", complete="aliases")
_PREFIX = Argument("prefix", "[PREFIX]", "The beginning of the aliases to list.", complete="aliases")


@command(ALIAS, JSON, CONFIG)
def log(line: CommandLine) -> int:
    """Show the history of a tag, newest move first: who, when, why, from what, and which packages changed.

    Verifies that each move follows the one before it.

    For example:

    - `envlock alias log team/base:stable`
    - `envlock alias log team/base --json`
    """
    from envlock.cli.console import console, write_json
    from envlock.named.diff import log as history
    from envlock.named.lookup import Lookup, alias_of

    alias = alias_of(line.value(ALIAS))
    lookup = Lookup(open_project(line), recalls=True)
    moves = history(lookup, alias)
    if line.has(JSON):
        write_json(log_document(alias, moves, lookup.url))
    else:
        console().print(log_text(alias, moves, lookup.url, drawn=console().is_terminal))
    return 0


@command(_BEFORE, _AFTER, JSON, CONFIG)
def diff(line: CommandLine) -> int:
    """Show which packages were added, removed, upgraded, downgraded or rebuilt between two environments of the cache.

    For example:

    - `envlock alias diff team/base:v1 team/base:v2`
    - `envlock alias diff team/base:stable@3 team/base:candidate`
    """
    from envlock.cli.console import write_json, write_styled
    from envlock.cli.diff import environment_lines
    from envlock.named.lookup import Lookup
    from envlock.workflow.diff import difference
    from envlock.workflow.references import of_named

    lookup = Lookup(open_project(line), recalls=True)
    before, after = (of_named(lookup, lookup.reference(line.value(each))) for each in (_BEFORE, _AFTER))
    found = difference(before, after)
    if line.has(JSON):
        write_json(comparison_document(found))
    elif found.state == "same":
        write_styled([((found.name, "bold"),), (("the same environment", ""),)])
    else:
        write_styled(list(environment_lines([found.name], found)))
    return 0


@command(_PREFIX, JSON, CONFIG, epilog="Exit status: 0 ok, 3 the history of a tag is damaged.")
def ls(line: CommandLine) -> int:
    """List the aliases in the cache, with their environments, and who gave each when and why.

    For example:

    - `envlock alias ls`
    - `envlock alias ls team/`
    """
    from envlock.cli.console import console, write_err, write_json
    from envlock.named.alias import filled_in
    from envlock.named.lookup import Lookup

    prefix = line.value(_PREFIX)
    lookup = Lookup(open_project(line))
    listed = tuple(lookup.aliases.all_newest(filled_in(prefix, os.environ)))
    if line.has(JSON):
        write_json(list_document(listed, lookup.store.url))
    elif listed:
        console().print(list_table(listed))
    else:
        write_err(f"no alias{f' that begins with {prefix}' if prefix else ''} in {lookup.store.url}")
    return DamageError.exit_status if any(isinstance(record, DamageError) for _, record in listed) else 0


def record_document(record: Move) -> dict[str, object]:
    """One move of a tag, for `--json`."""
    return {
        "alias": str(record.alias),
        "name": record.name,
        "tag": record.tag,
        "moves": record.alias.moves,
        "sequence": record.sequence,
        "req_id": record.req_id,
        "full_ids": dict(record.full_ids),
        "who": record.who,
        "when": record.when,
        "source": record.source,
        "why": record.why or None,
        "sha256": record.digest,
    }


def log_text(alias: Alias, moves: Sequence[MoveDiff], url: str, *, drawn: bool) -> Text:
    """The history of a tag, newest first: a line of dots where it is drawn, of stars elsewhere."""
    from rich.text import Text

    dot, line = ("●", "│") if drawn else ("*", "|")
    text = Text(printable(f"{alias}, {count(len(moves), 'move')} in {url}\n"), "bold" if drawn else "")
    for each in reversed(moves):
        is_first = each.move.sequence == 1
        is_head = each is moves[-1]
        text.append(f"\n{dot} ", "green" if is_head else "dim")
        text.append(f"{each.move.sequence}  {one_line(each.move.when)}  {one_line(each.move.who)}", "bold")
        text.append(f"  from {one_line(each.move.source)}" + ("  (now)" if is_head else ""))
        for label, said in _move_facts(each):
            text.append(f"\n{' ' if is_first else line}    ", "dim")
            text.append(f"{label:<8} ", "dim")
            text.append(one_line(said))
    return text


def _move_facts(each: MoveDiff) -> Iterator[tuple[str, str]]:
    if each.move.why:
        yield "why", each.move.why
    yield "is", str(each.move.ids)
    if each.move.sequence == 1:
        return
    for archs, changes in grouped((one.arch, one.changes) for one in each.changes):
        told = [str(change) for change in changes[:_CHANGES_SHOWN]]
        hidden = len(changes) - len(told)
        if hidden:
            told.append(f"and {hidden} more: envlock alias diff {_at(each, -1)} {_at(each, 0)}")
        yield "changed", f"on {', '.join(archs)}: {', '.join(told) or 'no package'}"
    if each.came:
        yield "came", ", ".join(each.came)
    if each.went:
        yield "went", ", ".join(each.went)
    if not each.is_complete:
        yield "unknown", "what changed: a lock is no longer in the cache"


def _at(each: MoveDiff, offset: int) -> str:
    return f"{each.move.alias}@{each.move.sequence + offset}"


def log_document(alias: Alias, moves: Sequence[MoveDiff], url: str) -> dict[str, object]:
    """The history of a tag, oldest first, for `--json`."""
    from envlock.cli.diff import arch_document

    return {
        "alias": str(alias),
        "cache": url,
        "moves": [
            {
                **record_document(each.move),
                "changes": [arch_document(one) for one in each.changes],
                "archs_added": list(each.came),
                "archs_removed": list(each.went),
                "complete": each.is_complete,
            }
            for each in moves
        ],
    }


def comparison_document(found: EnvironmentDiff) -> dict[str, object]:
    """How two environments differ, for `--json`."""
    from envlock.cli.diff import arch_document

    return {
        "before": _referred_document(found.before),
        "after": _referred_document(found.after),
        "same": found.state == "same",
        "archs": [arch_document(each) for each in found.changes],
        "archs_added": list(found.archs_added),
        "archs_removed": list(found.archs_removed),
    }


def _referred_document(referred: Referred | None) -> dict[str, object]:
    assert referred is not None, "two are compared"
    return {"said": referred.name, "req_id": referred.req_id, "full_ids": dict(referred.full_ids)}


def list_table(listed: Sequence[tuple[Alias, Move | EnvlockError]]) -> Table:
    """The aliases, one a row."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("move", justify="right", no_wrap=True)
    for title in ("environment", "given", "by", "from"):
        table.add_column(title, no_wrap=True)
    table.add_column("why", overflow="fold")
    for alias, record in listed:
        if isinstance(record, EnvlockError):
            table.add_row(str(alias), "", f"({record.code})")
            continue
        at = str(record.sequence) if alias.moves else "-"
        cells = (str(alias), at, str(record.ids), record.when, record.who, record.source, record.why)
        table.add_row(*map(one_line, cells))
    return table


def list_document(listed: Sequence[tuple[Alias, Move | EnvlockError]], url: str) -> dict[str, object]:
    """The aliases, for `--json`."""
    return {
        "cache": url,
        "aliases": [
            {"alias": str(alias), "error": record.as_dict()}
            if isinstance(record, EnvlockError)
            else record_document(record)
            for alias, record in listed
        ],
    }
