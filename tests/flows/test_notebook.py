"""A flow that is written in a notebook, run from there as Metaflow has it."""

from __future__ import annotations

import pytest

from tests.flows.conftest import Flows
from tests.notebooks import OWN_KERNEL, cells_of, opened
from tests.support import wait_until

pytestmark = [pytest.mark.flows, pytest.mark.index]


def test_a_cell_runs_its_flow_in_the_locked_environments(flows: Flows, series: tuple[str, str]) -> None:
    with opened(OWN_KERNEL, flows.folder, {"TMPDIR": str(flows.temporary)}) as notebook:
        said = [notebook.run(cell) for cell in cells_of(flows.folder / "analysis.ipynb")]
        # While the kernel is there: with it ends what still removes the code of the run.
        wait_until(lambda: not list(flows.temporary.glob("envlock-*")))
    pathspec = said[-1].rpartition("ran ")[2].strip()
    tasks = {task["step"]: task for task in flows.tasks(pathspec)}
    assert tasks.keys() == {"start", "end"}
    for task in tasks.values():
        assert (task["seen"]["python"], task["seen"]["alpha"]) == (series[1], "1.1")
        assert task["seen"]["identity"] == task["recorded"]
