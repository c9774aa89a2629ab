"""The recipe of the docs that puts environments into an image, followed line by line in folders."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from envlock.lockfile.document import parse
from envlock.model.arch import host_arch
from metaflow_extensions.envlock.plugins.node import manifest as manifests
from metaflow_extensions.envlock.plugins.node import prepare as module
from tests.conftest import ProjectFolder
from tests.hydration.making import SERIES
from tests.node.nodes import Said, tree_of
from tests.pods.docker import client, daemon, image_series, is_set_up
from tests.pods.pod import image_of
from tests.support import ENVLOCK, run_envlock

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "remote-steps.md"
TAG = "envlock-recipe:test"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="images have Linux")


def recipe() -> list[list[tuple[str, str]]]:
    """The instructions of the page's Dockerfile, by stage, without what installs envlock."""
    (text,) = re.findall(r"```dockerfile\n(.*?)```", PAGE.read_text(), re.DOTALL)
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            stages.append([])
        elif not rest.startswith("pip install"):
            stages[-1].append((instruction, rest))
    return stages


def follow(stage: list[tuple[str, str]], image: Path, context: Path) -> dict[str, str]:
    """Do what a stage says in a folder that is its image; the variables that it sets."""
    environ = {}
    for instruction, rest in stage:
        if instruction == "COPY":
            *_, source, to = rest.split()
            shutil.copytree(context / source.lstrip("/"), image / to.lstrip("/"), symlinks=True, dirs_exist_ok=True)
        elif instruction == "ENV":
            name, _, value = rest.partition("=")
            environ[name] = f"{image}{value}"
        else:
            assert instruction == "RUN"
            command = rest.replace(" /", f" {shlex.quote(str(image))}/").replace("envlock create", f"{ENVLOCK} create")
            subprocess.run(["sh", "-c", command], check=True, capture_output=True, env=dict(os.environ))
    return environ


def write_project(project: ProjectFolder, series: str) -> Path:
    """A flow with one locked step; its lock."""
    project.write_flow("TrainFlow", steps=("start", "train", "end"))
    packages = f'{{ python = "{series}", packages = {{ alpha = "" }} }}'
    project.write(
        f'[flow.TrainFlow]\nfile = "trainflow.py"\n[flow.TrainFlow.step.train]\npypi = {packages}\n'
        "[flow.TrainFlow.step.start]\ndisabled = true\n[flow.TrainFlow.step.end]\ndisabled = true\n",
        archs=[host_arch()],
    )
    run_envlock("lock", cwd=project.folder)
    (path,) = (project.folder / "envlock.lock").glob("*/*/pylock.*.toml")
    return path


def manifest_of(path: Path) -> bytes:
    """The manifest of the flow, whose cache nobody can reach."""
    lock = parse(path.read_bytes(), path.name)
    fields = {
        "format": 1,
        "flow": "TrainFlow",
        "cache": "s3://nowhere/envlock",
        "environments": [[lock.arch, lock.req_id, lock.full_id, "0" * 64]],
        "steps": {"train": 0},
    }
    return json.dumps(fields).encode()


def test_a_task_finds_what_the_recipe_put_into_its_image(
    project: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_project(project, SERIES)
    image = tmp_path / "image"
    building, final = recipe()
    assert follow(building, image, project.folder) == {}
    shutil.rmtree(image / "project")
    # The second stage has the folder at the same path, as a new copy.
    shutil.move(image, tmp_path / "built")
    image.mkdir()
    environ = follow(final, image, tmp_path / "built")
    shutil.rmtree(tmp_path / "built")
    before = tree_of(image)
    monkeypatch.chdir(tmp_path)
    entered = module.prepare(manifests.parse(manifest_of(path)), "train", environ, Said())
    assert entered is not None
    assert Path(entered.prefix).is_relative_to(image)
    ran = subprocess.run([entered.python, "-c", "import alpha; print(alpha.__file__)"], capture_output=True, check=True)
    assert ran.stdout.decode().startswith(str(image))
    assert tree_of(image) == before


@pytest.mark.slow
@pytest.mark.index
def test_docker_builds_the_recipe_and_a_task_of_the_image_fetches_nothing(
    project: ProjectFolder, tmp_path: Path
) -> None:
    if not is_set_up():
        pytest.skip("docker is not set up for the tests: run `make setup-pods` as root")
    series = image_series()[-1]
    path = write_project(project, series)
    context = tmp_path / "context"
    # In place of an index that has envlock: this one, with what it needs.
    installed = context / "installed"
    needs = metadata.requires("envlock") or []
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet", "--no-config", "pip", "install", "--target", installed]
    wanted = [each for each in needs if "extra" not in each]
    subprocess.run([*uv, "--python-version", series, "--only-binary", ":all:", *wanted], check=True)
    for package in ("envlock", "metaflow_extensions"):
        shutil.copytree(ROOT / "src" / package, installed / package)
    command = installed / "bin" / "envlock"
    command.write_text("#!/usr/bin/env python\nfrom envlock.__main__ import main\nmain()\n")
    command.chmod(0o755)
    shutil.copytree(project.folder, context / "project")
    shutil.copytree(ROOT / "src" / "metaflow_extensions", context / "task" / ".mf_code" / "metaflow_extensions")
    (context / "task" / ".mf_meta").mkdir()
    (context / "task" / ".mf_meta" / "envlock.json").write_bytes(manifest_of(path))
    (text,) = re.findall(r"```dockerfile\n(.*?)```", PAGE.read_text(), re.DOTALL)
    text = re.sub(r"python:\S+", image_of(series), text)
    text = text.replace(
        "RUN pip install 'envlock[s3]'",
        "COPY installed /installed\nENV PYTHONPATH=/installed PATH=/installed/bin:/usr/local/bin:/usr/bin:/bin",
    )
    text = text.replace("COPY . /project", "COPY project /project") + "COPY task /task\n"
    (context / "Dockerfile").write_text(text)
    script = (
        "export METAFLOW_EXTRACTED_ROOT=/task PYTHONPATH=/task/.mf_code\n"
        "python -m metaflow_extensions.envlock.plugins.node TrainFlow train && . ./.envlock/enter.sh && "
        "$ENVLOCK_PYTHON -c 'import alpha; print(alpha.__file__)'"
    )
    with daemon():
        build = client().api.build(path=str(context), tag=TAG, network_mode="host", rm=True, decode=True)
        said = list(build)
        assert not any("error" in line for line in said), said[-5:]
        try:
            out = client().containers.run(
                TAG, ["bash", "-c", script], network_mode="none", read_only=False, remove=True
            )
        finally:
            client().images.remove(TAG, force=True)
    assert out.decode().startswith("/opt/envlock/environments/metaflow_"), out
