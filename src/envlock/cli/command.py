"""The declaration of a command: its name, help, options and arguments.

It is used twice. `Command.read` reads a command line that is plainly spelt, without any library, because importing
typer takes longer than most commands run. `app.py` makes a typer command of it, for completion, and for every command
line that `read` does not know. Help, man pages and the reference page are made of it too (`help_.py`).
"""

from __future__ import annotations

from os import environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MOST_DIGITS = 9


class Flag:
    """An option that takes no value. `spelt` are all its names, and `usage` is how help lists it, as of the others."""

    def __init__(self, name: str, meaning: str, *, short: str = "") -> None:
        self.name = name
        self.meaning = meaning
        self.short = short
        self.spelt = [name, short] if short else [name]
        self.usage = ", ".join(self.spelt)


class Value:
    """An option that takes a value.

    `metavar` is the name of the value in help. `default` is used if the option is not given. `choices` are the only
    allowed values, if there are any. `least` makes it a whole number, at least that. `complete` names the function in
    completion.py that lists values for a shell. What is repeatable, and a default, is added to `meaning`.
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
        self.meaning = meaning + (" Repeatable." if repeatable else "") + (f" Default: {default}." if default else "")
        self.short = short
        self.spelt = [name, short] if short else [name]
        self.usage = f"{', '.join(self.spelt)} {metavar}"
        self.default = default
        self.choices = choices
        self.least = least
        self.complete = complete
        self.repeatable = repeatable

    def takes(self, text: str) -> bool:
        """Whether the text is an allowed value.

        >>> [Value("--to", "MOVE", "...", least=1).takes(text) for text in ("3", "0", "x")]
        [True, False, False]
        """
        if self.choices:
            return text in self.choices
        if self.least is None:
            return True
        return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) >= self.least


class Argument:
    """A positional argument. Its metavar says how often it may be given, as in help.

    `[NAME]` is optional, `NAME...` is one or more, `[NAME]...` any number, and `-- COMMAND...` is the first word
    that is not an option and everything after it, taken as it is.
    """

    def __init__(self, name: str, metavar: str, meaning: str, *, complete: str = "") -> None:
        self.name = name
        self.metavar = metavar
        self.usage = metavar
        self.meaning = meaning
        self.complete = complete
        self.default = ""
        self.is_rest = metavar.startswith("-- ")
        self.is_many = metavar.endswith("...")
        self.is_required = not (self.is_rest or metavar.startswith("["))


QUIET = Flag("--quiet", "Print only data and errors: no progress, notes and warnings.", short="-q")
VERBOSE = Flag("--verbose", "Also print what is run, requested and waited for, without credentials.", short="-v")
COLOR = Value(
    "--color",
    "WHEN",
    "When to use colours: `auto`, `always` or `never`.",
    default="auto",
    choices=("auto", "always", "never"),
)
NO_PROGRESS = Flag("--no-progress", "Draw no progress bars.")
GLOBAL = (QUIET, VERBOSE, COLOR, NO_PROGRESS)
"""The options that every command has, before or after its name. No command declares them, and none has others of their
names."""
GLOBAL_PANEL = "Global options"


def global_first(words: Sequence[str]) -> int:
    """How many of the first words are global options, with their values.

    >>> global_first(["-q", "--color", "never", "lock", "-q"]), global_first(["-qv", "--color=never"])
    (3, 2)
    >>> global_first(["lock"]), global_first(["--json"])
    (0, 0)
    """
    flags = {*QUIET.spelt, *VERBOSE.spelt, *NO_PROGRESS.spelt}
    count = 0
    while count < len(words):
        word = words[count]
        if word == COLOR.name:
            count += 2
        elif word in flags or word.startswith(f"{COLOR.name}=") or _is_short(word):
            count += 1
        else:
            break
    return min(count, len(words))


def _is_short(word: str) -> bool:
    """Whether a word is short names of global options, one or several behind one dash."""
    return len(word) > 1 and word[0] == "-" and not set(word[1:]) - set(QUIET.short + VERBOSE.short).difference("-")


class CommandLine:
    """A command line that was read: the command, and the values given for each of its options and arguments.

    Raises KeyError for an option that the command does not have.
    """

    def __init__(self, command: Command, given: Mapping[str, list[str]]) -> None:
        self.command = command
        self._given = given

    def has(self, param: Flag | Value | Argument) -> bool:
        """Whether the option or argument is given."""
        return bool(self._given[param.name])

    def count(self, param: Flag | Value | Argument) -> int:
        """How often the option or argument is given."""
        return len(self._given[param.name])

    def value(self, param: Value | Argument) -> str:
        """The last value given, or else the default, which is empty if none is declared."""
        given = self._given[param.name]
        return given[-1] if given else param.default

    def values(self, param: Value | Argument) -> tuple[str, ...]:
        """All values given, in order."""
        return tuple(self._given[param.name])

    def number(self, option: Value) -> int | None:
        """The value of an option with `least`; None if it is not given."""
        return int(self.value(option)) if self.has(option) else None

    def run(self) -> int:
        """Run the command, which prints as the global options say. Raises BadUsage if those contradict each other."""
        if any(self.has(option) for option in GLOBAL):
            from envlock.cli.console import print_as

            print_as(
                quiet=self.has(QUIET),
                verbose=self.has(VERBOSE),
                color=self.value(COLOR),
                progress=not self.has(NO_PROGRESS),
                command=self.command.name,
            )
        if any(name.startswith("ENVLOCK_") for name in environ):
            _warn_of_misspelt_variables()
        return self._run_telling() if self.has(VERBOSE) else self.command.run(self)

    def _run_telling(self) -> int:
        """Run the command, and report which envlock runs it and how long it took."""
        import sys

        from envlock import __version__
        from envlock.reporter import working

        python = sys.version.partition(" ")[0]
        with working(f"{self.command.name} of envlock {__version__}, on Python {python} ({sys.executable})") as told:
            status = self.command.run(self)
            told.ended(f"status {status}")
        return status


def _warn_of_misspelt_variables() -> None:
    from envlock.settings_files import misspelt

    for name, right in misspelt(environ):
        from envlock.cli.console import write_err

        write_err(f"warning: {name} is no variable of envlock: did you mean {right}?")


class Command:
    """One command. Its name and its help (Markdown) are those of `run`, which returns the exit status."""

    def __init__(
        self,
        run: Callable[[CommandLine], int],
        params: Sequence[Flag | Value | Argument],
        *,
        epilog: str = "",
    ) -> None:
        self.name = run.__name__.rstrip("_")  # no function can be called `import`
        self.help_text = run.__doc__ or ""
        self.run = run
        self.params = params
        self.epilog = epilog

    @property
    def arguments(self) -> list[Argument]:
        """The positional arguments, in order."""
        return [param for param in self.params if isinstance(param, Argument)]

    @property
    def options(self) -> list[Flag | Value]:
        """The options, in the order of help."""
        return [param for param in self.params if not isinstance(param, Argument)]

    @property
    def all_params(self) -> tuple[Flag | Value | Argument, ...]:
        """Those of the command, and the global options."""
        return (*self.params, *GLOBAL)

    def read(self, words: Sequence[str]) -> CommandLine | None:
        """Read the words after the command's name.

        None if there is anything that this reader does not know: typer knows it, or says what is wrong with it.

        >>> step, as_json = Value("--step", "STEP", "..."), Flag("--json", "...")
        >>> names = Argument("names", "[NAME]...", "...")
        >>> show = Command(lambda line: 0, (names, step, as_json))
        >>> line = show.read(["base", "--step=train", "--json", "rest"])
        >>> line.values(names), line.value(step), line.has(as_json)
        (('base', 'rest'), 'train', True)
        >>> show.read(["--stpe", "train"]) is None
        True
        """
        given: dict[str, list[str]] = {param.name: [] for param in self.all_params}
        options = {spelt: option for option in (*self.options, *GLOBAL) for spelt in option.spelt}
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
    """Distribute the words over the arguments; False if there are too few or too many."""
    for argument in arguments:
        count = len(alone) if argument.is_many else 1
        given[argument.name] += alone[:count]
        alone = alone[count:]
        if argument.is_required and not given[argument.name]:
            return False
    return not alone


class Group:
    """Commands below one name, such as `envlock cache`.

    `unnamed` is the command to use if the first word names none of them. `refuse` gets that word first, and raises
    BadUsage if it looks like a mistake.
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
        """The words, with the name of the command in front: global options may be before it, or it may be left out.

        >>> cache = Group("cache", "...", [Command(min, ())], unnamed="min")
        >>> cache.named(["-q", "min", "x"]), cache.named(["x"])
        (['min', '-q', 'x'], ['min', 'x'])
        """
        first = global_first(words)
        before, words = words[:first], words[first:]
        if not words:
            return before
        if not self.unnamed or words[0] in {*self.commands, "-h", "--help"}:
            return [words[0], *before, *words[1:]] if before else words
        return [self.unnamed, *before, *words]

    def read(self, words: Sequence[str]) -> CommandLine | None:
        """Like `Command.read`, for the command that the first word names."""
        named = self.named(words)
        if self.refuse is not None and len(named) > len(words):
            self.refuse(words[global_first(words)])
        command = self.commands.get(named[0]) if named else None
        return command.read(named[1:]) if command is not None else None


def command(*params: Flag | Value | Argument, epilog: str = "") -> Callable[[Callable[[CommandLine], int]], Command]:
    """Make a command of the decorated function, with its name, and its docstring as help.

    The function gets the command line and returns the exit status.
    """

    def declare(run: Callable[[CommandLine], int]) -> Command:
        return Command(run, params, epilog=epilog)

    return declare
