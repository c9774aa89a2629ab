"""What a flow's launcher is told: the lock of each step, or why the flow must not start."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest

from envlock.config.errors import NoConfig
from envlock.errors import EnvlockError, ManyErrors
from envlock.model.arch import ARCHS, host_arch
from envlock.workflow.launch import Start, launch_of, serve
from tests.conftest import Envlock
from tests.index import CATALOGUE, Index, Release
from tests.support import ProjectFolder, isolation, run_envlock

HERE = host_arch()
OTHER = next(arch for arch in ARCHS if arch != HERE)
STEPS = ("start", "train", "end")
CONFIG = """\
[flow.DemoFlow]
file = "demoflow.py"
pypi = { packages = { alpha = ">=1" } }

[flow.DemoFlow.step.train]
pypi = { packages = { lam = "" } }

[flow.DemoFlow.step.end]
disabled = true
"""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[ProjectFolder]:
    """A locked project that the tests copy; never changed. Its index has what Metaflow needs, too."""
    releases = (*CATALOGUE, Release("requests", "2.32.0"), Release("boto3", "1.34.0"))
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache), Index(*releases) as index:
        project = ProjectFolder.make(tmp_path_factory.mktemp("launch") / "project", index.url)
        project.write_flow(steps=STEPS)
        project.write(CONFIG, settings="metaflow-requirements = true", archs=[HERE, OTHER])
        run_envlock("lock", cwd=project.folder)
        yield project


@pytest.fixture
def project(locked: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A copy of the locked project."""
    return locked.copy(tmp_path / "project")


def start(project: ProjectFolder, **facts: object) -> Start:
    known: dict[str, object] = {"flow": "DemoFlow", "file": project.folder / "demoflow.py", "steps": STEPS}
    return Start(**{**known, **facts})  # type: ignore[arg-type]


def refused(project: ProjectFolder, **facts: object) -> EnvlockError:
    with pytest.raises(EnvlockError) as caught:
        launch_of(start(project, **facts))
    return caught.value


def test_every_step_has_its_lock(project: ProjectFolder) -> None:
    launch = launch_of(start(project))
    assert launch.arch == HERE
    assert launch.steps["end"] is None
    found = {step: {p.name for p in lock.packages} for step, lock in launch.steps.items() if lock}
    assert found == {"start": {"alpha", "beta", "requests"}, "train": {"alpha", "beta", "lam", "requests"}}


def test_the_folder_above_the_flow_is_found_from_anywhere(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project.folder / "below"
    below.mkdir()
    shutil.copy(project.folder / "demoflow.py", below / "demoflow.py")
    monkeypatch.chdir("/")
    assert set(launch_of(start(project, file=below / "demoflow.py")).steps) == set(STEPS)


def test_a_link_to_the_flow_is_of_the_project_that_has_it(project: ProjectFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = elsewhere / "demoflow.py"
    link.symlink_to(project.folder / "demoflow.py")
    assert launch_of(start(project, file=link)).project.path == project.config
    (elsewhere / "envlock.toml").write_text("")  # of another project, which knows no such flow
    assert launch_of(start(project, file=link)).project.path == project.config
    project.config.unlink()
    (elsewhere / "envlock.toml").write_text("")
    assert refused(project, file=link).code == "flow-not-in-config"
    (elsewhere / "envlock.toml").unlink()
    error = refused(project, file=link)
    assert (error.code, str(elsewhere) in error.message) == ("no-config", True)


def test_there_is_no_envlock_toml(project: ProjectFolder) -> None:
    project.config.unlink()
    error = refused(project)
    assert isinstance(error, NoConfig)
    assert error.hint == "envlock init"


def test_the_flow_is_not_in_envlock_toml(project: ProjectFolder) -> None:
    error = refused(project, flow="DemFlow")
    assert error.code == "flow-not-in-config"
    assert "`DemoFlow`" in str(error.hint)
    assert '`[flow.DemFlow]` with `file = "demoflow.py"`' in str(error.hint)


def test_a_step_comes_from_elsewhere(project: ProjectFolder) -> None:
    error = refused(project, steps=(*STEPS, "tune"))
    assert error.code == "step-not-in-config"
    assert error.locations[0].line is not None
    assert 'steps = ["start", "train", "end", "tune"]' in str(error.hint)


def test_nothing_is_locked(project: ProjectFolder) -> None:
    shutil.rmtree(project.lock_folder)
    error = refused(project)
    assert isinstance(error, ManyErrors) or error.code == "not-locked"
    assert "DemoFlow/start" in error.render()
    assert "hint: envlock lock" in error.render()


def test_a_step_changed_after_it_was_locked(project: ProjectFolder) -> None:
    project.edit('lam = ""', 'lam = "<1"')
    error = refused(project)
    assert error.code == "stale-lock"
    assert error.exit_status == 1
    text = error.render()
    assert "DemoFlow/train" in text
    assert "DemoFlow/start" not in text
    assert "lam<1, locked: lam 1.0" in text
    assert "envlock.toml:" in text
    assert "hint: envlock lock" in text


def test_what_changed_for_several_steps_is_told_once(project: ProjectFolder) -> None:
    project.edit('alpha = ">=1"', 'alpha = "<1"')
    text = refused(project).render()
    assert text.count("alpha<1, locked: alpha 2.0") == 1
    assert "`DemoFlow/start`, `DemoFlow/train` changed in envlock.toml after they were locked" in text


def test_a_step_may_take_the_lock_of_another(project: ProjectFolder) -> None:
    project.edit("disabled = true", "disabled = false")
    steps = launch_of(start(project)).steps
    assert steps["end"] == steps["start"]


def test_this_arch_is_missing(project: ProjectFolder) -> None:
    shutil.rmtree(project.lock_folder / HERE)
    text = refused(project).render()
    assert "error[arch-not-locked]" in text
    assert f"locked for: {OTHER}" in text
    assert f"hint: envlock lock --arch {HERE}" in text


def test_this_arch_is_not_wanted(project: ProjectFolder) -> None:
    project.edit(json.dumps([HERE, OTHER]), json.dumps([OTHER]))
    error = refused(project)
    assert error.code == "arch-not-locked"
    assert f'add "{HERE}" to archs' in str(error.hint)


def test_a_lock_is_damaged(project: ProjectFolder) -> None:
    for path in sorted((project.lock_folder / HERE).glob("*/*")):
        path.write_text(path.read_text().replace('sha256 = "', 'sha256 = "0', 1).replace('"0', '"1', 1))
    error = refused(project)
    assert error.exit_status == 3
    assert "error[damaged-lock]" in error.render()
    assert "git checkout -- envlock.lock/" in error.render()


def test_a_lock_was_merged_badly(project: ProjectFolder) -> None:
    path = sorted((project.lock_folder / HERE).glob("*/*"))[0]
    path.write_text("<<<<<<< ours\n" + path.read_text())
    assert refused(project).code == "conflict-markers"


def test_two_locks_of_one_environment(project: ProjectFolder) -> None:
    path = sorted((project.lock_folder / HERE).glob("*/*"))[0]
    shutil.copy(path, path.with_name(f"pylock.{'0' * 40}.toml"))
    text = refused(project).render()
    assert "error[two-locks]" in text
    assert "`envlock lock` makes one of them" in text


def test_a_host_that_is_not_allowed(project: ProjectFolder) -> None:
    project.edit("[envlock]", '[envlock]\nhosts = ["files.example"]')
    error = refused(project)
    assert "error[host-not-allowed]" in error.render()
    assert error.exit_status == 3


def test_a_name_that_was_never_looked_up(project: ProjectFolder) -> None:
    table = 'named_env = { name = "team/base:v1" }'
    project.edit("[flow.DemoFlow.step.train]", f"[flow.DemoFlow.step.train]\n{table}")
    error = refused(project)
    assert error.code == "not-locked"
    assert error.exit_status == 1
    assert error.locations[0].line is not None


def test_the_datastore_has_no_client(project: ProjectFolder) -> None:
    error = refused(project, datastore="s3")
    assert error.code == "datastore-not-locked" or isinstance(error, ManyErrors)
    assert "not locked: boto3" in error.render()
    assert '`datastore = "s3"`' in error.render()
    assert launch_of(start(project, datastore="spin")).steps["start"] is not None


def test_the_datastore_has_no_client_because_none_was_wanted(project: ProjectFolder, envlock: Envlock) -> None:
    project.edit("metaflow-requirements = true", "metaflow-requirements = false")
    envlock("lock")
    error = refused(project)
    assert "not locked: requests" in error.render()
    assert "remove `metaflow-requirements = false` from envlock.toml" in error.render()
    project.edit("metaflow-requirements = false", "metaflow-requirements = true")
    envlock("lock")
    assert launch_of(start(project)).steps["start"] is not None


def test_a_user_without_a_home_is_told(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_HOME", "~nobody-is-called-this/envlock")
    (answer,) = service(question(project))
    assert answer["event"] == "refused"
    assert "error[no-home]" in str(answer["text"])


def service(*requests: object) -> list[dict[str, object]]:
    output = StringIO()
    serve([json.dumps(request) + "\n" for request in requests], output)
    return [json.loads(line) for line in output.getvalue().splitlines()]


def question(project: ProjectFolder) -> dict[str, object]:
    file = str(project.folder / "demoflow.py")
    facts: dict[str, object] = {"flow": "DemoFlow", "file": file, "steps": STEPS, "datastore": "local"}
    return {**facts, "remote": {}, "command": "", "parameters": {}}


def test_the_service_answers_in_plain_values(project: ProjectFolder, isolated: Path) -> None:
    (answer,) = service(question(project))
    lock = launch_of(start(project)).steps["start"]
    assert lock is not None
    assert answer["event"] == "ready"
    assert answer["home"] == str(isolated / "envlock")
    steps = answer["steps"]
    assert isinstance(steps, dict)
    assert steps["start"] == [lock.req_id, lock.full_id, HERE]
    assert steps["end"] is None
    assert (answer["remote"], answer["manifest"]) == ([], "")


def test_the_service_tells_why_it_refuses(project: ProjectFolder) -> None:
    project.config.write_text("[flow")
    assert service(question(project)) == [{"event": "refused", "text": refused(project).render()}]


def test_the_service_ends_with_a_launcher_that_says_nothing() -> None:
    assert service() == []


def test_an_environment_that_cannot_be_made_is_told(
    project: ProjectFolder, isolated: Path, make_unwritable: Callable[[Path], None]
) -> None:
    home = isolated / "envlock"
    home.mkdir()
    make_unwritable(home)
    lock = launch_of(start(project)).steps["start"]
    assert lock is not None
    _, failed = service(question(project), {"hydrate": lock.identity})
    assert failed["event"] == "failed"
    assert failed["identity"] == lock.identity
    assert "error[home-unusable]" in str(failed["text"])


@pytest.fixture
def make_unwritable() -> Callable[[Path], None]:
    """Lets nothing be written at a folder, even by root: a file stands where a folder has to be made."""

    def stand_in_the_way(home: Path) -> None:
        (home / "environments").write_text("")
        (home / "packages").write_text("")

    return stand_in_the_way


def test_answering_a_launcher_imports_nothing_heavy(project: ProjectFolder) -> None:
    code = (
        "import json, sys, io; from envlock.workflow.launch import serve\n"
        "said = io.StringIO(); serve([sys.argv[1]], said); answer = json.loads(said.getvalue())\n"
        "print(answer['event'], sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, json.dumps(question(project))]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("ready ")
    assert not {"pydantic", "fsspec", "rich", "typer", "packaging", "httpx", "metaflow"} & set(
        ast.literal_eval(said.removeprefix("ready "))
    )
