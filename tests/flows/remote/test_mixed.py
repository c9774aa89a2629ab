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
WAYS = {
    "outside": "export METAFLOW_EXTRACTED_ROOT=/nowhere",
    "bare": "true",
    "worker": "cp -r .mf_code /tmp/own && rm /tmp/own/metaflow_extensions/__init__.py && "
    "export PYTHONPATH=/tmp/own && unset METAFLOW_EXTRACTED_ROOT",
}
"""What comes before a task that Metaflow's commands alone start: no code package that it could enter by; nothing;
and in a folder that a worker with Metaflow and envlock's extension has unpacked without telling where."""

pytestmark = [pytest.mark.flows, pytest.mark.index]


@dataclass(frozen=True)
class Mixed:
    """A run, its tasks by step, and what it left."""

    tasks: dict[str, list[dict[str, Any]]]
    made: set[str]
    """The environments in the home of the launcher."""
    records: dict[str, list[str]]
    """What the cache knows of each step."""
    again: dict[str, tuple[int, str]]
    """What the task of `work` ended with, and what it said, when Metaflow's commands alone started it once more."""
    work: Pod
    """The pod of `work`, in an image without boto3 and requests, while the index was away."""
    image: str
    """Its image."""
    asked: list[str]
    """What it asked of the index."""
    log: str
    """Its stdout, as the datastore has it."""
    disabled: tuple[Pod, list[str]]
    """A pod that prepared a disabled step so, and what it asked of the index."""

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
        with index_that_is_away() as (variables, asked):
            image = {"IMAGE_OF_WORK": image_of(folder_series()[-1] + BARE), "VARIABLES_OF_WORK": json.dumps(variables)}
            ended = backends.at(locked_for_nodes, **image).python("mixed.py", "--environment=envlock", "run")
        tasks = tasks_of(backends, ended.run_id)
        project = load_project(locked_for_nodes / "envlock.toml")
        records = RunRecords(open_store(project.cache_url, project.cache_options))
        known = {
            step: [each.req_id, each.full_id, each.arch]
            for step in tasks
            for each in records.read("MixedFlow", ended.run_id, step)
        }
        work = backends.pods_of("work", "MixedFlow")[0]
        again = start_again(backends, work)
        with without_libraries(backends, "end") as disabled:
            for pod in (again, disabled[0]):  # side by side
                wait_for(pod)
        log = log_of(backends, f"MixedFlow/{ended.run_id}/work", "0.task_stdout.log")
        made = {path.name for path in (home / "envlock" / "environments").glob("metaflow_*")}
        return Mixed(tasks, made, known, ended_of(again), work, spec_of(backends, work)["image"], asked, log, disabled)


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
def index_that_is_away() -> Iterator[tuple[dict[str, str], list[str]]]:
    """The variables that have pip ask an index that is away, and what that was asked."""
    asked: list[str] = []
    server = LoopbackServer(type("RefusingOne", (Refusing,), {"asked": asked}))
    own = {"PIP_INDEX_URL": f"http://127.0.0.1:{server.port}/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    try:
        yield own, asked
    finally:
        server.close()


def spec_of(backends: Backends, pod: Pod) -> Any:
    """What a pod was started with."""
    return json.loads((backends.pods.home / pod.name / "spec.json").read_text())


def sent(backends: Backends, pod: Pod) -> tuple[str, str, dict[str, str]]:
    """The series of a pod's image, its command, and its variables but for those of the image."""
    spec = spec_of(backends, pod)
    variables = {name: value for name, value in spec["variables"].items() if name != "PATH"}
    return series_of(spec["image"]).partition(BARE)[0], spec["command"][-1], variables


@contextmanager
def without_libraries(backends: Backends, step: str) -> Iterator[tuple[Pod, list[str]]]:
    """Prepare a task once more in an image without boto3 and requests, while the index is away. What that was asked."""
    series, command, variables = sent(backends, backends.pods_of(step, "MixedFlow")[0])
    before, task, _ = command.replace("MF_ATTEMPT=0", "MF_ATTEMPT=2").partition(" && $ENVLOCK_PYTHON ")
    assert task
    with index_that_is_away() as (own, asked):
        image = image_of(series + BARE)
        yield (
            backends.pods.start(f"no-libraries-{step}", image, ["bash", "-c", before + ")"], {**variables, **own}),
            asked,
        )


def start_again(backends: Backends, pod: Pod) -> Pod:
    """Start the task of `work` in another pod by Metaflow's commands alone, in one way after the other."""
    series, command, variables = sent(backends, pod)
    before, _, rest = command.replace("MF_ATTEMPT=0", "MF_ATTEMPT=1").partition(ENTERING)  # logs of its own
    task, end, _ = rest.partition(") 1>> >(")
    assert task.startswith("$ENVLOCK_PYTHON ")
    assert end
    ways = (
        f"({way} && {task.replace('$ENVLOCK_PYTHON', 'python').replace('--retry-count 0', f'--retry-count {attempt}')})"
        f" 2>&1; echo OVER {name} $?"
        for attempt, (name, way) in enumerate(WAYS.items(), 1)
    )
    command = before + "; ".join(ways) + ")"
    return backends.pods.start("again", image_of(series), ["bash", "-c", command], variables)


def ended_of(again: Pod) -> dict[str, tuple[int, str]]:
    """Of each way, the status and the output."""
    assert again.status == 0, again.said
    said, ended = again.said, {}
    for name in WAYS:
        before, over, rest = said.partition(f"OVER {name} ")
        assert over, again.said
        status, _, said = rest.partition("\n")
        ended[name] = (int(status), before)
    return ended


def test_each_task_is_in_its_environment_here_and_on_nodes(mixed: Mixed) -> None:
    for step, is_remote in (("start", False), ("work", True)):
        (task,) = mixed.tasks[step]
        seen = task["seen"]
        assert (seen["pod"], seen["python"]) == (is_remote, folder_series()[-1])
        assert Path(seen["prefix"]).name == "metaflow_{}_{}".format(*seen["identity"])
        assert seen["first_on_path"] == f"{seen['prefix']}/bin"
        assert task["recorded"] == seen["identity"]
        assert not seen["entered_by_itself"]


def test_a_disabled_step_has_the_interpreter_of_its_image(mixed: Mixed) -> None:
    assert mixed.seen("end")["pod"]
    assert mixed.seen("end")["prefix"] != sys.prefix
    assert (mixed.seen("end")["identity"], mixed.tasks["end"][0]["recorded"]) == (None, None)


def test_only_what_runs_here_is_made_here(mixed: Mixed) -> None:
    assert mixed.made == {"metaflow_{}_{}".format(*mixed.tasks["start"][0]["recorded"])}


def test_the_cache_knows_what_the_steps_ran_in(mixed: Mixed) -> None:
    recorded = {step: tasks[0]["recorded"] for step, tasks in mixed.tasks.items() if tasks[0]["recorded"]}
    assert mixed.records == recorded
    assert set(recorded) == {"start", "work"}


@pytest.mark.parametrize("started_by", ["bare", "worker"])
def test_a_container_without_our_commands_enters_by_itself(mixed: Mixed, started_by: str) -> None:
    status, said = mixed.again[started_by]
    assert status == 0, said
    (line,) = [line for line in said.splitlines() if "SEEN" in line]
    seen = json.loads(line.partition("SEEN ")[2])
    assert seen["entered_by_itself"]
    assert Path(seen["prefix"]).name == "metaflow_{}_{}".format(*seen["identity"])
    assert seen["identity"] == mixed.seen("work")["identity"]


def test_a_container_that_cannot_enter_by_itself_fails_before_the_task_begins(mixed: Mixed) -> None:
    status, said = mixed.again["outside"]
    assert status == 1
    assert "has envlock's extension of Metaflow, but not envlock itself" in said


def test_a_task_asks_no_package_index(mixed: Mixed) -> None:
    assert mixed.work.status == 0, mixed.work.said
    assert mixed.image.endswith(BARE)
    assert mixed.asked == []


def test_its_logs_arrive_all_the_same(mixed: Mixed) -> None:
    for said in ("Setting up task environment.", "Code package downloaded.", "SEEN"):
        assert said in mixed.log
    assert "Traceback" not in mixed.work.said


def test_a_disabled_step_still_gets_metaflows_libraries_from_the_index(mixed: Mixed) -> None:
    pod, asked = mixed.disabled
    assert any("boto3" in path for path in asked), pod.said
