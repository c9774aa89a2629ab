"""`envlock lock`, as the help page and the shell's completion know it; the light module does the work."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from envlock.cli.options import (
    ArchOption,
    ConfigOption,
    EnvOption,
    FlowOption,
    JsonOption,
    StepOption,
    complete_alias,
    selection,
)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def lock(
        flow: FlowOption = None,
        step: StepOption = None,
        env: EnvOption = None,
        arch: ArchOption = None,
        upgrade: Annotated[bool, typer.Option("--upgrade", "-U", help="Let every pin move.")] = False,
        upgrade_package: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option("--upgrade-package", "-P", metavar="NAME", help="Let this pin move, or `python`. Repeatable."),
        ] = None,
        upgrade_alias: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option("--upgrade-alias", metavar="NAME", help="Look up again what this stands for. Repeatable."),
        ] = None,
        upgrade_aliases: Annotated[
            bool, typer.Option("--upgrade-aliases", help="Look up again every name whose tag moves.")
        ] = False,
        alias: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option("--alias", metavar="NAME:TAG", help="Name the environment so in the cache. Repeatable."),
        ] = None,
        using: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(
                "--using",
                metavar="NAME[:TAG]",
                autocompletion=complete_alias,
                help="Let the one `--env` be this environment, by its name or its ids, with what it asks for on top.",
            ),
        ] = None,
        using_pathspec: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(
                "--using-pathspec", metavar="FLOW/RUN/STEP", help="The same, with what a step of a run ran in."
            ),
        ] = None,
        from_name: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(
                "--from",
                metavar="NAME[:TAG]",
                autocompletion=complete_alias,
                help="Let the one `--env`, a new one, ask for what this environment asks for, by its name or its ids.",
            ),
        ] = None,
        from_pathspec: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option("--from-pathspec", metavar="FLOW/RUN/STEP", help="The same, for what a step of a run ran in."),
        ] = None,
        offline: Annotated[
            bool, typer.Option("--offline", help="Ask no index and no channel: what is kept of them here has to do.")
        ] = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Resolve what changed in envlock.toml into locks, one for each environment and arch.

        Old pins are kept; with nothing changed, nothing is written. Locks that nothing asks for any more are deleted.

        `--using` and `--from` write the table of `--env` into envlock.toml, once it is locked. With `--using`, it is
        that environment, or extends it. With `--from`, it asks for the same anew, for all archs of the project.

        Examples: `envlock lock`, `envlock lock --step train --arch linux-64`, `envlock lock -P pandas`,
        `envlock lock --env base --using team/base:v1`, `envlock lock --env wide --from team/base:v1`.
        """
        from envlock.cli.light.lock import report
        from envlock.cli.light.lock_new import OPTIONS
        from envlock.workflow.lock_result import Upgrade

        wanted = Upgrade.of(
            everything=upgrade,
            packages=upgrade_package or (),
            aliases=upgrade_alias or (),
            all_aliases=upgrade_aliases,
        )
        values = (using, using_pathspec, from_name, from_pathspec)
        return report(
            config,
            selection(flow, step, env, arch),
            wanted,
            names=alias or (),
            bases={option: value for option, value in zip(OPTIONS, values, strict=True) if value is not None},
            offline=offline,
            as_json=as_json,
        )
