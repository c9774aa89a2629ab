"""A declaration is read twice, by itself and by typer: both must find the same in a command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import typer.main

from envlock.__main__ import main
from envlock.cli import PANELS, completion, declared
from envlock.cli.app import build
from envlock.cli.command import GLOBAL, QUIET, Argument, Command, CommandLine, Flag, Group, Value

NAMES = [name for names in PANELS.values() for name in names]


def commands() -> Iterator[tuple[list[str], Command]]:
    """Every command, with the words that name it."""
    for name in NAMES:
        one = declared(name)
        for each in one.commands.values() if isinstance(one, Group) else [one]:
            yield [name, *([each.name] if isinstance(one, Group) else [])], each


def by_typer(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """What a command is given by typer."""
    seen: list[CommandLine] = []
    one = declared(words[0])
    for each in one.commands.values() if isinstance(one, Group) else [one]:
        monkeypatch.setattr(each, "run", lambda line: seen.append(line) or 0)
    typer.main.get_command(build(words[0])).main(args=list(words), prog_name="envlock", standalone_mode=False)
    (line,) = seen
    return line


def facts(line: CommandLine) -> dict[str, object]:
    return {
        param.name: line.has(param) if isinstance(param, Flag) else line.values(param)
        for param in line.command.all_params
    }


def value_of(param: Value | Argument) -> str:
    is_number = isinstance(param, Value) and param.least is not None
    return "3" if is_number else next(iter(getattr(param, "choices", ())), "some value")


def whole_lines(command: Command) -> Iterator[list[str]]:
    """Command lines with all options of a command: written out, joined with `=`, and by their short names."""
    alone = [value_of(each) for each in command.arguments]
    twice = [*alone, *alone[-1:]] if command.arguments and command.arguments[-1].is_many else alone
    options = (*command.options, *GLOBAL)
    flags = [each for each in options if isinstance(each, Flag) and each is not QUIET]
    values = [each for each in options if isinstance(each, Value)]
    spread = [word for each in values for word in (each.name, value_of(each))] + [each.name for each in flags]
    again = [f"{each.name}={value_of(each)}" for each in values if each.repeatable]
    short = [word for each in values for word in (each.short or each.name, value_of(each))]
    short += [each.short or each.name for each in flags]
    if command.arguments and command.arguments[0].is_rest:
        yield from ([*spread, "--", *twice, "--json", "--"], [*short, *twice, "--json", "--", "x"])
    else:
        yield from ([*spread, *again, *twice], [*twice, *short], [*twice, *(f"{e.name}={value_of(e)}" for e in values)])
        if command.arguments:
            yield [*spread, "--", *twice]


@pytest.mark.parametrize(
    ("name", "command"),
    list(commands()),
    ids=lambda each: " ".join(each) if isinstance(each, list) else "its declaration",
)
def test_what_a_command_reads_is_what_typer_reads(
    name: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in whole_lines(command):
        line = declared(name[0]).read([*name[1:], *words])
        assert line is not None, words
        assert line.command is command
        assert facts(line) == facts(by_typer([*name, *words], monkeypatch)), words
        assert all(line.has(param) for param in command.params if not isinstance(param, Flag))


@pytest.mark.parametrize(
    ("name", "command"),
    list(commands()),
    ids=lambda each: " ".join(each) if isinstance(each, list) else "its declaration",
)
def test_global_options_stand_before_the_name_as_after_it(
    name: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {"--help", "-h", *(spelt for each in GLOBAL for spelt in (each.name, each.short))} - {""}
    assert not taken & {spelt for each in command.options for spelt in (each.name, each.short)}
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(CommandLine, "run", lambda line: seen.append(facts(line)) or 0)
    needed = [value_of(each) for each in command.arguments if each.is_required]
    given = ["-q", "--color", "never", "--no-progress"]
    for words in (
        [*name, *given, *needed],
        [*given, *name, *needed],
        [*name[:1], *given, *name[1:], *needed],
        ["-q", *name, "--color=never", "--no-progress", *needed],
        ["-vq", *name, *needed],
        [*given, *name, "-qv", *needed],
    ):
        assert main(words) == 0, words
    plain, *others, bundled, again = seen
    assert all(each == plain for each in others)
    assert (plain["--quiet"], plain["--color"], plain["--no-progress"]) == (True, ("never",), True)
    assert (bundled["--quiet"], bundled["--verbose"], again["--verbose"]) == (True, True, True)


FROM = Argument("from", "SOURCE", "...")
REST = Argument("rest", "-- COMMAND...", "...")
STEP = Value("--step", "STEP", "...", short="-s")
MOVE = Value("--to", "MOVE", "...", least=1)
STYLE = Value("--format", "FORMAT", "...", default="text", choices=("text", "json"))
JSON = Flag("--json", "...", short="-j")


def made(*params: Flag | Value | Argument) -> Command:
    def run(line: CommandLine) -> int:
        """Do something."""
        return 0

    return Command(run, params)


@pytest.mark.parametrize(
    "words",
    [
        *(["--stpe", "x"], ["--step"], ["--step", "-x"], ["--step", "--json"], ["-jsx"], ["-s=x"], ["--json=1"]),
        *(
            ["--to", "0"],
            ["--to", "x"],
            ["--to", "9" * 5000],
            ["--to", "\N{ARABIC-INDIC DIGIT ONE}"],
            ["--format", "yaml"],
            ["one", "two"],
        ),
        *([], ["--help"], ["one", "-h"], ["-x", "one"]),
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_what_is_not_plainly_spelt_is_left_to_typer(words: list[str]) -> None:
    assert made(FROM, STEP, MOVE, STYLE, JSON).read(words) is None


def test_a_command_that_takes_a_command_leaves_its_words_alone() -> None:
    line = made(REST, STEP, JSON).read(["--step", "a", "python", "--json", "--", "--step=b"])
    assert line is not None
    assert (line.values(REST), line.values(STEP), line.has(JSON)) == (
        ("python", "--json", "--", "--step=b"),
        ("a",),
        False,
    )


def test_defaults_stand_where_nothing_is_given() -> None:
    line = made(FROM, STEP, MOVE, STYLE).read(["x"])
    assert line is not None
    assert (line.value(STYLE), line.value(STEP), line.number(MOVE), line.has(STYLE)) == ("text", "", None, False)


def test_an_option_that_the_command_does_not_have_is_a_key_error() -> None:
    line = made(STEP).read([])
    assert line is not None
    with pytest.raises(KeyError):
        line.has(JSON)


def test_every_completion_is_there() -> None:
    for name, command in commands():
        for param in command.params:
            wanted = getattr(param, "complete", "")
            assert not wanted or callable(getattr(completion, wanted, None)), f"{name} {param.name}"


def test_a_module_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PANELS, "Lock", (*PANELS["Lock"], "nothing"))
    build.cache_clear()
    with pytest.raises(ModuleNotFoundError):
        build()
    build.cache_clear()
