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
        upgrade: Annotated[bool, typer.Option("--upgrade", "-U", help="Upgrade every package.")] = False,
        upgrade_package: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option(
                "--upgrade-package", "-P", metavar="NAME", help="Upgrade this package, or `python`. Repeatable."
            ),
        ] = None,
        upgrade_alias: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option(
                "--upgrade-alias", metavar="NAME", help="Look up again what this name stands for. Repeatable."
            ),
        ] = None,
        upgrade_aliases: Annotated[
            bool, typer.Option("--upgrade-aliases", help="Look up again every name whose tag moves.")
        ] = False,
        alias: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option(
                "--alias", metavar="NAME:TAG", help="Give the environment this name in the cache. Repeatable."
            ),
        ] = None,
        using: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(
                "--using",
                metavar="NAME[:TAG]",
                autocompletion=complete_alias,
                help="Base `--env` on this environment, given by its name or its ids, and add what `--env` asks for.",
            ),
        ] = None,
        using_pathspec: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(
                "--using-pathspec", metavar="FLOW/RUN/STEP", help="Like `--using`, with what a step of a run ran in."
            ),
        ] = None,
        from_name: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(
                "--from",
                metavar="NAME[:TAG]",
                autocompletion=complete_alias,
                help="Make a new `--env` with the requirements of this environment, given by its name or its ids.",
            ),
        ] = None,
        from_pathspec: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(
                "--from-pathspec", metavar="FLOW/RUN/STEP", help="Like `--from`, for what a step of a run ran in."
            ),
        ] = None,
        offline: Annotated[
            bool,
            typer.Option("--offline", help="Ask no index and no channel; use what this machine has cached of them."),
        ] = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Resolve what changed in envlock.toml into locks, one for each environment and arch.

        Locked versions are kept where envlock.toml allows them. If nothing changed, nothing is written. Locks that
        envlock.toml no longer needs are deleted.

        `--using` and `--from` lock `--env` and write its table into envlock.toml. With `--using`, it is the
        named environment, or extends it. With `--from`, the same requirements are resolved again, for all archs of the
        project.

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
