"""Flows that are written in a notebook, read from its text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.flows.errors import BadNotebook, FlowFileSyntax
from envlock.config.flows.flow_reader import FlowSource, read_flows
from envlock.config.flows.notebook import code_of
from envlock.config.read import load_project
from tests.notebooks import notebook_of

FLOW = """\
from metaflow import FlowSpec, NBRunner, step

class NotedFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

run = NBRunner(NotedFlow, environment="envlock").nbrun()"""


def read(data: bytes, tmp_path: Path) -> tuple[FlowSource, ...]:
    path = tmp_path / "analysis.ipynb"
    path.write_bytes(data)
    return read_flows(path)


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import pandas as pd",
        "%matplotlib inline\n!pip list | grep it's\nfiles = !ls \\\n  -la\npd.DataFrame?\n?print",
        "if True:\n    %load_ext autoreload",
        "%%bash\nfor each in *; do echo $each; done",
        "%%time\ntotal = sum(range(10))",
        "this is what somebody was trying (",
        "await something()",
        "total = (7\n% 3)",
        '"""\n%not a command\n"""',
    ],
)
def test_what_other_cells_hold_does_not_matter(before: str, tmp_path: Path) -> None:
    (flow,) = read(notebook_of(before, FLOW), tmp_path)
    assert (flow.name, flow.step_names(), flow.complete) == ("NotedFlow", ("start", "end"), True)


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    data = notebook_of("%%bash\nls", "x = 1\n\n\ny = 2", FLOW)
    (flow,) = read(data, tmp_path)
    lines = ["", *data.decode().splitlines()]
    assert "class NotedFlow" in lines[flow.line]
    assert [f"def {name}" in lines[line] for name, line in flow.steps] == [True, True]


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("in_lines", [True, False])
def test_any_layout_of_the_file_holds_the_same_flow(indent: int | None, in_lines: bool, tmp_path: Path) -> None:
    (flow,) = read(notebook_of("x = 1", FLOW, "y = 2", indent=indent, in_lines=in_lines), tmp_path)
    assert flow.step_names() == ("start", "end")


def test_a_flow_may_inherit_from_one_of_an_earlier_cell(tmp_path: Path) -> None:
    base = FLOW.replace("NotedFlow", "BaseFlow").partition("run =")[0]
    found = read(notebook_of(base, "class NotedFlow(BaseFlow):\n    pass\nNBRunner(NotedFlow)"), tmp_path)
    assert {flow.name: flow.step_names() for flow in found}["NotedFlow"] == ("start", "end")


def test_text_between_cells_is_no_code(tmp_path: Path) -> None:
    document = json.loads(notebook_of(FLOW))
    document["cells"].insert(0, {"cell_type": "markdown", "source": ["class Words(FlowSpec): no code at all"]})
    document["cells"].insert(0, {"cell_type": "raw", "source": "class Raw(FlowSpec):"})
    assert [flow.name for flow in read(json.dumps(document).encode(), tmp_path)] == ["NotedFlow"]


def test_a_mistake_in_the_cell_of_a_flow_is_an_error_with_its_line(tmp_path: Path) -> None:
    data = notebook_of("x = 1", FLOW.replace("def end(self):", "def end(self:"))
    with pytest.raises(FlowFileSyntax) as caught:
        read(data, tmp_path)
    line = caught.value.locations[0].line
    assert line is not None
    assert "def end(self:" in data.decode().splitlines()[line - 1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "no list of cells"),
        (b'{"cells": {}}', "no list of cells"),
        (b'{"nbformat": 3, "worksheets": []}', "notebook format 3"),
        (b'{"cells": [], "metadata": {"kernelspec": {"language": "R"}}}', "its language is R"),
    ],
)
def test_what_is_no_notebook(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadNotebook) as caught:
        read(data, tmp_path)
    assert reason in caught.value.message


@given(
    cells=st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60), max_size=4),
    indent=st.sampled_from([None, 1]),
    in_lines=st.booleans(),
)
def test_no_cell_moves_the_flow_or_hides_it(cells: list[str], indent: int | None, in_lines: bool) -> None:
    code = code_of(notebook_of(*cells, FLOW, indent=indent, in_lines=in_lines)).split("\n")
    assert [line for line in code if line in FLOW.splitlines() and line][-9:] == list(filter(None, FLOW.splitlines()))


def test_the_steps_of_a_project_come_from_its_notebook(tmp_path: Path) -> None:
    (tmp_path / "analysis.ipynb").write_bytes(notebook_of("%pip list", FLOW))
    (tmp_path / "envlock.toml").write_text('[flow.NotedFlow]\nfile = "analysis.ipynb"\n')
    project = load_project(tmp_path / "envlock.toml")
    assert [each.name for each in project.environments()] == ["NotedFlow/start", "NotedFlow/end"]
