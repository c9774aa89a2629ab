"""Tasks that start at once on one node, tasks that are killed, and the Pythons that images have."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.interpreters import find_interpreter, machine_series
from metaflow_extensions.envlock.plugins import node as node_package
from metaflow_extensions.envlock.plugins.node import stage
from tests.hydration.making import SERIES, Making, missing_files, remains
from tests.node.nodes import FLOW, Node, oldest_python, tree_of
from tests.support import wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")
NODE = Path(__file__).parents[2] / "src" / "metaflow_extensions" / "envlock" / "plugins" / "node"


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def test_tasks_that_start_at_once_share_one_hydration(make_node: Callable[..., Node], tmp_path: Path) -> None:
    node = make_node(making=Making(tmp_path / "making", count=10, files=20))
    assert node.manifest
    node.cache.joinpath("gate").touch()
    tasks = [node.start() for _ in range(32)]
    wait_until(lambda: node.fetched() == 1, 60)
    maker = int(node.cache.joinpath("fetched").read_text())
    for task in tasks:
        if task.pid != maker:
            assert task.stderr is not None
            assert "waiting for another task" in task.stderr.readline()
    node.cache.joinpath("gate").unlink()
    results = [ended(task) for task in tasks]
    assert [status for status, _ in results] == [0] * 32, results
    assert node.fetched() == 1
    assert missing_files(node.prefix) == []
    wait_until(lambda: remains(node.home / "environments") == [])


def test_a_stage_is_removed_by_a_process_that_is_no_child_of_the_task(tmp_path: Path) -> None:
    folder = tmp_path / "a stage"
    (folder / "new").mkdir(parents=True)
    code = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(NODE.parents[3])!r})\n"
        "from metaflow_extensions.envlock.plugins.node import stage\n"
        "stage.remove_in_background(sys.argv[1])\n"
        "try: os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError: print('no child')"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, check=True)
    assert ran.stdout == "no child\n"
    wait_until(lambda: not folder.exists())


def test_a_stage_is_removed_where_there_is_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_SHELL", "/no/shell")
    stage.remove_in_background(str(tmp_path))
    assert not tmp_path.exists()


def test_of_tasks_that_wait_for_a_cache_that_does_not_answer_one_asks_it(node: Node) -> None:
    assert node.manifest
    for name in ("gate", "down"):
        node.cache.joinpath(name).touch()
    node.cache.joinpath("down").rename(node.cache / "up")
    tasks = [node.start()]
    wait_until(lambda: node.fetched() == 1)
    tasks += [node.start() for _ in range(3)]
    for task in tasks[1:]:
        assert task.stderr is not None
        assert "waiting for another task" in task.stderr.readline()
    node.cache.joinpath("up").rename(node.cache / "down")
    node.cache.joinpath("gate").unlink()
    results = [ended(task) for task in tasks]
    assert [status for status, _ in results] == [5] * 4, results
    assert node.fetched() == 1
    assert all("it is down" in said for _, said in results)
    later = ended(node.start())
    assert (later[0], "another task" in later[1]) == (5, False), "who comes later asks"
    node.cache.joinpath("down").unlink()
    assert ended(node.start())[0] == 0
    assert list((node.home / "kept").glob("*.failed")) == []


def test_two_flows_on_one_node_make_their_environments_side_by_side(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    nodes = [make_node(making=Making(tmp_path / f"making{each}", count=each + 1)) for each in range(2)]
    tasks = []
    for number, node in enumerate(nodes):
        folder = tmp_path / f"task{number}"
        meta = folder / ".mf_meta"
        meta.mkdir(parents=True)
        (meta / "envlock.json").write_text(json.dumps(node.fields))
        environ = node.environ(METAFLOW_EXTRACTED_ROOT=str(folder))
        command = node.command()
        tasks.append(subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True))
    assert [ended(task)[0] for task in tasks] == [0, 0]
    assert [missing_files(node.prefix) for node in nodes] == [[], []]
    assert len(list((nodes[0].home / "tools").glob("[!.]*"))) == 1


def test_a_task_that_is_killed_at_any_moment_leaves_nothing_that_looks_whole(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    node = make_node(making=Making(tmp_path / "making", count=20, files=20))
    began = time.monotonic()
    assert ended(node.start())[0] == 0
    whole, span = tree_of(node.prefix), time.monotonic() - began
    moments = random.Random(10)  # the same each time, so that a failure can be looked at
    unfinished = 0
    for number in range(10):
        shutil.rmtree(node.prefix, ignore_errors=True)
        if number % 2:
            shutil.rmtree(node.home / "tools", ignore_errors=True)
        task = node.start()
        time.sleep(span * (number + moments.random()) / 10)
        os.killpg(task.pid, signal.SIGKILL)
        ended(task)
        if not (node.prefix / ".envlock.json").exists():
            unfinished += 1
        else:
            assert tree_of(node.prefix) == whole
    assert unfinished >= 4, "the kills came too late to prove anything"
    shutil.rmtree(node.prefix, ignore_errors=True)
    assert ended(node.start())[0] == 0
    assert tree_of(node.prefix) == whole
    wait_until(lambda: remains(node.home / "environments") == [])


def imported(node: Node, before: str = "") -> set[str]:
    """The modules that a task has imported once it is done, or ends because of what `before` has changed."""
    code = (
        "import sys, runpy; outset = set(sys.modules)\n"
        f"sys.path.insert(0, {str(NODE.parents[3])!r}); sys.argv[:] = ['node', {FLOW!r}, 'train']\n"
        f"{before}\n"
        "try: runpy.run_module('metaflow_extensions.envlock.plugins.node', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sorted(set(sys.modules) - outset))"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    ran = subprocess.run(command, cwd=node.task, env=node.environ(), capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return set(ran.stdout.split())


_SLOW = {"json", "re", "typing", "enum", "threading", "shlex", "subprocess"}
"""What takes as long to import as all that a task does that waits for an environment, or finds one."""
_OF_MAKING = {f"metaflow_extensions.envlock.plugins.node.{name}" for name in ("fetch", "transport", "install", "make")}


def test_what_is_there_costs_no_import_of_metaflow_or_of_a_client(node: Node) -> None:
    assert ended(node.start())[0] == 0
    shutil.rmtree(node.cache / "packages")
    modules = imported(node)
    assert not {name for name in modules if name.split(".")[0] in {"metaflow", "boto3", "botocore", "envlock"}}
    assert not (_OF_MAKING | _SLOW) & modules


def test_a_task_that_waits_for_another_has_imported_nothing_of_what_making_takes(node: Node) -> None:
    assert node.manifest
    waits = (
        "from metaflow_extensions.envlock.plugins.node import stage\n"
        "def make_once(*_, **__): raise SystemExit\n"
        "stage.make_once = make_once\n"
    )
    modules = imported(node, waits)
    assert not (_OF_MAKING | _SLOW) & modules
    package = node_package.__name__
    own = {name.rpartition(".")[2] for name in modules if name.startswith(f"{package}.")}
    assert own | {"__init__", "__main__"} == {*node_package.ON_THE_WAY}, "those whose bytecode is in the code package"


def test_the_oldest_python_makes_and_finds_an_environment(make_node: Callable[..., Node], build: Path) -> None:
    node = make_node(build=build)
    python = oldest_python()
    for _ in range(2):
        status, said = ended(node.start(python=python, PATH="/no/python/here"))
        assert (status, node.fetched()) == (0, 1), said
    assert missing_files(node.prefix) == []
    ran = node.shell('"$ENVLOCK_PYTHON" -c "import sys, package_0.part_0; print(sys.version_info[:2])"')
    assert ran.stdout.strip() == str(sys.version_info[:2]), "its Python is the kit's"
    found = (node.prefix / "pyvenv.cfg").read_text()
    assert f"home = {node.home}/pythons/" in found


def test_the_python_that_serves_may_be_another_one_of_the_image(make_node: Callable[..., Node], tmp_path: Path) -> None:
    series = next((each for each in machine_series() if each != SERIES and numbers(each) >= (3, 8)), None)
    if series is None:
        pytest.skip("this machine has no second Python")
    # pyenv's and others' scripts are passed over; of a virtual environment, the Python that it was made from serves.
    scripts, venv = tmp_path / "scripts", tmp_path / "venv"
    scripts.mkdir()
    (scripts / f"python{SERIES}").write_text("#!/bin/sh\necho started by a script\n")
    (scripts / f"python{SERIES}").chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    node = make_node()
    python = str(find_interpreter(series, lambda _: True).path)
    status, said = ended(node.start(python=python, PATH=f"{scripts}:{venv}/bin"))
    assert status == 0, said
    receipt = json.loads((node.prefix / ".envlock.json").read_text())
    assert os.path.realpath(receipt["python"]) == os.path.realpath(sys.executable)
    assert not receipt["python"].startswith(str(venv))


def numbers(series: str) -> tuple[int, ...]:
    return tuple(map(int, series.split(".")))


def test_one_python_finds_what_another_made(make_node: Callable[..., Node]) -> None:
    node = make_node()
    assert ended(node.start())[0] == 0
    assert ended(node.start(python=oldest_python())) == (0, "")
    assert node.fetched() == 1


def test_a_python_that_is_too_old_is_reported(tmp_path: Path) -> None:
    series = next((each for each in ("3.7", "3.6") if each in machine_series()), None)
    if series is None:
        pytest.skip("this machine has no Python 3.6 or 3.7")
    python = find_interpreter(series, lambda _: True).path
    command = [python, "-m", "metaflow_extensions.envlock.plugins.node", "F", "s"]
    environ = {"PYTHONPATH": str(NODE.parents[3])}
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert series in ran.stderr
    assert "3.8" in ran.stderr


def test_every_python_can_read_why_it_is_too_old() -> None:
    import ast

    for name in ("__init__.py", "__main__.py"):
        ast.parse((NODE / name).read_text(), feature_version=(3, 4))
