"""Plain Metaflow on every backend: what is there before envlock is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.pods import can_mount
from tests.pods.backends import Backends

FILES = Path(__file__).with_name("plain")

pytestmark = pytest.mark.slow  # tests/flows/remote has the same with envlock, for every day


@pytest.fixture
def plain(backends_of: Callable[[str], Backends], kind: str, tmp_path: Path) -> Backends:
    """The plain flow, and where it can run."""
    folder = tmp_path / "plain"
    shutil.copytree(FILES, folder)
    return backends_of(kind).at(folder)


def is_whole(tasks: list[dict[str, Any]], greeting: str, attempts: Sequence[int] = (0, 1)) -> bool:
    """Whether these are the tasks of a run of the plain flow, all of them in pods."""
    assert sorted(task["step"] for task in tasks) == ["end", "join", "start", "work", "work"]
    for task in tasks:
        assert task["successful"]
        assert task["seen"]["pod"]
        assert not task["seen"]["envlock"]
        assert task["seen"]["shim"]
    (joined,) = (task["seen"]["said"] for task in tasks if task["step"] == "join")
    assert joined == [f"{greeting} a", f"{greeting} b"]
    assert sorted(task["seen"]["attempt"] for task in tasks if task["step"] == "work") == list(attempts)
    return True


@pytest.mark.parametrize("backend", ["kubernetes", "batch"])
def test_a_flow_runs_on_a_backend(plain: Backends, backend: str) -> None:
    run_id = plain.run("plain", "--greeting", "hi", on=backend).run_id
    assert is_whole(plain.tasks(f"PlainFlow/{run_id}"), "hi")


def test_a_flow_runs_on_argo(plain: Backends) -> None:
    if plain.pods.kind == "folder" and not can_mount():
        pytest.skip("Argo's paths are fixed, and nobody but root can mount here")
    plain.argo(plain.argo_template("plain"), "plain-x7", greeting="good day")
    assert is_whole(plain.tasks("PlainFlow/argo-plain-x7"), "good day")


def test_a_flow_runs_on_step_functions(plain: Backends) -> None:
    assert is_whole(plain.tasks(f"PlainFlow/{plain.step_functions('plain', greeting='ahoy')}"), "ahoy")


def test_a_flow_runs_on_airflow(plain: Backends) -> None:
    if plain.pods.kind == "folder":
        pytest.skip("what a task tells Airflow is in /airflow, which only a container has")
    run_id = plain.airflow("plain", greeting="hallo", failures=0)  # it would wait for five minutes before a retry
    assert is_whole(plain.tasks(f"PlainFlow/{run_id}"), "hallo", (0, 0))
