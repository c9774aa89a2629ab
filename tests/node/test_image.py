"""The recipe of the docs that puts environments into an image, followed line by line in folders."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envlock.lockfile.document import parse
from envlock.model.arch import host_arch
from metaflow_extensions.envlock.plugins.node import manifest as manifests
from metaflow_extensions.envlock.plugins.node import prepare as module
from tests.conftest import ProjectFolder
from tests.hydration.making import SERIES
from tests.node.nodes import Said, tree_of
from tests.support import ENVLOCK, run_envlock

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "remote-steps.md"
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


def test_a_task_finds_what_the_recipe_put_into_its_image(
    project: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_flow("TrainFlow", steps=("start", "train", "end"))
    packages = f'{{ python = "{SERIES}", packages = {{ alpha = "" }} }}'
    project.write(
        f'[flow.TrainFlow]\nfile = "trainflow.py"\n[flow.TrainFlow.step.train]\npypi = {packages}\n'
        "[flow.TrainFlow.step.start]\ndisabled = true\n[flow.TrainFlow.step.end]\ndisabled = true\n",
        archs=[host_arch()],
    )
    run_envlock("lock", cwd=project.folder)
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
    (path,) = (project.folder / "envlock.lock").glob("*/*/pylock.*.toml")
    lock = parse(path.read_bytes(), path.name)
    fields = {
        "format": 1,
        "flow": "TrainFlow",
        "cache": "s3://nowhere/envlock",
        "environments": [[lock.arch, lock.req_id, lock.full_id, "0" * 64]],
        "steps": {"train": 0},
    }
    monkeypatch.chdir(tmp_path)
    entered = module.prepare(manifests.parse(json.dumps(fields).encode()), "train", environ, Said())
    assert entered is not None
    assert Path(entered.prefix).is_relative_to(image)
    ran = subprocess.run([entered.python, "-c", "import alpha; print(alpha.__file__)"], capture_output=True, check=True)
    assert ran.stdout.decode().startswith(str(image))
    assert tree_of(image) == before
