r"""Decorators deleted from Python files, with the imports that nothing else needs, and the patch that shows it.

Only whole lines of decorators and parts of import statements go; every other byte stays. The result is parsed, and has
to be the old syntax tree without just these nodes.

>>> text = b"from metaflow import FlowSpec, pypi, step\n\nclass F(FlowSpec):\n    @pypi(packages={})\n    @step\n"
>>> text += b"    def start(self): pass\n"
>>> print(without_decorators(text, [4]).decode(), end="")
from metaflow import FlowSpec, step
<BLANKLINE>
class F(FlowSpec):
    @step
    def start(self): pass
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import diff_bytes, unified_diff
from typing import TypeAlias

from envlock.config.flows.flow_reader import statements

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_LINE_OF_BYTES = re.compile(rb"[^\n]*\n|[^\n]+\Z")
_PLAIN_NAME = re.compile(rb"[!#-\[\]-~\x80-\xff ]+\Z")
_Import: TypeAlias = "ast.Import | ast.ImportFrom"


class NotAlone(Exception):
    """A decorator that cannot be deleted by itself: something else is on its lines."""


def without_decorators(data: bytes, lines: Collection[int], needed: Collection[str] = ()) -> bytes:
    """The bytes of a Python file without the decorators that begin on these lines.

    Imports go too that only these decorators needed, except for names in `needed`, which other files import from here.
    Raises NotAlone, and ValueError or SyntaxError for what is no Python.
    """
    encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    text = data.decode(encoding)
    tree = _parsed(data)
    gone = _taken(tree, lines)
    if {each.lineno for each in gone} != set(lines):
        raise NotAlone
    rows = _LINE.findall(text)
    for decorator in gone:
        first, last = decorator.lineno - 1, decorator.end_lineno or decorator.lineno
        if not rows[first].lstrip(" \t\f").startswith("@"):
            raise NotAlone
        rows[first:last] = [""] * (last - first)
    if not _is(rows, encoding, tree):
        raise NotAlone
    unused = _unused(tree, gone, needed)
    slimmer = _without_imports(rows, tree, unused) if unused else rows
    if slimmer is not rows and _is(slimmer, encoding, tree):
        rows = slimmer
    return "".join(rows).encode(encoding)


def names_imported_from(data: bytes, module: str) -> set[str]:
    """The names that a Python file imports from a module called so, in whatever package; `*` for all of them."""
    name = module.encode()
    if name not in data or re.search(rb"\b%s\s+import\b" % re.escape(name), data) is None:
        return set()
    try:
        tree = _parsed(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {"*"}
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2] == module
        for alias in node.names
    }


def patch_of(path: str, before: bytes, after: bytes) -> bytes:
    r"""A unified diff as `git apply` and `patch -p1` take it, of a file at this path.

    >>> print(patch_of("a.py", b"x\ny\n", b"y").decode(), end="")
    --- a/a.py
    +++ b/a.py
    @@ -1,2 +1 @@
    -x
    -y
    +y
    \ No newline at end of file
    """
    old, new = (_LINE_OF_BYTES.findall(each) for each in (before, after))
    first, second = (_name_in_patch(f"{side}/{path}") for side in "ab")
    lines = diff_bytes(unified_diff, old, new, first, second, lineterm=b"\n")
    return b"".join(each if each.endswith(b"\n") else each + b"\n\\ No newline at end of file\n" for each in lines)


def _name_in_patch(name: str) -> bytes:
    """A file's name as git writes it: in quotes if it has odd characters, and with a tab after it if it has a space."""
    data = name.encode("utf-8", "surrogateescape")
    if _PLAIN_NAME.match(data):
        return data + (b"\t" if b" " in data else b"")
    odd = {ord('"'): b'\\"', ord("\\"): b"\\\\", ord("\n"): b"\\n", ord("\t"): b"\\t"}
    escaped = (odd.get(each, bytes([each]) if 0x20 <= each < 0x7F else b"\\%03o" % each) for each in data)
    return b'"' + b"".join(escaped) + b'"'


def _parsed(data: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(data)


def _taken(tree: ast.Module, lines: Collection[int]) -> list[ast.expr]:
    """The decorators that begin on these lines, which are taken out of the tree."""
    gone: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            gone += [each for each in node.decorator_list if each.lineno in lines]
            node.decorator_list = [each for each in node.decorator_list if each.lineno not in lines]
    return gone


def _is(rows: Iterable[str], encoding: str, expected: ast.Module) -> bool:
    """Whether these lines are a syntax tree. Compares in a loop: a tree may be deeper than calls can be."""
    try:
        pending: list[tuple[object, object]] = [(_parsed("".join(rows).encode(encoding)), expected)]
    except (SyntaxError, ValueError):
        return False
    while pending:
        found, wanted = pending.pop()
        if type(found) is not type(wanted):
            return False
        if isinstance(found, list) and isinstance(wanted, list):
            if len(found) != len(wanted):
                return False
            pending += zip(found, wanted, strict=True)
        elif isinstance(found, ast.AST):
            pending += [(getattr(found, field, None), getattr(wanted, field, None)) for field in found._fields]
        elif found != wanted:
            return False
    return True


def _unused(tree: ast.Module, gone: Iterable[ast.expr], needed: Collection[str]) -> set[str]:
    """The names of the deleted decorators that nothing else in the file uses."""
    if "*" in needed:
        return set()
    names = {node.id for each in gone for node in ast.walk(each) if isinstance(node, ast.Name)} - set(needed)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.discard(node.id)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            names -= set(node.names)
    for text in _texts_with_names(tree):
        names -= set(re.findall(r"\w+", text))
    return names


def _texts_with_names(tree: ast.Module) -> Iterator[str]:
    """The strings of a file that may hold names of it: those of `__all__`, and annotations in quotes."""
    for node in ast.walk(tree):
        inner: list[ast.AST] = []
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            inner = [node.value] if any(isinstance(each, ast.Name) and each.id == "__all__" for each in targets) else []
        elif isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
            inner = [node.annotation]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns is not None:
            inner = [node.returns]
        for each in inner:
            yield from (
                found.value
                for found in ast.walk(each)
                if isinstance(found, ast.Constant) and isinstance(found.value, str)
            )


def _without_imports(rows: list[str], tree: ast.Module, names: set[str]) -> list[str]:
    """The lines without the parts of import statements that bind these names, which are taken out of the tree too."""
    rows = list(rows)
    for block in _blocks(tree.body):
        for node in [each for each in block if isinstance(each, (ast.Import, ast.ImportFrom))]:
            kept = [each for each in node.names if _bound(each) not in names]
            if len(kept) == len(node.names):
                continue
            if kept:
                _cut_names(rows, node, names)
                node.names = kept
            elif len(block) > 1 and _has_its_lines(rows, node):
                first, last = node.lineno - 1, node.end_lineno or node.lineno
                rows[first:last] = [""] * (last - first)
                block.remove(node)
    return rows


def _blocks(body: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """A body, and those of the blocks in it: not of functions and classes, whose names are their own."""
    yield body
    for statement in statements(body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for field in ("body", "orelse", "finalbody"):
            inner = getattr(statement, field, None)
            if isinstance(inner, list) and inner:
                yield inner
        for handler in getattr(statement, "handlers", ()):
            yield handler.body


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _has_its_lines(rows: Sequence[str], node: _Import) -> bool:
    """Whether nothing but a comment is on the lines of a statement beside it."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    before = rows[node.lineno - 1][: _characters(rows, node.lineno, node.col_offset)]
    after = rows[node.end_lineno - 1][_characters(rows, node.end_lineno, node.end_col_offset) :].strip()
    return not before.strip() and (not after or after.startswith("#"))


def _cut_names(rows: list[str], node: _Import, names: set[str]) -> None:
    """Cut the names out of a statement of which others stay, the last one first, so that places before it hold."""
    last = max(number for number, each in enumerate(node.names) if _bound(each) not in names)
    if last + 1 < len(node.names):
        _cut_end(rows, node.names[last], node.names[last + 1], node.names[-1])
    for number in range(last - 1, -1, -1):
        if _bound(node.names[number]) in names:
            _cut(rows, _start(node.names[number]), _start(node.names[number + 1]))


def _cut_end(rows: list[str], last: ast.alias, first_gone: ast.alias, last_gone: ast.alias) -> None:
    """Cut the names after the last that stays: with their lines, or else with the comma before them."""
    first, end = first_gone.lineno, _end(last_gone)
    before = rows[first - 1][: _characters(rows, first, first_gone.col_offset)]
    after = rows[end[0] - 1][_characters(rows, *end) :].strip().removeprefix(",").lstrip()
    is_continued = first > 1 and rows[first - 2].rstrip().endswith("\\")
    if not before.strip() and (not after or after.startswith("#")) and not is_continued:
        rows[first - 1 : end[0]] = [""] * (end[0] - first + 1)
    else:
        _cut(rows, _end(last), end)


def _start(alias: ast.alias) -> tuple[int, int]:
    return alias.lineno, alias.col_offset


def _end(alias: ast.alias) -> tuple[int, int]:
    assert alias.end_lineno is not None
    assert alias.end_col_offset is not None
    return alias.end_lineno, alias.end_col_offset


def _cut(rows: list[str], start: tuple[int, int], end: tuple[int, int]) -> None:
    """Cut what is between two places; lines in it that are only a comment stay."""
    (first, column), (last, end_column) = start, end
    head = rows[first - 1][: _characters(rows, first, column)]
    tail = rows[last - 1][_characters(rows, last, end_column) :]
    comments = [row for row in rows[first : last - 1] if row.lstrip().startswith("#")]
    if comments:
        indent = comments[0][: len(comments[0]) - len(comments[0].lstrip())]
        head = "" if not head.strip() else f"{head.rstrip()}\n"
        tail = f"{indent}{tail}"
    rows[first - 1 : last] = [head + "".join(comments) + tail, *[""] * (last - first)]


def _characters(rows: Sequence[str], line: int, column: int) -> int:
    """The place in a line of a column, which Python counts in bytes of UTF-8."""
    return len(rows[line - 1].encode()[:column].decode())
