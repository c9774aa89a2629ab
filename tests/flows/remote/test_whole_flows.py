"""A flow with every kind of step, on every backend: each task in a pod that has neither Metaflow nor envlock."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envlock.model.arch import host_arch
from tests.channel import Channel
from tests.flows.remote.conftest import BUCKET, FILES
from tests.index import Index
from tests.index.catalogue import CATALOGUE
from tests.pods import Pod, can_mount
from tests.pods.backends import Backends
from tests.pods.docker import image_series
from tests.pods.folders import folder_series
from tests.pods.pod import CREDENTIALS
from tests.remote.kits import builds_of_this_machine, installed, python_mirror
from tests.support import isolation, run_envlock, share_bytecode

pytestmark = [pytest.mark.flows, pytest.mark.index]

Task = dict[str, Any]
ON = "--environment=envlock"
SCHEDULERS = ("argo", "step-functions")
BACKENDS = ("kubernetes", "batch", *SCHEDULERS)
PARAMETERS = {"release-tag": "v2", "hold": "b"}
STEPS = ("start", "work", "gather", "mixed", "late", "broken", "end")


@dataclass(frozen=True)
class Whole:
    """The flow, locked and pushed, and where it can run."""

    backends: Backends
    series: str
    """Of the image's Python."""
    other: str
    """Version of Python of the step that has the kit's, if this machine has more than one to make a kit from."""

    def envlock(self, *arguments: str) -> str:
        """Run the real command as the launcher of the flow would."""
        return run_envlock(*arguments, cwd=self.backends.folder, env=self.backends.variables).stdout

    def ids(self, *names: str) -> list[str]:
        """The identity of each of these environments, as `envlock show` knows it."""
        shown = json.loads(self.envlock("show", *names, "--arch", host_arch(), "--json"))
        return [each["identity"] for each in shown["environments"]]

    def ran_in(self, pathspec: str) -> str:
        """The identity of the environment that a task used, as `envlock show` finds it out."""
        (shown,) = json.loads(self.envlock("show", "--pathspec", pathspec, "--json"))["environments"]
        return str(shown["identity"])


@dataclass(frozen=True)
class Run:
    """A run of the flow that is over: a pod of it was killed, and its last step but one caught a crash."""

    whole: Whole
    backend: str
    run_id: str
    tasks: dict[str, list[Task]]
    shown: dict[str, str]
    """What `envlock show --pathspec` said of each step, before anything of the run was known on this machine."""
    pods: dict[str, list[Pod]]
    made: set[str]
    """The environments in the home of the launcher."""
    text: str


@contextmanager
def pushed(
    backends: Backends, folder: Path, series: str, channel: Channel, home: Path, uv_cache: Path, only: Sequence[str]
) -> Iterator[Whole]:
    """The flows in a folder, or some of what they need, locked and pushed with kits of this machine's Pythons."""
    real = builds_of_this_machine()
    versions = [each for each in real if each.count(".") == 2]
    other = next((each for each in versions if not each.startswith(f"{series}.")), series)
    shutil.copytree(FILES, folder)
    first = f'\n[flow.WholeFlow.step.{{}}]\npypi = {{{{ python = "{series}", packages = {{{{ alpha = "1.0" }}}} }}}}\n'
    conda = f'python = "{channel.series[0]}", channels = ["conda-forge"]'
    with (
        Index(*CATALOGUE, installed("uv"), installed("py-rattler")) as index,
        python_mirror(folder.parent / "mirror", *dict.fromkeys((series, *real)), real=real) as mirror,
        isolation(home, uv_cache),
    ):
        os.environ["ENVLOCK_CHANNEL_MIRRORS"] = channel.mirrors
        settings = f"""\
[envlock]
archs = ["{host_arch()}"]
datastore = "s3"
cache = "s3://{BUCKET}/{folder.parent.name}"
cache-options = {{ endpoint = "{backends.aws.endpoint}" }}
extra-indices = ["{index.url}"]
python-mirror = "{mirror.url}"
"""
        built = '{ name = "team/built/id_@{METAFLOW_RUN_ID}_@{METAFLOW_INIT_MY_VAR}", fetch_at_exec = true }'
        (folder / "envlock.toml").write_text(
            f"""\
{settings}
[env.named]
pypi = {{ python = "{series}", packages = {{ alpha = "1.0", lam = "" }} }}

[flow.WholeFlow]
file = "whole.py"
{"".join(first.format(step) for step in ("start", "broken", "end"))}
[flow.WholeFlow.step.work]
environment-yml = "variables.yml"
pypi = {{ python = "{other}", packages = {{ alpha = "1.1" }} }}

[flow.WholeFlow.step.gather]
disabled = true

[flow.WholeFlow.step.mixed]
environment-yml = "variables.yml"
conda = {{ {conda}, libraries = {{ activates = "" }} }}
pypi = {{ packages = {{ alpha = "1.1", boto3 = "" }} }}

[flow.WholeFlow.step.late]
named_env = {{ name = "team/late:@{{METAFLOW_INIT_RELEASE_TAG}}", fetch_at_exec = true }}

[flow.ShortFlow]
file = "short.py"

[flow.ShortFlow.step.start]
pypi = {{ python = "{other}", packages = {{ alpha = "1.1" }} }}

[flow.ShortFlow.step.late]
named_env = {{ name = "team/@{{METAFLOW_STEP_NAME}}:@{{METAFLOW_INIT_RELEASE_TAG}}", fetch_at_exec = true }}

[flow.ShortFlow.step.end]
named_env = {{ pathspec = "ShortFlow/@{{METAFLOW_RUN_ID}}/start", fetch_at_exec = true }}

[flow.BuildFlow]
file = "build.py"

[flow.BuildFlow.step]
start = {{ disabled = true }}
first = {{ named_env = {built} }}
move = {{ disabled = true }}
end = {{ named_env = {built} }}
"""
        )
        variables = {"ENVLOCK_CHANNEL_MIRRORS": channel.mirrors, "SETTINGS": settings, "SERIES": series}
        whole = Whole(backends.at(folder, **variables), series, other)
        whole.envlock("lock", *only)
        whole.envlock("push", *only)
        for alias in ("team/late:v2", "team/end:v2"):
            whole.envlock("alias", alias, "--env", "named")
        yield whole


@pytest.fixture(scope="module")
def pushed_of(
    backends_of: Callable[[str], Backends],
    channel: Channel,
    shared_uv_cache: Path,
    shared_bytecode: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Whole]]:
    """The flows for pods of a kind, or some of what they need, pushed once for each."""
    channel.need("requests")
    made: dict[tuple[str, ...], Whole] = {}
    stack = ExitStack()

    def of(kind: str, *only: str) -> Whole:
        if (kind, *only) not in made:
            backends = backends_of(kind)
            series = (folder_series if kind == "folder" else image_series)()[-1]
            home = tmp_path_factory.mktemp("whole-home")
            share_bytecode(home / "envlock", shared_bytecode)
            folder = tmp_path_factory.mktemp(f"whole-{kind}") / "project"
            context = pushed(backends, folder, series, channel, home, shared_uv_cache, only)
            made[(kind, *only)] = stack.enter_context(context)
        return made[(kind, *only)]

    with stack:
        yield of


def kill_what_waits(backends: Backends, over: threading.Event, before: set[str]) -> None:
    """Kill the first pod of `work` that waits for it, as kill -9 does."""
    while not over.wait(0.2):
        for pod in backends.pods_of("work"):
            if pod.name not in before and "waiting to be killed" in pod.said:
                pod.kill()
                return


@pytest.fixture
def whole(pushed_of: Callable[..., Whole], kind: str, isolated: Path) -> Whole:
    """The flows with pods of one kind."""
    return pushed_of(kind)


def run_on(backend: str, whole: Whole) -> Run:
    """Run the flow, and kill a pod of it; `end` fails where Metaflow itself runs the flow, to be resumed."""
    backends = whole.backends
    before = {pod.name for pod in backends.pods.all()}
    over = threading.Event()
    killer = threading.Thread(target=kill_what_waits, args=(backends, over, before))
    killer.start()
    text = ""
    try:
        if backend == "argo":
            backends.argo(backends.argo_template("whole", ON), "whole", **PARAMETERS)
            run_id = "argo-whole"
        elif backend == "step-functions":
            run_id = backends.step_functions("whole", ON, **PARAMETERS)
        else:
            options = [f"--{name}={value}" for name, value in PARAMETERS.items()]
            ended = backends.run("whole", *options, "--fail-at-end", on=backend, before=[ON], status=1)
            run_id, text = ended.run_id, ended.text
    finally:
        over.set()
        killer.join()
    # Asked before anything of a scheduled run is known on this machine.
    shown = {step: whole.ran_in(f"WholeFlow/{run_id}/{step}") for step in ("start", "work", "mixed", "late", "broken")}
    tasks: dict[str, list[Task]] = {}
    for task in backends.tasks(f"WholeFlow/{run_id}"):
        tasks.setdefault(task["step"], []).append(task)
    pods = {step: [pod for pod in backends.pods_of(step) if pod.name not in before] for step in STEPS}
    made = {path.name for path in Path(os.environ["ENVLOCK_HOME"], "environments").glob("metaflow_*")}
    return Run(whole, backend, run_id, tasks, shown, pods, made, text)


@pytest.mark.slow  # `make test` has a run on Kubernetes in test_mixed.py, and each kind of environment in tests/node
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_task_starts_in_the_environment_of_its_step(whole: Whole, backend: str) -> None:
    """One test for each backend, as they share nothing that is made fast."""
    run = run_on(backend, whole)
    locked_tasks_are_inside(run)
    a_disabled_step_is_on_the_images_own_python(run)
    ids_are_read_back_by_the_client_and_by_show(run)
    a_killed_pod_is_tried_again(run)
    a_caught_crash_ends_in_the_environment_too(run)
    pods_of_a_node_share_what_one_of_them_made(run)
    no_secret_is_printed(run)
    if backend == "kubernetes":
        a_failed_run_is_resumed_in_pods(run)


@pytest.mark.slow
def test_a_step_makes_environments_that_the_next_ones_look_up_by_run_and_parameter(whole: Whole) -> None:
    ended = whole.backends.run("build", "--my-var", "7", before=[ON])
    run = f"BuildFlow/{ended.run_id}"
    tasks = {task["step"]: task for task in whole.backends.tasks(run)}
    assert tasks["start"]["recorded"] is None
    assert {step: tasks[step]["seen"] for step in ("first", "end")} == {
        "first": {"alpha": "1.0", "in_pod": True},
        "end": {"alpha": "1.1", "in_pod": True},
    }
    (built,) = whole.ids(f"team/built/id_{ended.run_id}_7")
    assert ":".join(tasks["end"]["recorded"][:2]) == built == whole.ran_in(f"{run}/end")
    assert ":".join(tasks["first"]["recorded"][:2]) == whole.ran_in(f"{run}/first")


@pytest.mark.usefixtures("isolated")
@pytest.mark.slow  # test_mixed has real nodes each time, and test_deployments what is deployed
@pytest.mark.parametrize("backend", ["argo", "step-functions", "airflow"])
def test_a_scheduled_run_starts_in_its_environments_and_is_found_again(
    pushed_of: Callable[..., Whole], kind: str, backend: str
) -> None:
    """With the named environment: what other flows need is not locked."""
    whole = pushed_of(kind, "--flow", "ShortFlow", "--env", "named")
    backends, tag = whole.backends, {"release-tag": "v2"}
    if backend == "argo" and backends.pods.kind == "folder" and not can_mount():
        pytest.skip("Argo's paths are fixed, and nobody but root can mount here")
    if backend == "airflow" and backends.pods.kind == "folder":
        pytest.skip("what a task tells Airflow is in /airflow, which only a container has")
    if backend == "argo":
        backends.argo(backends.argo_template("short", ON), "short", **tag)
        run_id = "argo-short"
    elif backend == "airflow":
        run_id = backends.airflow("short", ON, **tag)
    else:
        run_id = backends.step_functions("short", ON, **tag)
    locked, named = whole.ids("ShortFlow/start", "named")
    steps = {"start": locked, "late": named, "end": locked}
    for step, identity in steps.items():  # before this machine knows anything of the run
        assert whole.ran_in(f"ShortFlow/{run_id}/{step}") == identity
    tasks = {task["step"]: task for task in backends.tasks(f"ShortFlow/{run_id}")}
    assert tasks.keys() == steps.keys()
    for step, identity in steps.items():
        assert ":".join(tasks[step]["recorded"][:2]) == identity
        assert tasks[step]["seen"]["in_pod"]
        assert tasks[step]["seen"]["prefix"].endswith("metaflow_" + identity.replace(":", "_"))


def locked_tasks_are_inside(run: Run) -> None:
    packages = {"start": {"alpha": "1.0"}, "work": {"alpha": "1.1"}, "mixed": {"alpha": "1.1"}}
    packages |= {"late": {"alpha": "1.0", "lam": "1.0"}}
    for step, here in packages.items():
        for task in run.tasks[step]:
            seen = task["seen"]
            assert seen["in_pod"]
            assert seen["packages"] == here, step
            assert seen["first_on_path"] == f"{seen['prefix']}/bin"
            assert seen["identity"] == task["recorded"]
            assert seen["said"] == {"work": "a 'b' $HOME \"c\"", "mixed": "the step's"}.get(step)
    assert run.tasks["mixed"][0]["seen"]["activated"] == f"{run.tasks['mixed'][0]['seen']['prefix']}/share/activates"
    # The image's Python serves where it fits, and the kit's where not.
    python = {step: run.tasks[step][0]["seen"]["python"] for step in ("start", "work")}
    assert python == {
        "start": run.whole.series,
        "work": run.whole.other.rpartition(".")[0] if run.whole.other.count(".") == 2 else run.whole.other,
    }


def a_disabled_step_is_on_the_images_own_python(run: Run) -> None:
    (gather,) = run.tasks["gather"]
    assert gather["recorded"] is None
    assert gather["seen"]["in_pod"]
    assert gather["seen"]["packages"] == {}
    assert gather["seen"]["python"] == run.whole.series
    assert "metaflow_" not in gather["seen"]["prefix"]


def ids_are_read_back_by_the_client_and_by_show(run: Run) -> None:
    start, work, mixed, named = run.whole.ids("WholeFlow/start", "WholeFlow/work", "WholeFlow/mixed", "named")
    assert run.shown == {"start": start, "work": work, "mixed": mixed, "late": named, "broken": start}
    for step, identity in run.shown.items():
        for task in run.tasks[step]:
            assert ":".join(task["recorded"][:2]) == identity


def a_killed_pod_is_tried_again(run: Run) -> None:
    assert sorted(task["attempt"] for task in run.tasks["work"]) == [0, 1]
    assert sorted(pod.status or 0 for pod in run.pods["work"]) == [0, 0, 137]


def a_caught_crash_ends_in_the_environment_too(run: Run) -> None:
    (broken,) = run.tasks["broken"]
    assert broken["attempt"] == 1
    if run.backend in SCHEDULERS:
        assert len(run.pods["broken"]) == 2
        return
    # Metaflow itself runs the last attempt where it was launched: in an environment that was made for it alone.
    assert len(run.pods["broken"]) == 1
    assert "Task fallback is starting" in run.text
    assert run.made == {"metaflow_{}_{}".format(*broken["recorded"])}


def pods_of_a_node_share_what_one_of_them_made(run: Run) -> None:
    if can_mount() or run.whole.backends.pods.kind == "container":
        prefix = Path(run.tasks["late"][0]["seen"]["prefix"])
        assert prefix.parent == Path("/var/tmp/envlock/environments")
        assert (run.whole.backends.pods.node / prefix.relative_to("/var/tmp") / ".envlock.json").is_file()


def no_secret_is_printed(run: Run) -> None:
    secret = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
    assert secret not in run.text
    assert not [pod.name for pods in run.pods.values() for pod in pods if secret in pod.said]


def a_failed_run_is_resumed_in_pods(run: Run) -> None:
    assert "may not end yet" in run.text
    backends = run.whole.backends
    before = len(backends.pods.all())
    ended = backends.python("whole.py", ON, "resume", "--origin-run-id", run.run_id, "--with", "kubernetes")
    assert len(backends.pods.all()) == before + 1
    tasks = {task["step"]: task for task in backends.tasks(f"WholeFlow/{ended.run_id}")}
    assert tasks["end"]["seen"]["in_pod"]
    assert tasks["end"]["recorded"] == run.tasks["start"][0]["recorded"]
    assert tasks["late"]["origin"] == run.tasks["late"][0]["pathspec"]
    assert run.whole.ran_in(f"WholeFlow/{ended.run_id}/late") == run.shown["late"]
