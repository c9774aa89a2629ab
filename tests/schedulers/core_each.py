"""Runs in the folder of Metaflow's core test suite, on its own modules: `core_each.py list` prints its combinations of
tests and graphs as JSON; `core_each.py run FILE` runs those that the JSON on stdin names, and writes how each ended
to FILE. What the suite says of a combination is shown only where it fails."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

_POLLING_SECONDS = 2.0  # for the end of a scheduled run; the suite itself waits for ten


def main() -> int:
    import run_tests as suite
    from metaflow_test.formatter import FlowFormatter

    tests = {type(each).__name__: each for each in suite.iter_tests()}
    graphs = {each["name"]: each for each in suite.iter_graphs()}
    if sys.argv[1] == "list":
        found = [(FlowFormatter(graph, test), graph) for _, test in sorted(tests.items()) for graph in graphs.values()]
        print(json.dumps([described(formatter, graph) for formatter, graph in found if formatter.valid]))
        return 0
    asked = json.load(sys.stdin)
    ended = []
    for number, (test, graph) in enumerate(asked["combinations"], 1):
        said, began, used = io.TextIOWrapper(io.BytesIO(), "utf-8", "replace"), time.time(), used_by_children()
        suite.time = waiting = Soon(asked["context"].get("scheduler", ""))
        with contextlib.redirect_stdout(said):
            status, _ = suite.run_test(
                FlowFormatter(graphs[graph], tests[test]),
                asked["context"],
                False,
                asked["checks"],
                dict(os.environ),
                asked["context"]["executors"][0],
            )
        seconds, used = time.time() - began, used_by_children() - used
        ended.append({"test": test, "graph": graph, "passed": status == 0, "seconds": seconds, "processor": used})
        word = "failed" if status else "passed"
        print(f"{word}  {number}/{len(asked['combinations'])}  {test} on {graph} ({seconds:.0f} s)", flush=True)
        if status:
            ended[-1]["said"] = read(said) + waiting.failure + said_by_failed_pods(began)
            print(ended[-1]["said"], flush=True)
        Path(sys.argv[2]).write_text(json.dumps(ended))
    return 0


def read(said: io.TextIOWrapper) -> str:
    """What was written, as text or as bytes."""
    said.seek(0)
    return said.read()


class Soon:
    """The suite's `time`, which it uses for nothing but to wait for the end of a scheduled run.

    It looks more often, and no longer once the scheduler knows that the run failed: the suite has no way to tell.
    """

    failure = ""
    """Why the scheduler says that the run failed."""

    def __init__(self, scheduler: str) -> None:
        self._failure_on = {"step-functions": failure_on_step_functions, "argo-workflows": failure_on_argo}
        self._scheduler = scheduler

    def time(self) -> float:
        return float("inf") if self.failure else time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, _POLLING_SECONDS))
        run = Path("run-id").read_text().strip().partition("-")[2]
        if said := self._failure_on[self._scheduler](run):
            self.failure = f"\n# The run failed: {said}\n"


def failure_on_step_functions(name: str) -> str:
    import boto3

    client = boto3.client("stepfunctions")
    machines = [each["stateMachineArn"] for each in client.list_state_machines()["stateMachines"]]
    found = [each for machine in machines for each in client.list_executions(stateMachineArn=machine)["executions"]]
    for each in found:
        if each["name"] == name and each["status"] not in ("RUNNING", "SUCCEEDED"):
            described = client.describe_execution(executionArn=each["executionArn"])
            return " ".join([each["status"], *(str(described.get(key, "")) for key in ("error", "cause"))]).strip()
    return ""


def failure_on_argo(name: str) -> str:
    from metaflow.plugins.argo.argo_client import ArgoClient

    status = ArgoClient(os.environ["METAFLOW_KUBERNETES_NAMESPACE"]).get_workflow(name)["status"]
    return f"Failed {status.get('message', '')}".strip() if status["phase"] == "Failed" else ""


def said_by_failed_pods(since: float) -> str:
    """The end of what each pod said that failed after a time."""
    lines = []
    for status in Path(os.environ.get("CORE_SUITE_PODS", "nowhere")).glob("*/status"):
        if status.stat().st_mtime >= since and status.read_text().strip() != "0":
            lines += ["", f"# {status.parent.name}", *(status.parent / "log").read_text().splitlines()[-30:]]
    return "\n".join(lines)


def described(formatter: Any, graph: dict[str, Any]) -> dict[str, Any]:
    """What decides where a combination can run."""
    nodes = graph["graph"].values()
    return {
        "test": type(formatter.test).__name__,
        "graph": graph["name"],
        "steps": len(nodes),
        "resumes": formatter.should_resume,
        "fails": formatter.should_fail,
        "parallel": any("num_parallel" in node for node in nodes),
        "switch": any("switch" in node for node in nodes),
    }


def used_by_children() -> float:
    """The processor seconds of every process that ran here and is over."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
