"""Tasks that no launcher of envlock starts: `python flow.py --environment=envlock step ...` enters by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import OUTER, STALE, Ended, Flows
from tests.support import isolation, run_envlock, wait_until

pytestmark = [pytest.mark.flows, pytest.mark.index]

RUN = "by-hand"
PDB_STARTS = sys.version_info[:3] != (3, 13, 0)


def bare(flows: Flows, step: str, task: str, parents: str, *more: str, python: str = "", **variables: str) -> Ended:
    """Start one task as a scheduler does."""
    ids = ("--run-id", RUN, "--task-id", task, "--input-paths", parents)
    return flows.python(*python.split(), "bare.py", "--environment=envlock", "step", step, *ids, *more, **variables)


@dataclass(frozen=True)
class ByHand:
    """A run whose tasks were started one by one: what each said, and what it saw."""

    said: dict[str, str]
    tasks: dict[str, dict[str, Any]]
    inner: dict[str, Any]
    """The task that the last one started."""

    def seen(self, task: str) -> Any:
        """What a task saw."""
        return self.tasks[task]["seen"]


@pytest.fixture(scope="module")
def by_hand(locked_flows: Flows, shared_uv_cache: Path) -> Iterator[ByHand]:
    flows, mine = locked_flows, {**STALE, "_METAFLOW_ENVLOCK_TASK": f"BareFlow/{RUN}/gather"}
    disabled = {"_METAFLOW_ENVLOCK_ENV": "", "_METAFLOW_ENVLOCK_TASK": "BareFlow/other/many"}
    of_ubf = ("--split-index", "0", "--ubf-context", "ubf_control")
    with isolation(flows.home, shared_uv_cache):
        ended = {
            "init": flows.python("bare.py", "--environment=envlock", "init", "--run-id", RUN, "--task-id", "t1"),
            "start": bare(flows, "start", "t2", f"{RUN}/_parameters/t1", python="-EOu", **STALE),
            "many": bare(flows, "many", "t3", f"{RUN}/start/t2", *of_ubf, **disabled),
            "gather": bare(flows, "gather", "t4", f"{RUN}/many/t3,{RUN}/many/t3_node_1", **mine),
            "end": bare(flows, "end", "t5", f"{RUN}/gather/t4", python="-m pdb -c continue" if PDB_STARTS else ""),
        }
        for each in ended.values():
            assert each.status == 0, each.text
        tasks = {task["pathspec"].split("/")[-1]: task for task in flows.tasks(f"BareFlow/{RUN}")}
        (inner,) = flows.tasks("InnerFlow/inside")
        yield ByHand({name: each.text for name, each in ended.items()}, tasks, inner)


def test_a_task_enters_its_environment_by_itself(by_hand: ByHand, series: tuple[str, str]) -> None:
    found = {name: (task["seen"]["python"], task["seen"]["alpha"]) for name, task in by_hand.tasks.items()}
    newest = (series[1], "1.1")
    assert found == {"t2": newest, "t3": newest, "t3_node_1": newest, "t4": (OUTER, None), "t5": (OUTER, "1.0")}


def test_what_a_task_inherits_of_another_one_has_no_say(by_hand: ByHand) -> None:
    seen = by_hand.seen("t2")
    assert Path(seen["prefix"]).name == "metaflow_{}_{}".format(*seen["identity"])
    assert seen["first_on_path"] == f"{seen['prefix']}/bin"
    assert seen["virtual_env"] == seen["prefix"]
    assert not [path for path in seen["sys_path"] if path.startswith(("/nowhere", sys.prefix))]
    assert seen["variables"]["HOME"]


def test_a_locked_step_is_not_disabled_because_a_variable_says_so(by_hand: ByHand) -> None:
    seen = by_hand.seen("t3")
    assert Path(seen["prefix"]).name == "metaflow_{}_{}".format(*seen["identity"])


def test_metaflow_records_the_environment_of_each_task(by_hand: ByHand) -> None:
    for task in by_hand.tasks.values():
        assert task["recorded"] == task["seen"]["identity"]
    assert by_hand.tasks["t2"]["recorded"]


def test_a_task_that_a_locked_task_starts_enters_its_own(by_hand: ByHand, series: tuple[str, str]) -> None:
    seen = by_hand.inner["seen"]
    assert (seen["python"], seen["alpha"], seen["entered_by_itself"]) == (series[1], "1.1", True)
    assert seen["prefix"] != by_hand.seen("t5")["prefix"]
    assert by_hand.inner["recorded"] == seen["identity"]


def test_a_disabled_step_stays_outside(by_hand: ByHand) -> None:
    seen = by_hand.seen("t4")
    assert (seen["prefix"], seen["identity"], seen["entered_by_itself"]) == (sys.prefix, None, False)


def test_the_task_has_what_a_launcher_would_have_set(by_hand: ByHand) -> None:
    assert by_hand.seen("t2")["variables"]["SAID_BY_THE_FLOW"] == "yes"


@pytest.mark.skipif(not PDB_STARTS, reason="the pdb of Python 3.13.0 takes no options for what it starts")
def test_pythons_own_options_and_its_debugger_come_along(by_hand: ByHand) -> None:
    assert by_hand.seen("t2")["options"] == {"debug": False, "pdb": False}
    assert by_hand.seen("t5")["options"] == {"debug": True, "pdb": True}
    assert by_hand.said["end"].count("The program exited via sys.exit(). Exit status: 0") == 1


def test_the_workers_that_a_task_starts_are_in_its_environment(by_hand: ByHand) -> None:
    assert by_hand.seen("t3_node_1")["prefix"] == by_hand.seen("t3")["prefix"]
    entered = [by_hand.seen(task)["entered_by_itself"] for task in ("t3", "t3_node_1")]
    assert entered == [True, False], "the worker was there already"


def test_nothing_is_left_behind(by_hand: ByHand, locked_flows: Flows) -> None:
    assert set(by_hand.tasks) == {"t2", "t3", "t3_node_1", "t4", "t5"}
    wait_until(lambda: not list(locked_flows.temporary.glob("envlock-*")))


def test_what_cannot_enter_fails_before_anything_is_written(flows: Flows, isolated: Path) -> None:
    def fails(**variables: str) -> str:
        before = flows.runs("BareFlow")
        ids = ("--run-id", "never", "--task-id", "t2", "--input-paths", f"{RUN}/_parameters/t1")
        ended = flows.python("bare.py", "--environment=envlock", "step", "start", *ids, **variables)
        assert ended.status == 1, ended.text
        assert "Traceback" not in ended.text
        assert flows.runs("BareFlow") == before
        return ended.text

    # An interpreter that calls itself the environment's, and is not.
    home = isolated / "envlock"
    prefix = run_envlock(
        "path", "--flow", "BareFlow", "--step", "start", cwd=flows.folder, env={"ENVLOCK_HOME": str(home)}
    ).stdout.strip()
    interpreter = Path(prefix, "bin", "python")
    interpreter.unlink()
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    assert "does not start in its environment" in fails(ENVLOCK_HOME=str(home))
    # No envlock where the extension is.
    without = flows.folder.parent / "site"
    without.mkdir()
    hidden = "import importlib.util, sys; sys.modules['envlock'] = None"
    (without / "sitecustomize.py").write_text(hidden + "\n")
    assert "has envlock's extension of Metaflow, but not envlock itself" in fails(PYTHONPATH=str(without))
    # Something else than Metaflow's own command runs the task.
    code = (
        "import sys; from metaflow.cli_components.step_cmd import step; step.callback.asks_envlock = True;"
        "sys.argv = sys.argv[1:]; from bare import BareFlow; BareFlow()"
    )
    init = flows.python("bare.py", "--environment=envlock", "init", "--run-id", "stray", "--task-id", "t1")
    assert init.status == 0, init.text
    ids = ("--run-id", "stray", "--task-id", "t2", "--input-paths", "stray/_parameters/t1")
    stray = flows.python("-c", code, "bare.py", "--environment=envlock", "step", "start", *ids)
    assert stray.status == 1
    assert "the task of `start` runs outside of its environment" in stray.text
    # The step changed after it was locked.
    config = flows.folder / "envlock.toml"
    config.write_text(config.read_text().replace('alpha = "1.1"', 'alpha = "1.1.*"'))
    assert "error[stale-lock]: `BareFlow/start`" in fails()
