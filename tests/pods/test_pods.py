"""What a pod is, in each kind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pods import Containers, Folders, Pod, Pods, can_mount, image_of
from tests.pods.docker import daemon, image_series, is_set_up
from tests.pods.fixtures import NEEDS_LINUX
from tests.pods.folders import folder_series
from tests.pods.pod import CREDENTIALS, wait_for
from tests.support import wait_until


@pytest.fixture
def pods(kind: str, tmp_path: Path) -> Iterator[Pods]:
    """Pods of a node of the test's own."""
    if not sys.platform.startswith("linux"):
        pytest.skip(NEEDS_LINUX)
    if kind == "folder":
        folders = Folders.at(str(tmp_path))
        yield folders
        folders.close()
    elif is_set_up():
        with daemon():
            containers = Containers.at(str(tmp_path))
            yield containers
            containers.close()
    else:
        pytest.skip("docker is not set up for the tests: run `make setup-pods` as root")


@pytest.fixture
def start(pods: Pods, kind: str) -> Callable[..., Pod]:
    """Starts a script of bash in the newest image."""
    series = (folder_series if kind == "folder" else image_series)()[-1]
    return lambda name, script, **variables: pods.start(name, image_of(series), ["bash", "-c", script], variables)


def test_it_has_what_metaflow_installs_and_neither_metaflow_nor_envlock(start: Callable[..., Pod]) -> None:
    packages = ("boto3", "requests", "metaflow", "envlock", "metaflow_extensions")
    find = f"import importlib.util as u; print([n for n in {packages} if u.find_spec(n)])"
    pod = start("bare", f'python -c "{find}"; env', SAID="two\nlines")
    assert wait_for(pod) == 0, pod.said
    assert pod.said.startswith("['boto3', 'requests']\n")
    assert "SAID=two\nlines\n" in pod.said
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] in pod.said
    assert "ENVLOCK_HOME=" not in pod.said or not can_mount()


def test_pods_of_a_node_share_its_disk_and_nothing_else(start: Callable[..., Pod], kind: str) -> None:
    if kind == "folder" and not can_mount():
        pytest.skip("this machine lets nobody but root mount")
    assert wait_for(start("first", "echo kept | tee /var/tmp/a /tmp/b ./c /mnt/out/d")) == 0
    second = start("second", "ls /var/tmp /tmp . /mnt/out; exit 7")
    assert wait_for(second) == 7
    checkout = set(Path(__file__).parts) if kind == "folder" else set()  # which a pod sees, wherever it was cloned to
    assert [each for each in second.said.split() if each not in checkout] == [
        ".:",
        "/mnt/out:",
        "/tmp:",
        "/var/tmp:",
        "a",
    ]
    assert second.status == 7


def test_a_killed_pod_ends_with_all_its_processes(start: Callable[..., Pod]) -> None:
    pod = start("long", "(while :; do echo alive; sleep 0.05; done) & sleep 600")
    wait_until(lambda: "alive" in pod.said)
    pod.kill()
    assert pod.status == 137
    last = pod.said
    time.sleep(0.2)
    assert pod.said == last


def test_what_is_written_to_mnt_out_is_read_from_outside(start: Callable[..., Pod], kind: str) -> None:
    if kind == "folder" and not can_mount():
        pytest.skip("this machine lets nobody but root mount")
    pod = start("writer", "printf 3 > /mnt/out/splits")
    assert wait_for(pod) == 0
    assert pod.output("splits") == "3"
