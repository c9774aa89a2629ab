"""A real run leaves in the cache what each step ran in, for those who have other metadata or no Metaflow."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.flows.conftest import Flows, Past
from tests.notebooks import opened
from tests.support import ENVLOCK, isolation, run_envlock

pytestmark = [pytest.mark.flows, pytest.mark.index]

PRINT = "import alpha, sys; print(sys.prefix, alpha.__version__)"


@pytest.fixture
def flows(past: Past, shared_uv_cache: Path) -> Iterator[Flows]:
    """The folder of the run, on its machine."""
    with isolation(past.flows.home, shared_uv_cache):
        yield past.flows


def test_a_run_is_found_by_its_pathspec(past: Past, flows: Flows, tmp_path: Path) -> None:
    kept = list((past.cache / "pathspecs").rglob("*.json"))
    assert [str(path.relative_to(past.cache)) for path in kept] == [f"pathspecs/{past.pathspec}/{host_arch()}.json"], (
        "the other step is disabled"
    )
    fields = json.loads(kept[0].read_text())
    assert [fields["req_id"], fields["full_id"], fields["arch"]] == past.task["recorded"]

    elsewhere = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(tmp_path / "other-metadata")}
    (mine,) = run_envlock("show", "--pathspec", past.pathspec, "--json", cwd=flows.folder).json["environments"]
    (theirs,) = run_envlock("show", "--pathspec", past.pathspec, "--json", cwd=flows.folder, env=elsewhere).json[
        "environments"
    ]
    assert mine["task"] == past.task["pathspec"]
    assert (theirs["task"], theirs["identity"]) == (past.pathspec, mine["identity"])


def test_what_ran_is_gone_on_with_in_its_environment_with_its_code_and_in_a_notebook(
    past: Past, flows: Flows, tmp_path: Path
) -> None:
    task, pathspec = past.task, past.pathspec
    # What is locked today, and the code as it is now, do not count.
    (flows.folder / "seen.py").write_text("raise ImportError('this is not the code of the run')\n")
    shown = run_envlock("run", "--pathspec", pathspec, "--", "python", "-c", PRINT, cwd=flows.folder).stdout
    assert shown == f"{task['seen']['prefix']} 1.1\n"
    assert run_envlock("path", "--pathspec", pathspec, cwd=flows.folder).stdout.strip() == task["seen"]["prefix"]
    entered = subprocess.run(
        [ENVLOCK, "shell", "--pathspec", pathspec],
        cwd=flows.folder,
        input=f'python -c "{PRINT}"; exit\n',
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "SHELL": "/bin/sh"},
    )
    assert entered.stdout == shown
    ran = run_envlock("run", "--pathspec", pathspec, "--step", "start", "--", "true", cwd=flows.folder, check=2)
    assert "`--pathspec` and `--step` exclude each other" in ran.stderr

    into = tmp_path / "past"
    create = ("create", "--pathspec", pathspec, "--into-dir", str(into))
    made = run_envlock(*create, "--install-notebook", "--name", "past", cwd=flows.folder)
    assert made.stdout.strip() == task["seen"]["prefix"]
    code = "import inner, metaflow, seen; print(inner.__file__, seen.__file__, metaflow.__file__)"
    said = subprocess.run([into / "python", "-c", code], cwd="/", capture_output=True, text=True, check=True).stdout
    assert said == f"{into}/inner.py {into}/seen.py {into}/.mf_code/metaflow/__init__.py\n"
    kernel_json = Path(os.environ["XDG_DATA_HOME"]) / "jupyter" / "kernels" / "past" / "kernel.json"
    with opened(json.loads(kernel_json.read_text())["argv"], tmp_path, {}) as notebook:
        assert notebook.run(code) == said
        again = "from metaflow import Task, namespace; namespace(None)\n"
        assert notebook.run(f"{again}print(Task('{task['pathspec']}')['seen'].data['alpha'])") == "1.1\n"
    assert "error[cannot-unpack]" in run_envlock(*create, cwd=flows.folder, check=2).stderr
    # As of a run that kept none: Metaflow's own default, where no step leaves the machine.
    run = flows.home / "metaflow" / ".metaflow" / "InnerFlow" / pathspec.split("/")[1]
    for path in run.rglob("*code-package*"):
        path.unlink()
    ran = run_envlock(*create[:-1], str(tmp_path / "none"), cwd=flows.folder, check=2)
    assert "error[no-code-package]" in ran.stderr
    assert not (tmp_path / "none").exists()
