"""`envlock lock`, as the help page and the shell's completion know it; the light module does the work."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from envlock.cli.options import ArchOption, ConfigOption, EnvOption, FlowOption, JsonOption, StepOption, selection


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
        offline: Annotated[
            bool, typer.Option("--offline", help="Ask no index and no channel: what is kept of them here has to do.")
        ] = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Resolve what changed in envlock.toml into locks, one for each environment and arch.

        Old pins are kept; with nothing changed, nothing is written. Locks that nothing asks for any more are deleted.

        Examples: `envlock lock`, `envlock lock --step train --arch linux-64`, `envlock lock -P pandas`.
        """
        from envlock.cli.light.lock import report
        from envlock.workflow.lock_result import Upgrade

        wanted = Upgrade.of(
            everything=upgrade,
            packages=upgrade_package or (),
            aliases=upgrade_alias or (),
            all_aliases=upgrade_aliases,
        )
        return report(
            config, selection(flow, step, env, arch), wanted, names=alias or (), offline=offline, as_json=as_json
        )
