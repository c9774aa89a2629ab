"""What is imported when: modules point one way, and what is started often starts light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.lockfile.folder import lock_files, read_lock, write_lock
from tests.build.repositories import commit
from tests.conftest import Envlock, ProjectFolder

HEAVY = {"click", "fsspec", "httpx", "packaging", "pydantic", "rich", "tomlkit", "typer"}
ROOT = Path(__file__).resolve().parent.parent


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has imported when `code` is through, beyond those it starts with."""
    wrapped = (
        "import sys; before = set(sys.modules)\n"
        "import atexit\n"
        "@atexit.register\n"
        "def tell():\n"
        "    names = sorted(set(sys.modules) - before - {'atexit'})\n"
        "    sys.stderr.write('\\nmodules ' + __import__('json').dumps(names) + '\\n')\n" + code
    )
    done = subprocess.run([sys.executable, "-c", wrapped], cwd=ROOT, capture_output=True, text=True, check=False)
    line = [line for line in done.stderr.splitlines() if line.startswith("modules ")]
    assert line, done.stderr
    return set(json.loads(line[-1].removeprefix("modules ")))


def imported_by(*arguments: str, cwd: Path) -> tuple[int, set[str]]:
    """The exit status of a real `envlock` command, and every module that it imported before it ended or exec'ed."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "envlock", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.returncode, {line.rpartition("|")[2].strip() for line in lines}


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] in HEAVY}


def test_modules_import_one_way() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_envlock_itself_imports_nothing() -> None:
    assert modules_after("import envlock") - {"envlock", "json"} <= {"__future__"}


def test_metaflow_is_not_burdened() -> None:
    modules = modules_after("import metaflow")
    assert any(name.startswith("metaflow_extensions.envlock") for name in modules)
    assert not any(name.partition(".")[0] == "envlock" for name in modules)
    assert heavy(modules) == set()


@pytest.fixture
def locked(project: ProjectFolder, envlock: Envlock) -> Path:
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    project.write_env("alpha==1.1", python=running)
    envlock("lock")
    return project.folder


ALL_OF_HYDRATE = """
import importlib, pkgutil, envlock.hydration, envlock.conda.install
for each in pkgutil.iter_modules(envlock.hydration.__path__, "envlock.hydration."):
    importlib.import_module(each.name)
"""


def test_hydrating_a_lock_knows_no_project() -> None:
    """A node or another host that hydrates has no envlock.toml, and should not pay for reading one."""
    imported = modules_after(ALL_OF_HYDRATE)
    modules = {name for name in imported if name.partition(".")[0] == "envlock"}
    assert {"envlock.hydration.hydrate", "envlock.hydration.conda_rattler"} <= modules
    others = ("cache", "cli", "config", "lockfile", "resolve", "workflow")
    assert [name for name in modules if name.split(".")[1:2] and name.split(".")[1] in others] == []
    assert {name.partition(".")[0] for name in heavy(imported)} <= {"packaging"}
    assert len(modules) <= 46, sorted(modules)


def test_check_starts_light(locked: Path) -> None:
    status, modules = imported_by("check", cwd=locked)
    assert status == 0
    assert "envlock.workflow.check" in modules
    assert heavy(modules) == set()
    config = locked / "envlock.toml"
    table, packages = "[env.demo.pypi.packages]\n", '"alpha" = "==1.1"\n'
    assert f"{table}{packages}" in config.read_text()
    (locked / "base.txt").write_text("alpha==1.1\n")
    (locked / "r.txt").write_text("-r base.txt\n")
    config.write_text(config.read_text().replace(f"{table}{packages}", '[env.demo]\nrequirements = "r.txt"\n'))
    status, modules = imported_by("check", cwd=locked)
    assert status == 0, "the same requirements, of another file"
    assert heavy(modules) == set()
    assert modules.isdisjoint({"dataclasses", "typing", "ast", "envlock.config.toml_scan"})
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "envlock" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[envlock]\ncache = "s3://team/envlock"\nhome = "/data"\n')
    (locked / "team.toml").write_text('[envlock]\nkeep-on-node = "1 GB"\n')
    config.write_text(config.read_text().replace("[envlock]\n", '[envlock]\nextends = "team.toml"\n'))
    status, modules = imported_by("check", cwd=locked)
    assert status == 0, "settings of a machine and a team, which are in no id"
    assert heavy(modules) == set()
    assert modules.isdisjoint({"dataclasses", "typing", "ast", "envlock.config.toml_scan"})


@pytest.mark.parametrize(
    ("name", "allowed"), [("requirements", set()), ("pylock", set()), ("cyclonedx", {"packaging"})]
)
def test_export_starts_light(
    locked: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, allowed: set[str]
) -> None:
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "empty"))  # wheels that are here are read for their licenses
    status, modules = imported_by("export", "--format", name, cwd=locked)
    assert status == 0
    assert {each.partition(".")[0] for each in heavy(modules)} <= allowed
    others = {"dataclasses", "typing", "importlib.metadata", "ruamel", "yaml", "envlock.lockfile.document"}
    assert modules.isdisjoint(others)


@pytest.mark.parametrize("command", [("tree",), ("tree", "--invert", "alpha"), ("why", "alpha"), ("list",)])
def test_what_looks_at_locks_starts_light(locked: Path, command: tuple[str, ...]) -> None:
    status, modules = imported_by(*command, cwd=locked)
    assert status == 0
    assert "envlock.lockfile.rows" in modules
    assert heavy(modules) == set()
    assert modules.isdisjoint({"dataclasses", "typing", "envlock.lockfile.document", "envlock.model.lock", "rattler"})


def test_diff_starts_light(locked: Path) -> None:
    commit(locked)
    path = lock_files(locked / "envlock.lock")[0]
    lock = read_lock(path)
    path.unlink()
    write_lock(locked / "envlock.lock", replace(lock, packages=(replace(lock.packages[0], sha256="0" * 64),)))
    status, modules = imported_by("diff", "--exit-code", cwd=locked)
    assert status == 1
    assert "envlock.lockfile.changes" in modules
    assert heavy(modules) == set()
    assert modules.isdisjoint({"dataclasses", "typing", "envlock.lockfile.document", "envlock.model.lock", "rattler"})


def test_starting_looks_for_no_garbage(locked: Path) -> None:
    code = (
        "import gc, sys; sys.argv = ['envlock', 'check']\n"
        "from envlock.__main__ import main\n"
        "gc.callbacks.append(lambda *_: print('collected', file=sys.stderr))\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=locked, capture_output=True, text=True, check=True)
    assert (done.stdout[:5], done.stderr) == ("fresh", "")


@pytest.mark.parametrize("command", [("path", "--env", "demo"), ("run", "--env", "demo", "--", "true")])
def test_what_finds_a_hydrated_environment_starts_light(
    locked: Path, envlock: Envlock, command: tuple[str, ...]
) -> None:
    envlock("push", cwd=locked)
    envlock("run", "--env", "demo", "--", "true", cwd=locked)
    status, modules = imported_by(*command, cwd=locked)
    assert status == 0
    assert "envlock.config.read" in modules
    assert heavy(modules) == set()
    assert "typing" not in modules


def test_the_helper_sees_what_is_heavy() -> None:
    assert {"packaging", "typer"} <= modules_after("import packaging, typer")
