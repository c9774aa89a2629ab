"""The line on which a key stands in TOML text: parsers give values without positions, and an error needs both.

A scanner that knows where keys, headers and values begin and end, and nothing of what values mean. It is for text that
a parser has accepted; on any other text it ends early, and never raises.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Key: TypeAlias = tuple[str, ...]

_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_STRING = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""(?:"{0,2})'''
    r"""|'{3}.*?'{3}'{0,2}"""
    r'''|"(?:[^"\\\n]|\\.)*"'''
    r"""|'[^'\n]*'""",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def line_of(text: str, key: Key) -> int | None:
    r"""The line, from 1, where `key` is written; that of its nearest parent where it is not; None where nothing is.

    Parts of arrays are named by their place, as are tables of an array of tables.

    >>> text = "[flow.Train]\npypi.packages = { rich = '15', requests = '2' }\nfile = 'train.py'\n"
    >>> line_of(text, ("flow", "Train", "pypi", "packages", "rich")), line_of(text, ("flow", "Train", "file"))
    (2, 3)
    >>> line_of(text, ("flow", "Train", "conda")), line_of(text, ("env",))
    (1, None)
    """
    places = _places(text)
    for length in range(len(key), 0, -1):
        found = places.get(key[:length])
        if found:
            return found[0]
    return None


def written_twice(text: str) -> tuple[Key, tuple[int, ...]] | None:
    r"""The first key that is defined more than once, with its lines; None where TOML's rule is kept.

    >>> written_twice("[a]\nx = 1\n[a.b]\n[a]\n")
    (('a',), (1, 4))
    """
    lines: dict[Key, list[int]] = {}
    for key, line, defines in _Scanner(text).document():
        if defines:
            lines.setdefault(key, []).append(line)
    return next(((key, tuple(found)) for key, found in lines.items() if len(found) > 1), None)


def _places(text: str) -> dict[Key, list[int]]:
    """The lines of every key: those that define it, then those that only pass through it (`a` in `a.b = 1`)."""
    defined: dict[Key, list[int]] = {}
    passed: dict[Key, list[int]] = {}
    for key, line, defines in _Scanner(text).document():
        (defined if defines else passed).setdefault(key, []).append(line)
    return {key: list(dict.fromkeys(defined.get(key, []) + passed.get(key, []))) for key in defined | passed}


Place: TypeAlias = "tuple[Key, int, bool]"
"""A key, the line it is written on, and whether it is defined there."""


class _Scanner:
    """One pass over a text. `at` is where it stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.newlines = [match.start() for match in re.finditer("\n", text)]
        self.tables: dict[Key, int] = {}
        """Arrays of tables, with how many tables each has so far."""

    def document(self) -> Iterator[Place]:
        table: Key = ()
        while self.skip(_GAP) < len(self.text):
            before = self.at
            if self.text[self.at] == "[":
                table, places = self.header()
                yield from places
            else:
                yield from self.pair(table)
            if self.at == before:
                return

    def header(self) -> tuple[Key, list[Place]]:
        line = self.line()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        names = self.key()
        self.take("]")
        self.take("]")
        table: Key = ()
        places: list[Place] = []
        for position, name in enumerate(names, start=1):
            table = (*table, name)
            is_last = position == len(names)
            places.append((table, line, is_last and table not in self.tables))
            if is_last and is_array:
                self.tables[table] = self.tables.get(table, 0) + 1
            if table in self.tables:
                table = (*table, str(self.tables[table] - 1))
                places.append((table, line, is_last and is_array))
        return table, places

    def pair(self, table: Key) -> Iterator[Place]:
        line = self.line()
        names = self.key()
        if not names or not self.take("="):
            return
        for length in range(1, len(names)):
            yield (*table, *names[:length]), line, False
        key = (*table, *names)
        yield key, line, True
        self.skip(_SPACE)
        yield from self.value(key)

    def value(self, key: Key) -> Iterator[Place]:
        start = self.text[self.at : self.at + 1]
        if start == "[":
            yield from self.array(key)
        elif start == "{":
            yield from self.inline_table(key)
        elif match := _STRING.match(self.text, self.at):
            self.at = match.end()
        else:
            self.skip(_SCALAR)

    def array(self, key: Key) -> Iterator[Place]:
        self.at += 1
        index = 0
        while self.skip(_GAP) < len(self.text) and not self.take("]"):
            before = self.at
            item = (*key, str(index))
            yield item, self.line(), True
            yield from self.value(item)
            self.skip(_GAP)
            self.take(",")
            index += 1
            if self.at == before:
                return

    def inline_table(self, key: Key) -> Iterator[Place]:
        self.at += 1
        while self.skip(_GAP) < len(self.text) and not self.take("}"):
            before = self.at
            yield from self.pair(key)
            self.skip(_GAP)
            self.take(",")
            if self.at == before:
                return

    def key(self) -> Key:
        """A dotted key; empty where there is none."""
        names: list[str] = []
        while match := _KEY_PART.match(self.text, self.skip(_SPACE)):
            self.at = match.end()
            names.append(_unquoted(match[0]))
            self.skip(_SPACE)
            if not self.take("."):
                break
        return tuple(names)

    def skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def take(self, character: str) -> bool:
        found = self.text.startswith(character, self.at)
        self.at += found
        return found

    def line(self) -> int:
        return bisect_right(self.newlines, self.at - 1) + 1


def _unquoted(part: str) -> str:
    if part[0] == "'":
        return part[1:-1]
    if part[0] != '"':
        return part
    if "\\" not in part:
        return part[1:-1]
    import tomli

    try:
        name = tomli.loads(f"name = {part}")["name"]
    except tomli.TOMLDecodeError:
        return part[1:-1]
    assert isinstance(name, str)
    return name
