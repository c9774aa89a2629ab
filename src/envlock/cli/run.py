"""`envlock run`, as the help page and the shell's completion know it; the light module does the work."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from envlock.cli.one_environment import (
    ConfigOption,
    ForceOption,
    KeepOption,
    NameOption,
    OfflineOption,
    OneEnv,
    OneFlow,
    OneStep,
    wanted,
)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(
        context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
        epilog="Exit status: the command's own; 1 to 5 when it could not be started.",
    )
    def run(
        command: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Argument(metavar="-- COMMAND [ARGUMENTS]...", show_default=False, help="What to run."),
        ] = None,
        flow: OneFlow = None,
        step: OneStep = None,
        env: OneEnv = None,
        name: NameOption = None,
        offline: OfflineOption = False,
        force: ForceOption = False,
        keep_pythonpath: KeepOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Run a command in a locked environment, which is made first if it is not on this machine.

        A project with one environment needs no option.

        Examples: `envlock run --step train -- python train.py`, `envlock run --env base -- python -m pytest`.
        """
        from envlock.cli.errors import BadUsage
        from envlock.cli.light.run import become
        from envlock.cli.light.wanted import prefix_of

        if not command:
            raise BadUsage("there is no command to run: `envlock run --step train -- python -V`", "envlock run")
        prefix = prefix_of(wanted(flow, step, env, config, name=name, offline=offline, force=force))
        return become(command, prefix, keep_pythonpath=keep_pythonpath)
