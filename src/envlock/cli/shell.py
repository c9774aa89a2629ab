"""`envlock shell`, as the help page and the shell's completion know it; the light module does the work."""

from __future__ import annotations

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
from envlock.errors import ConfigError


class AlreadyInShell(ConfigError):
    """A shell was asked for inside of the environment that the shell around it is in already."""

    code = "already-in-shell"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"this shell is in the environment of `{name}` already",
            hint="`exit` leaves it; where it is no such shell, `unset ENVLOCK_SHELL` says so",
        )


class NoShell(ConfigError):
    """The user's shell cannot be started."""

    code = "no-shell"

    def __init__(self, shell: str, reason: str) -> None:
        super().__init__(
            f"`{shell}` cannot be started: {reason}",
            details=("it is the value of SHELL",),
            hint="SHELL=/bin/sh envlock shell",
        )


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog="Exit status: the shell's own; 1 to 5 when it could not be started.")
    def shell(
        flow: OneFlow = None,
        step: OneStep = None,
        env: OneEnv = None,
        name: NameOption = None,
        offline: OfflineOption = False,
        force: ForceOption = False,
        keep_pythonpath: KeepOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Open your shell in a locked environment, which is made first if it is not on this machine.

        It is the shell that SHELL names, with your own settings, and its prompt names the environment. `exit` leaves
        it. Commands can come from stdin. A project with one environment needs no option.

        Examples: `envlock shell --step train`, `envlock shell --env base`.
        """
        from envlock.cli.light.shell import enter

        environment = wanted(flow, step, env, config, name=name, offline=offline, force=force)
        return enter(environment, keep_pythonpath=keep_pythonpath)
