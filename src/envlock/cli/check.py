"""`envlock check`, as the help page and the shell's completion know it; the light module does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from envlock.cli.light.check import FORMATS, report
from envlock.cli.options import ArchOption, ConfigOption, EnvOption, FlowOption, JsonOption, StepOption, selection


def _one_of_the_formats(text: str) -> str:
    if text not in FORMATS:
        raise typer.BadParameter(f"`{text}` is none of {', '.join(FORMATS)}")
    return text


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog="Exit status: 0 fresh, 1 stale or missing, 2 bad configuration, 3 damaged.")
    def check(
        flow: FlowOption = None,
        step: StepOption = None,
        env: EnvOption = None,
        arch: ArchOption = None,
        style: Annotated[
            str,
            typer.Option(
                "--format",
                metavar="FORMAT",
                callback=_one_of_the_formats,
                help="`text`, `json`, or `github` (annotations).",
            ),
        ] = "text",
        online: Annotated[
            bool,
            typer.Option(
                "--online",
                help="Also ask the cache whether names have moved, and the indexes whether releases were yanked.",
            ),
        ] = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Check that the locks match envlock.toml. Offline by default; never writes anything.

        Examples: `envlock check`, `envlock check --step train --arch linux-64`, `envlock check --format github`.
        """
        return report(config, selection(flow, step, env, arch), "json" if as_json else style, online=online)
