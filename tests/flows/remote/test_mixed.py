"""A run with steps here and on nodes: each task is where it belongs, whatever started it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from envlock.cache.open import open_store
from envlock.config.read import load_project
from envlock.named.run_record import RunRecords
from tests.flows.remote.conftest import BUCKET
from tests.pods import Pod, image_of
from tests.pods.backends import Backends
from tests.pods.folders import folder_series
from tests.pods.pod import BARE, CREDENTIALS, series_of, wait_for
from tests.servers.loopback import LoopbackServer
from tests.support import isolation, run_envlock

ENTERING = "python -m metaflow_extensions.envlock.plugins.node 'MixedFlow' 'work' && . ./.envlock/enter.sh && "
WITH_OWN_METAFLOW = (
    "cp -r .mf_code /tmp/own && rm /tmp/own/metaflow_extensions/__init__.py && "
    "export PYTHONPATH=/tmp/own && unset METAFLOW_EXTRACTED_ROOT && "
)

pytestmark = [pytest.mark.flows, pytest.mark.index]


@dataclass(frozen=True)
class Mixed:
    """A run, its tasks by step, and what it left."""

    tasks: dict[str, list[dict[str, Any]]]
    made: set[str]
    """The environments in the home of the launcher."""
    records: dict[str, list[str]]
    """What the cache knows of each step."""
    bare: Pod
    """A pod that started the task of `work` once more, by Metaflow's commands alone."""
    outside: Pod
    """The same, without a code package that it could enter by."""
    worker: Pod
    """The same, in a folder that a worker with Metaflow and envlock's extension has unpacked without telling where."""
    poor: Pod
    """A pod that started `work` as it was sent, in an image without boto3 and requests, while the index was away."""
    asked: list[str]
    """What it asked of the index."""
    log: str
    """Its stdout, as the datastore has it."""
    disabled: tuple[Pod, list[str]]
    """A pod that started a disabled step so, and what it asked of the index."""

    def seen(self, step: str) -> Any:
        return self.tasks[step][0]["seen"]


@pytest.fixture(scope="module")
def mixed(
    backends_of: Callable[[str], Backends],
    locked_for_nodes: Path,
    shared_uv_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mixed:
    home = tmp_path_factory.mktemp("home")
    with isolation(home, shared_uv_cache), pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        run_envlock("push", "--flow", "MixedFlow", cwd=locked_for_nodes)
        backends = backends_of("folder").at(locked_for_nodes)
        ended = backends.python("mixed.py", "--environment=envlock", "run")
        tasks = tasks_of(backends, ended.run_id)
        project = load_project(locked_for_nodes / "envlock.toml")
        records = RunRecords(open_store(project.cache_url, project.cache_options))
        known = {
            step: [each.req_id, each.full_id, each.arch]
            for step in tasks
            for each in records.read("MixedFlow", ended.run_id, step)
        }
        bare = again(backends, "bare")
        outside = again(backends, "outside", "export METAFLOW_EXTRACTED_ROOT=/nowhere && ")
        worker = again(backends, "worker", WITH_OWN_METAFLOW)
        with without_libraries(backends, "work") as poor, without_libraries(backends, "unlocked") as disabled:
            for pod in (bare, outside, worker, poor[0], disabled[0]):  # side by side
                wait_for(pod)
        log = log_of(backends, f"MixedFlow/{ended.run_id}/work", "2.task_stdout.log")
        made = {path.name for path in (home / "envlock" / "environments").glob("metaflow_*")}
        return Mixed(tasks, made, known, bare, outside, worker, *poor, log, disabled)


def log_of(backends: Backends, step: str, name: str) -> str:
    """A log of a step's only task in Metaflow's datastore."""
    import boto3

    keys = {name.lower(): value for name, value in CREDENTIALS.items()}
    client = boto3.client("s3", "us-east-1", endpoint_url=backends.aws.endpoint, **keys)
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"metaflow/{step}/")["Contents"]
    (key,) = [each["Key"] for each in listed if each["Key"].endswith("/" + name)]
    found = client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    client.close()
    return str(found)


def tasks_of(backends: Backends, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """The tasks of a run by their step."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for task in backends.tasks(f"MixedFlow/{run_id}"):
        tasks.setdefault(task["step"], []).append(task)
    return tasks


class Refusing(BaseHTTPRequestHandler):
    """A package index that is away, and counts who asks."""

    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def without_libraries(backends: Backends, step: str) -> Iterator[tuple[Pod, list[str]]]:
    """Start a task once more in an image without boto3 and requests, while the index is away. What that was asked."""
    first = backends.pods_of(step, "MixedFlow")[0]
    spec = json.loads((backends.pods.home / first.name / "spec.json").read_text())
    command = spec["command"][-1].replace("--retry-count 0", "--retry-count 2").replace("MF_ATTEMPT=0", "MF_ATTEMPT=2")
    asked: list[str] = []
    server = LoopbackServer(type("RefusingOne", (Refusing,), {"asked": asked}))
    own = {"PIP_INDEX_URL": f"http://127.0.0.1:{server.port}/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    try:
        pod = backends.pods.start(
            f"no-libraries-{step}",
            image_of(series_of(spec["image"]) + BARE),
            [*spec["command"][:-1], command],
            {name: value for name, value in {**spec["variables"], **own}.items() if name != "PATH"},
        )
        yield pod, asked
    finally:
        server.close()


def again(backends: Backends, name: str, before: str = "") -> Pod:
    """Start the task of `work` in another pod, by Metaflow's commands alone."""
    first = backends.pods_of("work", "MixedFlow")[0]
    spec = json.loads((backends.pods.home / first.name / "spec.json").read_text())
    command = spec["command"][-1]
    assert ENTERING in command
    for ours, plain in ((ENTERING, before), ("$ENVLOCK_PYTHON", "python"), ("--retry-count 0", "--retry-count 1")):
        command = command.replace(ours, plain)
    return backends.pods.start(name, spec["image"], [*spec["command"][:-1], command], spec["variables"])


def test_each_task_is_in_its_environment_here_and_on_nodes(mixed: Mixed) -> None:
    for step, is_remote in (("start", False), ("work", True)):
        (task,) = mixed.tasks[step]
        seen = task["seen"]
        assert (seen["pod"], seen["python"]) == (is_remote, folder_series()[-1])
        assert Path(seen["prefix"]).name == "metaflow_{}_{}".format(*seen["identity"])
        assert seen["first_on_path"] == f"{seen['prefix']}/bin"
        assert task["recorded"] == seen["identity"]
        assert not seen["entered_by_itself"]


def test_disabled_steps_have_the_interpreter_of_their_machine(mixed: Mixed) -> None:
    assert mixed.seen("end")["prefix"] == sys.prefix
    assert mixed.seen("unlocked")["pod"]
    assert mixed.seen("unlocked")["prefix"] != sys.prefix
    for step in ("unlocked", "end"):
        assert (mixed.seen(step)["identity"], mixed.tasks[step][0]["recorded"]) == (None, None)


def test_only_what_runs_here_is_made_here(mixed: Mixed) -> None:
    assert mixed.made == {"metaflow_{}_{}".format(*mixed.tasks["start"][0]["recorded"])}


def test_the_cache_knows_what_the_steps_ran_in(mixed: Mixed) -> None:
    recorded = {step: tasks[0]["recorded"] for step, tasks in mixed.tasks.items() if tasks[0]["recorded"]}
    assert mixed.records == recorded
    assert set(recorded) == {"start", "work"}


@pytest.mark.parametrize("started_by", ["bare", "worker"])
def test_a_container_without_our_commands_enters_by_itself(mixed: Mixed, started_by: str) -> None:
    pod: Pod = getattr(mixed, started_by)
    assert pod.status == 0, pod.said
    (line,) = [line for line in pod.said.splitlines() if "SEEN" in line]
    seen = json.loads(line.partition("SEEN ")[2])
    assert seen["entered_by_itself"]
    assert Path(seen["prefix"]).name == "metaflow_{}_{}".format(*seen["identity"])
    assert seen["identity"] == mixed.seen("work")["identity"]


def test_a_container_that_cannot_enter_by_itself_fails_before_the_task_begins(mixed: Mixed) -> None:
    assert mixed.outside.status == 1
    assert "has envlock's extension of Metaflow, but not envlock itself" in mixed.outside.said


def test_a_task_asks_no_package_index(mixed: Mixed) -> None:
    assert mixed.poor.status == 0, mixed.poor.said
    assert mixed.asked == []
    seen = json.loads(next(line for line in mixed.poor.said.splitlines() if "SEEN" in line).partition("SEEN ")[2])
    assert seen["identity"] == mixed.seen("work")["identity"]
    assert not seen["entered_by_itself"]


def test_its_logs_arrive_all_the_same(mixed: Mixed) -> None:
    for said in ("Setting up task environment.", "Code package downloaded.", "SEEN"):
        assert said in mixed.log
    assert "Traceback" not in mixed.poor.said


def test_a_disabled_step_still_gets_metaflows_libraries_from_the_index(mixed: Mixed) -> None:
    pod, asked = mixed.disabled
    assert any("boto3" in path for path in asked), pod.said
