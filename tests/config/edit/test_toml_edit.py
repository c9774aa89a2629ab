"""Edits of TOML text: the right entry changes, and not one byte elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.edit.toml_edit import insert, key_text, quoted, remove, rename, replace
from envlock.config.toml_scan import scan

LEVELS = (("flow", "A"), ("flow", "A", "step", "fit"), ("flow", "A", "step", "end"), ("flow", "B"), ("env", "base"))
PACKAGES = ("pypi", "packages")


def value_at(text: str, path: tuple[str, ...]) -> Any:
    found: Any = tomli.loads(text)
    for name in path:
        found = found[int(name) if isinstance(found, list) else name]
    return found


@st.composite
def trivia(draw: st.DrawFn) -> str:
    """What may stand on the lines between two entries."""
    return "".join(draw(st.lists(st.sampled_from(["\n", "# plain\n", "  # [flow.A]\n", '# a = "1"\n']), max_size=3)))


@st.composite
def tail(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["", "   # why, = [x] {y}"]))


VERSIONS = st.sampled_from(['"2.2"', "''", '">=1,<2 # no"', "'''a}'''", '"""\nlong, ]\n"""', '"say \\"1\\""'])
NAMES = ["pandas", "rich", "requests[socks]", "zope.interface", "Sphinx"]


@st.composite
def packages(draw: st.DrawFn, *, least: int = 0) -> list[tuple[str, str]]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=least, max_size=3))
    return [(key_text(name) if draw(st.booleans()) else f"'{name}'", draw(VERSIONS)) for name in names]


def inline(entries: list[tuple[str, str]], spaced: bool) -> str:
    comma, pad = (" , ", " ") if spaced else (",", "")
    if not entries:
        return "{}"
    return "{" + pad + comma.join(f"{name} = {value}" for name, value in entries) + pad + "}"


@st.composite
def section(draw: st.DrawFn, level: tuple[str, ...]) -> str:
    """One level, with its `pypi` table in one of the ways that TOML has for it."""
    indent = draw(st.sampled_from(["", "  "]))
    head = f"{draw(trivia())}[{'.'.join(level)}]{draw(tail())}\n{draw(trivia())}"
    style = draw(st.sampled_from(["none", "inline", "dotted", "half", "dotted inline", "tables", "deep table"]))
    entries = draw(packages(least=1))
    table = inline(entries, draw(st.booleans()))
    # An empty section would be removed with the last package put into it.
    is_needed = level[-1] != "base" and (style == "none" or draw(st.booleans()))
    lines = [f"{indent}disabled = false"] if is_needed else []
    after = ""
    if style == "inline":
        extra = draw(st.sampled_from(["", ", extra_indices = [ 'a#,}', \"b\" ]"]))
        lines.append(f"{indent}pypi  = {{ packages = {table}{extra} }}{draw(tail())}")
    elif style == "dotted":
        lines += [f"{indent}pypi.packages.{name} = {value}{draw(tail())}" for name, value in entries]
    elif style == "half":
        lines.append(f"{indent}pypi . 'python' = '3.12'{draw(tail())}")
    elif style == "dotted inline":
        lines.append(f"{indent}pypi = {{ " + ", ".join(f"packages.{n} = {v}" for n, v in entries) + " }")
    elif style == "tables":
        after = f"{draw(trivia())}[{'.'.join(level)}.pypi]\npython = '3.12'{draw(tail())}\n{draw(trivia())}"
        after += f"[{'.'.join(level)}.pypi.packages]\n" + "".join(f"{n} = {v}{draw(tail())}\n" for n, v in entries)
    elif style == "deep table":
        after = f"[{'.'.join(level)}.pypi.conda_only]\n'x' = '1'\n"
    return head + "".join(f"{line}\n{draw(trivia())}" for line in lines) + after


@st.composite
def documents(draw: st.DrawFn) -> str:
    levels = draw(st.permutations(LEVELS))
    kept = [level for level in levels if len(level) == 2 or draw(st.booleans())]
    text = draw(trivia()) + "".join(draw(section(level)) for level in kept) + draw(trivia())
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    tomli.loads(text)
    return text


@given(
    documents(), st.sampled_from(LEVELS), st.sampled_from(["numpy", "new[extra]", "demo@https://index.example/d.whl"])
)
def test_what_is_inserted_stands_there_and_can_be_removed_without_a_trace(
    text: str, level: tuple[str, ...], name: str
) -> None:
    path = (*level, *PACKAGES, name)

    edited = insert(text, path, quoted(">=2"), header=len(level))

    assert value_at(edited, path) == ">=2"
    start = next((at for at, (old, new) in enumerate(zip(text, edited, strict=False)) if old != new), len(text))
    assert edited[start + len(edited) - len(text) :] == text[start:], "more than one piece was put in"
    expected = tomli.loads(text)
    table = expected
    for part in path[:-1]:
        table = table.setdefault(part, {})
    table[name] = ">=2"
    assert tomli.loads(edited) == expected
    assert edited.count("\r\n") in {0, edited.count("\n")}

    assert remove(edited, path, keep=3 if len(level) == 4 else 2) == text


@given(documents(), st.data())
def test_what_is_removed_is_gone_and_nothing_else(text: str, data: st.DataObject) -> None:
    entries = [node.path for node in scan(text) if node.path[-3:-1] == PACKAGES]
    if not entries:
        return
    path = data.draw(st.sampled_from(entries))

    edited = remove(text, path, keep=3 if len(path) == 7 else 2)

    left = [node.path for node in scan(edited) if not node.is_inline and not node.is_header]
    assert left == [node.path for node in scan(text) if not node.is_inline and not node.is_header and node.path != path]
    assert all(value_at(edited, each) == value_at(text, each) for each in left)
    own_lines = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in edited.splitlines() if line.lstrip().startswith("#")] == own_lines


@given(documents(), st.data())
def test_what_is_replaced_changes_alone(text: str, data: st.DataObject) -> None:
    entries = [node.path for node in scan(text) if node.path[-3:-1] == PACKAGES]
    if not entries:
        return
    path = data.draw(st.sampled_from(entries))

    renamed = (*path[:-1], "renamed[x]")

    edited = rename(replace(text, path, quoted("9")), path, renamed[-1])

    assert value_at(edited, renamed) == "9"
    back = rename(replace(edited, renamed, quoted(value_at(text, path))), renamed, path[-1])
    assert tomli.loads(back) == tomli.loads(text)
    assert len(back.splitlines()) <= len(text.splitlines())


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        pytest.param(
            '[flow.A]\nfile = "a.py"\n# pypi = {}\n\n# the base\n[env.base]\n',
            ("flow", "A", "step", "fit", "pypi", "packages", "x"),
            '[flow.A]\nfile = "a.py"\n# pypi = {}\n\n[flow.A.step.fit]\npypi = { packages = { x = "1" } }\n\n'
            "# the base\n[env.base]\n",
            id="a new section goes after the comments that close its flow",
        ),
        pytest.param(
            '[flow.A]\nfile = "a.py"\n# the base\n[env.base]\n',
            ("flow", "A", "step", "fit", "pypi", "packages", "x"),
            '[flow.A]\nfile = "a.py"\n\n[flow.A.step.fit]\npypi = { packages = { x = "1" } }\n# the base\n[env.base]\n',
            id="and before those that open the next one",
        ),
        pytest.param(
            "[env.base]\npypi = {\n  packages = {\n    a = '1', # one\n  },\n}\n",
            ("env", "base", "pypi", "packages", "x"),
            "[env.base]\npypi = {\n  packages = {\n    a = '1', x = \"1\", # one\n  },\n}\n",
            id="an inline table over many lines",
        ),
        pytest.param(
            "[env.base]\npypi.packages.a = '1'",
            ("env", "base", "pypi", "packages", "x"),
            "[env.base]\npypi.packages.a = '1'\npypi.packages.x = \"1\"\n",
            id="a last line without its newline",
        ),
        pytest.param(
            "[flow.A.step.fit]\ndisabled = false\n[flow.B]\n[flow.A]\nfile = 'a.py'\n",
            ("flow", "A", "pypi", "packages", "x"),
            "[flow.A.step.fit]\ndisabled = false\n[flow.B]\n[flow.A]\nfile = 'a.py'\n"
            'pypi = { packages = { x = "1" } }\n',
            id="tables out of order",
        ),
    ],
)
def test_inserting_keeps_the_style(before: str, path: tuple[str, ...], after: str) -> None:
    assert insert(before, path, '"1"', header=4 if "step" in path else 2) == after


def test_a_section_that_holds_a_comment_is_not_removed() -> None:
    text = "[flow.A.step.fit]\n# needs a GPU\npypi = { packages = { torch = '' } }\n\n# next\n[flow.B]\n"
    assert remove(text, ("flow", "A", "step", "fit", "pypi", "packages", "torch"), keep=3) == (
        "[flow.A.step.fit]\n# needs a GPU\n\n# next\n[flow.B]\n"
    )
