"""Environments of conda packages on a node: the kit's kernel and py-rattler, where no envlock is installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envlock.hydration.prefix import find_prefix
from metaflow_extensions.envlock.plugins.node import home as homes
from metaflow_extensions.envlock.plugins.node import make, pythons
from metaflow_extensions.envlock.plugins.node.errors import NodeError
from tests.channel import Package, data_package
from tests.hydration.conda_making import CondaMaking, wheels, wrong_files
from tests.hydration.making import remains
from tests.node.nodes import CondaNode, Said, let_go, oldest_python, tree_of

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")


@pytest.fixture
def conda_node(tmp_path: Path, kit: Path, rattler: Path, build: Path) -> Callable[..., CondaNode]:
    """Makes a node with packages of the channel, and with two wheels."""

    def make(*names: str, own: tuple[Package, ...] = (), count: int = 2, **options: object) -> CondaNode:
        names = names or ("click", "vintage") if count else ()
        making = CondaMaking(tmp_path / "home", names, own=own, wheels=wheels(count))
        return CondaNode(tmp_path, making, kit, build=build, rattler=rattler, **options)  # type: ignore[arg-type]

    return make


def test_an_environment_is_what_a_workstation_makes_of_the_lock(
    conda_node: Callable[..., CondaNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = conda_node()
    entered = node.prepare(monkeypatch)
    assert entered.python == str(node.prefix / "bin" / "python")
    assert find_prefix(node.lock, node.home) == node.prefix, "a workstation takes it for its own"
    made = tree_of(node.prefix)
    assert wrong_files(node.prefix) == []
    assert remains(node.home / "environments") == []
    shutil.rmtree(node.prefix)
    assert node.making.hydrate() == node.prefix  # at the same place, which packages contain
    # Times and paths of the files that were linked.
    volatile = {path for path in made if path.startswith("conda-meta/")}
    again = tree_of(node.prefix)
    assert made.keys() == again.keys()
    assert {path: made[path] for path in made.keys() - volatile} == {
        path: again[path] for path in again.keys() - volatile
    }


def test_an_environment_may_be_a_python_alone_that_has_no_site_packages(
    conda_node: Callable[..., CondaNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = conda_node(count=0)
    real = make.link_conda

    def link(*arguments: Any) -> list[str]:
        said = real(*arguments)
        shutil.rmtree(node.prefix / "lib" / f"python{node.making.series}" / "site-packages", ignore_errors=True)
        return said

    monkeypatch.setattr(make, "link_conda", link)
    for attempt in ("0", "0", "1"):
        let_go(node, monkeypatch, MF_ATTEMPT=attempt)
    assert node.fetched() == 1


def test_it_is_activated_and_found_again(
    conda_node: Callable[..., CondaNode], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = conda_node()
    assert node.run(monkeypatch, capsys)[0] == 0
    shutil.rmtree(node.cache)
    assert node.run(monkeypatch, capsys) == (0, "")
    code = "import json, os, sys, click, wheel_0; print(json.dumps([sys.prefix, os.environ['CONDA_PREFIX']]))"
    ran = node.shell(f'"$ENVLOCK_PYTHON" -c "{code}" && wheel-0 >/dev/null && click --version >/dev/null || true')
    assert json.loads(ran.stdout.splitlines()[0]) == [str(node.prefix)] * 2


def test_a_python_of_the_kit_runs_py_rattler_where_the_images_is_too_old(
    conda_node: Callable[..., CondaNode],
) -> None:
    node = conda_node()
    task = node.start(python=oldest_python(), PATH="/no/python/here")
    said = task.communicate(timeout=120)[1]
    assert task.returncode == 0, said
    assert wrong_files(node.prefix) == []
    assert len(list((node.home / "pythons").glob("[!.]*"))) == 1


def test_a_package_that_cannot_be_unpacked_is_one_line(
    conda_node: Callable[..., CondaNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = conda_node()
    uv = shutil.which("false")
    monkeypatch.setattr("metaflow_extensions.envlock.plugins.node.make.uv_in", lambda *_: uv)
    with pytest.raises(NodeError) as caught:
        node.prepare(monkeypatch)
    assert "\n" not in str(caught.value)
    assert "install-failed" in str(caught.value)
    assert remains(node.home / "environments") == []


def test_a_task_that_is_killed_leaves_nothing_that_looks_whole(conda_node: Callable[..., CondaNode]) -> None:
    node = conda_node()
    places = node.home / "environments"
    unfinished = 0
    for pause in (0, 0.05, 0.2, 0.5):
        shutil.rmtree(node.prefix, ignore_errors=True)
        known = set(remains(places))
        task = node.start()
        while task.poll() is None and set(remains(places)) <= known:  # until it makes the environment
            time.sleep(0.005)
        time.sleep(pause)
        with suppress(ProcessLookupError):
            os.killpg(task.pid, signal.SIGKILL)
        task.communicate()
        if homes.Receipt.read(str(node.prefix)) is None:
            unfinished += 1
        else:
            assert wrong_files(node.prefix) == []
    assert unfinished >= 2, "the kills came too late to prove anything"
    shutil.rmtree(node.prefix, ignore_errors=True)
    task = node.start()
    said = task.communicate(timeout=120)[1]
    assert task.returncode == 0, said
    assert wrong_files(node.prefix) == []


def test_the_newest_python_of_an_image_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pythons.newest_of_image({"PATH": os.defpath})
    assert found is not None
    ran = subprocess.run(
        [found, "-c", "import sys; print(sys.version_info >= (3, 10))"], capture_output=True, check=True
    )
    assert ran.stdout == b"True\n"
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    assert pythons.newest_of_image({"PATH": "/nowhere"}) is None


def test_an_environment_is_made_again_for_a_link_script_that_is_allowed_since(
    conda_node: Callable[..., CondaNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "bin/.linked-post-link.sh"
    own = data_package("linked", "1.0", {script: "#!/bin/sh\necho ran > $PREFIX/ran\n"})
    node = conda_node("click", own=(own,))
    let_go(node, monkeypatch)
    assert not (node.prefix / "ran").exists()
    let_go(replace(node, options={"link-scripts": ["other"]}), monkeypatch)
    assert node.fetched() == 1
    let_go(replace(node, options={"link-scripts": ["linked"]}), monkeypatch)
    assert (node.prefix / "ran").read_text() == "ran\n"
    assert node.fetched() == 2


def test_a_conda_environment_says_what_it_warns_of(
    conda_node: Callable[..., CondaNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, said = conda_node("click", "clobber-one", "clobber-two"), Said()
    node.prepare(monkeypatch, said)
    assert any("both contain" in line for line in said.lines), said.lines
