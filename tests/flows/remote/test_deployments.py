"""What a deployment consists of: the commands of its containers, the code package, and the manifest in it."""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path
from typing import Any

import pytest

from envlock.cache.open import open_store
from envlock.cache.plans import Plans
from envlock.config.read import load_project
from envlock.lockfile.document import parse
from envlock.model.lock import Lock
from metaflow_extensions.envlock.plugins.node import ON_THE_WAY
from tests.flows.remote.conftest import BUCKET
from tests.notebooks import OWN_KERNEL, opened
from tests.pods.backends import Backends
from tests.pods.pod import CREDENTIALS
from tests.servers.processes import ROOT
from tests.support import isolation
from tests.workflow.test_nodes import plan_of

pytestmark = [pytest.mark.flows, pytest.mark.index]

STEPS = ("start", "work", "join", "late", "end")
ON = "--environment=envlock"
LARGEST_BATCH_OVERRIDES = 8192

# Argo by Metaflow's Python interface; the others, and what is refused, by its commands.
DEPLOYER = """
import json
from metaflow import Deployer
deployer = Deployer("spread.py", environment="envlock", show_output=False).argo_workflows()
print(json.dumps(deployer.create(only_json=True).workflow_template))
"""


# The same from a cell: its last lines, after the flow.
NOTEBOOK_DEPLOYER = """
import json
from metaflow import NBDeployer
deployer = NBDeployer(SpreadFlow, environment="envlock", show_output=False)
print(json.dumps(deployer.argo_workflows().create(only_json=True).workflow_template))
deployer.cleanup()
"""


@dataclass(frozen=True)
class Deployment:
    """What a command would have sent to a scheduler, and the command of each step's container."""

    text: str
    commands: dict[str, str]

    @property
    def package(self) -> str:
        """The SHA of its code package."""
        (sha,) = set(re.findall(r"s3://[^\"' \\]*/data/../([0-9a-f]{40})", self.text))
        return sha


@dataclass(frozen=True)
class Deployed:
    """One flow, deployed everywhere."""

    argo: Deployment
    step_functions: Deployment
    airflow: Deployment
    members: dict[str, bytes]
    """The files of the code package, but for the code of Metaflow itself."""
    locks: dict[str, Lock]
    """By the step."""
    plans: set[str]


@pytest.fixture(scope="module")
def backends(
    backends_of: Callable[[str], Backends],
    locked_for_nodes: Path,
    shared_uv_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backends]:
    """The backends of the locked flow; a cache of its own has a plan for each lock, and nothing that it names."""
    folder = copied(locked_for_nodes, tmp_path_factory.mktemp("deployments") / "project", "deployments")
    found = backends_of("folder").at(folder)
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache), pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        for path in folder.glob("envlock.lock/*/*/pylock.*.toml"):
            plans(folder).write(plan_of(path))
        yield found


def copied(project: Path, folder: Path, cache: str) -> Path:
    """A copy of a project, with another cache."""
    shutil.copytree(project, folder)
    config = folder / "envlock.toml"
    text = config.read_text()
    config.write_text(re.sub(rf"{BUCKET}/\w+", f"{BUCKET}/{cache}", text))
    return folder


def plans(folder: Path) -> Plans:
    project = load_project(folder / "envlock.toml")
    return Plans(open_store(project.cache_url, project.cache_options))


@pytest.fixture(scope="module")
def deployed(backends: Backends) -> Deployed:
    # The extension's source is part of the package: if somebody changes it meanwhile, these are deployments of two.
    for _ in range(3):
        source = source_of_extension()
        argo, step_functions, airflow = of_argo(backends), of_step_functions(backends), of_airflow(backends)
        if source_of_extension() == source:
            break
        (backends.folder / "dag.py").unlink()
    locks = {}
    for path in backends.folder.glob("envlock.lock/*/*/pylock.*.toml"):
        lock = parse(path.read_bytes(), path.name)
        own = [name for name in lock.asked_by if name.startswith("SpreadFlow/")]
        locks |= {name.partition("/")[2]: lock for name in own}
    return Deployed(
        argo,
        step_functions,
        airflow,
        members_of(backends, argo.package, outside=".mf_code/metaflow/"),
        locks,
        {place.sha256 for _, place in plans(backends.folder).places()},
    )


def source_of_extension() -> dict[str, bytes]:
    """What Metaflow packages of envlock's extension."""
    return {str(path): path.read_bytes() for path in sorted((ROOT / "src" / "metaflow_extensions").rglob("*.py"))}


def of_argo(backends: Backends) -> Deployment:
    template = json.loads(backends.python("-c", DEPLOYER).text.splitlines()[-1])
    containers = {each["name"]: each["container"] for each in template["spec"]["templates"] if "container" in each}
    commands = {name: container["command"][-1] for name, container in containers.items()}
    return Deployment(json.dumps(template), commands)


def of_step_functions(backends: Backends) -> Deployment:
    said = backends.python("spread.py", ON, "step-functions", "create", "--only-json").text
    machine = said[said.index("{") :]
    return Deployment(machine, {name: each["Command"][-1] for name, each in overrides_in(json.loads(machine))})


def overrides_in(machine: Any) -> Iterator[tuple[str, Any]]:
    """The overrides of each job's container in a state machine."""
    for name, state in machine.get("States", {}).items():
        if "ContainerOverrides" in state.get("Parameters", {}):
            yield name, state["Parameters"]["ContainerOverrides"]
        yield from overrides_in(state.get("Iterator", {}))


def of_airflow(backends: Backends) -> Deployment:
    backends.python("spread.py", ON, "airflow", "create", "dag.py")
    dag = (backends.folder / "dag.py").read_text()
    texts = {each.value for each in ast.walk(ast.parse(dag)) if isinstance(each, ast.Constant)}
    commands = {}
    for text in texts:
        step = re.search(r" step (\w+) --run-id", text) if isinstance(text, str) else None
        if step:
            commands[step[1]] = text
    return Deployment(dag, commands)


def package_of(backends: Backends, sha: str) -> tarfile.TarFile:
    """A code package, out of the bucket."""
    import boto3

    keys = {key.lower(): value for key, value in CREDENTIALS.items()}
    client = boto3.client("s3", "us-east-1", endpoint_url=backends.aws.endpoint, **keys)
    body = client.get_object(Bucket=BUCKET, Key=f"metaflow/SpreadFlow/data/{sha[:2]}/{sha}")["Body"].read()
    client.close()
    return tarfile.open(fileobj=io.BytesIO(body))


def members_of(backends: Backends, sha: str, outside: str = "") -> dict[str, bytes]:
    """The files of a code package, but for those below `outside`."""
    with package_of(backends, sha) as archive:
        wanted = [each for each in archive if each.isfile() and not (outside and each.name.startswith(outside))]
        return {each.name: archive.extractfile(each).read() for each in wanted}


def test_each_container_enters_by_one_text_and_no_variable_of_the_launcher(deployed: Deployed) -> None:
    for deployment in (deployed.argo, deployed.step_functions, deployed.airflow):
        for step in STEPS:
            command = deployment.commands[step]
            enter = (
                f"python -m metaflow_extensions.envlock.plugins.node 'SpreadFlow' '{step}' && . ./.envlock/enter.sh && "
            )
            assert command.count(enter) == 1, step
            before, after = command.split(enter)
            assert "spread.py" not in before
            assert f" step {step} --run-id " in after
            assert set(re.findall(r"(\S+) spread\.py", after)) == {"$ENVLOCK_PYTHON"}
        assert "METAFLOW_ENVLOCK" not in deployment.text
    assert "envlock.plugins.node" not in deployed.argo.commands["error-msg-capture-hook"]


def test_a_notebook_deploys_its_flow_as_a_file_does(deployed: Deployed, backends: Backends) -> None:
    flow = (backends.folder / "spread.py").read_text().partition("if __name__")[0]
    with opened(OWN_KERNEL, backends.folder, backends.variables) as notebook:
        said = notebook.run(flow + NOTEBOOK_DEPLOYER).splitlines()[-1]
    template = json.loads(said)
    containers = {each["name"]: each["container"] for each in template["spec"]["templates"] if "container" in each}
    assert containers.keys() == deployed.argo.commands.keys()
    for step in STEPS:
        command = containers[step]["command"][-1]
        enter = f"python -m metaflow_extensions.envlock.plugins.node 'SpreadFlow' '{step}' && . ./.envlock/enter.sh && "
        assert command.count(enter) == 1, step


def test_a_job_is_smaller_than_batch_allows(deployed: Deployed) -> None:
    sizes = {name: len(json.dumps(each)) for name, each in overrides_in(json.loads(deployed.step_functions.text))}
    assert sizes.keys() == set(STEPS)
    assert max(sizes.values()) < LARGEST_BATCH_OVERRIDES, sizes


def test_however_often_and_wherever_a_flow_is_deployed_it_is_one_package(
    deployed: Deployed, backends: Backends
) -> None:
    packages = dict.fromkeys(each.package for each in (deployed.argo, deployed.step_functions, deployed.airflow))
    first, *others = ({*members_of(backends, package).items()} for package in packages)
    assert [sorted({name for name, _ in first ^ other}) for other in others] == []
    assert len(packages) == 1


def test_the_package_has_the_node_and_the_manifest_and_nothing_of_envlock_itself(deployed: Deployed) -> None:
    shim = ".mf_code/metaflow_extensions/envlock/plugins"
    assert f"{shim}/node/manifest.py" in deployed.members
    assert not [name for name in deployed.members if name.startswith(".mf_code/envlock")]
    text = deployed.members[".mf_meta/envlock.json"]
    assert len(text) <= 1000 + 200 * len(STEPS)
    manifest = json.loads(text)
    assert manifest["parameters"] == {"METAFLOW_INIT_ENV_TAG": "env_tag"}
    needs = {
        step: tuple(manifest["environments"][each]) if isinstance(each, int) else each
        for step, each in manifest["steps"].items()
    }
    assert (needs["join"], needs["late"]) == (None, "team/env:@{METAFLOW_INIT_ENV_TAG}")
    for step in ("start", "work", "end"):
        arch, req_id, full_id, plan = needs[step]
        lock = deployed.locks[step]
        assert (arch, req_id, full_id) == (lock.arch, lock.req_id, lock.full_id)
        assert plan in deployed.plans


def test_the_package_has_bytecode_of_what_each_task_imports_that_python_checks(deployed: Deployed) -> None:
    package = ".mf_code/metaflow_extensions/envlock/plugins/node"
    for name in ON_THE_WAY:
        compiled = deployed.members[f"{package}/{cache_from_source(f'{name}.py')}"]
        source = deployed.members[f"{package}/{name}.py"]
        assert compiled[:4] == MAGIC_NUMBER
        assert int.from_bytes(compiled[4:8], "little") == 3, "by the hash of the source, each time"
        assert compiled[8:16] == source_hash(source), name
        assert str(ROOT).encode() not in compiled


def test_no_secret_is_in_what_is_deployed(deployed: Deployed) -> None:
    for secret in CREDENTIALS.values():
        for deployment in (deployed.argo, deployed.step_functions, deployed.airflow):
            assert secret not in deployment.text
        assert not [name for name, data in deployed.members.items() if secret.encode() in data]


def test_nothing_is_deployed_without_plans(backends: Backends, tmp_path: Path) -> None:
    folder = copied(backends.folder, tmp_path / "project", "nothing")
    ended = backends.at(folder).python("spread.py", ON, "argo-workflows", "create", "--only-json", status=1)
    (line,) = [line for line in ended.text.splitlines() if "error[plan-missing]" in line]
    assert set(re.findall("`SpreadFlow/(.*?)`", line)) == {"start", "work", "end"}
    assert ended.text.rstrip().endswith("hint: envlock push")
    assert "apiVersion" not in ended.text
