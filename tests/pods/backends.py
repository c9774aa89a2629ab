"""A team's backends, with pods of one kind: Kubernetes, Batch, Step Functions and Argo; and a launcher of flows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.metaflow_runs import OF_GZIP, TASKS, Ended
from tests.pods import Pod, Pods, image_of
from tests.pods.argo import Workflow
from tests.pods.folders import airflow_python
from tests.servers.aws import Aws, aws
from tests.servers.kubernetes_api import KubernetesApi
from tests.servers.processes import ROOT

TIMEOUT = 600

# Copies into the launcher's metadata what the tasks of a scheduled run left in the datastore.
_SYNC = """
import sys
from metaflow.datastore import FlowDataStore
from metaflow.exception import MetaflowException
from metaflow.metadata_provider.util import sync_local_metadata_from_datastore
from metaflow.plugins import DATASTORES
storage = next(each for each in DATASTORES if each.TYPE == "s3")
storage.datastore_root = storage.get_datastore_root_from_config(print)
for pathspec in sys.argv[1:]:
    flow, run = pathspec.split("/")
    store = FlowDataStore(flow, None, storage_impl=storage)
    for task in store.get_task_datastores(run_id=run, allow_not_done=True):
        if task.step_name != "_parameters":
            sync_local_metadata_from_datastore(".metaflow", task)
"""


@dataclass(frozen=True)
class Backends:
    """Where flows of a folder may run, and how they are started."""

    folder: Path
    pods: Pods
    aws: Aws
    kubernetes: KubernetesApi
    variables: Mapping[str, str]

    def at(self, folder: Path, **variables: str) -> Backends:
        """The same, for the flows of another folder, with some more variables."""
        return replace(self, folder=folder, variables={**self.variables, **variables})

    def with_image(self, series: str) -> Backends:
        """The same, with pods of another image."""
        names = ("METAFLOW_KUBERNETES_CONTAINER_IMAGE", "METAFLOW_BATCH_CONTAINER_IMAGE")
        return replace(self, variables={**self.variables, **dict.fromkeys(names, image_of(series))})

    def start(self, *arguments: str, output: int | None = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start Python in the folder, as somebody who may use all of it."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def python(self, *arguments: str, status: int | None = 0) -> Ended:
        """Run Python in the folder; insist on a status, unless it is None."""
        with self.start(*arguments) as process:
            try:
                said, _ = process.communicate(timeout=TIMEOUT)
            except BaseException:
                process.kill()
                raise
        said = OF_GZIP.sub("", said)
        assert status in (None, process.returncode), f"{' '.join(arguments)} -> {process.returncode}\n{said}"
        return Ended(process.returncode, said)

    def run(
        self, flow: str, *arguments: str, on: str = "", before: Sequence[str] = (), status: int | None = 0
    ) -> Ended:
        """`run` a flow, with all its steps on a backend if one is named; `before` are options of Metaflow itself."""
        where = ["--with", on] if on else []
        return self.python(f"{flow}.py", *before, "run", *where, *arguments, status=status)

    def argo_template(self, flow: str, *arguments: str) -> dict[str, Any]:
        """The WorkflowTemplate that a deployment makes."""
        said = self.python(f"{flow}.py", *arguments, "argo-workflows", "create", "--only-json").text
        template: dict[str, Any] = json.loads(said[said.index("{") :])
        return template

    def argo(self, template: dict[str, Any], name: str, **parameters: Any) -> Workflow:
        """Run a WorkflowTemplate to its end. Its run is `argo-<name>`."""
        workflow = Workflow(template, self.pods, name, parameters)
        workflow.run()
        return workflow

    def step_functions(self, flow: str, *arguments: str, **parameters: Any) -> str:
        """Deploy a flow to Step Functions, trigger it, and wait until it has succeeded. The value is its run id."""
        self.python(f"{flow}.py", *arguments, "step-functions", "create")
        given = [f"--{name.replace('_', '-')}={value}" for name, value in parameters.items()]
        said = self.python(f"{flow}.py", *arguments, "step-functions", "trigger", *given).text
        run_id = said.rpartition("(run-id ")[2].partition(")")[0]
        assert run_id.startswith("sfn-"), said
        self.await_execution(run_id)
        return run_id

    def airflow(self, flow: str, *arguments: str, **parameters: Any) -> str:
        """Compile a flow for Airflow, and run the DAG to its end in Airflow's own venv. The value is its run id."""
        python = airflow_python()
        self.python(f"{flow}.py", *arguments, "airflow", "create", f"{flow}_dag.py")
        home = self.folder / "airflow"
        variables = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        variables |= {"PATH": os.defpath, "HOME": str(self.folder)}
        pod = [sys.executable, "-m", "tests.pods", self.pods.kind, str(self.pods.home.parent)]
        script = [str(Path(__file__).with_name("airflow_run.py")), str(self.folder / f"{flow}_dag.py")]
        said = ""
        for command in (["-m", "airflow", "db", "migrate"], [*script, json.dumps(parameters), *pod]):
            done = subprocess.run(
                [str(python), *command], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
            )
            said = done.stdout + done.stderr
            assert done.returncode == 0, said[-6000:]
        return Ended(0, said).run_id

    def await_execution(self, run_id: str) -> None:
        """Wait until a run of Step Functions has succeeded."""
        import boto3

        keys = {key.lower(): self.variables[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        client = boto3.client("stepfunctions", "us-east-1", endpoint_url=self.aws.endpoint, **keys)
        machines = client.list_state_machines()["stateMachines"]
        executions = [
            each
            for machine in machines
            for each in client.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]
        ]
        (arn,) = [each["executionArn"] for each in executions if each["name"] == run_id.removeprefix("sfn-")]
        end = time.monotonic() + TIMEOUT
        while (now := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < end, now
            time.sleep(0.3)
        assert now["status"] == "SUCCEEDED", (now, [pod.said[-1500:] for pod in self.pods.all() if pod.status])
        client.close()

    def tasks(self, pathspec: str) -> list[dict[str, Any]]:
        """Every task of a run, as Metaflow's client knows it."""
        scheduled = "/argo-" in pathspec or "/sfn-" in pathspec or "/airflow-" in pathspec
        said = self.python("-c", (_SYNC if scheduled else "") + TASKS, pathspec).text
        tasks: list[dict[str, Any]] = json.loads(said.splitlines()[-1])
        return tasks

    def pods_of(self, step: str, flow: str = "") -> list[Pod]:
        """The pods that ran a step, of one flow or of any, the oldest first."""
        found = []
        for pod in self.pods.all():
            spec = json.loads((self.pods.home / pod.name / "spec.json").read_text())
            if f" step {step} " in spec["command"][-1] and f"MF_PATHSPEC={flow}" in spec["command"][-1]:
                found.append(pod)
        return found


def _run_workflow(pods: Pods, workflow: dict[str, Any], template: dict[str, Any]) -> None:
    """Run to its end what `argo-workflows trigger` has submitted."""
    given = {each["name"]: json.loads(each["value"]) for each in workflow["spec"]["arguments"]["parameters"]}
    Workflow(template, pods, workflow["metadata"]["name"], given).run()


@contextmanager
def backends(pods: Pods, folder: Path, series: str) -> Iterator[Backends]:
    """All of them, with pods of one kind whose image has a series of Python."""
    with ExitStack() as stack:
        stack.callback(pods.close)
        region = stack.enter_context(aws(pods, folder))
        kubernetes = KubernetesApi(pods, partial(_run_workflow, pods))
        stack.callback(kubernetes.close)
        variables = {
            **region.variables,
            "KUBECONFIG": str(kubernetes.write_kubeconfig(folder)),
            "METAFLOW_DEFAULT_METADATA": "local",
            "METAFLOW_USER": "tester",
            "METAFLOW_KUBERNETES_NAMESPACE": "default",
        }
        yield Backends(folder, pods, region, kubernetes, variables).with_image(series)
