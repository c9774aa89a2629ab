"""`envlock remove`: remove packages from envlock.toml."""

from __future__ import annotations

from typing import Annotated

import typer

from envlock.cli.add import CondaTarget, EnvTarget, FlowTarget, StepTarget, edit
from envlock.cli.options import ConfigOption, JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def remove(
        packages: Annotated[list[str], typer.Argument(metavar="PACKAGE...", help="Names, without versions.")],
        flow: FlowTarget = "",
        step: StepTarget = "",
        env: EnvTarget = "",
        conda: CondaTarget = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Remove packages from a flow, one of its steps, or a named environment.

        Edits envlock.toml and keeps your comments, order and style. It does not lock anything: run `envlock lock` next.

        Examples: `envlock remove pandas`, `envlock remove rich --step train`, `envlock remove ffmpeg --conda`.
        """
        return edit(config, flow, step, env, packages, conda=conda, adding=False, as_json=as_json)
