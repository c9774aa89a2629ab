"""Flows whose steps are in conda, mixed and PyPI environments: what each task sees, and how they end."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envlock.model.arch import host_arch
from tests.channel import Channel
from tests.flows.conftest import OUTER, Ended, Flows
from tests.index import Index
from tests.support import isolation, run_envlock, share_bytecode

pytestmark = [pytest.mark.flows, pytest.mark.index]

FILES = Path(__file__).with_name("conda")
SAID = ("a 'b' $HOME \"c\"", "4")
"""What `variables.yml` sets."""
Seen = dict[str, Any]
_METAFLOWS_OWN = ("METAFLOW", "_METAFLOW", "MF_", "_PYTHON", "PYTHON")


@pytest.fixture(scope="module")
def conda_flows(
    tmp_path_factory: pytest.TempPathFactory,
    index: Index,
    channel: Channel,
    shared_uv_cache: Path,
    shared_bytecode: Path,
) -> Iterator[Flows]:
    """The flows of `conda/`, locked from the channel and the index of the tests."""
    channel.need("requests")
    home = tmp_path_factory.mktemp("conda-home")
    (home / "tmp").mkdir()
    share_bytecode(home / "envlock", shared_bytecode)
    folder = tmp_path_factory.mktemp("flows") / "project"
    shutil.copytree(FILES, folder)
    conda = f'python = "{channel.series[0]}", channels = ["conda-forge"]'
    (folder / "envlock.toml").write_text(
        f"""\
[envlock]
archs = ["{host_arch()}"]
extra-indices = ["{index.url}"]

[flow.ThreeFlow]
file = "three.py"
conda = {{ {conda}, libraries = {{ activates = "", speak = "" }} }}
environment-yml = "variables.yml"

[flow.ThreeFlow.step.work]
pypi = {{ packages = {{ alpha = "1.1" }} }}

[flow.ThreeFlow.step.join]
disabled = true

[flow.ThreeFlow.step.gather]
disabled = true

[flow.WithinFlow]
file = "within.py"

[flow.WithinFlow.step.start]
environment-yml = "variables.yml"
pypi = {{ python = "{OUTER}", packages = {{ alpha = "1.0" }} }}

[flow.WithinFlow.step.end]
conda = {{ {conda}, libraries = {{ lower = "1.1" }} }}

[flow.QuickFlow]
file = "quick.py"

[flow.QuickFlow.step.start]
conda = {{ {conda}, libraries = {{ activates = "" }} }}
pypi = {{ packages = {{ alpha = "1.0" }} }}

[flow.QuickFlow.step.end]
pypi = {{ python = "{OUTER}", packages = {{ alpha = "1.0" }} }}
"""
    )
    with isolation(home, shared_uv_cache):
        os.environ["ENVLOCK_CHANNEL_MIRRORS"] = channel.mirrors
        run_envlock("lock", cwd=folder)
        yield Flows(folder, home)


@pytest.fixture
def machine(conda_flows: Flows, isolated: Path, shared_uv_cache: Path, channel: Channel) -> Iterator[Flows]:
    """The flows, on the machine where they ran."""
    with isolation(conda_flows.home, shared_uv_cache):
        os.environ["ENVLOCK_CHANNEL_MIRRORS"] = channel.mirrors
        yield conda_flows


@dataclass(frozen=True)
class Run:
    """A run, and the run that a step of it started."""

    ended: Ended
    tasks: list[dict[str, Any]]
    inner: list[dict[str, Any]]
    around: Mapping[str, str]
    """The variables that the launcher was started with, beyond those of the tests' machine."""

    def seen(self, step: str, tasks: list[dict[str, Any]] | None = None) -> Seen:
        """What the first task of a step saw."""
        seen: Seen = next(task["seen"] for task in tasks or self.tasks if task["step"] == step)
        return seen


@pytest.fixture(scope="module")
def run(conda_flows: Flows, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run, started from inside a virtual environment, which is inside a conda environment with its own doings."""
    outer = tmp_path_factory.mktemp("outer")
    for name, text in {
        "conda-meta/history": "",
        "etc/conda/env_vars.d/o.json": '{"OUTER_LEVEL": "1"}',
        "etc/conda/deactivate.d/o.sh": "unset OUTER_HOME\n",
    }.items():
        (outer / name).parent.mkdir(parents=True, exist_ok=True)
        (outer / name).write_text(text)
    around = {
        "CONDA_PREFIX": str(outer),
        "CONDA_SHLVL": "1",
        "CONDA_DEFAULT_ENV": "outer",
        "CONDA_PROMPT_MODIFIER": "(outer) ",
        "OUTER_LEVEL": "1",
        "OUTER_HOME": str(outer),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{outer}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TOKEN": "s3cr3t-t0ken",
    }
    ended = conda_flows.python("three.py", "--environment=envlock", "run", **around)
    assert ended.status == 0, ended.text
    return Run(
        ended,
        conda_flows.tasks(f"ThreeFlow/{ended.run_id}"),
        conda_flows.tasks("WithinFlow"),
        around,
    )


def is_activated(seen: Seen) -> None:
    """A task in the environment of `ThreeFlow`'s conda packages, and what it starts, see what conda would show."""
    prefix = seen["prefix"]
    assert Path(prefix).name == "metaflow_{}_{}".format(*seen["identity"])
    assert seen["executable"] == f"{prefix}/bin/python"
    assert seen["speak"] == f"{prefix}/bin/speak"
    assert seen["sibling"] == prefix
    for variables in (seen["variables"], seen["below"]):
        assert variables["CONDA_PREFIX"] == prefix
        assert variables["CONDA_DEFAULT_ENV"] == prefix
        assert variables["CONDA_SHLVL"] == "1"
        assert variables["ACTIVATES_HOME"] == f"{prefix}/share/activates"
        assert variables["ACTIVATES_LEVEL"] == "11"
        assert variables["PATH"].split(":")[0] == f"{prefix}/bin"
        assert variables["PATH"].split(":").count(f"{prefix}/bin") == 1
        assert variables["TOKEN"] == "s3cr3t-t0ken"
        assert (variables["SAID"], variables["THREADS"]) == SAID
        gone = {"VIRTUAL_ENV", "CONDA_PROMPT_MODIFIER", "OUTER_LEVEL", "OUTER_HOME", "_METAFLOW_ENVLOCK_ABSENT"}
        assert gone & variables.keys() == set()
    foreign = [path for path in seen["sys_path"] if path.endswith("site-packages") and not path.startswith(prefix)]
    assert foreign == []


def test_a_conda_step_is_activated(run: Run) -> None:
    is_activated(run.seen("start"))
    assert run.seen("start")["alpha"] is None
    assert run.seen("start")["variables"]["ACTIVATES_NAME"] == "of the file"


def test_a_mixed_step_is_too_in_each_task_and_attempt(run: Run) -> None:
    tasks = [task for task in run.tasks if task["step"] == "work"]
    assert sorted(task["attempt"] for task in tasks) == [0, 1]
    for task in tasks:
        is_activated(task["seen"])
        assert task["seen"]["alpha"] == "1.1"
    assert tasks[0]["recorded"] != run.tasks[-1]["recorded"]


def test_what_the_user_sets_for_a_step_wins(run: Run) -> None:
    is_activated(run.seen("own"))
    assert run.seen("own")["variables"]["ACTIVATES_NAME"] == "the user's"


def test_the_workers_of_parallel_are_activated(run: Run) -> None:
    workers = [task for task in run.tasks if task["step"] == "many"]
    assert len(workers) == 2
    for task in workers:
        is_activated(task["seen"])


def test_a_disabled_step_has_the_variables_of_the_launcher(run: Run) -> None:
    seen = run.seen("join")
    assert seen["prefix"] == sys.prefix
    assert run.around.items() <= seen["variables"].items()
    assert "ACTIVATES_HOME" not in seen["variables"]


def test_a_flow_that_a_conda_step_starts_has_nothing_of_it(run: Run) -> None:
    of_wheels = run.seen("start", run.inner)
    assert of_wheels["alpha"] == "1.0"
    assert of_wheels["variables"]["VIRTUAL_ENV"] == of_wheels["prefix"] == of_wheels["sibling"]
    assert of_wheels["variables"]["PATH"].split(":")[0] == f"{of_wheels['prefix']}/bin"
    outer = run.seen("own")["prefix"]
    assert (of_wheels["variables"]["SAID"], of_wheels["below"]["THREADS"]) == SAID
    other = run.seen("end", run.inner)
    assert not {"SAID", "THREADS"} & other["variables"].keys()
    assert other["variables"]["CONDA_PREFIX"] == other["prefix"] == other["sibling"]
    for seen in (of_wheels, other):
        assert not [name for name in seen["variables"] if name.startswith("ACTIVATES_") and name != "ACTIVATES_NAME"]
        assert f"{outer}/bin" not in seen["variables"]["PATH"].split(":")
    assert "CONDA_PREFIX" not in of_wheels["variables"]


def test_no_value_is_told(run: Run) -> None:
    assert "s3cr3t" not in run.ended.text


def test_what_ran_is_as_it_was_installed(run: Run, machine: Flows) -> None:
    assert "as installed" in run_envlock("verify", cwd=machine.folder).stdout


@pytest.fixture
def own_prefix(machine: Flows) -> Iterator[Path]:
    """The prefix of a step that runs in this test alone, to be changed."""
    chosen = ("--flow", "QuickFlow", "--step", "start")
    prefix = Path(run_envlock("path", *chosen, cwd=machine.folder).stdout.strip())
    yield prefix
    shutil.rmtree(prefix)


def test_a_script_that_fails_stops_the_run_where_it_is_needed(machine: Flows, own_prefix: Path) -> None:
    script = own_prefix / "etc/conda/activate.d/activates.sh"
    script.unlink()
    script.write_text("exit 1\n")
    ended = machine.python("quick.py", "--environment=envlock", "run")
    assert ended.status == 1
    assert "Traceback" not in ended.text
    assert "error[activation-failed]: " in ended.text
    assert "etc/conda/activate.d/activates.sh of activates 1.0 failed" in ended.text
    script.write_text('export PYTHONPATH="$CONDA_PREFIX/extra:$PYTHONPATH"\nfalse\n')
    ended = machine.python("quick.py", "--environment=envlock", "run", PYTHONPATH="/mine")
    assert ended.status == 0, ended.text
    (modules,) = (line for line in ended.text.splitlines() if "modules are in" in line)
    assert f"{own_prefix}/extra" in modules
    assert "/mine" not in modules
    assert "warning: " in ended.text
    assert "activates.sh ended with status 1" in ended.text


@pytest.mark.slow
def test_thirty_runs_end_well(machine: Flows) -> None:
    """py-rattler can take a process down while it ends: that may not be seen in any run."""
    statuses = []
    for number in range(30):
        if number % 10 == 0:  # and while environments are made
            shutil.rmtree(machine.home / "envlock" / "environments", ignore_errors=True)
        ended = machine.python("quick.py", "--environment=envlock", "run")
        statuses.append(ended.status)
        assert ended.status == 0, f"run {number}: {ended.text}"
        time.sleep(0.01)
    assert statuses == [0] * 30
