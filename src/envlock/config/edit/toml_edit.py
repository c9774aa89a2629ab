r"""Edit TOML text at one key: every byte elsewhere stays as the user wrote it.

A library that parses a file, changes the value and writes it again moves comments to other tables and respaces inline
tables; these functions add and remove only the characters of one entry. A TOML parser has accepted the text before.

>>> text = "[env.a]\npypi = { packages = { rich = '15' } }  # mine\n"
>>> print(insert(text, ("env", "a", "pypi", "packages", "pandas"), '">=2"', header=2), end="")
[env.a]
pypi = { packages = { rich = '15', pandas = ">=2" } }  # mine
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tomli

from envlock.config.toml_scan import Key, Node, scan
from envlock.lockfile.canonical_text import is_plain

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_WIDEST = 100
"""Characters of a table that is written on one line."""


def quoted(text: str) -> str:
    r"""The text as a TOML string.

    >>> print(quoted('say "1"'), quoted(">=2,<3"))
    "say \"1\"" ">=2,<3"
    """
    if is_plain(text):  # as nearly all are; an import writes a thousand of them
        return f'"{text}"'
    import tomli_w

    return tomli_w.dumps({"x": text}).partition("=")[2].strip()


def key_text(name: str) -> str:
    """The name as a part of a key, quoted where it has to be.

    >>> key_text("scikit-learn"), key_text("requests[socks]")
    ('scikit-learn', '"requests[socks]"')
    """
    return name if _BARE.match(name) else quoted(name)


def value_text(value: object) -> str:
    """A value on one line.

    >>> value_text({"python": "3.12", "channels": ["conda-forge"], "disabled": False})
    '{ python = "3.12", channels = ["conda-forge"], disabled = false }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        entries = ", ".join(f"{key_text(name)} = {value_text(item)}" for name, item in value.items())
        return f"{{ {entries} }}" if entries else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    return quoted(str(value))


def tables_text(path: Key, tables: Mapping[str, Any]) -> str:
    r"""The tables of a level: each on one line while it is short, else as a table of its own.

    >>> print(tables_text(("env", "base"), {"pypi": {"packages": {"rich": ">=13"}}}), end="")
    pypi = { packages = { rich = ">=13" } }
    """
    short, long = "", ""
    for name, value in tables.items():
        line = f"{key_text(name)} = {value_text(value)}\n"
        if len(line) <= _WIDEST or not isinstance(value, dict):
            short += line
        else:
            long += "".join(_long_text((*path, name), value))
    return short + long


def _long_text(path: Key, table: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n{header_text(path)}\n"
    inner = {name: value for name, value in table.items() if isinstance(value, dict) and value}
    for name, value in table.items():
        if name not in inner:
            yield f"{name} = {value_text(value)}\n"
    for name, value in inner.items():
        yield f"\n{header_text((*path, name))}\n"
        yield from (f"{key_text(key)} = {value_text(item)}\n" for key, item in value.items())


def header_text(path: Key) -> str:
    """The header of a table.

    >>> header_text(("env", "my base"))
    '[env."my base"]'
    """
    return f"[{'.'.join(map(key_text, path))}]"


def table_at(document: Mapping[str, Any], path: Key) -> Mapping[str, Any]:
    """The table at a path of a parsed text; an empty one where there is none."""
    for name in path:
        document = document.get(name, {})
    return document


def set_value(document: dict[str, Any], path: Key, value: object) -> None:
    """Set a value in a parsed text; None deletes the key."""
    for name in path[:-1]:
        document = document.setdefault(name, {})
    document.pop(path[-1], None)
    if value is not None:
        document[path[-1]] = value


def checked(edited: str, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What an edited text parses to, which has to be what was expected, apart from empty tables."""
    found = tomli.loads(edited)
    if _without_empty(found) != _without_empty(expected):
        raise AssertionError("an edit of envlock.toml changed something else")
    return found


def _without_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {name: _without_empty(item) for name, item in value.items()}
    return {name: item for name, item in kept.items() if item != {}}


def insert(text: str, path: Key, value: str, *, header: int) -> str:
    r"""The text with one more entry, written in the style that its table already has.

    `value` is TOML. `path[:header]` is the part that gets a `[header]` of its own where there is none yet.

    >>> key = ("flow", "A", "step", "b", "pypi", "python")
    >>> print(insert("[flow.A]\nfile = 'a.py'\n", key, "'3.12'", header=4), end="")
    [flow.A]
    file = 'a.py'
    <BLANKLINE>
    [flow.A.step.b]
    pypi = { python = '3.12' }
    """
    nodes = scan(text)
    for length in range(len(path) - 1, 0, -1):
        prefix, rest = path[:length], path[length:]
        inline = next((node for node in nodes if node.is_inline and node.path == prefix), None)
        if inline is not None:
            return _into_inline(text, nodes, inline, _entry(rest, value))
        dotted = [
            node
            for node in nodes
            if not node.is_header and node.path[:length] == prefix and len(node.container) < length < len(node.path)
        ]
        if dotted:
            return _beside(text, dotted[-1], length, rest, value)
        headers = [node for node in nodes if node.is_header and node.path[:length] == prefix]
        if headers:
            own = next((node for node in headers if node.path == prefix), None)
            if own is not None and length >= header:
                return _into_section(text, nodes, own, _entry(rest, value))
            top = path[:header] if length < header else path[:-1]
            return _after(text, nodes, headers[-1], _section(text, top, _entry(path[len(top) :], value)))
    top = path[:header]
    return _at_end(text, _section(text, top, _entry(path[len(top) :], value)))


def insert_section(text: str, header: Key, body: str, inline: str) -> str:
    r"""The text with a new section of these lines, after its siblings, else after the tables of what it is a part of.

    Where those are inline, with `inline` beside.

    >>> print(insert_section("[env.a]\n\n[flow.F]\nfile = 'f.py'\n", ("env", "b"), "pypi = {}\n", "{}"), end="")
    [env.a]
    <BLANKLINE>
    [env.b]
    pypi = {}
    <BLANKLINE>
    [flow.F]
    file = 'f.py'
    """
    nodes = scan(text)
    headers: list[Node] = []
    for length in range(len(header) - 1, 0, -1):
        inner = [node for node in nodes if node.path[:length] == header[:length]]
        headers = [node for node in inner if node.is_header]
        if inner and (not headers or any(node.is_inline and node.path == header[:length] for node in inner)):
            return insert(text, header, inline, header=length)
        if headers:
            break
    if body.startswith("\n["):  # tables of their own, which make this one too
        section = body.strip("\n").replace("\n", _newline(text))
    else:
        section = _section(text, header, body.rstrip("\n").replace("\n", _newline(text)))
    return _after(text, nodes, headers[-1], section) if headers else _at_end(text, section)


def replace(text: str, path: Key, value: str) -> str:
    """The text with another value at a key that it has."""
    start, end = _entry_at(scan(text), path).value
    return text[:start] + value + text[end:]


def rename(text: str, path: Key, name: str) -> str:
    r"""The text with another last part of a key, wherever it is written: in an entry, or in the headers of its table.

    >>> rename("[a.b]\nx = 1\n[a.b.c]\ny = 2\n", ("a", "b"), "d")
    '[a.d]\nx = 1\n[a.d.c]\ny = 2\n'
    """
    spans = {
        node.parts[place]
        for node in scan(text)
        if node.path[: len(path)] == path and 0 <= (place := len(path) - 1 - len(node.container)) < len(node.parts)
    }
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + key_text(name) + text[end:]
    return text


def append(text: str, path: Key, value: str, *, lines: Sequence[str] = ()) -> str:
    r"""The text with one more item, at the end of an array that it has; `lines` are the item's in an array of tables.

    >>> append("channels = ['a']  # ours\n", ("channels",), "'b'"), append("x = [\n  1,\n]", ("x",), "2")
    ("channels = ['a', 'b']  # ours\n", 'x = [\n  1,\n  2,\n]')
    """
    nodes = scan(text)
    tables = [node for node in nodes if node.is_header and node.path[:-1] == path]
    if tables:
        section = _newline(text).join([f"[{header_text(path)}]", *lines])
        return _after(text, nodes, tables[-1], section)
    items = [node for node in nodes if node.container == path and node.is_nested and not node.parts]
    if not items:
        at = _entry_at(nodes, path).value[0] + 1
        return f"{text[:at]}{value}{text[at:]}"
    start, end = items[-1].value
    before = text[_line_start(text, start) : start]
    line_end = _line_end(text, end)
    rest = text[end:line_end]
    if before.strip() or re.fullmatch(r"\s*,?\s*(?:#.*)?\r?\n", rest) is None:
        gap = f"{_newline(text)}{before}" if not before.strip() else " "
        return f"{text[:end]},{gap}{value}{text[end:]}"
    comma = "," if rest.lstrip().startswith(",") else ""
    after = rest if comma else f",{rest}"  # a comment stays beside its item
    return f"{text[:end]}{after}{before}{value}{comma}{_newline(text)}{text[line_end:]}"


def remove(text: str, path: Key, *, keep: int) -> str:
    """The text without an entry that it has, and without the tables that only held it.

    Tables of `keep` parts or fewer stay, as do sections that hold a comment. The entry may be a table with a header of
    its own, or of dotted keys.
    """
    nodes = scan(text)
    while not _has_entry(nodes, path):
        within = [node for node in nodes if node.path[: len(path)] == path]
        if not within:
            break
        part = next((node for node in within if not node.is_header), within[0])
        if part.is_header:  # its comments stay, as those around an entry do
            text = text[: _line_start(text, part.start)] + text[_line_end(text, part.value[1]) :]
        else:
            text = _without_entry(text, nodes, part)
        nodes = scan(text)
    else:
        text = _without_entry(text, nodes, _entry_at(nodes, path))
    for length in range(len(path) - 1, keep, -1):
        nodes = scan(text)
        inner = [node for node in nodes if node.path[:length] == path[:length] and len(node.path) > length]
        own = next((node for node in nodes if node.path == path[:length]), None)
        if inner:
            break
        if own is not None and own.is_header:
            text = _without_section(text, nodes, own)
        elif own is not None:
            text = _without_entry(text, nodes, own)
    return text


def _has_entry(nodes: Sequence[Node], path: Key) -> bool:
    return any(node.path == path and not node.is_header for node in nodes)


def _entry_at(nodes: Sequence[Node], path: Key) -> Node:
    return next(node for node in nodes if node.path == path and not node.is_header)


def _entry(rest: Key, value: str) -> str:
    """`a = { b = value }` for what is below a table."""
    for name in reversed(rest[1:]):
        value = f"{{ {key_text(name)} = {value} }}"
    return f"{key_text(rest[0])} = {value}"


def _into_inline(text: str, nodes: Sequence[Node], table: Node, entry: str) -> str:
    children = [node for node in nodes if node.container == table.path]
    if children:
        at = children[-1].value[1]
        return f"{text[:at]}, {entry}{text[at:]}"
    start, end = table.value
    return f"{text[:start]}{{ {entry} }}{text[end:]}"


def _beside(text: str, sibling: Node, length: int, rest: Key, value: str) -> str:
    """The text with an entry after a sibling whose table is written as a dotted key, dotted likewise."""
    shared = sibling.parts[: length - len(sibling.container)]
    key = ".".join([text[start:end] for start, end in shared] + [key_text(name) for name in rest])
    entry = f"{key} = {value}"
    if sibling.is_nested:
        at = sibling.value[1]
        return f"{text[:at]}, {entry}{text[at:]}"
    return _line_after(text, sibling, entry)


def _into_section(text: str, nodes: Sequence[Node], header: Node, entry: str) -> str:
    return _line_after(text, _last_of_section(nodes, header), entry)


def _last_of_section(nodes: Sequence[Node], header: Node) -> Node:
    last = header
    for node in nodes[nodes.index(header) + 1 :]:
        if node.is_header:
            break
        if not node.is_nested:
            last = node
    return last


def _line_after(text: str, node: Node, entry: str) -> str:
    indent = "" if node.is_header else text[_line_start(text, node.start) : node.start]
    at = _line_end(text, node.value[1])
    newline = _newline(text)
    before = text[:at] if text[:at].endswith("\n") else text[:at] + newline
    return f"{before}{indent}{entry}{newline}{text[at:]}"


def _after(text: str, nodes: Sequence[Node], neighbour: Node, section: str) -> str:
    """The text with a new section after that of `neighbour`, and after the comments that close it."""
    at = _line_end(text, _last_of_section(nodes, neighbour).value[1])
    comments = at
    while text[comments:].lstrip(" \t").startswith("#"):
        comments = _line_end(text, comments)
    if text[comments : comments + 1] in {"", "\n", "\r"}:
        at = comments
    return _at_end(text[:at], section) + text[at:]


def _at_end(text: str, section: str) -> str:
    newline = _newline(section if "\n" in section else text)
    gap = newline if text.strip() else ""
    if text and not text.endswith("\n"):
        gap += newline
    return f"{text}{gap}{section}{newline}"


def _section(text: str, header: Key, entries: str) -> str:
    return f"{header_text(header)}{_newline(text)}{entries}"


def _without_entry(text: str, nodes: Sequence[Node], node: Node) -> str:
    if not node.is_nested:
        return text[: _line_start(text, node.start)] + text[_line_end(text, node.value[1]) :]
    siblings = [other for other in nodes if other.container == node.container]
    place = siblings.index(node)
    if place > 0:
        return text[: siblings[place - 1].value[1]] + text[node.value[1] :]
    if len(siblings) > 1:
        return text[: node.start] + text[siblings[1].start :]
    start, end = _entry_at(nodes, node.container).value
    return f"{text[:start]}{{}}{text[end:]}"


def _without_section(text: str, nodes: Sequence[Node], header: Node) -> str:
    """The text without an empty section; as it is, where the section holds a comment of its own."""
    start, end = _line_start(text, header.start), _line_end(text, header.value[1])
    following = next((node.start for node in nodes if node.start > header.start), None)
    own, gap, _ = re.sub(r"[ \t\r]", "", text[end:following]).partition("\n\n")
    is_of_next = following is not None and not gap and not own.startswith("\n")
    if "#" in text[header.value[1] : end] or ("#" in own and not own.startswith("\n") and not is_of_next):
        return text
    blank = re.search(r"(?<=\n)[ \t]*\r?\n\Z", text[:start])
    return text[: blank.start() if blank else start] + text[end:]


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def _line_end(text: str, position: int) -> int:
    """Where the line ends that a position is on, after its newline."""
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
