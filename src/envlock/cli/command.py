"""What a command is: its name, help, options and arguments, declared once and read twice.

`Command.read` takes the plain spelling of a command line without any library: typer takes longer to import than most
commands take to run. `app.py` makes a typer command of the same declaration, for help, for completion, and for every
command line that `read` does not take.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MOST_DIGITS = 9


class Flag:
    """An option that takes no value."""

    def __init__(self, name: str, meaning: str, *, short: str = "") -> None:
        self.name = name
        self.meaning = meaning
        self.short = short


class Value:
    """An option that takes a value.

    `metavar` is what help calls the value. `default` stands where the option is not given. `choices` are the only
    values, where there are any; `least` makes it a whole number that is no smaller. `complete` names the function of
    completion.py that lists values for a shell.
    """

    def __init__(
        self,
        name: str,
        metavar: str,
        meaning: str,
        *,
        short: str = "",
        default: str = "",
        choices: Sequence[str] = (),
        least: int | None = None,
        complete: str = "",
        repeatable: bool = False,
    ) -> None:
        self.name = name
        self.metavar = metavar
        self.meaning = meaning
        self.short = short
        self.default = default
        self.choices = choices
        self.least = least
        self.complete = complete
        self.repeatable = repeatable

    def takes(self, text: str) -> bool:
        """Whether the text is a value that this option can have.

        >>> [Value("--to", "MOVE", "...", least=1).takes(text) for text in ("3", "0", "x")]
        [True, False, False]
        """
        if self.choices:
            return text in self.choices
        if self.least is None:
            return True
        return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) >= self.least


class Argument:
    """What stands alone on a command line. How its metavar is written says the rest, as help shows it.

    `[NAME]` may be left out, `NAME...` is one or more, `[NAME]...` any number, and `-- COMMAND...` is everything from
    the first word that is no option on, taken as it is.
    """

    def __init__(self, name: str, metavar: str, meaning: str, *, complete: str = "") -> None:
        self.name = name
        self.metavar = metavar
        self.meaning = meaning
        self.complete = complete
        self.default = ""
        self.is_rest = metavar.startswith("-- ")
        self.is_many = metavar.endswith("...")
        self.is_required = not (self.is_rest or metavar.startswith("["))


class CommandLine:
    """A command, and the texts that a command line gives for each of its options and arguments.

    Asking for an option that the command does not have is a KeyError.
    """

    def __init__(self, command: Command, given: Mapping[str, list[str]]) -> None:
        self.command = command
        self._given = given

    def has(self, param: Flag | Value | Argument) -> bool:
        """Whether it is given."""
        return bool(self._given[param.name])

    def count(self, param: Flag | Value | Argument) -> int:
        """How often it is given."""
        return len(self._given[param.name])

    def value(self, param: Value | Argument) -> str:
        """The last value given, else the default, which is empty where none is declared."""
        given = self._given[param.name]
        return given[-1] if given else param.default

    def values(self, param: Value | Argument) -> tuple[str, ...]:
        """All values given, in order."""
        return tuple(self._given[param.name])

    def number(self, option: Value) -> int | None:
        """The value of an option that has `least`."""
        return int(self.value(option)) if self.has(option) else None


class Command:
    """One command. What is called its name is typed; `run` returns the exit status; `help_text` is Markdown."""

    def __init__(
        self,
        run: Callable[[CommandLine], int],
        params: Sequence[Flag | Value | Argument],
        *,
        epilog: str = "",
    ) -> None:
        self.name = run.__name__
        self.help_text = run.__doc__ or ""
        self.run = run
        self.params = params
        self.epilog = epilog

    @property
    def arguments(self) -> list[Argument]:
        """What stands alone, in order."""
        return [param for param in self.params if isinstance(param, Argument)]

    @property
    def options(self) -> list[Flag | Value]:
        """The options, as help lists them."""
        return [param for param in self.params if not isinstance(param, Argument)]

    def read(self, words: Sequence[str]) -> CommandLine | None:
        """The command line of these words, without the command's own name.

        None where there is a word that this reader does not know: typer knows it, or says what is wrong with it.

        >>> step, as_json = Value("--step", "STEP", "..."), Flag("--json", "...")
        >>> names = Argument("names", "[NAME]...", "...")
        >>> show = Command(lambda line: 0, (names, step, as_json))
        >>> line = show.read(["base", "--step=train", "--json", "rest"])
        >>> line.values(names), line.value(step), line.has(as_json)
        (('base', 'rest'), 'train', True)
        >>> show.read(["--stpe", "train"]) is None
        True
        """
        given: dict[str, list[str]] = {param.name: [] for param in self.params}
        options = {spelt: option for option in self.options for spelt in (option.name, option.short) if spelt}
        arguments = self.arguments
        alone: list[str] = []
        rest = iter(words)
        for word in rest:
            name, equals, value = word.partition("=")
            if word == "--":
                alone += rest
            elif not word.startswith("-") or word == "-":
                alone.append(word)
                if arguments and arguments[0].is_rest:
                    alone += rest
            elif (option := options.get(name)) is None or (equals and not name.startswith("--")):
                return None
            elif isinstance(option, Flag):
                if equals:
                    return None
                given[option.name].append("")
            else:
                if not equals:
                    value = next(rest, "-")
                    if value.startswith("-"):
                        return None
                if not option.takes(value):
                    return None
                given[option.name].append(value)
        return CommandLine(self, given) if _fill(given, arguments, alone) else None


def _fill(given: dict[str, list[str]], arguments: Sequence[Argument], alone: list[str]) -> bool:
    """Give each argument its words; whether all of both have found each other."""
    for argument in arguments:
        count = len(alone) if argument.is_many else 1
        given[argument.name] += alone[:count]
        alone = alone[count:]
        if argument.is_required and not given[argument.name]:
            return False
    return not alone


class Group:
    """Commands below one name.

    `unnamed` is the command that is meant where the first word names none of them; `refuse` is told that word, and
    raises BadUsage where it was hardly meant so.
    """

    def __init__(
        self,
        name: str,
        help_text: str,
        commands: Sequence[Command],
        *,
        unnamed: str = "",
        refuse: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.help_text = help_text
        self.commands = {command.name: command for command in commands}
        self.unnamed = unnamed
        self.refuse = refuse

    def named(self, words: Sequence[str]) -> Sequence[str]:
        """The words, with the command's name put first where it was left out."""
        if not self.unnamed or not words or words[0] in {*self.commands, "-h", "--help"}:
            return words
        return [self.unnamed, *words]

    def read(self, words: Sequence[str]) -> CommandLine | None:
        """As `Command.read`, of the command that the first word names."""
        named = self.named(words)
        if named is not words and self.refuse is not None:
            self.refuse(words[0])
        command = self.commands.get(named[0]) if named else None
        return command.read(named[1:]) if command is not None else None


def command(*params: Flag | Value | Argument, epilog: str = "") -> Callable[[Callable[[CommandLine], int]], Command]:
    """Make a command of the function below: named as it is, with its docstring as help.

    The function is given the command line and returns the exit status.
    """

    def declare(run: Callable[[CommandLine], int]) -> Command:
        return Command(run, params, epilog=epilog)

    return declare
