"""The typer app: help, completion, and every command line that `Command.read` does not know."""

from __future__ import annotations

import inspect
import re
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import typer
from typer.core import TyperCommand, TyperGroup

from envlock.cli import PANELS, completion, module_of
from envlock.cli.command import GLOBAL, GLOBAL_PANEL, Argument, Command, CommandLine, Flag, Group, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INTERRUPTED = 130
_UsageError = cast("type[Exception]", typer.BadParameter.__bases__[0])  # whether typer has its own click or not


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


def declared(name: str) -> Command | Group:
    """The declaration in the module of a command."""
    found: Command | Group = getattr(import_module(f"envlock.cli.{module_of(name)}"), module_of(name))
    return found


@cache
def build(only: str | None = None) -> typer.Typer:
    """The whole app, or one with a single command: importing all of them takes longer than running one."""
    built = typer.Typer(
        name="envlock",
        cls=_Group,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    built.callback(invoke_without_command=True)(_envlock)
    for panel, names in PANELS.items():
        for name in names:
            if only in {None, name}:
                _add(built, declared(name), panel)
    return built


def _add(app: typer.Typer, declaration: Command | Group, panel: str | None = None) -> None:
    if isinstance(declaration, Command):
        app.command(
            declaration.name,
            cls=_Command,
            help=inspect.cleandoc(declaration.help_text).replace("\n- ", "\n\n- "),  # old typer joins lines
            epilog=declaration.epilog or None,
            rich_help_panel=panel,
            context_settings={"allow_interspersed_args": not any(each.is_rest for each in declaration.arguments)},
        )(_function(declaration))
        return
    group = typer.Typer(cls=_group(declaration), no_args_is_help=True, help=declaration.help_text)
    app.add_typer(group, name=declaration.name, rich_help_panel=panel)
    for each in declaration.commands.values():
        _add(group, each)


def _without_types(params: list[Any]) -> list[Any]:
    """The options, whose flags have no type in help: some releases of typer show `<bool>` beside `--help`."""
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


class _Command(TyperCommand):
    """A command that shows its arguments as they are declared: releases of typer differ in how they bracket them."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002
        arguments = (param for param in self.params if param.param_type_name == "argument")
        return ["[OPTIONS]", *(str(getattr(param, "metavar", None) or param.name) for param in arguments)]


class _Group(TyperGroup):
    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        return _without_types(super().get_params(ctx))


def _group(declaration: Group) -> type[TyperGroup]:
    class NamedGroup(_Group):
        def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
            return super().parse_args(ctx, list(declaration.named(args)))

    return NamedGroup


def _function(declared: Command) -> Callable[..., int]:
    """The function for typer. Its signature declares the options and arguments."""
    names = {param.name: f"{param.name.strip('-').replace('-', '_')}_" for param in declared.all_params}

    def function(**values: object) -> int:
        return CommandLine(declared, {name: _texts(values[own]) for name, own in names.items()}).run()

    parameters = [_parameter(names[param.name], param) for param in declared.all_params]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {}
    return function


def _texts(value: object) -> list[str]:
    """A value from typer, as the texts that were given for it.

    >>> _texts(True), _texts(False), _texts(None), _texts("a"), _texts(["a", "b"])
    ([''], [], [], ['a'], ['a', 'b'])
    """
    if isinstance(value, bool) or value is None:
        return [""] if value else []
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]


def _parameter(name: str, param: Flag | Value | Argument) -> inspect.Parameter:
    kind: object
    panel = GLOBAL_PANEL if param in GLOBAL else None
    if isinstance(param, Flag):
        kind, info = (
            bool,
            typer.Option(
                False, *_spelt(param), metavar="", help=param.meaning, show_default=False, rich_help_panel=panel
            ),
        )
    elif isinstance(param, Value):
        single = str if param.least is None else int
        kind, info = (
            Optional[list[str]] if param.repeatable else Optional[single],  # noqa: UP045  typer reads it on Python 3.10
            typer.Option(
                None,
                *_spelt(param),
                metavar=param.metavar,
                min=param.least,
                help=param.meaning,
                callback=_only(param.choices) if param.choices else None,
                autocompletion=_completion(param),
                show_default=False,
                rich_help_panel=panel,
            ),
        )
    else:
        kind, info = (
            list[str] if param.is_many else str,
            typer.Argument(
                ... if param.is_required else None,
                metavar=param.metavar,
                help=param.meaning,
                autocompletion=_completion(param),
                show_default=False,
            ),
        )
        kind = kind if param.is_required else Optional[kind]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind)


def _spelt(option: Flag | Value) -> list[str]:
    return [option.name, option.short] if option.short else [option.name]


def _only(choices: Sequence[str]) -> Callable[[str | None], str | None]:
    def checked(text: str | None) -> str | None:
        if text is not None and text not in choices:
            raise typer.BadParameter(f"`{text}` is none of {', '.join(choices)}")
        return text

    return checked


def _completion(param: Value | Argument) -> Callable[[str], list[str]] | None:
    if isinstance(param, Value) and param.choices:
        choices = param.choices
        return lambda incomplete: [each for each in choices if each.startswith(incomplete)]
    return cast("Callable[[str], list[str]]", getattr(completion, param.complete)) if param.complete else None


def _said_otherwise(message: str, context: typer.Context | None) -> str:
    """The hint for a word or an option that the command does not take, where it has another way to say that."""
    if context is None:
        return ""
    if re.match(r"No such option: --(step|flow|env)\b", message) and context.command.name == "show":
        return f"name it without an option: {context.command_path} STEP"
    if not message.startswith("Got unexpected extra argument"):
        return ""
    options = {option for parameter in context.command.params for option in parameter.opts}
    if "--requirements" in options and (name := re.search(r"\((\S+\.(?:txt|in|ya?ml|toml))\)", message)):
        flag = {"yml": "-f", "yaml": "-f", "toml": "-p"}.get(name[1].rpartition(".")[2], "-r")
        return f"if that is a requirement file, name it with an option: {context.command_path} {flag} {name[1]}"
    if "--step" not in options:
        return ""
    return f"if that is a step, choose it with an option: {context.command_path} --step STEP"


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
        command = context.command_path if context else f"envlock {named or ''}".strip()
        raise BadUsage(message, command, hint=_said_otherwise(message, context)) from None
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer would have it look like a stale lock: status 1
            raise ended.__context__ from None
        raise
    if result == _INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0
