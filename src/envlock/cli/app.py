"""The typer app: completion, and every command line that `Command.read` does not know."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import typer
from typer.core import TyperCommand, TyperGroup

from envlock.cli import PANELS, completion, declared
from envlock.cli.command import COLOR, NO_PROGRESS, QUIET, VERBOSE, Argument, Command, CommandLine, Flag, Group, Value
from envlock.cli.help_ import ABOUT, HELP, VERSION, first_sentence, help_text, print_help
from envlock.errors import EnvlockError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INTERRUPTED = 130
_UsageError = cast("type[Exception]", typer.BadParameter.__bases__[0])  # whether typer has its own click or not


def _choices(option: Value) -> Callable[[str], list[str]]:
    return lambda incomplete: [each for each in option.choices if each.startswith(incomplete)]


def _envlock(
    context: typer.Context,
    version: Annotated[bool, typer.Option(*VERSION.spelt, help=VERSION.meaning)] = False,
    quiet: Annotated[bool, typer.Option(*QUIET.spelt, help=QUIET.meaning)] = False,  # noqa: ARG001
    verbose: Annotated[bool, typer.Option(*VERBOSE.spelt, help=VERBOSE.meaning)] = False,  # noqa: ARG001
    color: Annotated[str, typer.Option(COLOR.name, autocompletion=_choices(COLOR))] = COLOR.default,  # noqa: ARG001
    no_progress: Annotated[bool, typer.Option(NO_PROGRESS.name, help=NO_PROGRESS.meaning)] = False,  # noqa: ARG001
) -> None:
    # Global options are behind the command's name when they come here; completion has to know them in front of it.
    if context.invoked_subcommand is None:
        if version:
            from envlock import __version__

            typer.echo(f"envlock {__version__}")
            raise typer.Exit
        print_help([])
        raise typer.Exit(2)


@cache
def build(only: str | None = None) -> typer.Typer:
    """The whole app, or one with a single command: importing all of them takes longer than running one."""
    built = typer.Typer(
        name="envlock",
        cls=_Group,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP.spelt},
    )
    built.callback(invoke_without_command=True, help=ABOUT)(_envlock)
    for names in PANELS.values():
        for name in names:
            if only in {None, name}:
                _add(built, declared(name))
    return built


def _add(app: typer.Typer, declaration: Command | Group) -> None:
    if isinstance(declaration, Command):
        app.command(
            declaration.name,
            cls=_Command,
            help=first_sentence(declaration.help_text),
            context_settings={"allow_interspersed_args": not any(each.is_rest for each in declaration.arguments)},
        )(_function(declaration))
        return
    group = typer.Typer(cls=_group(declaration), help=first_sentence(declaration.help_text))
    app.add_typer(group, name=declaration.name)
    for each in declaration.commands.values():
        _add(group, each)


class _Command(TyperCommand):
    """A command whose help is made of its declaration."""

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        formatter.write(help_text(ctx.command_path.split()[1:]))


class _Group(TyperGroup):
    """A group whose help is made of its declaration."""

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        formatter.write(help_text(ctx.command_path.split()[1:]))


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
    if isinstance(param, Flag):
        kind, info = bool, typer.Option(False, *param.spelt, help=param.meaning)
    elif isinstance(param, Value):
        kind, info = (
            Optional[list[str]] if param.repeatable else Optional[str],  # noqa: UP045  typer reads it on Python 3.10
            typer.Option(
                None,
                *param.spelt,
                metavar=param.metavar,
                help=param.meaning,
                callback=_checked(param),
                autocompletion=_completion(param),
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
            ),
        )
        kind = kind if param.is_required else Optional[kind]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind)


def _checked(param: Value) -> Callable[[str | None], str | None] | None:
    if not param.choices and param.least is None:
        return None

    def checked(text: str | None) -> str | None:
        if text is None or param.takes(text):
            return text
        if param.choices:
            raise typer.BadParameter(f"`{text}` is none of {', '.join(param.choices)}")
        raise typer.BadParameter(f"`{text}` is no whole number of at least {param.least}")

    return checked


def _completion(param: Value | Argument) -> Callable[..., list[str]] | None:
    if isinstance(param, Value) and param.choices:
        return _choices(param)
    if not param.complete:
        return None
    names = getattr(completion, param.complete)
    _, *others = inspect.signature(names).parameters

    def of_line(context: typer.Context, incomplete: str) -> list[str]:
        more = [context.params.get(f"{name}_") or () for name in others]
        try:
            return cast("list[str]", names(incomplete, *more))
        except (EnvlockError, OSError):  # a shell that completes has no place for it: the command itself tells
            return []

    return of_line


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
        command = context.command_path if context else f"envlock {named or ''}".strip()
        raise BadUsage(message, command, hint=_said_otherwise(message, context)) from None
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer would have it look like a stale lock: status 1
            raise ended.__context__ from None
        raise
    if result == _INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0
