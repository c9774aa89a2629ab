"""The line of a key, for every way that TOML has to write one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import tomli
import tomli_w
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.toml_source import line_of, written_twice

DOCUMENT = '''\
# a comment with [brackets] and key = "value"
title = "a"          # flow.decoy = 1
"quoted key" = 1
'literal key' = 2
"with \\"escapes\\" \\u00e9" = 3
site."google.com".'x' = 4

[envlock]
archs = [
    "linux-64",   # ] not the end
    "osx-arm64",
]
tricky = """
[flow.Decoy]
file = "no"
\\""" still inside
"""
literal = \'\'\'
key = 1
[x]\'\'\'
dotted.inner.leaf = true
two_quotes = """a"""""
empty = """"""
after = 1

[ flow . "My Flow" ]
file = "a.py"
pypi = { packages = { rich = "15", "x[y]" = "[{,}]" }, extra_indices = ["https://a.example/#1", "b"] }
conda = {
    # TOML 1.1
    libraries = {
        ffmpeg = "",
    },
    channels = ["x"],
}
when = 1979-05-27 07:32:00

[flow."My Flow".step.start]
disabled = true

[[points]]
x = 1
[[points]]
x = 2
[points.sub]
y = 3
[[points.deep]]
z = 4
[[points.deep]]
z = 5
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("title",), 2),
        (("quoted key",), 3),
        (("literal key",), 4),
        (('with "escapes" é',), 5),
        (("site",), 6),
        (("site", "google.com"), 6),
        (("site", "google.com", "x"), 6),
        (("envlock",), 8),
        (("envlock", "archs"), 9),
        (("envlock", "archs", "0"), 10),
        (("envlock", "archs", "1"), 11),
        (("envlock", "archs", "2"), 9),
        (("envlock", "tricky"), 13),
        (("envlock", "literal"), 18),
        (("envlock", "dotted"), 21),
        (("envlock", "dotted", "inner"), 21),
        (("envlock", "dotted", "inner", "leaf"), 21),
        (("envlock", "two_quotes"), 22),
        (("envlock", "empty"), 23),
        (("envlock", "after"), 24),
        (("flow",), 26),
        (("flow", "My Flow"), 26),
        (("flow", "My Flow", "file"), 27),
        (("flow", "My Flow", "pypi"), 28),
        (("flow", "My Flow", "pypi", "packages", "rich"), 28),
        (("flow", "My Flow", "pypi", "packages", "x[y]"), 28),
        (("flow", "My Flow", "pypi", "extra_indices", "1"), 28),
        (("flow", "My Flow", "conda"), 29),
        (("flow", "My Flow", "conda", "libraries"), 31),
        (("flow", "My Flow", "conda", "libraries", "ffmpeg"), 32),
        (("flow", "My Flow", "conda", "channels", "0"), 34),
        (("flow", "My Flow", "when"), 36),
        (("flow", "My Flow", "step"), 38),
        (("flow", "My Flow", "step", "start", "disabled"), 39),
        (("points",), 41),
        (("points", "0"), 41),
        (("points", "0", "x"), 42),
        (("points", "1"), 43),
        (("points", "1", "x"), 44),
        (("points", "1", "sub"), 45),
        (("points", "1", "sub", "y"), 46),
        (("points", "1", "deep", "0", "z"), 48),
        (("points", "1", "deep", "1"), 49),
        (("points", "1", "deep", "1", "z"), 50),
    ],
)
def test_line_of_every_kind_of_key(key: tuple[str, ...], line: int) -> None:
    assert line_of(DOCUMENT, key) == line


def test_the_document_is_toml() -> None:
    assert tomli.loads(DOCUMENT)["points"][1]["deep"][1] == {"z": 5}


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("flow", "My Flow", "step", "start", "pypi", "python"), 38),
        (("flow", "Decoy"), 26),
        (("envlock", "tricky", "file"), 13),
        (("x",), None),
        ((), None),
    ],
)
def test_a_missing_key_is_where_its_nearest_parent_is(key: tuple[str, ...], line: int | None) -> None:
    assert line_of(DOCUMENT, key) == line


def test_a_table_is_where_its_own_header_is_rather_than_a_child_s() -> None:
    text = "[flow.X.step.start]\ndisabled = true\n[flow.X]\nfile = 'x.py'\n"
    assert line_of(text, ("flow", "X")) == 3


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        (DOCUMENT, None),
        ("[a]\nx = 1\n[b]\nx = 2\n", None),
        ("[[a]]\nx = 1\n[[a]]\nx = 2\n", None),
        ("[a.b]\n[a]\n", None),
        ("x = 1\ny = 2\n'x' = 3\n", (("x",), (1, 3))),
        ("[a]\n[b]\n[ a ]\n", (("a",), (1, 3))),
        ("a = { x = 1,\n x = 2 }\n", (("a", "x"), (1, 2))),
        ("a.b.c = 1\na.b.c = 2\n", (("a", "b", "c"), (1, 2))),
        ("a = []\n[[a]]\n", (("a",), (1, 2))),
        ("[[a]]\n[[a]]\n[a]\n", (("a",), (1, 3))),
        pytest.param("x = 1\nx = 2\ny = " + "[" * 100_000, (("x",), (1, 2)), id="before what no parser takes"),
    ],
)
def test_a_key_written_twice_is_found(text: str, twice: tuple[tuple[str, ...], tuple[int, ...]] | None) -> None:
    assert written_twice(text) == twice


def test_windows_line_ends() -> None:
    assert line_of('a = 1\r\n[b]\r\nc = """\r\n"""\r\nd = 2\r\n', ("b", "d")) == 5


@pytest.mark.parametrize(
    "text", ["", "[", "[[", "a", "a =", "a = [", "a = {", "a = {b", 'a = "', '"', "= 1", "]", "a = [}", "a = {]"]
)
def test_text_that_is_no_toml_ends_the_scan(text: str) -> None:
    assert line_of(text, ("a", "b")) in {None, 1}


def test_values_nested_as_deep_as_a_parser_takes_them() -> None:
    text = f"a = {'[' * 390}\n{'{ b = ' * 5}1{' }' * 5}\n{']' * 390}\nc = 2\n"
    assert tomli.loads(text)["c"] == 2
    assert [line_of(text, key) for key in (("a",), ("a", *"0" * 390, "b"), ("c",))] == [1, 2, 4]


@given(st.text(alphabet="a.='\"[]{},#\\ \n\r\t1", max_size=40))
def test_no_text_makes_it_raise_or_hang(text: str) -> None:
    assert (line_of(text, ("a",)) or 1) in range(1, text.count("\n") + text.count("\r") + 2)


NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8) | st.sampled_from(
    ["pandas", "x[y]", "a.b", "a b", "#", "[t]", "=", "'", '"', "\\", "é"]
)
TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r"), max_size=12) | st.sampled_from(
    ['"""', "'''", "]", "}", "# x", "\n[flow]\n", 'a = "1"\n', "\\"]
)
LEAVES = TEXTS | st.integers(-9, 9) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)


def with_unique_names(value: Any, count: Iterator[int]) -> Any:
    """The same value, each key with a number of its own, so that a line which holds a key holds that very key."""
    if isinstance(value, dict):
        return {f"{name}<{next(count)}>": with_unique_names(inner, count) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_unique_names(inner, count) for inner in value]
    return value


TABLES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda inner: st.dictionaries(NAMES, LEAVES | inner | st.lists(inner | LEAVES, max_size=3), max_size=4),
    max_leaves=16,
).map(lambda document: with_unique_names(document, itertools.count()))


@given(TABLES, st.booleans())
def test_the_line_of_each_key_holds_that_key_as_tomli_w_writes_it(document: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(document, multiline_strings=multiline)
    assert tomli.loads(text) == document
    holds_each_key(text, document)


@given(TABLES)
def test_the_line_of_each_key_holds_that_key_as_tomlkit_writes_it(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    try:
        read = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return  # tomlkit writes some mixed arrays wrongly
    holds_each_key(text, read)


def holds_each_key(text: str, document: dict[str, Any]) -> None:
    lines = text.split("\n")
    for key in keys_of(document):
        line = line_of(text, key)
        assert line is not None, key
        number = "<" + key[-1].rpartition("<")[2]
        assert number in lines[line - 1], (key, line)


def keys_of(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of a document that a table names; parts of arrays are passed through."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from keys_of(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from keys_of(inner, (*path, str(index)))
