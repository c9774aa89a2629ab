"""Flows and steps, read from text."""

from __future__ import annotations

import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.flows.errors import FlowFileMissing, FlowFileSyntax
from envlock.config.flows.flow_reader import FlowSource, read_flows
from envlock.config.read import load_project
from envlock.errors import Location

FLOWS = Path(__file__).with_name("samples")
STEP = "    @step\n    def {}(self): pass\n"


def read(text: str, tmp_path: Path) -> tuple[FlowSource, ...]:
    path = tmp_path / "flow.py"
    path.write_text(dedent(text))
    return read_flows(path)


@pytest.mark.parametrize(
    ("name", "flows"),
    [
        ("plain", [("PlainFlow", "start work join end", True)]),
        ("packages", [("TrainFlow", "start train report end", True)]),
        ("netflix", [("MediaFlow", "start encode score join fetch old end", True)]),
        ("constants", [("ConstantFlow", "start more own fit starred twice grows filled outer end", True)]),
        (
            "inherited",
            [
                ("BaseFlow", "start train end", True),
                ("NightlyFlow", "start train check end", True),
                ("WeeklyFlow", "start train end", True),
            ],
        ),
        ("foreign", [("ScoreFlow", "score", False), ("EmptyFlow", "", False)]),
        ("unreadable", [("DynamicFlow", "start train parsed configured listed end", True)]),
    ],
)
def test_the_flows_of_a_file(name: str, flows: list[tuple[str, str, bool]]) -> None:
    found = read_flows(FLOWS / f"{name}.py")
    assert [(flow.name, " ".join(flow.step_names()), flow.complete) for flow in found] == flows


def test_every_line_is_that_of_the_definition() -> None:
    for path in FLOWS.glob("*.py"):
        lines = ["", *path.read_text().splitlines()]
        for flow in read_flows(path):
            assert lines[flow.line].startswith(f"class {flow.name}(")
            for step, line in flow.steps:
                assert lines[line].strip().startswith(f"def {step}(self")


@pytest.mark.parametrize(
    ("imports", "base", "step"),
    [
        ("from metaflow import FlowSpec, step", "FlowSpec", "step"),
        ("from metaflow import FlowSpec as F, step as s", "F", "s"),
        ("import metaflow", "metaflow.FlowSpec", "metaflow.step"),
        ("import metaflow as mf", "mf.FlowSpec", "mf.step"),
        ("from metaflow import *", "FlowSpec", "step"),
        ("from metaflow.flowspec import FlowSpec\nfrom metaflow.decorators import step", "FlowSpec", "step"),
        ("import metaflow.flowspec\nfrom metaflow import step", "metaflow.flowspec.FlowSpec", "step"),
        (
            "try:\n    from metaflow import FlowSpec, step\nexcept ImportError:\n    FlowSpec = step = None",
            "FlowSpec",
            "step",
        ),
        ("if True:\n    from metaflow import FlowSpec, step", "FlowSpec", "step"),
        ("with x:\n    from metaflow import FlowSpec, step", "FlowSpec", "step"),
        ("from metaflow import FlowSpec\nfrom team.metaflow import step", "FlowSpec", "step"),
        ("from metaflow import FlowSpec, step", "object, FlowSpec", "step"),
    ],
)
def test_however_metaflow_is_imported(imports: str, base: str, step: str, tmp_path: Path) -> None:
    text = f"{imports}\nclass TrainFlow({base}):\n    @{step}\n    def start(self): pass\n"
    text += "    @staticmethod\n    def no(): pass\n"
    line = imports.count("\n") + 2
    assert read(text, tmp_path) == (FlowSource("TrainFlow", line, (("start", line + 2),), complete=True),)


@pytest.mark.parametrize(
    ("base", "complete"),
    [
        ("FlowSpec", True),
        ("FlowSpec, abc.ABC", True),
        ("FlowSpec, typing.Generic[T]", True),
        ("FlowSpec, Mixin", True),
        ("FlowSpec, Foreign", False),
        ("Foreign", False),
        ("team.flows.Foreign", False),
        ("FlowSpec, Foreign[T]", False),
        ("make_base()", False),
    ],
)
def test_a_flow_is_complete_unless_a_base_may_bring_steps(base: str, complete: bool, tmp_path: Path) -> None:
    text = (
        "import abc, typing, team.flows\nfrom metaflow import FlowSpec, step\nfrom team import Foreign\n"
        f"class Mixin: pass\nclass TrainFlow({base}):\n{STEP.format('start')}"
    )
    (flow,) = read(text, tmp_path)
    assert flow.complete is complete


@pytest.mark.parametrize(
    "text",
    [
        "",
        "class A: pass\n",
        f"class A:\n{STEP.format('start')}",
        f"from metaflow import step\nclass Mixin:\n{STEP.format('start')}",
        "from team import Base\nclass A(Base): pass\n",
        "def f():\n    class A(FlowSpec): pass\n",
        "class A(A): pass\n",
        "class A(B): pass\nclass B(A): pass\n",
        "import metaflow\nmetaflow = 1\nclass FlowSpec: pass\nclass A(FlowSpec): pass\n",
    ],
)
def test_what_is_no_flow(text: str, tmp_path: Path) -> None:
    assert read(text, tmp_path) == ()


def test_start_stands_first_and_end_last(tmp_path: Path) -> None:
    text = "from metaflow import FlowSpec, step\nclass A(FlowSpec):\n"
    text += "".join(STEP.format(name) for name in ("end", "b", "start", "a"))
    (flow,) = read(text, tmp_path)
    assert flow.step_names() == ("start", "b", "a", "end")


def test_a_method_that_replaces_a_step_is_no_step(tmp_path: Path) -> None:
    text = f"from metaflow import FlowSpec, step\nclass A(FlowSpec):\n{STEP.format('start')}{STEP.format('work')}"
    text += "class B(A):\n    def work(self): pass\n"
    assert [flow.step_names() for flow in read(text, tmp_path)] == [("start", "work"), ("start",)]


def test_a_class_defined_twice_counts_once(tmp_path: Path) -> None:
    text = f"from metaflow import FlowSpec, step\nclass A(FlowSpec):\n{STEP.format('one')}"
    text += f"class A(FlowSpec):\n{STEP.format('two')}"
    assert [flow.step_names() for flow in read(text, tmp_path)] == [("two",)]


def test_steps_below_conditions_of_the_class_body_count(tmp_path: Path) -> None:
    text = """
        from metaflow import FlowSpec, step
        class A(FlowSpec):
            if True:
                @step
                def start(self): pass
            else:
                @step
                def other(self): pass
            @step
            async def no(self): pass
        """
    (flow,) = read(text, tmp_path)
    assert flow.step_names() == ("start", "other")


def test_the_file_is_never_run(tmp_path: Path) -> None:
    text = f"raise SystemExit('run!')\nfrom metaflow import FlowSpec, step\nclass A(FlowSpec):\n{STEP.format('start')}"
    assert len(read(text, tmp_path)) == 1


def test_odd_escapes_in_strings_are_none_of_our_business(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read('x = "\\d"\nif x is "a": pass\n', tmp_path) == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_the_encoding_is_the_files_own(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "flow.py"
    cookie = "# coding: latin-1\n" if encoding == "latin-1" else "\n"
    text = f"{cookie}from metaflow import FlowSpec, step\nclass Größe(FlowSpec):\n{STEP.format('start')}"
    path.write_bytes(text.encode(encoding))
    assert [flow.name for flow in read_flows(path)] == ["Größe"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"class A(:\n", 1),
        (b"x = 1\n\n  def f(): pass\n", 3),
        (b"x = '\xff'\n", None),
        (b"x = 1\x00\n", None),
        (b"(" * 100_000, None),
        (b"x = " + b"-" * 100_000 + b"1\n", None),
        (b"# coding: klingon\n", None),
    ],
)
def test_what_is_no_python_says_where(data: bytes, line: int | None, tmp_path: Path) -> None:
    path = tmp_path / "flow.py"
    path.write_bytes(data)
    with pytest.raises(FlowFileSyntax) as raised:
        read_flows(path)
    assert raised.value.locations[0].path == str(path)
    if line is not None:
        assert raised.value.locations[0].line == line


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FlowFileMissing, match=r"there is no flow file `.*gone\.py`"):
        read_flows(tmp_path / "gone.py")
    (tmp_path / "file.py").write_text("")
    with pytest.raises(FlowFileMissing, match="there is no flow file"):
        read_flows(tmp_path / "file.py" / "flow.py")
    with pytest.raises(FlowFileMissing, match=r"cannot read `.*`: Is a directory"):
        read_flows(tmp_path)


def test_an_error_says_where_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text('[flow.A]\nfile = "a.py"\n')
    with pytest.raises(FlowFileMissing) as missing:
        load_project(tmp_path / "envlock.toml")
    assert missing.value.locations == (Location("envlock.toml", 2, "flow.A.file"),)
    assert missing.value.hint == "`file` is relative to the folder of envlock.toml"
    (tmp_path / "a.py").write_text("class (")
    with pytest.raises(FlowFileSyntax) as wrong:
        load_project(tmp_path / "envlock.toml")
    assert wrong.value.locations[1:] == (Location("envlock.toml", 2, "flow.A.file"),)


def test_files_below_the_working_folder_are_shown_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FlowFileMissing, match=r"`flows/gone\.py`"):
        read_flows(tmp_path / "flows" / "gone.py")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "flow.py"
    path.write_bytes(data)
    with suppress(FlowFileSyntax):
        assert isinstance(read_flows(path), tuple)


def test_reading_a_plain_flow_imports_nothing_that_dataclasses_does_not() -> None:
    code = (
        "import dataclasses, pathlib, sys, envlock.errors; before = set(sys.modules);"
        "from envlock.config.flows.flow_reader import read_flows; read_flows(pathlib.Path(sys.argv[1]));"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('envlock')))"
    )
    command = [sys.executable, "-c", code, str(FLOWS / "plain.py")]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.split() == []
