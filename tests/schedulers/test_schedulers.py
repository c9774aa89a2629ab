"""A locked flow on schedulers that start each task by Metaflow's own command: every task enters its environment.

`make test-schedulers` runs these. docs/how-to/use-other-schedulers.md has their table.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import OUTER
from tests.schedulers.conftest import Scheduler
from tests.servers.processes import free_ports, listens, running

pytestmark = [pytest.mark.flows, pytest.mark.index, pytest.mark.slow]

DEFAULT = "envlock"


def assert_right(scheduler: Scheduler, series: tuple[str, str], team: str, *, count: int = 5, failed: int = 1) -> None:
    """Insist that the latest run has as many successful tasks, each in its own environment."""
    tasks = scheduler.tasks()
    assert [each["successful"] for each in tasks].count(True) == count
    assert len(tasks) in (count, count + failed), "some schedulers make a new task for another attempt"
    of_envlock = {"start": (OUTER, "1.0"), "work": (series[1], "1.1"), "end": (OUTER, "1.0")}
    for task in tasks:
        seen = task["seen"]
        assert task["recorded"] == seen["identity"]
        if task["step"] == "join":
            assert (Path(seen["prefix"]), seen["identity"]) == (scheduler.python.parent.parent, None)
        else:
            assert (seen["python"], seen["alpha"]) == of_envlock[task["step"]]
            assert Path(seen["prefix"]).name == "metaflow_{}_{}".format(*seen["identity"])
        assert seen["said"] == ("yes" if task["step"] == "work" else None)
    ends = [task["seen"]["parts"] for task in tasks if task["step"] == "end"]
    assert ends == ([[f"a{team}", f"b{team}"]] if count == 5 else [])
    assert not (scheduler.folder / "fails-once").exists()


def started(stack: ExitStack, scheduler: Scheduler, *command: str, port: int = 0, says: str = "") -> None:
    """Start a program of the scheduler, and wait until it listens or says something."""
    said = scheduler.home / f"{command[0]}-{command[1]}.log"
    variables = [f"{key}={value}" for key, value in scheduler.environ.items() if os.environ.get(key) != value]
    program = [str(scheduler.python.parent / command[0]), *command[1:]]
    here = ["env", "-C", str(scheduler.folder), *variables, *program]
    ready = (lambda: listens(port)) if port else (lambda: says in said.read_text(errors="replace"))
    stack.enter_context(running(here, said, is_ready=ready))


def test_prefect_runs_a_deployment_in_a_work_pool(scheduler: Scheduler, series: tuple[str, str]) -> None:
    (port,) = free_ports(1)
    of_prefect = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(scheduler.home / "prefect")}
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_COLORS": "false"}
    prefect = Scheduler(
        scheduler.python, scheduler.folder, scheduler.home, {**scheduler.variables, **of_prefect, **quiet}
    )
    (prefect.folder / "fails-once").touch()
    with ExitStack() as stack:
        started(stack, prefect, "prefect", "server", "start", "--port", str(port), port=port)
        prefect.run("prefect", "work-pool", "create", "--type", "process", "pool")
        prefect.flow("prefect", "create", "--name", "nightly", "--work-pool", "pool")
        prefect.flow("prefect", "trigger", "--name", "nightly")
        prefect.run("prefect", "worker", "start", "--pool", "pool", "--run-once")
    assert_right(prefect, series, "red")


def test_dagster_runs_a_job(scheduler: Scheduler, series: tuple[str, str]) -> None:
    (scheduler.folder / "fails-once").touch()
    scheduler.flow("dagster", "create", "job.py")
    scheduler.flow("dagster", "trigger", "--definitions-file", "job.py", "--run-param", "team=blue")
    assert_right(scheduler, series, "blue")


def test_temporal_runs_a_workflow(scheduler: Scheduler, series: tuple[str, str]) -> None:
    (plugin,) = scheduler.python.parent.parent.glob("lib/*/site-packages/metaflow_extensions/temporal/plugins/temporal")
    template = plugin / "worker_template.mustache"
    if not template.exists():  # 0.4.9 lacks it
        template.write_text(
            'import asyncio, json\nCONFIG = json.loads(r"""{{{config}}}""")\n{{{utils}}}\n'
            "if __name__ == '__main__':\n    asyncio.run(WorkerUtils.run_worker(CONFIG))\n"
        )
    (port,) = free_ports(1)
    server = ("--temporal-host", f"127.0.0.1:{port}")
    with ExitStack() as stack:
        started(stack, scheduler, "temporal", "server", "start-dev", "--headless", "--port", str(port), port=port)
        scheduler.flow("temporal", "create", "--output", "worker.py", *server)
        started(stack, scheduler, "python", "worker.py", says="Listening")
        said = scheduler.flow("temporal", "trigger", *server, "--run-param", "team=blue")
        (workflow,) = re.findall(r"Triggered Temporal workflow: (\S+)", said)
        scheduler.run("temporal", "workflow", "result", "--workflow-id", workflow, "--address", f"127.0.0.1:{port}")
    assert_right(scheduler, series, "blue", failed=0)


def test_flyte_runs_a_workflow_on_this_machine(scheduler: Scheduler, series: tuple[str, str]) -> None:
    scheduler.flow("flyte", "run")
    assert_right(scheduler, series, "red", failed=0)


def test_kestra_gets_scripts_whose_tasks_enter(scheduler: Scheduler, series: tuple[str, str]) -> None:
    """Kestra's server is in no package index: what it would run is run here, in its order.

    metaflow-kestra 0.3.4 leaves out what comes after a foreach, whatever the environment.
    """
    scheduler.flow("kestra", "compile", "flow.yaml")
    loaded = scheduler.run("python", "-c", "import json, yaml; print(json.dumps(yaml.safe_load(open('flow.yaml'))))")
    Kestra(scheduler, json.loads(loaded), team="blue").run()
    assert_right(scheduler, series, "blue", count=3, failed=0)


class Kestra:
    """As much of Kestra as a compiled flow needs: the scripts of its tasks, with their expressions filled in."""

    def __init__(self, scheduler: Scheduler, flow: Mapping[str, Any], **inputs: str) -> None:
        self._scheduler = scheduler
        self._flow = flow
        self._outputs: dict[str, Any] = {}
        given = {each["id"]: each.get("defaults", "") for each in flow["inputs"]}
        self._scope = {
            "vars": flow["variables"],
            "inputs": {**given, **inputs},
            "execution": {"id": "first"},
            "flow": {"id": flow["id"]},
            "outputs": self._outputs,
        }
        folder = scheduler.home / "kestra"
        folder.mkdir()
        (folder / "kestra.py").write_text(
            "import json, os\nclass Kestra:\n    @staticmethod\n    def outputs(values):\n"
            "        with open(os.environ['OUTPUTS'], 'w') as file:\n            json.dump(values, file)\n"
        )
        self._folder = folder

    def run(self) -> None:
        """Run it to its end."""
        self._run(self._flow["tasks"], {})

    def _run(self, tasks: Sequence[Mapping[str, Any]], scope: Mapping[str, Any]) -> None:
        for task in tasks:
            if "script" in task:
                found = self._script(task, scope)
                key = scope.get("taskrun", {}).get("value")
                if key is None:
                    self._outputs[task["id"]] = {"vars": found}
                else:
                    self._outputs.setdefault(task["id"], {})[key] = {"vars": found}
            else:
                for value in json.loads(self._filled(task["values"], scope)):
                    self._run(task["tasks"], {"taskrun": {"value": str(value)}})

    def _script(self, task: Mapping[str, Any], scope: Mapping[str, Any]) -> Any:
        outputs, script = self._folder / "outputs.json", self._folder / "script.py"
        script.write_text(self._filled(task["script"], scope))
        variables = {**self._scheduler.variables, "PYTHONPATH": str(self._folder), "OUTPUTS": str(outputs)}
        of_task = Scheduler(self._scheduler.python, self._scheduler.folder, self._scheduler.home, variables)
        of_task.run("python", str(script))
        return json.loads(outputs.read_text())

    def _filled(self, text: str, scope: Mapping[str, Any]) -> str:
        def value(found: re.Match[str]) -> str:
            here: Any = {**self._scope, **scope}
            for name in found[1].strip().split("."):
                here = here[name]
            return here if isinstance(here, str) else json.dumps(here)

        return re.sub(r"\{\{(.*?)\}\}", value, text)
