"""The typer app: every command, in its panel of the help page."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Annotated, cast

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    app: typer.Typer
    """Every command; made when it is asked for."""

PANELS = {
    "Set up": ("init", "add", "remove", "schema"),
    "Lock": ("lock", "check", "show"),
    "Cache": ("push", "get", "alias", "cache"),
    "Run": ("run", "shell", "create", "path", "verify"),
}
"""The commands as `envlock --help` lists them. Each is a module of this package that exports `register(app)`."""

_INTERRUPTED = 130
_UsageError = cast(
    "type[Exception]", typer.BadParameter.__bases__[0]
)  # the same class, whether click is vendored or not


def _version(wanted: bool) -> None:
    if wanted:
        from envlock import __version__

        typer.echo(f"envlock {__version__}")
        raise typer.Exit


def _envlock(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  its callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Locked environments for Metaflow steps, from one configuration file."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def __getattr__(name: str) -> typer.Typer:
    if name == "app":
        return build()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def build(only: str | None = None) -> typer.Typer:
    """The whole app, or that with one command: importing all of them takes longer than running one."""
    built = typer.Typer(
        name="envlock",
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    built.callback(invoke_without_command=True)(_envlock)
    for panel, commands in PANELS.items():
        for command in commands:
            if only in {None, command}:
                _register(built, command, panel)
    return built


def _register(built: typer.Typer, command: str, panel: str) -> None:
    name = f"envlock.cli.{command}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return
    commands, groups = len(built.registered_commands), len(built.registered_groups)
    module.register(built)
    for entry in built.registered_commands[commands:]:
        entry.rich_help_panel = panel
        entry.cls = _Command
    for group in built.registered_groups[groups:]:
        group.rich_help_panel = panel
        for entry in group.typer_instance.registered_commands if group.typer_instance else ():
            entry.cls = _Command


class _Command(TyperCommand):
    """A command whose usage has its arguments as they are written here: typer's releases bracket them otherwise."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002
        arguments = (param for param in self.params if param.param_type_name == "argument")
        return ["[OPTIONS]", *(str(getattr(param, "metavar", None) or param.name) for param in arguments)]


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status: what the command returned, or what it exited with.

    Raises EnvlockError, BadUsage among them; KeyboardInterrupt where the user ended it.
    """
    from envlock.cli.errors import BadUsage

    named = arguments[0] if arguments and any(arguments[0] in commands for commands in PANELS.values()) else None
    try:
        result = build(named)(args=list(arguments), prog_name="envlock", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except _UsageError as error:
        context = cast("typer.Context | None", getattr(error, "ctx", None))
        message = cast("str", getattr(error, "format_message")())  # noqa: B009
        if not message:  # a group without a command: its help is printed already
            return BadUsage.exit_status
        raise BadUsage(message, context.command_path if context else f"envlock {named or ''}".strip()) from None
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer would have it look like a stale lock: status 1
            raise ended.__context__ from None
        raise
    if result == _INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0
