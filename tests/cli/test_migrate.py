"""`envlock migrate`, as it is typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import Envlock

SAMPLES = Path(__file__).parent.parent / "config" / "flows" / "samples"
TWO = "packages.py", "inherited.py"


def copied(folder: Path, *names: str) -> None:
    for name in names:
        shutil.copy(SAMPLES / name, folder)


def test_the_patch_alone_is_on_stdout_and_does_what_apply_does(tmp_path: Path, envlock: Envlock) -> None:
    copied(tmp_path, *TWO)
    dry = envlock("migrate", "--dry-run")
    assert not (tmp_path / "envlock.toml").exists()
    ran = envlock("migrate")
    assert ran.stdout == dry.stdout
    assert (tmp_path / "envlock.toml").exists()
    assert "TrainFlow/report" in ran.stderr
    assert "to delete: 4 decorators of packages.py" in ran.stderr
    subprocess.run(["git", "apply"], cwd=tmp_path, input=ran.stdout, text=True, check=True)
    patched = {name: (tmp_path / name).read_text() for name in TWO}
    copied(tmp_path, *TWO)
    (tmp_path / "envlock.toml").unlink()
    ran = envlock("migrate", "--apply")
    assert {name: (tmp_path / name).read_text() for name in TWO} == patched
    assert "deleted: 4 decorators of packages.py" in ran.stdout
    assert "\n+" not in ran.stdout
    assert envlock("migrate").stdout == ""
    findings = envlock("check", "--json", check=1).json["findings"]
    assert {each["verdict"] for each in findings} == {"missing"}, "only the locks are missing"


def test_what_stays_is_listed_and_ends_with_its_own_status(tmp_path: Path, envlock: Envlock) -> None:
    copied(tmp_path, "unreadable.py")
    ran = envlock("migrate", check=1)
    assert "  unreadable.py:35 DynamicFlow/start: @pypi(packages=…) `'numpy'`: `load('numpy')` is a call" in ran.stderr
    assert ran.stdout == ""
    told = envlock("migrate", "--json", check=1).json
    assert told["whole"] is False
    assert {each["requirements"] for each in told["steps"]} == {"incomplete"}
    assert {"file": "unreadable.py", "line": 30, "flow": "DynamicFlow", "step": None, "stays": True} in [
        {key: each[key] for key in ("file", "line", "flow", "step", "stays")} for each in told["left"]
    ]


def test_where_nothing_is_to_be_migrated_nothing_is_next(tmp_path: Path, envlock: Envlock) -> None:
    ran = envlock("migrate", str(tmp_path))
    assert ran.stdout == ""
    assert ran.stderr.splitlines() == [
        "nothing to migrate: no flow here has @conda, @pypi, @named_env or @sys_packages"
    ]


def test_a_part_of_a_repository(tmp_path: Path, envlock: Envlock) -> None:
    for name in ("flows", "other"):
        (tmp_path / name).mkdir()
        copied(tmp_path / name, "packages.py")
    told = envlock("migrate", "flows", "--json").json
    assert [each["path"] for each in told["configs"]] == ["flows/envlock.toml"]
    assert [each["path"] for each in told["files"]] == ["flows/packages.py"]
    assert told["patch"].startswith("--- a/flows/packages.py\n")
    assert all(each["of_decorators"] == each["of_config"] for each in told["steps"])
    assert envlock("migrate", "gone", check=2).stderr.startswith("error[usage]: there is no folder `gone`")
    assert envlock("migrate", "--apply", "--dry-run", check=2).stderr.startswith("error[usage]: ")


def test_metaflow_takes_the_flows_when_their_decorators_are_gone(tmp_path: Path, envlock: Envlock) -> None:
    copied(tmp_path, "disabled.py")
    envlock("migrate", "--apply")
    said = subprocess.run(
        [sys.executable, "disabled.py", "--environment=envlock", "show"],
        cwd=tmp_path,
        env={**os.environ, "METAFLOW_USER": "tester"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "Step asks" in said.stdout
