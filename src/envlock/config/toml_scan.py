r"""Where everything stands in a TOML text: parsers give values without positions, and errors and edits need both.

The scan knows where headers, keys and values begin and end, and nothing of what values mean. It is for text that a
parser has accepted; on any other text it ends early, and never raises.

>>> for node in scan("[flow.Train]\npypi.packages = { rich = '15' }\n"):
...     print(node.path, node.parts, node.value)
('flow', 'Train') ((1, 5), (6, 11)) (0, 12)
('flow', 'Train', 'pypi', 'packages') ((13, 17), (18, 26)) (29, 44)
('flow', 'Train', 'pypi', 'packages', 'rich') ((31, 35),) (38, 42)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count

import tomli

from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

Key: TypeAlias = tuple[str, ...]
Span: TypeAlias = tuple[int, int]

_DEEPEST = 1000
"""Arrays and inline tables within each other: more than any parser takes."""

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = rf"({_PART}(?:[ \t]*\.[ \t]*{_PART})*)"
_PARTS = re.compile(_PART)
_HEADER = re.compile(rf"\[(\[?)[ \t]*{_KEY}[ \t]*\]\]?")
_ENTRY = re.compile(rf"{_KEY}[ \t]*=[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_VALUE = re.compile(
    r"[\[{]"
    r'|"{3}(?:[^\\]|\\.)*?"{3,5}'
    r"|'{3}.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^,\]}#\r\n]*[^,\]}#\s]",
    re.DOTALL,
)


class Node(NamedTuple):
    """A table's header, an entry or an item of an array, as it is written. Positions are offsets into the text."""

    path: Key
    """Items of arrays are named by their place in it, and so are the tables of an array of tables."""
    container: Key
    """The path that the written key begins from: that of the table or array around it, () for a header."""
    start: int
    parts: tuple[Span, ...]
    """Where each part of the written key stands; none for an item."""
    value: Span
    is_header: bool = False
    is_inline: bool = False
    """Whether the value is an inline table."""
    is_nested: bool = False
    """Whether it stands in an inline table or an array, not on a line of its own."""


def scan(text: str) -> list[Node]:
    """Every header, entry and item, in the order of the text.

    An array of tables is there twice where it begins: as the array, and as its first table.
    """
    scanner = _Scanner(text)
    while scanner.step():
        pass
    return scanner.nodes


def line_number(text: str, position: int) -> int:
    """The line, from 1, that a position is on."""
    return text.count("\n", 0, position) + 1


class _Scanner:
    """One pass over a text. `at` is where it stands; each method says whether it found what it reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.nodes: list[Node] = []
        self.table: Key = ()
        self.last_tables: dict[Key, int] = {}
        """Arrays of tables, with the place of the last table of each."""
        self.open: list[tuple[int, Iterator[int]]] = []
        """The arrays and inline tables around `at`: where in `nodes` each is, and the numbers left for its items."""

    def step(self) -> bool:
        gap = _GAP.match(self.text, self.at)
        self.at = gap.end() if gap else self.at
        if not self.open:
            return self.header() or self.entry(self.table)
        place, numbers = self.open[-1]
        around = self.nodes[place]
        if self.text.startswith(("]", "}"), self.at):
            self.at += 1
            self.nodes[place] = around._replace(value=(around.value[0], self.at))
            self.open.pop()
            return True
        if around.is_inline:
            return self.entry(around.path)
        return self.value(around.path, (str(next(numbers)),), self.at, ())

    def header(self) -> bool:
        match = _HEADER.match(self.text, self.at)
        if match is None:
            return False
        names, parts = self.key(match.span(2))
        path: Key = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in self.last_tables:
                path = (*path, str(self.last_tables[path]))
        paths = [(*path, names[-1])]
        if match[1]:
            (array,) = paths
            number = self.last_tables[array] = self.last_tables.get(array, -1) + 1
            table = (*array, str(number))
            paths = [table] if number else [array, table]
        self.nodes += [Node(each, (), self.at, parts, match.span(), is_header=True) for each in paths]
        self.table = paths[-1]
        self.at = match.end()
        return True

    def entry(self, table: Key) -> bool:
        match = _ENTRY.match(self.text, self.at)
        if match is None:
            return False
        names, parts = self.key(match.span(1))
        self.at = match.end()
        return self.value(table, names, match.start(), parts)

    def value(self, container: Key, names: Key, start: int, parts: tuple[Span, ...]) -> bool:
        match = _VALUE.match(self.text, self.at)
        if match is None or len(self.open) > _DEEPEST:
            return False
        is_inline, is_nested = match[0] == "{", bool(self.open)
        if is_inline or match[0] == "[":
            self.open.append((len(self.nodes), count()))
        path = (*container, *names)
        self.nodes.append(Node(path, container, start, parts, match.span(), is_inline=is_inline, is_nested=is_nested))
        self.at = match.end()
        return True

    def key(self, span: Span) -> tuple[Key, tuple[Span, ...]]:
        matches = list(_PARTS.finditer(self.text, *span))
        return tuple(_unquoted(match[0]) for match in matches), tuple(match.span() for match in matches)


def _unquoted(part: str) -> str:
    if part[0] == '"' and "\\" in part:
        try:
            return str(tomli.loads(f"name = {part}")["name"])
        except tomli.TOMLDecodeError:
            return part[1:-1]
    return part[1:-1] if part[0] in "\"'" else part
