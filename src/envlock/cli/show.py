"""`envlock show`: what is locked, for all steps in a table, or for one in full."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from envlock.cli.options import (
    ArchOption,
    ConfigOption,
    JsonOption,
    PathspecOption,
    complete_alias,
    complete_environment,
    complete_flow,
    complete_step,
    open_project,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from envlock.workflow.show import Description, Disabled


def _complete(incomplete: str) -> list[str]:
    own = [*complete_step(incomplete), *complete_flow(incomplete), *complete_environment(incomplete)]
    return own or complete_alias(incomplete)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def show(
        names: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Argument(
                metavar="[STEP|FLOW|ENV|ID|NAME]...",
                autocompletion=_complete,
                help="What to show; a STEP may be `FLOW/STEP`; an ID is `req_id:full_id`, a full_id, or its "
                "beginning; a NAME in the cache is `team/base:v1`, or `team/base:stable@3` for one of its moves. "
                "Default: all, in brief.",
                show_default=False,
            ),
        ] = None,
        arch: ArchOption = None,
        pathspec: PathspecOption = None,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Show what is locked: packages, Python, sources, ids, who locked it and when, and where it is on this machine.

        Examples: `envlock show`, `envlock show train`, `envlock show TrainFlow/train --arch osx-arm64`,
        `envlock show team/base:v1`, `envlock show --pathspec TrainFlow/142/train`.
        """
        from envlock.cli.console import err, out
        from envlock.cli.errors import BadUsage
        from envlock.cli.show_overview import overview_document, overview_table
        from envlock.cli.show_text import document, text
        from envlock.model.arch import parse_arch
        from envlock.workflow.show import describe, describe_task, overview

        archs = [parse_arch(each) for each in arch or ()]
        project = open_project(config)
        if pathspec is not None:
            if names or archs:
                raise BadUsage("--pathspec stands alone: the task says which environment and arch", "envlock show")
            found: list[Description | Disabled] = list(describe_task(project, pathspec))
        elif names:
            found = list(dict.fromkeys(each for name in names for each in describe(project, name, archs)))
        else:
            overviews = [overview(project, each) for each in archs or (None,)]
            if as_json:
                out.print(json.dumps({"archs": [overview_document(each) for each in overviews]}, indent=2))
            else:
                for number, each in enumerate(overviews):
                    out.print(*([""] if number else []), overview_table(each), sep="\n")
                if not all(each.is_fresh for each in overviews):
                    err.print("\nnot everything is locked: `envlock check` says why, `envlock lock` repairs it")
            return 0
        if as_json:
            out.print(json.dumps({"environments": [document(each) for each in found]}, indent=2))
            return 0
        for number, shown in enumerate(found):
            out.print(*([""] if number else []), *(pretty(shown) if out.is_terminal else [text(shown)]), sep="\n")
        return 0


def pretty(shown: Description | Disabled) -> list[RenderableType]:
    """The same for a terminal."""
    from rich.text import Text

    from envlock.cli.show_packages import package_renderables
    from envlock.cli.show_text import head
    from envlock.workflow.show import Disabled

    if isinstance(shown, Disabled):
        return [head(shown)]
    bold = Text(head(shown))
    bold.highlight_regex(r"(?m)^  [A-Z][a-zA-Z_ ]*?(?=  )", "bold")
    return [bold, *package_renderables(shown.lock)]
