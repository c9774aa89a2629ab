"""`envlock path`, as the help page and the shell's completion know it; the light module does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from envlock.cli.one_environment import (
    ConfigOption,
    ForceOption,
    NameOption,
    OfflineOption,
    OneEnv,
    OneFlow,
    OneStep,
    wanted,
)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog="Exit status: 0; 1 when the environment is not there, or its lock is stale.")
    def path(
        flow: OneFlow = None,
        step: OneStep = None,
        env: OneEnv = None,
        name: NameOption = None,
        no_hydrate: Annotated[
            bool, typer.Option("--no-hydrate", help="Fail when the environment is not there, instead of making it.")
        ] = False,
        offline: OfflineOption = False,
        force: ForceOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Print where a locked environment is, after making it if it is not on this machine.

        A project with one environment needs no option.

        Examples: `envlock path --step train`, `$(envlock path --env base)/bin/python`.
        """
        from envlock.cli.light.path import report

        return report(wanted(flow, step, env, config, name=name, offline=offline, hydrate=not no_hydrate, force=force))
