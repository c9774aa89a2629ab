"""`envlock diff`: which packages and requirements differ between environments; also as a comment for a review."""

from __future__ import annotations

from envlock.cli.command import Argument, CommandLine, Flag, Value, command
from envlock.cli.console import CHANGE_STYLES
from envlock.cli.options import ARCHS, CONFIG, ENVS, FLOWS, JSON, STEPS, archs, open_project
from envlock.errors import one_line, place_document
from envlock.lockfile.required_changes import ANY
from envlock.words import count, count_between, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from envlock.lockfile.changes import ArchChanges, PackageChange
    from envlock.workflow.diff import Asked, Diff, EnvironmentDiff
    from envlock.workflow.references import Referred

    Groups: TypeAlias = Sequence[tuple[Sequence[str], EnvironmentDiff]]

_REFERENCES = Argument(
    "references",
    "[A] [B]...",
    "What to compare: a git revision (`main`, `main..HEAD`, `main...HEAD`), a step, FLOW/STEP, a flow or an "
    "`[env.NAME]`, also at a revision (`main:train`), ids, an alias (`team/base:v1`), a pathspec, a lock "
    "file or a prefix. Default: `HEAD` and the working folder.",
    complete="compared",
)
_FORMAT = Value(
    "--format", "FORMAT", "`table`, `markdown`, or `json`.", default="table", choices=("table", "markdown", "json")
)
_EXIT_CODE = Flag("--exit-code", "Exit with 1 if anything differs.")

MARKER = "<!-- envlock diff -->"
"""The last line of the markdown, by which a job finds the comment that it wrote before."""
LONGEST = 60_000
"""Characters of markdown: GitHub takes 65,536 in a comment."""
_ROWS_SHOWN = 30
"""Rows of a table that are shown without a click."""


@command(
    _REFERENCES,
    FLOWS,
    STEPS,
    ENVS,
    ARCHS,
    _FORMAT,
    _EXIT_CODE,
    JSON,
    CONFIG,
    epilog="Exit status: 0, whether or not anything differs; with `--exit-code` 1 if it does.",
)
def diff(line: CommandLine) -> int:
    """Show which packages were added, removed, upgraded, downgraded or rebuilt, and which requirements changed.

    Compares the project at two git revisions, or two environments. Revisions are read from git, without a checkout.
    Environments with the same changes are shown together, and archs that agree.

    For example:

    - `envlock diff`
    - `envlock diff main`
    - `envlock diff main...HEAD --format markdown`
    - `envlock diff main:train train --arch linux-64`
    - `envlock diff team/base:v1 team/base:v2`
    """
    import gc

    gc.disable()  # nothing is garbage before the process ends
    try:
        from envlock.config.selection import Selection
        from envlock.workflow.diff import diff as compare

        references = line.values(_REFERENCES)
        if len(references) > 2:
            from envlock.cli.errors import BadUsage

            raise BadUsage("at most two things can be compared", "envlock diff")
        chosen = Selection(line.values(FLOWS), line.values(STEPS), line.values(ENVS))
        found = compare(open_project(line), references, chosen, archs(line))
        _print(found, "json" if line.has(JSON) else line.value(_FORMAT))
    finally:
        gc.enable()
    return 1 if line.has(_EXIT_CODE) and not found.is_same else 0


def _print(found: Diff, form: str) -> None:
    from envlock.cli.console import write, write_json, write_styled

    if form == "json":
        write_json(as_document(found))
    elif form == "markdown":
        write(as_markdown(found))
    else:
        write_styled(list(as_lines(found)))


def _summary(found: Diff, groups: Groups) -> str:
    """How many environments differ, and how.

    >>> from envlock.workflow.diff import Diff
    >>> _summary(Diff("main", "", ()), ())
    'no environment differs'
    """
    states = [each.state for each in found.environments]
    words = {
        "changed": "changed",
        "added": "added",
        "removed": "removed",
        "renamed": "renamed",
        "unlocked": "not locked",
    }
    told = [(states.count(state), word) for state, word in words.items() if state in states]
    if not told:
        return "no environment differs"
    first, *others = told
    parts = [f"{count(first[0], 'environment')} {first[1]}", *(f"{number} {word}" for number, word in others)]
    same = states.count("same")
    return ", ".join([*parts, *([f"{same} the same"] if same else [])]) + _packages(groups)


def _packages(groups: Groups) -> str:
    """How many packages became what, each counted once, wherever it did; empty if none did."""
    from envlock.lockfile.changes import counts

    changes = {change._replace(old_file="", new_file="") for _, each in groups for change, _ in each.folded}
    numbers = counts(changes)
    if not numbers:
        return ""
    (verb, number), *others = numbers.items()
    parts = [f"{count(number, 'package')} {verb}", *(f"{more} {other}" for other, more in others)]
    return f"; {', '.join(parts)}"


def _heading(each: EnvironmentDiff) -> str:
    """What stands beside the names of a group: what became of it, and the archs."""
    of = each.after or each.before
    assert of is not None
    where = f" on {listed(of.archs)}" if of.archs else ""
    state = {"added": "added", "removed": "removed", "renamed": "renamed, with the same packages"}.get(each.state, "")
    if each.after and not (each.after.files or each.after.several):
        state = f"{state}, not locked".removeprefix(", ")
    return f"{state}{where}" if state else where.removeprefix(" ")


def _totals(each: EnvironmentDiff) -> str:
    """How many packages an environment that came or went has."""
    came = [of for one in (each, *each.others) if (of := one.after or one.before)]
    rows = [of.rows(arch) for of in came for arch in of.archs]
    numbers = [len(of_arch.packages) for of_arch in rows]
    series = listed(dict.fromkeys(of_arch.python.series for of_arch in rows), "or")
    return f"Python {series}, {count_between(numbers, 'package')}"


def _notes(each: EnvironmentDiff) -> Iterator[str]:
    """What there is to say of an environment beside its packages."""
    if each.state in {"added", "removed"} and (each.after or each.before or each).files:  # type: ignore[union-attr]
        yield _totals(each)
    if each.archs_added:
        yield f"locked for {listed(each.archs_added)} too"
    if each.archs_removed and each.after and each.after.files:
        yield f"no longer locked for {listed(each.archs_removed)}"
    if each.after and each.after.several:
        yield f"several locks for {listed(each.after.several)}, as after a merge: run `envlock lock`"
    if each.state == "changed" and each.asked and not each.folded:
        yield "the packages are the same"
    if each.after and not (each.after.files or each.after.several or each.after.revision):
        yield "run `envlock lock`"


def as_lines(found: Diff) -> Iterator[Sequence[tuple[str, str]]]:
    """The differences as lines of text, each of parts with their style."""
    groups = found.groups
    for names, each in groups:
        yield from environment_lines(names, each)
        yield ()
    yield ((_summary(found, groups), ""),)


def environment_lines(names: Sequence[str], each: EnvironmentDiff) -> Iterator[Sequence[tuple[str, str]]]:
    """What differs in one environment, or in several alike."""
    yield ((one_line(listed(names)), "bold"), (f" {_heading(each)}".rstrip(), "dim"))
    for note in _notes(each):
        yield ((f"  {note}", ""),)
    for asked in each.asked:
        yield (("  required    ", "bold"), (one_line(str(asked.change)), ""), (_at(asked), "dim"))
    folded = each.folded
    width = max((len(_name(change)) for change, _ in folded), default=0)
    everywhere = {arch.arch for arch in each.changes}
    for change, of in folded:
        versions = (
            f"{change.before} -> {change.after}" if change.before and change.after else change.before + change.after
        )
        if not (change.old_file or change.new_file) and change.verb == "rebuilt":
            versions = change.new
        some = f"  on {listed(of)}" if {*of} != everywhere else ""
        name = _name(change).ljust(width)
        yield (
            (f"  {change.verb:<10}  ", CHANGE_STYLES[change.verb]),
            (one_line(name), "bold" if change.direct else ""),
            (one_line(f"  {versions}"), ""),
            (some, "dim"),
        )
    if folded:
        same = [arch.same for one in (each, *each.others) for arch in one.changes]
        yield ((f"  {count_between(same, 'package')} the same", "dim"),)


def _name(change: PackageChange) -> str:
    return f"{change.name} ({change.of})" if change.of else change.name


def _at(asked: Asked) -> str:
    return f" ({one_line(asked.at)})" if asked.at else ""


# Markdown, for a pull request.


def as_markdown(found: Diff) -> str:
    """The differences as GitHub and GitLab show them: LONGEST characters at most, with MARKER at the end.

    Whatever comes from files is in code spans, where neither markup nor HTML counts, and nobody is mentioned.
    """
    groups = found.groups
    head = [
        f"### envlock: {_summary(found, groups)}",
        "",
        f"{_code(found.before)} -> {_code(found.after) if found.after else 'the working folder'}",
        "",
    ]
    left = LONGEST - sum(len(line) + 1 for line in head) - 500
    body: list[str] = []
    for number, (names, each) in enumerate(groups):
        lines, is_whole = _within(left, *_section(names, each))
        if not lines:
            body.append(f"and {count(len(groups) - number, 'more group')} of environments: `envlock diff` shows all.")
            break
        left -= sum(len(line) + 1 for line in lines)
        body += lines
        if not is_whole:
            body += ["and more: `envlock diff` shows all.", ""]
            break
    return "\n".join([*head, *body, MARKER])


def _within(most: int, before: list[str], rows: list[str], after: list[str]) -> tuple[list[str], bool]:
    """As many rows as there is room for, and whether those are all; nothing where not even the heading has room."""
    left = most - sum(len(line) + 1 for line in (*before, *after))
    if left < 0:
        return [], False
    kept: list[str] = []
    for row in rows:
        left -= len(row) + 1
        if left < 0:
            break
        kept.append(row)
    return [*before, *kept, *after], len(kept) == len(rows)


def _section(names: Sequence[str], each: EnvironmentDiff) -> tuple[list[str], list[str], list[str]]:
    """What stands before the rows of a group of environments, the rows, and what stands after them."""
    shown = [_code(name) for name in names[:_ROWS_SHOWN]]
    shown += [f"{len(names) - _ROWS_SHOWN} more"] if len(names) > _ROWS_SHOWN else []
    lines = [f"#### {listed(shown)} {_heading(each)}".rstrip(), ""]
    notes = [f"{note[:1].upper()}{note[1:]}." for note in _notes(each)]
    lines += [*notes, ""] if notes else []
    asked = [f"- {_asked(one)}" for one in each.asked]
    if len(asked) > _ROWS_SHOWN:
        asked = [*asked[:_ROWS_SHOWN], f"- and {len(asked) - _ROWS_SHOWN} more"]
    lines += ["Required:", "", *asked, ""] if asked else []
    folded = each.folded
    everywhere = {arch.arch for arch in each.changes}
    has_archs = any({*of} != everywhere for _, of in folded)
    rows = []
    for change, of in folded:
        name = f"**{_code(_name(change))}**" if change.direct else _code(_name(change))
        cells = [name, _code(change.before), _code(change.after), change.verb]
        cells += [", ".join(of) if {*of} != everywhere else "all"] if has_archs else []
        rows.append(f"| {' | '.join(cells)} |")
    if not rows:
        return lines, [], []
    titles = ["package", "before", "after", "change", *(["archs"] if has_archs else [])]
    table = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    if len(rows) <= _ROWS_SHOWN:
        return [*lines, *table], rows, [""]
    return [*lines, f"<details><summary>{len(rows)} packages</summary>", "", *table], rows, ["", "</details>", ""]


def _asked(asked: Asked) -> str:
    change = asked.change
    said = [_code(each) for each in (change.before, change.after) if each]
    verb = "" if len(said) == 2 else "added " if change.after else "removed "
    said = [] if verb and ANY in {change.before, change.after} else said
    at = f"({_code(asked.at)})" if asked.at else ""
    return f"{verb}{_code(change.name)} {' -> '.join(said)} {at}".rstrip().replace("  ", " ")


def _code(text: str) -> str:
    r"""A text from a file as a code span that it cannot end, also in a table.

    >>> print(_code("a|b`<img>"), repr(_code("")))
    `a\|b'<img>` ''
    """
    plain = one_line(text).replace("`", "'").replace("|", "\\|").strip()
    return f"`{plain}`" if plain else ""


# JSON.


def as_document(found: Diff) -> dict[str, object]:
    """The differences, for `--json`."""
    return {
        "before": found.before or None,
        "after": found.after or None,
        "same": found.is_same,
        "environments": [_environment_document(each) for each in found.environments],
    }


def _environment_document(each: EnvironmentDiff) -> dict[str, object]:
    return {
        "name": each.name,
        "state": each.state,
        "before": _referred_document(each.before),
        "after": _referred_document(each.after),
        "required": [_asked_document(one) for one in each.asked],
        "archs": [arch_document(one) for one in each.all_changes],
        "archs_added": list(each.archs_added),
        "archs_removed": list(each.archs_removed),
    }


def _referred_document(referred: Referred | None) -> dict[str, object] | None:
    if referred is None:
        return None
    return {"name": referred.name, "req_id": referred.req_id or None, "full_ids": dict(referred.full_ids)}


def _asked_document(asked: Asked) -> dict[str, object]:
    return {
        "name": asked.change.name,
        "before": asked.change.before or None,
        "after": asked.change.after or None,
        **place_document(next(iter(asked.places), None)),
    }


def arch_document(changes: ArchChanges) -> dict[str, object]:
    """What differs on one arch, for `--json`."""
    return {
        "arch": changes.arch,
        "same": changes.same,
        "changes": [change_document(each) for each in changes.changes],
    }


def change_document(change: PackageChange) -> dict[str, object]:
    """What became of one package, for `--json`."""
    return {
        "verb": change.verb,
        "kind": change.kind,
        "name": change.name,
        "before": change.before or None,
        "after": change.after or None,
        "direct": change.direct,
    }
