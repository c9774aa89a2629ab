"""`envlock help`, and `--help` of each command: pages made of the declarations, as text. No library is imported."""

from __future__ import annotations

import os
import re
import sys
from textwrap import dedent, wrap
from typing import NamedTuple

from envlock.cli import PANELS, declared
from envlock.cli.command import GLOBAL, GLOBAL_PANEL, Argument, Command, CommandLine, Flag, Group, command, global_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ABOUT = "Locked environments for Metaflow steps, from one configuration file."
HELP = Flag("--help", "Print this text.", short="-h")
VERSION = Flag("--version", "Print the version.", short="-V")
_COMPLETION = (  # typer's own
    Flag("--install-completion", "Install completion for the current shell."),
    Flag("--show-completion", "Print the script of that completion."),
)

_COMMAND = Argument("command", "[COMMAND]...", "The command, such as `lock` or `cache gc`.", complete="commands")
_WIDEST, _INDENT = 100, 26
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^(Usage:(?= )|[A-Z].*:$)", re.MULTILINE)
_TERM = re.compile(r"(?<=^  )(\S+(?: \S+)*)(?=  |$)", re.MULTILINE)


class Page(NamedTuple):
    """What there is to know about a command, about a group of them, or about envlock.

    `text` is paragraphs, lists among them, in Markdown. `tables` have a title each, and rows of a term (an option, an
    argument, a command) and its meaning.
    """

    name: str
    usage: str
    text: tuple[str, ...]
    tables: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    last: str = ""


@command(_COMMAND)
def help_(line: CommandLine) -> int:
    """Print what envlock does, or what one of its commands does.

    For example:

    - `envlock help`
    - `envlock help lock`
    - `envlock help cache gc`
    """
    print_help(line.values(_COMMAND))
    return 0


def print_help(words: Sequence[str]) -> None:
    """Print the page of the command that the words name, to stdout. Raises BadUsage if there is none."""
    sys.stdout.write(help_text(words))


def help_text(words: Sequence[str]) -> str:
    """The page of a command, as wide as the terminal allows. Raises BadUsage if there is none."""
    from envlock.cli.console import is_coloured

    return as_text(page_of(words), width=_width(), styled=is_coloured())


def words_of_help(arguments: Sequence[str]) -> Sequence[str] | None:
    """The command whose help a command line asks for, or gets for it names no command; None if it asks for none.

    >>> words_of_help(["cache", "gc", "--delete", "-h"]), words_of_help(["cache"]), words_of_help([])
    (['cache', 'gc'], ['cache'], [])
    >>> words_of_help(["run", "python", "--help"]), words_of_help(["lock", "--", "-h"]), words_of_help(["lokc", "-h"])
    (None, None, None)
    """
    spelt = {HELP.name, HELP.short}
    if not arguments or arguments[0] in spelt:
        return []
    name, *words = arguments
    if not any(name in names for names in PANELS.values()):
        return None
    found, named = declared(name), [name]
    if isinstance(found, Group):
        words = list(found.named(words))
        words = words[global_first(words) :]
        if not words or words[0] in spelt or words[0] not in found.commands:
            return named if not words or words[0] in spelt else None
        named.append(words[0])
        found, words = found.commands[words[0]], words[1:]
    is_rest = any(each.is_rest for each in found.arguments)
    for word in words:
        if word in spelt:
            return named
        if word == "--" or (is_rest and not word.startswith("-")):
            break
    return None


def _width() -> int:
    try:
        return min(os.get_terminal_size(sys.stdout.fileno()).columns, _WIDEST)
    except (OSError, ValueError):  # it is no terminal, or has no number
        return 80


def page_of(words: Sequence[str]) -> Page:
    """The page of a command, such as `cache gc`; of envlock if no word names one. Raises BadUsage if there is none."""
    if not words:
        return _overview()
    name, *below = words
    found = declared(name) if any(name in names for names in PANELS.values()) else None
    if found is None:
        raise _no_such(name, [each for names in PANELS.values() for each in names], "envlock")
    if isinstance(found, Command) or not below:
        if below:
            raise _no_such(" ".join(below), [], f"envlock {name}")
        return page(f"envlock {name}", found)
    if len(below) > 1 or below[0] not in found.commands:
        raise _no_such(" ".join(below), list(found.commands), f"envlock {name}")
    return page(f"envlock {name} {below[0]}", found.commands[below[0]])


def _no_such(word: str, known: Sequence[str], of: str) -> Exception:
    from envlock.cli.errors import BadUsage
    from envlock.words import did_you_mean

    return BadUsage(f"{of} has no command `{word}`", of, hint=did_you_mean(word, known) or f"{of} --help")


def _overview() -> Page:
    panels = (
        (panel, tuple((name, first_sentence(declared(name).help_text)) for name in names))
        for panel, names in PANELS.items()
    )
    options = tuple((each.usage, each.meaning) for each in (*_COMPLETION, VERSION, HELP))
    return Page(
        "envlock",
        "envlock [OPTIONS] COMMAND [ARGUMENTS]...",
        (ABOUT,),
        (*panels, ("Options", options), _global_table()),
        "`envlock help COMMAND` prints more about a command.",
    )


def page(name: str, found: Command | Group) -> Page:
    """The page of a declaration; `name` is what is typed."""
    first, _, more = found.help_text.strip().partition("\n")
    text = tuple(f"{first}\n{dedent(more)}".strip().split("\n\n"))
    own = (HELP.usage, HELP.meaning)
    if isinstance(found, Group):
        rows = tuple((each.name, first_sentence(each.help_text)) for each in found.commands.values())
        usage = f"{name} [OPTIONS] COMMAND [ARGUMENTS]..."
        return Page(name, usage, text, (("Commands", rows), ("Options", (own,)), _global_table()))
    arguments = tuple((each.metavar, each.meaning) for each in found.arguments)
    options = (*((each.usage, each.meaning) for each in found.options), own)
    tables = (*([("Arguments", arguments)] if arguments else []), ("Options", options), _global_table())
    usage = " ".join([name, "[OPTIONS]", *(each.metavar for each in found.arguments)])
    return Page(name, usage, text, tables, found.epilog)


def _global_table() -> tuple[str, tuple[tuple[str, str], ...]]:
    return GLOBAL_PANEL, tuple((each.usage, each.meaning) for each in GLOBAL)


def first_sentence(text: str) -> str:
    r"""The first paragraph of a help, on one line.

    >>> first_sentence("Print the\n    path.\n\n    More.")
    'Print the path.'
    """
    return " ".join(text.partition("\n\n")[0].split())


def as_text(page: Page, *, width: int = 80, styled: bool = False) -> str:
    """A page as it is printed; with style, headings, names and code are bold, else code stands in backticks."""
    first, *more = page.text
    lines = [*_filled(first, width), "", f"Usage: {page.usage}"]
    for part in more:
        lines += ["", *_paragraph(part, width)]
    for title, rows in page.tables:
        lines += ["", f"{title}:", *(line for row in rows for line in _row(*row, width, _indent(page, rows[0][0])))]
    if page.last:
        lines += ["", *_filled(page.last, width)]
    text = "\n".join(lines) + "\n"
    if not styled:
        return text
    bold = r"\1".join(("\x1b[1m", "\x1b[0m"))
    return _CODE.sub(bold, _TERM.sub(bold, _HEADING.sub(r"\1".join(("\x1b[1;32m", "\x1b[0m")), text)))


def _indent(page: Page, term: str) -> int:
    """Where meanings begin: at the same place in all tables of options, and in all others."""
    terms = [each for _, rows in page.tables for each, _ in rows if each.startswith("-") == term.startswith("-")]
    return min(_INDENT, max(map(len, terms)) + 4)


def _filled(text: str, width: int, indent: str = "") -> list[str]:
    return wrap(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _paragraph(text: str, width: int) -> Iterator[str]:
    """A paragraph, or a list: what its items say, each on a line of its own, without dashes."""
    if not text.startswith("- "):
        yield from _filled(text, width)
        return
    for item in re.split(r"\n(?=- )", text):
        said = " ".join(item.removeprefix("- ").split())
        whole = _CODE.fullmatch(said)
        yield f"  {whole[1] if whole else said}"


def _row(term: str, meaning: str, width: int, indent: int) -> Iterator[str]:
    lines = _filled(meaning, width, " " * indent)
    if len(term) + 4 <= indent:
        lines[0] = f"  {term}".ljust(indent) + lines[0].lstrip()
    else:
        yield f"  {term}"
    yield from lines
