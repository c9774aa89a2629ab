"""`envlock alias`: give and move the names under which environments are shared (`alias_history` reads them)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cli.alias_history import ALIAS, REFERENCE, diff, log, ls, record_document
from envlock.cli.command import Argument, CommandLine, Group, Value, command
from envlock.cli.options import CONFIG, DRY_RUN, JSON, ONE_ENV, ONE_FLOW, ONE_STEP, PATHSPEC, looked_up, open_project
from envlock.errors import one_line, printable
from envlock.words import did, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.named.give import GiveResult
    from envlock.named.lookup import Lookup, NamedEnvironment

_SOURCE = Argument(
    "source",
    "[SOURCE]",
    f"The environment: a step, FLOW/STEP, an `[env.NAME]`, {REFERENCE}.",
    complete="aliases",
)
_WHY = Value("--why", "WHY", "The reason, which is kept with the move.", short="-m")


@command(ALIAS, _SOURCE, ONE_FLOW, ONE_STEP, ONE_ENV, PATHSPEC, _WHY, DRY_RUN, JSON, CONFIG)
def give(line: CommandLine) -> int:
    """Give an environment an alias, for every arch that it is locked for. The word `give` can be left out.

    Pushes its packages and locks into the cache first. `latest`, `candidate` and `stable` can be given again; every
    other tag is given once. `@{VARIABLE}` is replaced by the value of that environment variable.

    For example:

    - `envlock alias team/base:v1 base`
    - `envlock alias team/base:v1 --env base`
    - `envlock alias team/train --flow TrainFlow --step train -m nightly`
    - `envlock alias team/base:v2 team/base:candidate`
    - `envlock alias team/rerun:v1 --pathspec TrainFlow/142/train`
    """
    from envlock.cli.progress import LiveReporter
    from envlock.named.give import give as give_name
    from envlock.named.lookup import Lookup, alias_of

    name = alias_of(line.value(ALIAS))
    lookup = Lookup(open_project(line))
    found = _chosen(lookup, line)
    with LiveReporter() as reporter:
        given = give_name(lookup, name, found, why=line.value(_WHY), reporter=reporter, dry_run=line.has(DRY_RUN))
    return _show_given(line, given)


_TO = Value("--to", "MOVE", "The move to return to. Default: the one before the newest.", least=1)


@command(ALIAS, _TO, _WHY, DRY_RUN, JSON, CONFIG)
def rollback(line: CommandLine) -> int:
    """Move a tag back to an earlier environment. This is a new move; the history is kept.

    Fails if somebody else moves the tag at the same time.

    For example:

    - `envlock alias rollback team/base:stable`
    - `envlock alias rollback team/base:stable --to 3 -m broken`
    """
    from envlock.named.give import rollback as roll_back
    from envlock.named.lookup import Lookup, alias_of

    name = alias_of(line.value(ALIAS))
    lookup = Lookup(open_project(line))
    given = roll_back(lookup, name, to=line.number(_TO), why=line.value(_WHY), dry_run=line.has(DRY_RUN))
    return _show_given(line, given)


_TAG = Argument("tag", "TAG", "The tag to move.")


@command(ALIAS, _TAG, _WHY, DRY_RUN, JSON, CONFIG)
def promote(line: CommandLine) -> int:
    """Move another tag of the same name to the environment of an alias.

    Fails if somebody else moves that tag at the same time.

    For example:

    - `envlock alias promote team/base:candidate stable -m "passes the nightly"`
    """
    from envlock.named.give import promote as promote_name
    from envlock.named.give import promotion_target
    from envlock.named.lookup import Lookup, alias_of

    source = alias_of(line.value(ALIAS))
    target = promotion_target(source, line.value(_TAG))
    lookup = Lookup(open_project(line))
    given = promote_name(lookup, source, target, why=line.value(_WHY), dry_run=line.has(DRY_RUN))
    return _show_given(line, given)


def _show_given(line: CommandLine, given: GiveResult) -> int:
    from envlock.cli.console import say, write_err, write_json

    if line.has(JSON):
        write_json(given_document(given), dry_run=line.has(DRY_RUN))
        return 0
    for note in given_notes(given, dry_run=line.has(DRY_RUN)):
        write_err(note)
    say(given_text(given, dry_run=line.has(DRY_RUN)))
    return 0


def _chosen(lookup: Lookup, line: CommandLine) -> NamedEnvironment:
    """The environment that gets the alias. Raises BadUsage if it is given twice."""
    if sum([line.has(_SOURCE), line.has(ONE_FLOW) or line.has(ONE_STEP), line.has(ONE_ENV), line.has(PATHSPEC)]) > 1:
        from envlock.cli.errors import BadUsage

        raise BadUsage("give one environment: SOURCE, --flow/--step, --env or --pathspec", "envlock alias")
    from envlock.config.selection import choose_one, one_of
    from envlock.workflow.find import choices_of

    own = choices_of(lookup.project, line.value(_SOURCE)) if line.has(_SOURCE) else []
    if own:
        return lookup.environment(one_of(lookup.project, own))
    if line.has(_SOURCE) or line.has(PATHSPEC):
        return looked_up(line, lookup, _SOURCE)
    flow, step, environment = map(line.value, (ONE_FLOW, ONE_STEP, ONE_ENV))
    return lookup.environment(choose_one(lookup.project, flow=flow, step=step, environment=environment))


_GIVE = "envlock alias NAME:TAG --env ENVIRONMENT"
_STAYS = "names cannot be deleted; to move a tag back: envlock alias rollback NAME:TAG"
_READ_AS_COMMANDS = {
    "list": "envlock alias ls",
    **dict.fromkeys(("rm", "remove", "delete", "del", "untag"), _STAYS),
    **dict.fromkeys(("move", "mv", "add", "create", "push", "tag", "set", "new"), _GIVE),
    **dict.fromkeys(("get", "pull", "fetch"), "envlock get NAME:TAG"),
    "show": "envlock show NAME:TAG",
    "help": "envlock alias --help",
    "history": "envlock alias log NAME:TAG",
}
"""What people type out of habit, and what to type here. With a tag or a `/`, the same words are names."""


def _refuse_commands(word: str) -> None:
    """Raise BadUsage for a word that looks like a command: everybody would see it as a name."""
    meant = _READ_AS_COMMANDS.get(word, "")
    if not meant and (right := nearest(word, list(alias.commands), 0.8)):
        meant = f"envlock alias {right}"
    if meant:
        from envlock.cli.errors import BadUsage

        raise BadUsage(
            f"`{word}` is not a command of `envlock alias`, and looks too much like one to be a name",
            "envlock alias",
            details=(f"to give an environment this name: envlock alias give {word} --env NAME",),
            hint=meant,
        )


alias = Group(
    "alias",
    "Give environments aliases, like tags in Docker: `envlock alias team/base:v1 --env base`.\n\n"
    "`latest`, `candidate` and `stable` are tags that move; every other tag is given once. Aliases are in the cache, "
    "which keeps every move.",
    (give, rollback, promote, log, diff, ls),
    unnamed="give",
    refuse=_refuse_commands,
)


def given_text(given: GiveResult, *, dry_run: bool = False) -> str:
    """The result of giving an alias, as a sentence."""
    record, before = given.move, given.before
    if given.was_there:
        since = f"since {record.when}, when {record.who} gave it from {record.source}"
        return one_line(f"{record.alias} names {record.ids} already, {since}")
    verb = did("gave" if before is None else "moved", dry_run=dry_run)
    was = f" (move {record.sequence}; before, it was {before.ids})" if before is not None else ""
    return one_line(f"{verb} {record.alias} to {record.source}: {record.ids}{was}")


def given_notes(given: GiveResult, *, dry_run: bool = False) -> Iterator[str]:
    """Warnings and notes."""
    if given.pushed is not None:
        from envlock.cli.push import as_text, plan_notes

        if not given.pushed.moved_nothing:
            yield printable(as_text(given.pushed, dry_run=dry_run))
        yield from map(one_line, plan_notes(given.pushed))
    if given.lacking:
        yield f"note: not available for {', '.join(given.lacking)}, because it is not locked for that"


def given_document(given: GiveResult) -> dict[str, object]:
    """The result of giving an alias, for `--json`."""
    return {
        **record_document(given.move),
        "changed": not given.was_there,
        "before": record_document(given.before) if given.before else None,
        "cache": given.cache,
        "pushed": {"packages": given.pushed.moved, "environments": given.pushed.written} if given.pushed else None,
        "lacking": list(given.lacking),
    }
