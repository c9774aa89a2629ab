"""The text of envlock.toml: decode it, parse it, and find the line of a key."""

from __future__ import annotations

import re
from functools import lru_cache

import tomli

from envlock.config.errors import DottedName, MergeConflict, NotToml, WrittenTwice
from envlock.config.project import LineOfFile
from envlock.config.toml_scan import Key, line_number, scan
from envlock.errors import Location
from envlock.files import toml_of
from envlock.lockfile.canonical_text import conflict_line
from envlock.redaction import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

    from envlock.config.project import KeyPath

_OF_PACKAGES = ("packages", "libraries", "conda_only", "constraints", "overrides")
_OF_A_PACKAGE = tuple((key,) for key in ("version", "extras", "marker", "index"))
_VERSION_LIKE = re.compile(r"""["'][ ]*(?:[<>=!~]=?|[0-9]|["'])""")


class WrittenFloat(float):
    """A float that keeps its text: `3.10` is a Python version, and no number.

    >>> WrittenFloat("3.10").written
    '3.10'
    """

    written: str

    def __new__(cls, written: str) -> WrittenFloat:  # noqa: D102
        made = super().__new__(cls, written)
        made.written = written
        return made


_SAVE = "save the file as UTF-8"


def decoded(source: str | bytes, name: str) -> str:
    """The text of a file called `name`. Raises NotToml if it is not UTF-8."""
    if isinstance(source, str):
        return source
    if source.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise NotToml(name, "it is UTF-16 text", line=1, hint=_SAVE)
    try:
        return source.decode()
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise NotToml(name, f"byte {source[error.start]:#04x} is not UTF-8", line=line, hint=_SAVE) from None


def parsed(text: str, name: str) -> dict[str, Any]:
    """The values of a TOML text, with WrittenFloat for floats. Raises NotToml, WrittenTwice or MergeConflict."""
    try:
        return toml_of(text, WrittenFloat)
    except tomli.TOMLDecodeError as error:
        if conflict := conflict_line(text):
            raise MergeConflict(name, conflict) from None
        if error.msg.startswith("Cannot") and (twice := written_twice(text)):
            key, lines = twice
            raise WrittenTwice(key[-1], tuple(Location(name, line, _dotted(key)) for line in lines)) from None
        if "\0" in text:
            raise NotToml(name, "it holds NUL bytes, as UTF-16 text does", line=1, hint=_SAVE) from None
        if text.startswith("\ufeff"):
            hint = "save it as `UTF-8`, not as `UTF-8 with BOM`, or: sed -i '1s/^\\xEF\\xBB\\xBF//' " + name
            raise NotToml(name, "it begins with a byte order mark", line=1, hint=hint) from None
        line = "".join(text.split("\n")[error.lineno - 1 : error.lineno])
        reason = error.msg[:1].lower() + error.msg[1:]
        if error.msg.startswith("Cannot declare"):
            reason = "a dotted key defines this table already"
        raise NotToml(name, reason, line=error.lineno, column=error.colno, text=line) from None


def dotted_names(text: str, name: str, indexes: Container[str] = ()) -> list[DottedName]:
    """An error for each package whose name has a dot and no quotes, whether or not the text is TOML.

    But `package.version = ">=1"` is a way to write a table, as are its other keys. `indexes` are the names of indexes.
    """
    found = []
    for node in scan(text):
        at = next((n for n, part in enumerate(node.path) if part in _OF_PACKAGES), len(node.path))
        package, rest = node.path[at + 1 : at + 2], node.path[at + 2 :]
        is_dotted = at + 1 >= len(node.container) and bool(rest) and not node.is_header
        if not is_dotted or "sys_packages" in node.path[:at]:
            continue
        value = text[slice(*node.value)]
        is_version = _VERSION_LIKE.match(value) is not None and value.strip("\"'") not in indexes
        if node.path[at] == "packages" and rest in _OF_A_PACKAGE and not (rest == ("index",) and is_version):
            continue
        found.append(DottedName(".".join((*package, *rest)), value, location(text, name, node.path)))
    return found


def location(text: str, name: str, key: KeyPath) -> Location:
    """Where a key stands in the text of the envlock.toml called `name`, or in the file that it names.

    No credential in a key is shown.
    """
    if isinstance(key, LineOfFile):
        return Location(shown(key.file, 200), key.line, _dotted(key))
    return Location(name, line_of(text, key), _dotted(key) or None)


def line_of(text: str, key: Key) -> int | None:
    r"""The line, from 1, of `key`; that of its nearest parent where it is not written; None where nothing is.

    Items of arrays are named by their number, and so are tables of an array of tables. Never raises, whatever the text.

    >>> text = "[flow.Train]\npypi.packages = { rich = '15', requests = '2' }\nfile = 'train.py'\n"
    >>> line_of(text, ("flow", "Train", "pypi", "packages", "rich")), line_of(text, ("flow", "Train", "file"))
    (2, 3)
    >>> line_of(text, ("flow", "Train", "conda")), line_of(text, ("env",))
    (1, None)
    """
    return _lines_of(text).line_of(key)


class _Lines:
    """The lines of all keys in a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._own: dict[Key, int] = {}
        self._within: dict[Key, int] = {}
        """Where the first key in each table stands, whether or not the table is written."""
        for node in scan(text):
            self._own.setdefault(node.path, node.start)
            for length in range(1, len(node.path)):
                self._within.setdefault(node.path[:length], node.start)

    def line_of(self, key: Key) -> int | None:
        """As `line_of`."""
        for length in range(len(key), 0, -1):
            start = self._own.get(key[:length], self._within.get(key[:length]))
            if start is not None:
                return line_number(self._text, start)
        return None


@lru_cache(maxsize=8)
def _lines_of(text: str) -> _Lines:
    """Scans a text once for all of its keys: of a project and its team files, at two revisions."""
    return _Lines(text)


def written_twice(text: str) -> tuple[Key, tuple[int, ...]] | None:
    r"""The first key that is defined more than once, with its lines; None where there is none.

    >>> written_twice("[a]\nx = 1\n[a.b]\n[a]\n")
    (('a',), (1, 4))
    """
    starts: dict[Key, list[int]] = {}
    for node in scan(text):
        starts.setdefault(node.path, []).append(node.start)
    twice = ((key, found) for key, found in starts.items() if len(found) > 1)
    key, found = next(twice, ((), []))
    return (key, tuple(line_number(text, start) for start in found)) if found else None


def _dotted(key: KeyPath) -> str:
    return shown(".".join(key), 200)
