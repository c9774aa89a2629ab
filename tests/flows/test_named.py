"""A flow whose steps are a named environment, extend it, and look one up when they start."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.flows.conftest import OUTER, Flows
from tests.index import Index
from tests.support import isolation, run_envlock

pytestmark = [pytest.mark.flows, pytest.mark.index]

STEPS = ("start", "extended", "end")
NAMED = Path(__file__).with_name("named")
SETTINGS = '[envlock]\ncache = "../shared"\narchs = ["{}"]\nextra-indices = ["{}"]\n'


@pytest.fixture
def teams(tmp_path: Path, flow_home: Path, index: Index, shared_uv_cache: Path) -> Iterator[Flows]:
    """A flow in a checkout of its own; in another one, `team/base:v1` was locked and named."""
    mine, yours = tmp_path / "mine", tmp_path / "yours"
    shutil.copytree(NAMED, yours)
    mine.mkdir()
    settings = SETTINGS.format(host_arch(), index.url)
    with isolation(flow_home, shared_uv_cache):
        for tag, packages in (("v1", 'alpha = "<2"'), ("v2", 'alpha = "<2", lam = ""')):
            (mine / "envlock.toml").write_text(
                f'{settings}\n[env.base]\npypi = {{ python = "{OUTER}", packages = {{ {packages} }} }}\n'
            )
            run_envlock("lock", cwd=mine)
            run_envlock("alias", f"team/base:{tag}", "--env", "base", cwd=mine)
        (yours / "envlock.toml").write_text(
            f"""{settings}
[flow.NamedFlow]
file = "named.py"
named_env = {{ name = "team/base:v1" }}

[flow.NamedFlow.step.extended]
pypi = {{ packages = {{ beta = "" }} }}

[flow.NamedFlow.step.end]
named_env = {{ name = "team/base:@{{METAFLOW_INIT_RELEASE_TAG}}", fetch_at_exec = true }}
"""
        )
        run_envlock("lock", cwd=yours)
        yield Flows(yours, flow_home)


def test_each_step_has_the_environment_of_its_alias(teams: Flows) -> None:
    assert "fresh" in run_envlock("check", cwd=teams.folder).stdout
    assert "fetched when the step starts" in run_envlock("show", cwd=teams.folder).stdout
    ended = teams.python("named.py", "--environment=envlock", "run", "--release-tag", "v2")
    assert ended.status == 0, ended.text
    tasks = {task["step"]: task for task in teams.tasks(f"NamedFlow/{ended.run_id}")}
    assert {step: task["seen"]["packages"] for step, task in tasks.items()} == {
        "start": {"alpha": "1.1"},
        "extended": {"alpha": "1.1", "beta": "2.0"},
        "end": {"alpha": "1.1", "lam": "1.0"},
    }
    for step in STEPS:
        assert tasks[step]["recorded"] == tasks[step]["seen"]["identity"]
    spun = teams.python("named.py", "--environment=envlock", "spin", tasks["end"]["pathspec"])
    assert spun.status == 0, spun.text
    config = teams.folder / "envlock.toml"
    config.write_text(config.read_text().replace('name = "team/base:v1"', f'pathspec = "{tasks["end"]["pathspec"]}"'))
    assert "pinned NamedFlow/" in run_envlock("lock", cwd=teams.folder).stdout
    assert "fresh" in run_envlock("check", "--online", cwd=teams.folder).stdout
    ids = ("--run-id", "again", "--task-id")
    for command in (
        ["init", *ids, "t1"],
        ["step", "start", *ids, "t2", "--input-paths", "again/_parameters/t1"],
        ["step", "end", *ids, "t3", "--input-paths", "again/start/t2"],
    ):
        again = teams.python("named.py", "--environment=envlock", *command)
        assert again.status == 0, again.text
    tasks = {task["step"]: task for task in teams.tasks("NamedFlow/again")}
    assert tasks["start"]["seen"]["packages"] == {"alpha": "1.1", "lam": "1.0"}
    assert tasks["end"]["seen"]["packages"] == {"alpha": "1.1"}, "of the parameter's default"
    for each in tasks.values():
        assert each["recorded"] == each["seen"]["identity"]


def test_a_name_that_nothing_has_fails_its_own_task(teams: Flows) -> None:
    ended = teams.python("named.py", "--environment=envlock", "run", "--release-tag", "v9")
    assert ended.status == 1
    assert "no environment is called `team/base:v9`" in ended.text
    assert "Traceback" not in ended.text, ended.text
    steps = {task["step"]: task["successful"] for task in teams.tasks(f"NamedFlow/{ended.run_id}")}
    assert steps == {"start": True, "extended": True, "end": False}
