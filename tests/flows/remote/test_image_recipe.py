"""The Dockerfile of the guide to remote steps, built as it stands there, and a task in the image that it makes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.index import Index
from tests.index.catalogue import CATALOGUE
from tests.pods.backends import Backends
from tests.pods.docker import client, image_series
from tests.remote.kits import builds_of_this_machine, installed, python_mirror
from tests.servers.aws import BUCKET
from tests.servers.processes import ROOT
from tests.support import isolation, run_envlock

pytestmark = [pytest.mark.flows, pytest.mark.index, pytest.mark.slow]

GUIDE = ROOT / "docs" / "how-to" / "remote-steps.md"
BASE, MADE = "python:3.12-slim", "envlock-pod:prebuilt"
FLOW = """\
from metaflow import FlowSpec, step


class TrainFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.train)

    @step
    def train(self):
        import sys

        import alpha

        self.seen = {"prefix": sys.prefix, "alpha": alpha.__version__}
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    TrainFlow()
"""


@pytest.fixture
def containers(backends_of: Callable[[str], Backends]) -> Backends:
    """The backends with containers, on a machine that has a Python for the recipe's image."""
    found = backends_of("container")
    if "3.12" not in image_series():
        pytest.skip("this machine has no Python 3.12 to make the recipe's image of")
    return found


@pytest.fixture
def base_image(containers: Backends, tmp_path: Path) -> Iterator[None]:
    """The image that the recipe begins with, in which pip finds this envlock and all that it needs."""
    folder = tmp_path / "base"
    pip = [sys.executable, "-m", "pip", "--quiet"]
    wheels = ["--wheel-dir", str(folder / "wheels")]
    subprocess.run([*pip, "wheel", "--no-deps", *wheels, str(ROOT)], check=True)
    (wheel,) = (folder / "wheels").glob("envlock-*.whl")
    needed = ["--python-version", "3.12", "--only-binary", ":all:", "--dest", str(folder / "wheels")]
    subprocess.run([*pip, "download", *needed, f"{wheel}[s3]"], check=True)
    find = "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"
    (folder / "Dockerfile").write_text(
        f"FROM envlock-pod:3.12\nCOPY wheels /wheels\n{find}\nRUN ln -sf pip3 /usr/local/bin/pip\n"
    )
    built(folder, BASE)
    yield
    for name in (MADE, BASE):
        client().images.remove(name, force=True)


def built(folder: Path, name: str) -> None:
    """Build a folder's Dockerfile into an image."""
    said = list(client().api.build(path=str(folder), tag=name, network_mode="host", rm=True, decode=True))
    assert not any("error" in line for line in said), said[-5:]


def test_a_task_finds_its_environment_in_the_image_that_the_guide_makes(
    containers: Backends, base_image: None, tmp_path: Path, shared_uv_cache: Path
) -> None:
    (recipe,) = re.findall(r"```dockerfile\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train_flow.py").write_text(FLOW)
    (folder / "Dockerfile").write_text(recipe)
    real = builds_of_this_machine()
    with (
        Index(*CATALOGUE, installed("uv"), installed("py-rattler")) as index,
        python_mirror(tmp_path / "mirror", *dict.fromkeys(("3.12", *real)), real=real) as mirror,
        isolation(tmp_path / "home", shared_uv_cache),
    ):
        tables = "".join(
            f'\n[flow.TrainFlow.step.{step}]\npypi = {{ python = "3.12", packages = {{ alpha = "1.0" }} }}\n'
            for step in ("start", "train", "end")
        )
        (folder / "envlock.toml").write_text(
            f"""\
[envlock]
archs = ["{host_arch()}"]
datastore = "s3"
cache = "s3://{BUCKET}/recipe"
cache-options = {{ endpoint = "{containers.aws.endpoint}" }}
extra-indices = ["{index.url}"]
python-mirror = "{mirror.url}"

[flow.TrainFlow]
file = "train_flow.py"
{tables}"""
        )
        there = containers.at(folder)
        for command in ("lock", "push"):
            run_envlock(command, cwd=folder, env=there.variables)
    built(folder, MADE)
    with isolation(tmp_path / "other-home", shared_uv_cache):
        ended = there.run("train_flow", on=f"kubernetes:image={MADE}", before=["--environment=envlock"])
        (task,) = (each for each in there.tasks(f"TrainFlow/{ended.run_id}") if each["step"] == "train")
    assert task["seen"]["alpha"] == "1.0"
    assert task["seen"]["prefix"].startswith("/opt/envlock")
    assert task["recorded"] is not None
    assert not any("fetching" in pod.said for pod in there.pods_of("train"))
