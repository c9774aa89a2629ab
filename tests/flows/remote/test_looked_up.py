"""Environments that are looked up when a task starts on a node, whatever scheduler started it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envlock.cache.open import open_store
from envlock.config.read import load_project
from envlock.model.arch import host_arch
from envlock.named.run_record import RunRecords
from tests.flows.remote.conftest import BUCKET, FILES
from tests.pods.backends import Backends
from tests.pods.folders import folder_series
from tests.pods.pod import CREDENTIALS
from tests.support import isolation, run_envlock

pytestmark = [pytest.mark.flows, pytest.mark.index]

_STEPS = """
[flow.LookedUpFlow]
file = "looked_up.py"
[flow.LookedUpFlow.step.start]
named_env = { name = "team/env:@{METAFLOW_INIT_ENV_TAG}", fetch_at_exec = true }
[flow.LookedUpFlow.step.env]
named_env = { name = "team/@{METAFLOW_STEP_NAME}:@{METAFLOW_INIT_ENV_TAG}", fetch_at_exec = true }
[flow.LookedUpFlow.step.again]
named_env = { pathspec = "LookedUpFlow/@{METAFLOW_RUN_ID}/start", fetch_at_exec = true }
[flow.LookedUpFlow.step.end]
disabled = true

[flow.BuiltFlow]
file = "built.py"
[flow.BuiltFlow.step.start]
disabled = true
[flow.BuiltFlow.step.first]
named_env = { name = "@{METAFLOW_INIT_TEAM}/run-@{METAFLOW_RUN_ID}", fetch_at_exec = true }
[flow.BuiltFlow.step.move]
disabled = true
[flow.BuiltFlow.step.second]
named_env = { name = "@{METAFLOW_INIT_TEAM}/run-@{METAFLOW_RUN_ID}", fetch_at_exec = true }
[flow.BuiltFlow.step.missing]
named_env = { name = "@{METAFLOW_INIT_TEAM}/never-given:v1", fetch_at_exec = true }
[flow.BuiltFlow.step.end]
disabled = true
"""


@pytest.fixture(scope="module")
def settings(backends_of: Callable[[str], Backends]) -> str:
    """What begins every envlock.toml here."""
    endpoint = backends_of("folder").aws.endpoint
    return f"""\
[envlock]
archs = ["{host_arch()}"]
datastore = "s3"
cache = "s3://{BUCKET}/looked-up"
cache-options = {{ endpoint = "{endpoint}" }}
"""


@pytest.fixture(scope="module")
def backends(
    backends_of: Callable[[str], Backends],
    settings: str,
    shared_uv_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backends]:
    """The backends, at a folder with the flows, and with the aliases `team/env:v1` and `team/env:v2` in the cache."""
    folder = tmp_path_factory.mktemp("looked-up")
    for name in ("looked_up.py", "built.py"):
        (folder / name).write_text((FILES / name).read_text())
    python = f'python = "{folder_series()[-1]}"'
    env = f"[env.{{}}.pypi]\n{python}\npackages = {{{{ packaging = '=={{}}' }}}}\n"
    (folder / "envlock.toml").write_text(settings + env.format("one", "24.0") + env.format("two", "24.2") + _STEPS)
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache), pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        run_envlock("lock", cwd=folder)
        run_envlock("alias", "team/env:v1", "--env", "one", cwd=folder)
        run_envlock("alias", "team/env:v2", "--env", "two", cwd=folder)
        yield backends_of("folder").at(folder, BUILT_SETTINGS=f"{settings}[env.built.pypi]\n{python}")


def seen(backends: Backends, pathspec: str) -> dict[str, Any]:
    """What each step that was looked up saw, and that Metaflow and the cache know of it."""
    flow, run = pathspec.split("/")
    project = load_project(backends.folder / "envlock.toml")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        records = RunRecords(open_store(project.cache_url, project.cache_options))
        for task in backends.tasks(pathspec):
            if task["recorded"]:
                assert task["seen"]["identity"] == task["recorded"]
                (record,) = records.read(flow, run, task["step"])
                assert [record.req_id, record.full_id, record.arch] == task["recorded"]
                found[task["step"]] = task["seen"]["packaging"]
    return found


@pytest.mark.parametrize("scheduler", ["argo", pytest.param("step functions", marks=pytest.mark.slow)])
def test_each_scheduler_passes_what_names_need(scheduler: str, backends: Backends) -> None:
    if scheduler == "argo":
        template = backends.argo_template("looked_up", "--environment=envlock")
        run_id = "argo-" + backends.argo(template, "looked-x7", **{"env-tag": "v2"}).name
    else:
        run_id = backends.step_functions("looked_up", "--environment=envlock", env_tag="v2")
    assert seen(backends, f"LookedUpFlow/{run_id}") == {"start": "24.2", "env": "24.2", "again": "24.2"}


def test_a_step_makes_the_environments_of_those_that_follow(backends: Backends) -> None:
    ended = backends.python("built.py", "--environment=envlock", "run", "--team", "ml", status=1)
    assert seen(backends, f"BuiltFlow/{ended.run_id}") == {"first": "24.0", "second": "24.2"}
    assert "envlock: no environment in the cache" in ended.text
    assert "`envlock alias ml/never-given:v1 --env NAME`" in ended.text
