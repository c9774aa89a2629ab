"""Decorators deleted from Python files: everything else stays, and the patch is one that git and patch take."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.edit.python_source import NotAlone, names_imported_from, patch_of, without_decorators

BODY = """

@pypi_base(
    packages={"a": "1"},
)  # for all steps
class OneFlow(FlowSpec):
    # why
    @conda(libraries={"x": ""})
    @step
    def start(self):
        pass
"""


def deleted(text: str, *, needed: tuple[str, ...] = ()) -> str:
    """The text without its decorators of packages."""
    return without_decorators(text.encode(), lines_of(text), needed).decode()


def lines_of(text: str) -> list[int]:
    return [
        number
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip().startswith(("@pypi", "@conda", "@needs"))
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from metaflow import FlowSpec, conda, pypi_base, step\n", "from metaflow import FlowSpec, step\n"),
        ("from metaflow import conda, FlowSpec, step, pypi_base\n", "from metaflow import FlowSpec, step\n"),
        ("from metaflow import (conda, FlowSpec, step, pypi_base)\n", "from metaflow import (FlowSpec, step)\n"),
        ("from metaflow import conda, pypi_base\nfrom metaflow import *\n", "from metaflow import *\n"),
        (
            "from metaflow import (\n    FlowSpec,\n    conda,  # old\n    pypi_base,\n    # each step\n    step,\n)\n",
            "from metaflow import (\n    FlowSpec,\n    # each step\n    step,\n)\n",
        ),
        (
            "from metaflow import (\n    FlowSpec,\n    step,  # each\n    # packages\n    conda,\n    pypi_base,\n)\n",
            "from metaflow import (\n    FlowSpec,\n    step,  # each\n    # packages\n)\n",
        ),
        ("from metaflow import step, FlowSpec, \\\n    conda, pypi_base\n", "from metaflow import step, FlowSpec\n"),
        ("from metaflow import *\n", "from metaflow import *\n"),
        (
            "try:\n    from metaflow import conda, pypi_base\nexcept ImportError:\n    raise\nfrom metaflow import *\n",
            "try:\n    from metaflow import conda, pypi_base\nexcept ImportError:\n    raise\nfrom metaflow import *\n",
        ),
        (
            "from metaflow import conda; from metaflow import *; from metaflow import pypi_base\n",
            "from metaflow import conda; from metaflow import *; from metaflow import pypi_base\n",
        ),
    ],
)
def test_imports_that_only_the_decorators_needed_go_with_them(before: str, after: str) -> None:
    body = BODY.replace('@pypi_base(\n    packages={"a": "1"},\n)  # for all steps\n', "")
    assert deleted(before + BODY) == after + body.replace('    @conda(libraries={"x": ""})\n', "")


@pytest.mark.parametrize(
    "use",
    [
        "print(conda)\n",
        "__all__ = ['conda']\n",
        "def f(x: 'conda'): pass\n",
        "def f():\n    global conda\n",
        "value: 'list[conda]' = []\n",
    ],
)
def test_an_import_that_something_else_needs_stays(use: str) -> None:
    text = f"from metaflow import FlowSpec, conda, pypi_base, step\n{use}{BODY}"
    assert "import FlowSpec, conda, step\n" in deleted(text)


def test_an_import_that_another_file_needs_stays() -> None:
    text = f"from metaflow import FlowSpec, conda, pypi_base, step\n{BODY}"
    other = b"from team.base import (\n    conda,\n)\nimport base\n"
    assert names_imported_from(other, "base") == {"conda"}
    assert "import FlowSpec, conda, step\n" in deleted(text, needed=("conda",))
    assert names_imported_from(b"from .base import *\n", "base") == {"*"}
    assert "import FlowSpec, conda, pypi_base, step\n" in deleted(text, needed=("*",))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (f"from metaflow import *\n{BODY}".replace("\n", "\r\n"), "utf-8"),
        (f"\ufefffrom metaflow import *\n{BODY}", "utf-8"),
        (f"# coding: latin-1\nNAME = 'caf\xe9'\nfrom metaflow import *\n{BODY}", "latin-1"),
        (f"from metaflow import *\nNAME = '\u2028\x0c'\n{BODY}", "utf-8"),
        (f"from metaflow import *\n{BODY}".rstrip("\n"), "utf-8"),
    ],
)
def test_every_other_byte_stays(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    lines = [number for number, line in enumerate(data.split(b"\n"), 1) if line.lstrip().startswith((b"@p", b"@con"))]
    kept = [
        line
        for line in data.split(b"\n")
        if not line.strip().startswith((b"@pypi", b"@conda", b"packages=", b")  # for"))
    ]
    assert without_decorators(data, lines) == b"\n".join(kept)


def test_a_file_may_be_as_deep_as_python_reads_it() -> None:
    text = f"from metaflow import FlowSpec, conda, pypi_base, step\nDEEP = {' + '.join(['1'] * 900)}\n{BODY}"
    assert "@pypi_base" not in deleted(text)


def test_what_cannot_be_deleted_by_itself_is_refused() -> None:
    for text, lines in [("@\\\na\nclass F: pass\n", [2]), ("class F: pass\n", [1])]:
        with pytest.raises(NotAlone):
            without_decorators(text.encode(), lines)


IMPORTED = st.lists(st.sampled_from(["FlowSpec", "step", "pypi", "conda", "needs", "card", "Parameter"]), unique=True)
STYLES = st.sampled_from(["{}", "({})", "(\n    {},\n)", "(\n    {}\n)", "(\n    # all\n    {},  # last\n)"])


@given(IMPORTED, STYLES, st.sampled_from([", ", ",\n    "]), st.booleans())
def test_the_syntax_tree_is_the_old_one_without_what_went(
    names: list[str], style: str, separator: str, is_used: bool
) -> None:
    if separator != ", " and "(" not in style:
        separator = ", "
    names = names or ["step"]
    text = f"from metaflow import {style.format(separator.join(names))}\n"
    text += "X = needs\n" if is_used else ""
    text += "class F:\n    @needs(1)\n    @card\n    @pypi(a=conda)\n    @step\n    def start(self): pass\n"
    found = ast.parse(deleted(text))
    decorated = [ast.unparse(each) for node in ast.walk(found) for each in getattr(node, "decorator_list", ())]
    assert decorated == ["card", "step"]
    imported = [alias.name for node in ast.walk(found) if isinstance(node, ast.ImportFrom) for alias in node.names]
    gone = {"pypi", "conda", *(() if is_used else ("needs",))}
    assert imported == [name for name in names if name not in gone]


@pytest.mark.parametrize("name", ["flow.py", "two words.py", 'a"b\\.py', "caf\xe9/f.py"])
@pytest.mark.parametrize("end", ["\n", "", "\r\n"])
def test_git_and_patch_take_the_patch(name: str, end: str, tmp_path: Path) -> None:
    before = f"from metaflow import FlowSpec, conda, pypi_base, step\n{BODY}".encode()
    before = before.replace(b"\n", b"\r\n") if end == "\r\n" else before.rstrip(b"\n") + end.encode()
    after = without_decorators(before, [4, 9])
    (tmp_path / "all.patch").write_bytes(patch_of(name, before, after))
    path = tmp_path / name
    tools = [
        ["git", "apply", "all.patch"],
        *([["patch", "-p1", "--binary", "-i", "all.patch"]] if shutil.which("patch") else []),
    ]
    for tool in tools:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(before)
        subprocess.run(tool, cwd=tmp_path, check=True, capture_output=True)
        assert path.read_bytes() == after, tool
