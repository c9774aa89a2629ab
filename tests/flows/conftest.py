"""Real runs of real flows: what they need of the machine, and how they are asked what they saw."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from envlock.interpreters import machine_series
from envlock.model.arch import host_arch
from tests.index import Index
from tests.metaflow_runs import OF_GZIP, TASKS, Ended
from tests.support import isolation, run_envlock, share_bytecode

collect_ignore_glob = ["project/*", "conda/*", "named/*"]

FILES = Path(__file__).with_name("project")
OUTER = "{}.{}".format(*sys.version_info[:2])
TIMEOUT = 240

# What a process inherits from one that is a task of another flow, or of a run that is long over.
STALE = {
    "_METAFLOW_ENVLOCK_ENV": json.dumps(["a" * 40, "b" * 40, "linux-64"]),
    "_METAFLOW_ENVLOCK_TASK": "OtherFlow/by-hand/start",
    "_METAFLOW_ENVLOCK_ENTERED": "1:/nowhere",
    "_METAFLOW_ENVLOCK_ABSENT": '["HOME"]',
    "_METAFLOW_ENVLOCK_LAUNCHER": '["/nowhere/python", ""]',
    "PYTHONPATH": "/nowhere/.mf_code:/nowhere",
    "METAFLOW_EXTRACTED_ROOT": "/nowhere",
    "VIRTUAL_ENV": "/nowhere",
    "PYTHONHOME": "",
}


@dataclass(frozen=True)
class Flows:
    """A folder with flows, and this machine's Metaflow."""

    folder: Path
    home: Path

    @property
    def temporary(self) -> Path:
        """Where what runs here puts its temporary files."""
        return self.home / "tmp"

    def runs(self, flow: str) -> set[str]:
        """What Metaflow has written of a flow's runs, by their ids."""
        folder = self.home / "metaflow" / ".metaflow" / flow
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def python(self, *arguments: str, **variables: str) -> Ended:
        """Run Python in the folder, and let it end however it does."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.temporary), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        return Ended(done.returncode, OF_GZIP.sub("", done.stdout))

    def tasks(self, *runs: str) -> list[dict[str, Any]]:
        """Every task of these runs, or of the latest run of a flow, as Metaflow's client knows it."""
        client = _client(self.home)
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(json.dumps(runs) + "\n")
        client.stdin.flush()
        tasks: list[dict[str, Any]] = json.loads(client.stdout.readline())
        return tasks


@cache
def _client(home: Path) -> subprocess.Popen[str]:
    """Metaflow's client of a home, in one process that ends with this one: importing it takes long."""
    program = [sys.executable, "-c", TASKS]
    own = os.environ | {"METAFLOW_CLIENT_CACHE_PATH": f"{home}/client"}  # by default a folder of all users' in /tmp
    client = subprocess.Popen(program, cwd=home, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(client.communicate)
    return client


@pytest.fixture(scope="session")
def series() -> tuple[str, str]:
    """Two series of Python that this machine has, as far apart and as different from the launcher's as can be."""
    usable = [each for each in machine_series() if (3, 8) <= tuple(map(int, each.split("."))) <= (3, 13)]
    others = sorted((each for each in usable if each != OUTER), key=lambda each: int(each.split(".")[1]))
    return (others[0], others[-1]) if others else (OUTER, OUTER)


@pytest.fixture(scope="session")
def flow_home(tmp_path_factory: pytest.TempPathFactory, shared_bytecode: Path) -> Path:
    """The HOME of every flow of the session: what one has made, the next one finds."""
    home = tmp_path_factory.mktemp("flow-home")
    (home / "tmp").mkdir()
    share_bytecode(home / "envlock", shared_bytecode)
    return home


@pytest.fixture(scope="session")
def locked_flows(
    flow_home: Path,
    index: Index,
    series: tuple[str, str],
    shared_uv_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Flows]:
    """The flows of `project/`, locked from the loopback index; Metaflow's own needs come from the public one."""
    folder = tmp_path_factory.mktemp("flows") / "project"
    shutil.copytree(FILES, folder)
    oldest, newest = series
    (folder / "envlock.toml").write_text(
        f"""\
[envlock]
archs = ["{host_arch()}"]
extra-indices = ["{index.url}"]

[flow.WideFlow]
file = "wide.py"
pypi = {{ python = "{OUTER}", packages = {{ alpha = "1.0" }} }}

[flow.WideFlow.step.work]
pypi = {{ python = "{newest}", packages = {{ alpha = "1.1" }} }}

[flow.WideFlow.step.join]
disabled = true

[flow.WideFlow.step.nested]
pypi = {{ python = "{oldest}" }}

[flow.WideFlow.step.many]
pypi = {{ python = "{newest}", packages = {{ alpha = "1.1" }} }}

[flow.InnerFlow]
file = "inner.py"
pypi = {{ python = "{newest}", packages = {{ alpha = "1.1" }} }}

[flow.InnerFlow.step.end]
disabled = true

[flow.NotedFlow]
file = "analysis.ipynb"
pypi = {{ python = "{newest}", packages = {{ alpha = "1.1" }} }}

[flow.CardFlow]
file = "carded.py"
pypi = {{ python = "{newest}", packages = {{ alpha = "1.1" }} }}

[flow.CardFlow.step.report]
disabled = true

[flow.BareFlow]
file = "bare.py"
pypi = {{ python = "{newest}", packages = {{ alpha = "1.1" }} }}

[flow.BareFlow.step.gather]
disabled = true

[flow.BareFlow.step.end]
pypi = {{ python = "{OUTER}", packages = {{ alpha = "1.0" }} }}
"""
    )
    with isolation(flow_home, shared_uv_cache):
        run_envlock("lock", cwd=folder)
        yield Flows(folder, flow_home)


@pytest.fixture
def flows(locked_flows: Flows, shared_uv_cache: Path, tmp_path: Path) -> Iterator[Flows]:
    """A copy of the locked flows, to be changed; what was made for the others is there."""
    folder = tmp_path / "project"
    shutil.copytree(locked_flows.folder, folder, ignore=shutil.ignore_patterns(".metaflow"))
    with isolation(locked_flows.home, shared_uv_cache):
        yield Flows(folder, locked_flows.home)


@dataclass(frozen=True)
class Past:
    """A run that is over: it has kept its code, and the cache beside its folder knows of it."""

    flows: Flows
    pathspec: str
    """Of its one locked step."""
    task: dict[str, Any]

    @property
    def cache(self) -> Path:
        return self.flows.folder.with_name("cache")


@pytest.fixture(scope="session")
def past(locked_flows: Flows, shared_uv_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """A run of InnerFlow."""
    folder = tmp_path_factory.mktemp("past") / "project"
    shutil.copytree(locked_flows.folder, folder, ignore=shutil.ignore_patterns(".metaflow"))
    config = folder / "envlock.toml"
    config.write_text(config.read_text().replace("[envlock]", '[envlock]\ncache = "../cache"', 1))
    flows = Flows(folder, locked_flows.home)
    with isolation(flows.home, shared_uv_cache):
        run_envlock("push", "--flow", "InnerFlow", cwd=folder)
        ended = flows.python("inner.py", "--environment=envlock", "run", METAFLOW_FEAT_ALWAYS_UPLOAD_CODE_PACKAGE="1")
        assert ended.status == 0, ended.text
        (task,) = [each for each in flows.tasks(f"InnerFlow/{ended.run_id}") if each["step"] == "start"]
    return Past(flows, f"InnerFlow/{ended.run_id}/start", task)
