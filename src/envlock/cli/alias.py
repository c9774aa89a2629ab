"""`envlock alias`: names under which environments are shared, and what became of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from typer.core import TyperGroup

from envlock.cli.one_environment import OneEnv, OneFlow, OneStep
from envlock.cli.options import ConfigOption, JsonOption, PathspecOption, complete_alias, open_project

if TYPE_CHECKING:
    from envlock.named.lookup import Lookup, NamedEnvironment

_DAMAGED = 3


class _NamesFirst(TyperGroup):
    """`envlock alias team/base:v1` is `envlock alias give team/base:v1`; a word that reads as a command is no name."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            if not ctx.resilient_parsing:  # a shell that completes the line is told nothing
                self._refuse_commands(args[0])
            args = ["give", *args]
        return super().parse_args(ctx, args)

    def _refuse_commands(self, word: str) -> None:
        """Raise BadUsage where a name, which everybody would see, was hardly meant."""
        from difflib import get_close_matches

        meant = _READ_AS_COMMANDS.get(word, "")
        if not meant and (alike := get_close_matches(word, self.commands, n=1, cutoff=0.8)):
            meant = f"envlock alias {alike[0]}"
        if meant:
            from envlock.cli.errors import BadUsage

            raise BadUsage(
                f"`{word}` is not a command of `envlock alias`, and looks too much like one to be a name",
                "envlock alias",
                details=(f"to give an environment this name: envlock alias give {word} --env NAME",),
                hint=meant,
            )


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
"""What is typed out of habit, and what does it here. With a tag or a `/`, the same words are names."""


# typer reads these annotations when it runs, on Python 3.10 too.
_Alias = Annotated[
    str, typer.Argument(metavar="NAME[:TAG]", autocompletion=complete_alias, help="The name; without a tag, `latest`.")
]
_What = "a name, `name:tag@MOVE`, or the first digits of both ids, as `req_id:full_id`"
_Why = Annotated[str, typer.Option("-m", "--why", metavar="WHY", help="Why: kept with the move, for everybody.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        cls=_NamesFirst,
        no_args_is_help=True,
        help="Give names to environments, as Docker has tags: `envlock alias team/base:v1 --env base`.\n\n"
        "`latest`, `candidate` and `stable` are tags that move; every other tag is given once. Names are kept in the "
        "cache, and each move is kept for ever.",
    )
    app.add_typer(group, name="alias")
    _register_giving(group)
    _register_reading(group)


def _register_giving(group: typer.Typer) -> None:
    @group.command()
    def give(
        name: _Alias,
        source: Annotated[
            Optional[str],  # noqa: UP045
            typer.Argument(
                metavar="[SOURCE]",
                autocompletion=complete_alias,
                help=f"What to name, where it is no environment of envlock.toml: {_What}.",
                show_default=False,
            ),
        ] = None,
        flow: OneFlow = None,
        step: OneStep = None,
        env: OneEnv = None,
        pathspec: PathspecOption = None,
        why: _Why = "",
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Give a name to an environment, for every arch that it is locked for; the word `give` may be left out.

        Its packages and its locks are brought into the cache first. A tag other than `latest`, `candidate` and `stable`
        is given once: asking for it again says who has it. `@{VARIABLE}` is taken from the environment.

        Examples: `envlock alias team/base:v1 --env base`, `envlock alias team/train --flow TrainFlow --step train -m
        nightly`, `envlock alias team/base:v2 team/base:candidate`, `envlock alias team/rerun:v1 --pathspec
        TrainFlow/142/train`.
        """
        from envlock.cli.alias_text import given_document, given_notes, given_text
        from envlock.cli.console import err, out
        from envlock.cli.progress import LiveReporter
        from envlock.named.give import give as give_name
        from envlock.named.lookup import Lookup, alias_of

        alias = alias_of(name)
        lookup = Lookup(open_project(config))
        found = _chosen(lookup, source, flow, step, env, pathspec)
        with LiveReporter() as reporter:
            given = give_name(lookup, alias, found, why=why, reporter=reporter)
        if as_json:
            out.print(json.dumps(given_document(given), indent=2))
            return 0
        for note in given_notes(given):
            err.print(note)
        out.print(given_text(given))
        return 0

    @group.command()
    def rollback(
        name: _Alias,
        to: Annotated[
            Optional[int],  # noqa: UP045
            typer.Option("--to", metavar="MOVE", min=1, help="The move to go back to. Default: the last but one."),
        ] = None,
        why: _Why = "",
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Move a tag back to what it stood for before. This is a new move: the history is kept.

        Refused where somebody else moves the tag at the same moment.

        Examples: `envlock alias rollback team/base:stable`, `envlock alias rollback team/base:stable --to 3 -m broken`.
        """
        from envlock.cli.alias_text import given_document, given_text
        from envlock.cli.console import out
        from envlock.named.give import rollback as roll_back
        from envlock.named.lookup import Lookup, alias_of

        alias = alias_of(name)
        given = roll_back(Lookup(open_project(config)), alias, to=to, why=why)
        out.print(json.dumps(given_document(given), indent=2) if as_json else given_text(given))
        return 0

    @group.command()
    def promote(
        name: _Alias,
        tag: Annotated[str, typer.Argument(metavar="TAG", help="The tag that is to stand for the same.")],
        why: _Why = "",
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Move a second tag of a name to what the first one stands for.

        Refused where somebody else moves the second tag at the same moment.

        Examples: `envlock alias promote team/base:candidate stable -m "passes the nightly"`.
        """
        from envlock.cli.alias_text import given_document, given_text
        from envlock.cli.console import out
        from envlock.named.give import promote as promote_name
        from envlock.named.give import promotion_target
        from envlock.named.lookup import Lookup, alias_of

        source = alias_of(name)
        target = promotion_target(source, tag)
        given = promote_name(Lookup(open_project(config)), source, target, why=why)
        out.print(json.dumps(given_document(given), indent=2) if as_json else given_text(given))
        return 0


def _register_reading(group: typer.Typer) -> None:
    @group.command()
    def log(name: _Alias, as_json: JsonOption = False, config: ConfigOption = None) -> int:
        """Show the history of a tag, newest move first: who, when, why, from what, and which packages changed.

        Each record is proved to follow the one before it.

        Examples: `envlock alias log team/base:stable`, `envlock alias log team/base --json`.
        """
        from envlock.cli.alias_text import log_document, log_text
        from envlock.cli.console import out
        from envlock.named.diff import log as history
        from envlock.named.lookup import Lookup, alias_of

        alias = alias_of(name)
        lookup = Lookup(open_project(config), recalls=True)
        moves = history(lookup, alias)
        if as_json:
            out.print(json.dumps(log_document(alias, moves, lookup.url), indent=2))
        else:
            out.print(log_text(alias, moves, lookup.url, drawn=out.is_terminal))
        return 0

    @group.command()
    def diff(
        before: Annotated[str, typer.Argument(metavar="A", autocompletion=complete_alias, help=f"From: {_What}.")],
        after: Annotated[str, typer.Argument(metavar="B", autocompletion=complete_alias, help=f"To: {_What}.")],
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Show which packages were added, removed and changed between two environments, for each arch.

        Examples: `envlock alias diff team/base:v1 team/base:v2`,
        `envlock alias diff team/base:stable@3 team/base:candidate`.
        """
        from envlock.cli.alias_text import comparison_document, comparison_text
        from envlock.cli.console import out
        from envlock.named.diff import difference
        from envlock.named.lookup import Lookup

        lookup = Lookup(open_project(config), recalls=True)
        comparison = difference(lookup, lookup.reference(before), lookup.reference(after))
        if as_json:
            out.print(json.dumps(comparison_document(comparison), indent=2))
        else:
            out.print(comparison_text(comparison))
        return 0

    @group.command(epilog="Exit status: 0 all is well, 3 the history of a name is broken.")
    def ls(
        prefix: Annotated[
            str, typer.Argument(metavar="[PREFIX]", autocompletion=complete_alias, help="What the names begin with.")
        ] = "",
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """List the names in the cache, with what each stands for now, and who gave it when and why.

        Examples: `envlock alias ls`, `envlock alias ls team/`.
        """
        from envlock.cli.alias_text import list_document, list_table
        from envlock.cli.console import err, out
        from envlock.errors import DamageError
        from envlock.named.diff import list_aliases
        from envlock.named.lookup import Lookup, spelt_out

        lookup = Lookup(open_project(config))
        listed = list_aliases(lookup, spelt_out(prefix))
        if as_json:
            out.print(json.dumps(list_document(listed, lookup.store.url), indent=2))
        elif listed:
            out.print(list_table(listed))
        else:
            err.print(f"no name{f' that begins with {prefix}' if prefix else ''} is in {lookup.store.url}")
        return _DAMAGED if any(isinstance(record, DamageError) for _, record in listed) else 0


def _chosen(
    lookup: Lookup, source: str | None, flow: str | None, step: str | None, env: str | None, pathspec: str | None
) -> NamedEnvironment:
    """The environment that is to be named. Raises BadUsage where it is said twice."""
    said = [bool(source), bool(flow or step), bool(env), bool(pathspec)]
    if sum(said) > 1:
        from envlock.cli.errors import BadUsage

        raise BadUsage(
            "one environment is named at a time: SOURCE, --flow/--step, --env or --pathspec", "envlock alias"
        )
    if source:
        return lookup.reference(source)
    if pathspec:
        return lookup.pathspec(pathspec)
    from envlock.workflow.choice import choose_one

    return lookup.environment(choose_one(lookup.project, flow=flow or "", step=step or "", environment=env or ""))
