"""What `envlock check` shows, to people and to machines, and how little it needs for that.

Which verdict each drift gets is in tests/workflow/test_check.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Envlock
from tests.index import Index
from tests.support import ProjectFolder, isolation, run_envlock

HEAVY = (
    "typer",
    "rich",
    "pydantic",
    "fsspec",
    "packaging",
    "tomlkit",
    "httpx",
    "asyncio",
    "subprocess",
    "uv",
    "difflib",
)


@pytest.fixture
def flow(project: ProjectFolder, locked_flow: Path) -> ProjectFolder:
    """A locked flow of three steps, of which one asks for more and one for nothing."""
    shutil.copytree(locked_flow, project.folder, dirs_exist_ok=True)
    return project


@pytest.fixture(scope="module")
def locked_flow(new_folder: Callable[[str], Path], index: Index, shared_uv_cache: Path) -> Path:
    project = ProjectFolder.make(new_folder("locked") / "project", index.url)
    project.write_flow()
    project.write(
        "\n".join(
            [
                "[flow.DemoFlow]",
                'file = "demoflow.py"',
                "[flow.DemoFlow.pypi]",
                'python = "3.12"',
                "[flow.DemoFlow.pypi.packages]",
                'alpha = ">=1"',
                "[flow.DemoFlow.step.train.pypi.packages]",
                'lam = ""',
                "[flow.DemoFlow.step.end]",
                "disabled = true",
            ]
        ),
        archs=["linux-64", "osx-arm64"],
    )
    with isolation(new_folder("home"), shared_uv_cache):
        run_envlock("lock", cwd=project.folder)
    return project.folder


def change(project: ProjectFolder, old: str, new: str) -> int:
    """Change one line of envlock.toml; returns its number."""
    lines = project.config.read_text().splitlines()
    at = lines.index(old)
    lines[at] = new
    project.config.write_text("\n".join(lines) + "\n")
    return at + 1


def test_fresh(flow: ProjectFolder, envlock: Envlock) -> None:
    ran = envlock("check")
    assert ran.stdout == "fresh: 2 environments on 2 archs\n"
    assert ran.stderr == ""
    assert envlock("check", "--json").json == {"exit_status": 0, "environments": 2, "archs": 2, "findings": []}
    assert envlock("check", "--format", "github").stdout == ""


def test_what_changed_is_shown_once_for_all_archs(flow: ProjectFolder, envlock: Envlock) -> None:
    line = change(flow, 'lam = ""', 'lam = ">=2"')
    ran = envlock("check", check=1)
    assert ran.stderr == ""
    assert ran.stdout == (
        "DemoFlow/train on linux-64, osx-arm64: changed since it was locked\n"
        f"  at envlock.toml:{line} (flow.DemoFlow.step.train.pypi.packages.lam)\n"
        "  lam>=2, locked: lam 1.0\n"
        "  repair: envlock lock\n"
        "\n"
        "2 findings; worst: stale or missing (exit 1)\n"
    )


def test_the_gravest_decides(flow: ProjectFolder, envlock: Envlock) -> None:
    change(flow, 'lam = ""', 'lam = ">=2"')
    path = next(path for path in flow.locks if "DemoFlow/start" in path.read_text().splitlines()[0])
    path.write_text(path.read_text().replace("size = ", "size = 1"))
    ran = envlock("check", check=3)
    assert "changed since it was locked" in ran.stdout
    assert "DAMAGED" in ran.stdout
    assert ran.stdout.endswith("3 findings; worst: damaged (exit 3)\n")
    machine = envlock("check", "--json", check=3).json
    assert [finding["exit_status"] for finding in machine["findings"]].count(3) == 1
    damaged = next(finding for finding in machine["findings"] if finding["verdict"] == "damaged")
    assert damaged["path"] == str(path.relative_to(flow.folder))
    assert damaged["environment"] == "DemoFlow/start"
    assert damaged["arch"] == path.parent.parent.name


def test_annotations_for_a_code_host_have_the_line(flow: ProjectFolder, envlock: Envlock) -> None:
    line = change(flow, 'lam = ""', 'lam = ">=2"')
    (said,) = envlock("check", "--format=github", check=1).stdout.splitlines()
    assert said == (
        f"::error file=envlock.toml,line={line},title=envlock%3A changed since it was locked::"
        "DemoFlow/train on linux-64, osx-arm64: lam>=2, locked: lam 1.0; repair: envlock lock"
    )


def test_a_new_step_is_not_locked(flow: ProjectFolder, envlock: Envlock) -> None:
    change(flow, "[flow.DemoFlow.step.end]", "[env.other.pypi.packages]")
    change(flow, "disabled = true", 'iota = ""')
    findings = envlock("check", "--json", check=1).json["findings"]
    assert {(finding["environment"], finding["verdict"]) for finding in findings} == {("other", "missing")}


def test_an_enabled_step_shares_its_flows_lock(flow: ProjectFolder, envlock: Envlock) -> None:
    change(flow, "disabled = true", "disabled = false")
    assert envlock("check").stdout == "fresh: 3 environments on 2 archs\n"


def test_a_name_with_special_characters_does_no_harm_to_a_code_host(project: ProjectFolder, envlock: Envlock) -> None:
    project.write('[env."a%0A::error::b,c:d"]\n[env."a%0A::error::b,c:d".pypi]', archs=["linux-64"])
    (line,) = envlock("check", "--format", "github", check=1).stdout.splitlines()
    assert "a%250A" in line


def test_the_good_path_imports_nothing_heavy(flow: ProjectFolder) -> None:
    code = (
        "import sys\nfrom envlock.__main__ import main\nstatus = main(['check'])\n"
        "print(status, *sorted(sys.modules), sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=flow.folder, capture_output=True, text=True, check=True
    )
    status, *modules = done.stderr.split()
    assert status == "0"
    assert "envlock.lockfile.summary" in modules
    assert [name for name in modules if name.partition(".")[0] in HEAVY] == []
    assert "envlock.lockfile.document" not in modules


def test_an_empty_project_is_fresh(project: ProjectFolder, envlock: Envlock) -> None:
    project.write("")
    assert envlock("check").stdout.startswith("nothing to check")


def test_help_has_the_exit_statuses(envlock: Envlock, tmp_path: Path) -> None:
    said = envlock("check", "--help", cwd=tmp_path).stdout
    assert "0 fresh" in said
    assert "3 damaged" in said


def test_what_is_fetched_when_its_step_starts_is_not_counted_as_fresh(project: ProjectFolder, envlock: Envlock) -> None:
    later = '[env.later]\nnamed_env = { name = "team/base", fetch_at_exec = true }'
    project.write(later)
    assert envlock("check").stdout == "nothing is locked: 1 fetched when the step starts\n"
    for command in ("lock", "push"):
        assert envlock(command).stdout == f"nothing to {command}: 1 environment is fetched when its step starts\n"
    project.write(f"{later}\n[env.now]\n", settings="metaflow-requirements = false", archs=["linux-64"])
    envlock("lock")
    assert envlock("check").stdout == "fresh: 1 environment on 1 arch; 1 fetched when the step starts\n"
