"""ci/gitlab.yml: valid by the schema of GitLab, and its jobs as a runner runs them: in one shell, with variables."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.build.repositories import commit, git
from tests.index import Index
from tests.servers.code_hosts import IS_USER, CodeHost
from tests.support import ENVLOCK, ProjectFolder, isolation, run_envlock

ROOT = Path(__file__).parents[2]
TEMPLATE: dict[str, Any] = yaml.safe_load((ROOT / "ci" / "gitlab.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def upstream(index: Index, tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[Path]:
    """A repository whose commits are tagged: `one`, `upgrade` from it, and `words`, which changes no lock."""
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        folder = tmp_path_factory.mktemp("upstream") / "repository"
        project = ProjectFolder.make(folder / "my flows", index.url)
        project.write_env("alpha<2", archs=["linux-64"])
        for tag in ("one", "upgrade", "words"):
            if tag == "upgrade":
                project.edit("<2", ">=2")
            if tag == "words":
                (folder / "README").write_text("words\n")
            else:
                run_envlock("lock", cwd=project.folder)
            commit(folder, message=tag)
            git(folder, "tag", tag)
        yield folder


@dataclass
class Runner:
    """A runner of GitLab, in a clone of depth 1."""

    folder: Path
    upstream: Path
    host: CodeHost
    token: str = IS_USER

    @property
    def checkout(self) -> Path:
        return self.folder / "builds"

    def clone(self, tag: str) -> None:
        shutil.rmtree(self.checkout, ignore_errors=True)
        url = f"file://{self.upstream}"
        git(self.folder, "clone", "--quiet", "--depth=1", f"--branch={tag}", "--no-tags", url, str(self.checkout))

    def run(self, job: str, base: str = "one", status: int = 0) -> str:
        """Run a job, which has to end so; returns its log."""
        chosen = TEMPLATE[job]
        parent = TEMPLATE[chosen["extends"]]
        programs = self.folder / "programs"
        programs.mkdir(exist_ok=True)
        python = programs / "python"  # which does not install, but notes what it would
        note = f'case "$3" in pip) echo "$@" > "{self.folder}/installed"; exit;; esac'
        python.write_text(f'#!/bin/sh\n{note}\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        variables = {name: value["value"] for name, value in TEMPLATE["variables"].items()}
        done = subprocess.run(
            ["bash"],
            input="\n".join(["set -eo pipefail", *parent["before_script"], *chosen["script"]]),
            cwd=self.checkout,
            env={
                **os.environ,
                **variables,
                "FOLDER_OF_ENVLOCK_TOML": "my flows",
                "PATH": os.pathsep.join([str(programs), str(ENVLOCK.parent), os.environ["PATH"]]),
                "CI_API_V4_URL": f"{self.host.url}/api/v4",
                "CI_MERGE_REQUEST_DIFF_BASE_SHA": git(self.upstream, "rev-parse", base),
                "CI_MERGE_REQUEST_IID": "7",
                "CI_PROJECT_DIR": str(self.checkout),
                "CI_PROJECT_ID": "42",
                "MERGE_REQUEST_TOKEN": self.token,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "warning" not in done.stderr  # of a variable that envlock takes for one of its own
        assert (self.folder / "installed").read_text().endswith("-- envlock\n")
        return done.stdout + done.stderr


@pytest.fixture
def runner(tmp_path: Path, upstream: Path, host: CodeHost) -> Runner:
    return Runner(tmp_path, upstream, host)


def test_the_template_is_what_gitlabs_schema_says() -> None:
    text = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/gitlab-ci.json").read_text()
    jsonschema.Draft7Validator(json.loads(text)).validate(TEMPLATE)
    for job in TEMPLATE.values():
        assert "extends" not in job or job["extends"] in TEMPLATE


def test_check_leaves_the_reports_that_the_job_names(runner: Runner) -> None:
    runner.clone("upgrade")
    reports = TEMPLATE["envlock-check"]["artifacts"]["reports"]
    assert "fresh: 1 environment on 1 arch" in runner.run("envlock-check")
    assert json.loads((runner.checkout / reports["codequality"]).read_text()) == []
    assert ET.parse(runner.checkout / reports["junit"]).getroot().attrib["failures"] == "0"
    config = runner.checkout / "my flows" / "envlock.toml"
    config.write_text(config.read_text().replace(">=2", "<2"))
    runner.run("envlock-check", status=1)
    (entry,) = json.loads((runner.checkout / reports["codequality"]).read_text())
    assert entry["location"]["path"] == "my flows/envlock.toml"
    (case,) = ET.parse(runner.checkout / reports["junit"]).getroot().iter("testcase")
    assert case.attrib["file"] == "my flows/envlock.toml"


def test_what_changes_is_a_comment_that_is_updated_in_place(runner: Runner, host: CodeHost) -> None:
    for number in range(101):
        host.add(f"note {number}", "eve", "User")
    runner.clone("upgrade")
    runner.run("envlock-diff")
    (path,) = TEMPLATE["envlock-diff"]["artifacts"]["paths"]
    own = host.comments[-1]
    assert (runner.checkout / path).read_text().strip() in own["body"]
    assert "alpha" in own["body"]
    runner.run("envlock-diff")
    assert host.writes == ["POST"]
    runner.clone("words")
    runner.run("envlock-diff", base="upgrade")
    assert host.writes == ["POST", "PUT"]
    assert "no environment differs" in own["body"]
    assert "alpha" not in own["body"]
    host.comments.clear()
    runner.run("envlock-diff", base="upgrade")
    assert host.comments == []


def test_no_module_of_a_merge_request_is_run(runner: Runner, tmp_path: Path) -> None:
    runner.clone("upgrade")
    for folder in (runner.checkout, runner.checkout / "my flows"):
        for name in ("json", "hashlib", "pip", "urllib"):
            (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    runner.run("envlock-check")
    runner.run("envlock-diff")
    assert not (tmp_path / "pwned").exists()


def test_without_a_token_the_artifact_is_left(runner: Runner, host: CodeHost) -> None:
    runner.clone("upgrade")
    runner.token = ""
    assert "MERGE_REQUEST_TOKEN" in runner.run("envlock-diff")
    assert host.asked == []
    assert "alpha" in (runner.checkout / "envlock-diff.md").read_text()


def test_a_token_that_may_not_comment_fails_the_job_in_a_line(runner: Runner, host: CodeHost) -> None:
    runner.clone("upgrade")
    runner.token = "another"
    said = runner.run("envlock-diff", status=1)
    assert "envlock: no comment on the merge request" in said
    assert "Traceback" not in said
    assert TEMPLATE["envlock-diff"]["allow_failure"] is True


def test_a_diff_that_fails_is_no_comment(runner: Runner, host: CodeHost) -> None:
    runner.clone("upgrade")
    config = runner.checkout / "my flows" / "envlock.toml"
    config.write_text("[envlock\n")
    commit(runner.checkout, message="broken")
    assert "error[" in runner.run("envlock-diff", status=2)
    assert host.asked == []
