"""A run that fails at its end and is resumed: what each task saw, and what was recorded of it."""

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

Task = dict[str, Any]


@dataclass(frozen=True)
class Runs:
    """The two runs, and the run that a step of the first one started."""

    failed: Ended
    resumed: Ended
    first: list[Task]
    second: list[Task]
    inner: list[Task]

    def of(self, step: str) -> list[Task]:
        """The tasks of a step, in the first run."""
        return [task for task in self.first if task["step"] == step]

    def seen(self, step: str) -> Any:
        """What the only task of a step saw, in the first run."""
        (task,) = self.of(step)
        return task["seen"]


@pytest.fixture(scope="module")
def runs(locked_flows: Flows, shared_uv_cache: Path) -> Iterator[Runs]:
    with isolation(locked_flows.home, shared_uv_cache):
        failed = locked_flows.python("wide.py", "run", METAFLOW_DEFAULT_ENVIRONMENT="envlock", **STALE)
        resumed = locked_flows.python("wide.py", "--environment=envlock", "resume", MAY_END="1", **STALE)
        yield Runs(
            failed,
            resumed,
            locked_flows.tasks(f"WideFlow/{failed.run_id}"),
            locked_flows.tasks(f"WideFlow/{resumed.run_id}"),
            locked_flows.tasks("InnerFlow"),
        )


def test_the_first_run_ends_where_it_should(runs: Runs) -> None:
    assert "may not end yet" in runs.failed.text, runs.failed.text
    assert runs.failed.status == 1
    failed = {task["step"] for task in runs.first if not task["successful"]}
    assert failed == {"gather", "end"}, runs.failed.text  # what @catch caught is a failure of its task
    assert "no environment" not in runs.failed.text


def test_each_step_runs_in_its_own_environment(runs: Runs, series: tuple[str, str]) -> None:
    oldest, newest = series
    found = {task["step"]: (task["seen"]["python"], task["seen"]["alpha"]) for task in runs.first if task["seen"]}
    assert found == {
        "start": (OUTER, "1.0"),
        "work": (newest, "1.1"),
        "join": (OUTER, None),
        "nested": (oldest, "1.0"),
        "many": (newest, "1.1"),
        "gather": (OUTER, "1.0"),
        "end": (OUTER, "1.0"),
    }


def test_a_disabled_step_runs_on_the_interpreter_that_launches(runs: Runs) -> None:
    seen = runs.seen("join")
    assert seen["prefix"] == sys.prefix
    assert seen["identity"] is None
    assert runs.of("join")[0]["recorded"] is None


def test_the_environment_of_a_task_is_its_own_alone(runs: Runs) -> None:
    seen = runs.seen("nested")
    prefix = seen["prefix"]
    assert Path(prefix).name == "metaflow_{}_{}".format(*seen["identity"])
    assert seen["first_on_path"] == f"{prefix}/bin"
    assert seen["virtual_env"] == prefix
    foreign = [path for path in seen["sys_path"] if path.endswith("site-packages") and not path.startswith(prefix)]
    assert foreign == []
    assert not any(path.startswith(sys.prefix) for path in seen["sys_path"])


def test_a_task_knows_its_environment_and_metaflow_records_it(runs: Runs, locked_flows: Flows) -> None:
    tasks = [task for task in runs.first if task["step"] != "join"]
    assert {"start", "end"} < {task["step"] for task in tasks}  # and so for a task that fails
    for task in tasks:
        assert task["recorded"] == task["seen"]["identity"]
        req_id, full_id, arch = task["recorded"]
        assert task["seen"]["req_id"] == req_id
        assert (locked_flows.folder / "envlock.lock" / arch / req_id / f"pylock.{full_id}.toml").is_file()


def test_a_task_of_a_launcher_does_not_enter_a_second_time(runs: Runs) -> None:
    seen = [task["seen"] for task in (*runs.first, *runs.second, *runs.inner) if task["seen"]]
    assert len(seen) > 10
    assert not any(each["entered_by_itself"] for each in seen)


def test_every_task_of_a_foreach_and_each_attempt_is_in_the_environment(runs: Runs) -> None:
    work = runs.of("work")
    assert sorted(task["attempt"] for task in work) == [0, 1]
    assert len({task["seen"]["prefix"] for task in work}) == 1


def test_the_workers_of_parallel_are_in_the_environment(runs: Runs) -> None:
    assert [task["recorded"] is not None for task in runs.of("many")] == [True, True]
    assert len({task["seen"]["prefix"] for task in runs.of("many")}) == 1


def test_a_flow_that_a_locked_step_starts_has_its_own_environments(runs: Runs, series: tuple[str, str]) -> None:
    found = {task["step"]: task for task in runs.inner}
    assert (found["start"]["seen"]["python"], found["start"]["seen"]["alpha"]) == (series[1], "1.1")
    assert found["start"]["recorded"] == runs.of("work")[0]["recorded"], (
        "the same requirements are the same environment"
    )
    assert found["end"]["seen"]["prefix"] == runs.seen("nested")["prefix"], "disabled: what launches it is what it has"
    assert found["end"]["recorded"] is None


def test_resuming_takes_over_what_was_done_and_runs_the_rest(runs: Runs) -> None:
    assert runs.resumed.status == 0, runs.resumed.text
    cloned = {task["pathspec"].split("/", 2)[2]: task for task in runs.second if task["step"] != "end"}
    assert all(task["origin"] for task in cloned.values())
    recorded = sorted(str(task["recorded"]) for task in cloned.values())
    assert recorded == sorted(str(task["recorded"]) for task in runs.first if task["step"] != "end")
    (end,) = [task for task in runs.second if task["step"] == "end"]
    assert (end["successful"], end["seen"]["alpha"]) == (True, "1.0")


def test_a_run_leaves_nothing_behind(runs: Runs, locked_flows: Flows) -> None:
    wait_until(lambda: not list(locked_flows.temporary.glob("envlock-*")))


def test_a_pathspec_leads_back_to_the_environment(runs: Runs, locked_flows: Flows, shared_uv_cache: Path) -> None:
    with isolation(locked_flows.home, shared_uv_cache):
        for task in (*runs.of("work"), *runs.of("end"), runs.second[0]):
            shown = run_envlock("show", "--pathspec", task["pathspec"], "--json", cwd=locked_flows.folder).json
            (found,) = shown["environments"]
            assert [found["req_id"], found["full_id"], found["arch"]] == task["recorded"]
            assert found["task"] == task["pathspec"]
            assert f"WideFlow/{task['step']}" in found["used_by"]
            assert found["locally_present_as"].endswith(f"metaflow_{found['req_id']}_{found['full_id']}")
        step = runs.of("work")[0]["pathspec"].rpartition("/")[0]
        assert step in run_envlock("show", "--pathspec", step, cwd=locked_flows.folder).stdout
        disabled = runs.of("join")[0]["pathspec"]
        ran = run_envlock("show", "--pathspec", disabled, cwd=locked_flows.folder, check=2)
        assert "error[nothing-recorded]" in ran.stderr
