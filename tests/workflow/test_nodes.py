"""Flows with steps on nodes: what must be there before they start, and the manifest that says so to nodes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from envlock.cache.images import ImageRecord, Images
from envlock.cache.layout import environment_place, image_path, kit_path
from envlock.cache.open import open_store
from envlock.cache.plan import Plan, PlanFile, PlanPython, PlanTools, PythonBuild
from envlock.cache.plans import Plans, executable_of, image_of
from envlock.cache.port import Store
from envlock.config.read import load_project
from envlock.errors import EnvlockError, ManyErrors
from envlock.lockfile.document import parse
from envlock.model.arch import LINUX_64, LINUX_AARCH64, host_arch
from envlock.workflow import nodes
from envlock.workflow.launch import Start, launch_of, serve
from tests.cache.test_plans import plan_for
from tests.index import CATALOGUE, Index, Release
from tests.remote.kits import KIT_RELEASES, python_mirror
from tests.servers.clouds import Cloud
from tests.support import ProjectFolder, isolation, run_envlock
from tests.workflow.recording import Recorder

HERE = host_arch()
STEPS = ("start", "train", "score", "late", "end")
BACKENDS = {
    "train": ("kubernetes", "linux-aarch64"),
    "score": ("batch", "linux-64"),
    "late": ("kubernetes", "linux-64"),
    "end": ("batch", "linux-64"),
}
CONFIG = """\
[flow.DemoFlow]
file = "demoflow.py"

[flow.DemoFlow.step.start]
pypi = { packages = { alpha = ">=1" } }

[flow.DemoFlow.step.train]
pypi = { packages = { lam = "" } }

[flow.DemoFlow.step.score]
pypi = { packages = { alpha = ">=1" } }

[flow.DemoFlow.step.late]
named_env = { name = "team/env:@{METAFLOW_INIT_ENV_TAG}", fetch_at_exec = true }

[flow.DemoFlow.step.end]
disabled = true
"""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[ProjectFolder]:
    """A locked project that the tests copy; never changed. Its index has what Metaflow needs, too."""
    releases = (*CATALOGUE, *KIT_RELEASES, Release("requests", "2.32.0"), Release("boto3", "1.34.0"))
    with (
        isolation(tmp_path_factory.mktemp("home"), shared_uv_cache),
        Index(*releases) as index,
        python_mirror(tmp_path_factory.mktemp("mirror"), "{}.{}".format(*sys.version_info[:2])) as mirror,
    ):
        project = ProjectFolder.make(tmp_path_factory.mktemp("nodes") / "project", index.url)
        project.write_flow(steps=STEPS)
        settings = f'metaflow-requirements = true\ndatastore = "s3"\npython-mirror = "{mirror.url}"\ncache = "../cache"'
        project.write(CONFIG, settings=settings, archs=sorted({HERE, LINUX_64, LINUX_AARCH64}))
        run_envlock("lock", cwd=project.folder)
        yield project


@pytest.fixture
def project(
    locked: ProjectFolder, tmp_path: Path, clouds: Callable[[str], Cloud], log_in: Callable[[Cloud], Cloud]
) -> ProjectFolder:
    """A copy of the locked project; its cache is in a bucket, and has a plan of each lock."""
    project = locked.copy(tmp_path / "project")
    cloud = log_in(clouds("moto"))
    cache = f'cache = "{cloud.url(tmp_path.name)}"\ncache-options = {{ endpoint = "{cloud.options.endpoint}" }}'
    project.edit('cache = "../cache"', cache)
    plans = Plans(store_of(project))
    for path in project.locks:
        plans.write(plan_of(path))
    return project


def store_of(project: ProjectFolder) -> Store:
    loaded = load_project(project.config)
    return open_store(loaded.cache_url, loaded.cache_options)


def forget_plans(project: ProjectFolder) -> None:
    store = store_of(project)
    for _, each in list(Plans(store).places()):
        store.delete(each.path)


def plan_of(path: Path, uv: str = "1") -> Plan:
    """A plan of a lock. What it names is nowhere."""
    lock = parse(path.read_bytes(), path.name)
    tools = PlanTools(PlanFile(kit_path(uv * 64, "uv.whl"), 1, uv * 64))
    version = lock.python.version
    build = PythonBuild(PlanFile(kit_path("2" * 64, "cpython.tar.gz"), 1, "2" * 64), version, executable_of(version))
    return replace(plan_for(lock), python=PlanPython(lock.python.series, image_of(lock), build), tools=tools)


def start(project: ProjectFolder, **facts: object) -> Start:
    file = project.folder / "demoflow.py"
    known: dict[str, object] = {"flow": "DemoFlow", "file": file, "steps": STEPS, "datastore": "s3", "remote": BACKENDS}
    return Start(**{**known, "parameters": {"METAFLOW_INIT_ENV_TAG": "env_tag"}, **facts})  # type: ignore[arg-type]


def refused(project: ProjectFolder, **facts: object) -> EnvlockError:
    with pytest.raises(EnvlockError) as caught:
        launch_of(start(project, **facts))
    return caught.value


def codes(error: EnvlockError) -> list[str]:
    return [each.code for each in error.errors] if isinstance(error, ManyErrors) else [error.code]


def manifest(project: ProjectFolder, **facts: object) -> Any:
    return json.loads(launch_of(start(project, **facts)).manifest)


def needs(document: Any) -> dict[str, Any]:
    """What each step of a manifest needs: ids and plan, a name, or None."""
    return {
        step: tuple(document["environments"][needed]) if isinstance(needed, int) else needed
        for step, needed in document["steps"].items()
    }


def test_each_step_has_the_lock_of_the_arch_where_it_runs_and_nodes_the_plans(project: ProjectFolder) -> None:
    launch = launch_of(start(project))
    archs = {step: lock.arch if lock else None for step, lock in launch.steps.items()}
    assert archs == {"start": HERE, "train": LINUX_AARCH64, "score": LINUX_64, "end": None}
    document = json.loads(launch.manifest)
    plans = {tuple(each.environment.path.split("/")[1:3]): each.sha256 for _, each in Plans(store_of(project)).places()}
    found = needs(document)
    for step in ("train", "score"):
        lock = launch.steps[step]
        assert lock is not None
        assert found.pop(step) == (lock.arch, lock.req_id, lock.full_id, plans[lock.arch, lock.req_id])
    assert found == {"late": "team/env:@{METAFLOW_INIT_ENV_TAG}", "end": None}, "start runs here"
    assert document["parameters"] == {"METAFLOW_INIT_ENV_TAG": "env_tag"}


def test_the_manifest_says_how_to_reach_the_cache_and_has_no_secret(
    project: ProjectFolder, clouds: Callable[[str], Cloud]
) -> None:
    text = launch_of(start(project)).manifest
    assert text == launch_of(start(project)).manifest
    document, loaded = json.loads(text), load_project(project.config)
    assert document["cache"] == loaded.cache_url
    assert document["options"] == {"endpoint": loaded.cache_options.endpoint}
    assert "node" not in document
    assert not [secret for secret in clouds("moto").environment.values() if secret in text and len(secret) > 8]
    project.edit("[envlock]", '[envlock]\nkeep-on-node = "1 GB"\nremote-python = "kit"\ncompile-bytecode = true')
    assert manifest(project)["node"] == {"keep": 10**9, "python": "kit", "compile-bytecode": True}


def test_a_cache_in_metaflows_datastore_is_in_the_manifest_as_what_it_was_at_the_start(
    project: ProjectFolder, clouds: Callable[[str], Cloud], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = clouds("moto")
    root = cloud.url(f"{tmp_path.name}/metaflow")
    text = re.sub(r"(?m)^cache = .*\n^cache-options = .*$", 'cache = "metaflow"', project.config.read_text())
    project.config.write_text(text)
    profile = {
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "METAFLOW_DATASTORE_SYSROOT_S3": root,
        "METAFLOW_S3_ENDPOINT_URL": cloud.options.endpoint,
    }
    (tmp_path / "config_team.json").write_text(json.dumps(profile))
    monkeypatch.setenv("METAFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("METAFLOW_PROFILE", "team")
    plans = Plans(store_of(project))
    for path in project.locks:
        plans.write(plan_of(path))
    document = manifest(project)
    assert document["cache"] == f"{root}/envlock"
    assert document["options"] == {"endpoint": cloud.options.endpoint}


def test_a_command_that_deploys_sends_every_step_to_nodes(project: ProjectFolder) -> None:
    sent = needs(manifest(project, command="argo-workflows create", remote={"train": BACKENDS["train"]}))
    assert set(sent) == set(STEPS)
    assert (sent["train"][0], sent["start"][0]) == (LINUX_AARCH64, LINUX_64)


def test_a_step_without_an_image_starts_in_the_last_one_of_its_lock(project: ProjectFolder) -> None:
    locks = [parse(path.read_bytes(), path.name) for path in project.locks]
    (train,) = [each for each in locks if each.arch == LINUX_AARCH64 and "DemoFlow/train" in each.asked_by]
    images = Images(store_of(project))
    for number in (1, 2):
        record = ImageRecord("registry.example/team/train", str(number), f"sha256:{str(number) * 64}", "base")
        assert images.write(environment_place(train), record)
        assert not images.write(environment_place(train), record)
    asked = {"imageless": ("start", "train", "score", "late", "end")}
    assert launch_of(start(project, **asked)).images == {}, "only where the project says so"
    project.edit("[envlock]", '[envlock]\nimage = "auto"')
    reporter = Recorder()
    launch = launch_of(start(project, **asked), reporter)
    assert launch.images == {"train": f"registry.example/team/train@sha256:{'2' * 64}"}
    told = [note for note in reporter.notes if "image" in note]
    assert ["`train` on linux-aarch64" in told[0], "`score` on linux-64" in told[1]] == [True, True]
    assert launch_of(start(project)).images == {}, "each names its own"
    project.edit("[envlock]", '[envlock]\nhosts = ["127.0.0.1"]')
    with pytest.raises(EnvlockError) as caught:
        launch_of(start(project, **asked))
    assert (caught.value.code, "registry.example" in caught.value.details[0]) == ("image-not-allowed", True)
    project.edit('["127.0.0.1"]', '["127.0.0.1", "registry.example"]')
    assert launch_of(start(project, **asked)).images == launch.images


def test_a_record_that_names_no_image_starts_nothing(project: ProjectFolder) -> None:
    project.edit("[envlock]", '[envlock]\nimage = "auto"')
    for path in project.locks:
        lock = parse(path.read_bytes(), path.name)
        record = ImageRecord("registry.example/team/train; rm -rf /", "1", f"sha256:{'1' * 64}", "base")
        store_of(project).put(image_path(environment_place(lock)), record.render())
    with pytest.raises(EnvlockError) as caught:
        launch_of(start(project, imageless=("train",)))
    assert caught.value.code == "image-record-damaged"


def test_disabled_steps_need_no_cache(project: ProjectFolder) -> None:
    project.write("[flow.DemoFlow]\nfile = 'demoflow.py'\ndisabled = true", settings='cache = "../nowhere"')
    document = manifest(project, command="argo-workflows create", datastore="local")
    assert document == {"format": 1, "flow": "DemoFlow", "environments": [], "steps": dict.fromkeys(STEPS)}


def test_a_flow_that_runs_here_alone_has_no_manifest(project: ProjectFolder) -> None:
    project.edit("endpoint = ", 'endpoint = "http://127.0.0.1:9" } #')  # nobody is asked
    assert launch_of(start(project, remote={})).manifest == ""


def test_the_newest_plan_that_can_be_read_counts(project: ProjectFolder) -> None:
    (path,) = [path for path in project.locks if path.parts[-3] == LINUX_AARCH64 and "lam" in path.read_text()]
    store = store_of(project)
    Plans(store).write(plan_of(path, uv="2"))
    listed = Plans(store).of(plan_of(path).environment)
    assert needs(manifest(project))["train"][3] == listed[0].sha256
    store.put(listed[0].path, b"{}\n")
    assert needs(manifest(project))["train"][3] == listed[1].sha256
    store.put(listed[1].path, b"{}\n")
    assert codes(refused(project)) == ["plan-damaged"]


def test_without_a_plan_the_flow_is_not_started(project: ProjectFolder) -> None:
    forget_plans(project)
    error = refused(project)
    assert error.code == "plan-missing"
    assert error.exit_status == 1
    assert "`DemoFlow/train`, `DemoFlow/score`" in error.message
    assert error.render().endswith("hint: envlock push")
    project.edit("[envlock]", "[envlock]\nremote = false")
    assert "remove `remote = false`" in str(refused(project).hint)


def test_what_is_missing_is_pushed_where_the_project_says_so(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_plans(project)
    project.edit("[envlock]", "[envlock]\npush-on-deploy = true")
    reporter = Recorder()
    with monkeypatch.context() as patch:
        for name in ("_QUIET_SECONDS", "_EVERY_SECONDS"):  # as if all of it took long
            patch.setattr(nodes, name, 0.0)
        launch = launch_of(start(project), reporter)
    plans = {place.sha256 for _, place in Plans(store_of(project)).places()}
    assert {each[3] for each in json.loads(launch.manifest)["environments"]} == plans
    assert len(plans) == 2, "start runs here"
    assert [note for note in reporter.notes if note.startswith("pushing 2 environments")]
    assert "looking for plans: 1 of 2 plans" in reporter.notes
    assert [note for note in reporter.notes if " of " in note and note.startswith("pushing: ")]
    again = Recorder()
    assert launch_of(start(project), again).manifest == launch.manifest
    assert not [note for note in again.notes if note.startswith("pushing")]


def test_all_that_is_wrong_is_reported_at_once_and_the_push_comes_last(project: ProjectFolder) -> None:
    project.edit('lam = ""', 'lam = "<1"')
    forget_plans(project)
    error = refused(project, remote={"train": ("kubernetes", "linux-aarch64"), "score": ("batch", "linux-64")})
    assert codes(error) == ["stale-lock", "plan-missing"]
    assert error.render().endswith("hint: envlock push")


def test_who_wants_the_kits_python_needs_a_plan_that_has_one(project: ProjectFolder) -> None:
    forget_plans(project)
    for path in project.locks:
        plan_with_python = plan_of(path)
        python = plan_with_python.python._replace(build=None)
        Plans(store_of(project)).write(replace(plan_with_python, python=python))
    launch_of(start(project))
    project.edit("[envlock]", '[envlock]\nremote-python = "kit"')
    assert codes(refused(project)) == ["plan-missing"]


def test_an_arch_that_is_not_locked(project: ProjectFolder) -> None:
    shutil.rmtree(project.lock_folder / LINUX_AARCH64)
    error = refused(project)
    assert codes(error) == ["arch-not-locked"]
    assert error.hint == f"envlock lock --arch {LINUX_AARCH64}"


def test_a_task_that_has_to_run_here_needs_a_lock_for_here(project: ProjectFolder, isolated: Path) -> None:
    there = dict.fromkeys(("start", "train", "score"), ("kubernetes", LINUX_AARCH64 if HERE == LINUX_64 else LINUX_64))
    facts = start(project, remote=there)
    question = {**vars(facts), "file": str(facts.file)}

    def answers() -> list[Any]:
        output = StringIO()
        serve([json.dumps(each) + "\n" for each in (question, {"here": "train", "as": "train#here"})], output)
        return [json.loads(line) for line in output.getvalue().splitlines()]

    (isolated / "envlock").mkdir()
    (isolated / "envlock" / "environments").write_text("")  # nothing can be made
    ready, failed = answers()
    assert (ready["event"], sorted(ready["remote"])) == ("ready", ["score", "start", "train"])
    assert (failed["identity"], "error[home-unusable]" in failed["text"]) == ("train#here", True)
    shutil.rmtree(project.lock_folder / HERE)
    ready, failed = answers()
    assert ready["event"] == "ready"
    assert f"error[arch-not-locked]: `DemoFlow/train` is not locked for {HERE}" in failed["text"]


def test_the_datastore_has_no_client_on_a_node(project: ProjectFolder) -> None:
    assert "datastore-not-locked" in codes(refused(project, datastore="azure"))


def test_a_cache_and_a_datastore_that_nodes_cannot_reach(project: ProjectFolder) -> None:
    project.config.write_text(
        "".join(line for line in project.config.read_text().splitlines(True) if not line.startswith("cache"))
    )
    error = refused(project, datastore="local")
    assert codes(error) == ["datastore-out-of-reach", "cache-out-of-reach"]
    text = error.render()
    assert "`train`, `late` run on kubernetes" in text
    assert "`end`" not in text
    assert "envlock-cache" in text
    assert "METAFLOW_DEFAULT_DATASTORE" in text


@pytest.mark.parametrize("platform", ["osx-arm64", "linux-arm64", "mars"])
def test_an_arch_that_no_node_has(platform: str) -> None:
    with pytest.raises(EnvlockError) as caught:
        launch_of(Start("DemoFlow", Path("demoflow.py"), STEPS, "s3", {"train": ("kubernetes", platform)}))
    assert caught.value.code == "bad-node-arch"
    assert f"kubernetes starts steps on `{platform}`" in caught.value.message


@pytest.mark.parametrize(("flow", "step"), [("DemoFlow", "it's"), ('De"mo', "start"), ("DemoFlow", "a b")])
def test_a_name_that_no_command_can_have(flow: str, step: str) -> None:
    with pytest.raises(EnvlockError) as caught:
        launch_of(Start(flow, Path("demoflow.py"), (step,), "s3", {step: ("kubernetes", None)}))
    assert caught.value.code == "bad-step-name"
