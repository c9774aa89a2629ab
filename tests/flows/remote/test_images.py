"""A flow whose steps start in the image of their lock, which `envlock image` pushed and docker pulls."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.channel import Channel
from tests.index import Index
from tests.index.catalogue import CATALOGUE
from tests.pods.backends import Backends
from tests.pods.docker import client, image_series
from tests.pods.pod import image_of
from tests.remote.kits import builds_of_this_machine, installed, python_mirror
from tests.servers.aws import BUCKET
from tests.servers.registry import RegistryServer, is_set_up, registry
from tests.support import isolation, run_envlock

pytestmark = [pytest.mark.flows, pytest.mark.index, pytest.mark.slow]

ON = "--environment=envlock"
FLOW = """\
from metaflow import FlowSpec, step


class ImageFlow(FlowSpec):
    def look(self):
        import os
        import sys

        import alpha

        self.seen = {"prefix": sys.prefix, "alpha": alpha.__file__, "made": os.path.exists("/var/tmp/envlock")}

    @step
    def start(self):
        self.look()
        self.next(self.train)

    @step
    def train(self):
        self.look()
        self.seen["said"] = __import__("os").environ.get("SAID")
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ImageFlow()
"""


@dataclass(frozen=True)
class Built:
    """The flow, locked and pushed, and a registry that has an image with its environments."""

    there: Backends
    server: RegistryServer
    image: str
    """By digest."""


@pytest.fixture(scope="module")
def built(
    backends_of: Callable[[str], Backends],
    channel: Channel,
    shared_uv_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Built]:
    backends = backends_of("container")
    if not is_set_up():
        pytest.skip("docker-registry is not here: make setup")
    channel.need("requests")
    series, real = image_series()[-1], builds_of_this_machine()
    root = tmp_path_factory.mktemp("image-flow")
    folder = root / "project"
    folder.mkdir()
    (folder / "imageflow.py").write_text(FLOW)
    (folder / "variables.yml").write_text("dependencies: []\nvariables:\n  SAID: a 'b' $HOME\n")
    with (
        Index(*CATALOGUE, installed("uv"), installed("py-rattler")) as index,
        python_mirror(root / "mirror", *dict.fromkeys((series, *real)), real=real) as mirror,
        registry(root) as server,
        isolation(root / "home", shared_uv_cache),
    ):
        os.environ["ENVLOCK_CHANNEL_MIRRORS"] = channel.mirrors
        (folder / "envlock.toml").write_text(
            f"""\
[envlock]
archs = ["{host_arch()}"]
datastore = "s3"
cache = "s3://{BUCKET}/{root.name}"
cache-options = {{ endpoint = "{backends.aws.endpoint}" }}
extra-indices = ["{index.url}"]
python-mirror = "{mirror.url}"
image = "auto"

[flow.ImageFlow]
file = "imageflow.py"

[flow.ImageFlow.step.start]
pypi = {{ python = "{series}", packages = {{ alpha = "1.0" }} }}

[flow.ImageFlow.step.train]
environment-yml = "variables.yml"
conda = {{ python = "{channel.series[0]}", channels = ["conda-forge"], libraries = {{ activates = "" }} }}
pypi = {{ packages = {{ alpha = "1.1", boto3 = "" }} }}

[flow.ImageFlow.step.end]
disabled = true
"""
        )
        there = backends.at(folder, ENVLOCK_CHANNEL_MIRRORS=channel.mirrors)
        for command in ("lock", "push"):
            run_envlock(command, cwd=folder, env=there.variables)
        base = f"{server.host}/team/base"
        client().images.get(image_of(series)).tag(base, "1")
        said = client().images.push(base, "1")
        assert "error" not in said, said[-500:]
        image = ["image", f"{server.host}/team/flow:1", "start", "train", "--base", f"{base}:1", "--json"]
        document = run_envlock(*image, cwd=folder, env=there.variables).json
        yield Built(there, server, f"{server.host}/team/flow@{document['digest']}")
        for name in (f"{base}:1", f"{server.host}/team/flow@{document['digest']}"):
            client().images.remove(name, force=True)


def check_tasks(built: Built, pathspec: str) -> None:
    tasks = {task["step"]: task for task in built.there.tasks(pathspec)}
    for step, alpha in (("start", "1.0"), ("train", "1.1")):
        seen = tasks[step]["seen"]
        assert seen["prefix"].startswith("/opt/envlock/environments/metaflow_"), step
        assert seen["alpha"].startswith("/opt/envlock/"), alpha
        assert tasks[step]["recorded"] is not None, "what it ran in is in the cache"
        for pod in built.there.pods_of(step):
            assert json.loads((built.there.pods.home / pod.name / "spec.json").read_text())["image"] == built.image
            assert "fetching" not in pod.said, pod.said
            assert "making" not in pod.said, pod.said
    assert tasks["train"]["seen"]["said"] == "a 'b' $HOME"


def test_steps_on_kubernetes_start_in_the_image_of_their_lock(built: Built) -> None:
    ended = built.there.run("imageflow", on="kubernetes", before=[ON])
    assert built.image in ended.text, "the launcher says which"
    check_tasks(built, f"ImageFlow/{ended.run_id}")


def test_a_deployment_to_argo_names_the_image_by_digest(built: Built) -> None:
    template = built.there.argo_template("imageflow", ON)
    images = {each["name"]: each["container"]["image"] for each in template["spec"]["templates"] if "container" in each}
    assert (images["start"], images["train"]) == (built.image, built.image)
    assert images["end"] == image_of(image_series()[-1]), "a disabled step has no lock"
    built.there.argo(template, "images")
    check_tasks(built, "ImageFlow/argo-images")
