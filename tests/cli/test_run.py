"""`envlock run` in environments with conda packages: activated, and told what goes wrong with that."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.cli.entered import named_prefix
from tests.conftest import Envlock

_TELL = "import json, os; print(json.dumps(dict(os.environ)))"


def variables_of(envlock: Envlock, name: str, *options: str, **variables: str) -> dict[str, str]:
    command = ("--", sys.executable, "-c", _TELL)
    found: dict[str, str] = envlock("run", "--name", name, *options, *command, env=variables).json
    return found


def test_a_conda_environment_is_activated(envlock: Envlock) -> None:
    prefix = named_prefix("demo")
    found = variables_of(envlock, "demo", VIRTUAL_ENV="/venv", PYTHONHOME="", PYTHONPATH="/mine", TOKEN="s3cr3t")
    assert found["PATH"] == f"{prefix}/bin:{os.environ['PATH']}"
    assert (found["CONDA_PREFIX"], found["CONDA_SHLVL"]) == (str(prefix), "1")
    assert (found["FROM_SCRIPT"], found["FROM_FILE"]) == ("a b", "of the package")
    assert not {"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"} & set(found)
    assert found["TOKEN"] == "s3cr3t"


def test_pythonpath_is_handed_on_where_that_is_wanted(envlock: Envlock) -> None:
    named_prefix("demo", script="export PYTHONPATH=/of/script:$PYTHONPATH\n")
    assert variables_of(envlock, "demo", PYTHONPATH="/mine")["PYTHONPATH"] == "/of/script:"
    kept = variables_of(envlock, "demo", "--keep-pythonpath", PYTHONPATH="/mine")
    assert kept["PYTHONPATH"] == "/of/script:/mine"


def test_a_prefix_that_path_cannot_hold_is_refused(
    envlock: Envlock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that somebody has all the same: its programs would not be found, and another Python would start."""
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "a:b"))
    named_prefix("demo", conda=False)
    for command in (("run", "--name", "demo", "--", "python", "-V"), ("shell", "--name", "demo")):
        ran = envlock(*command, check=5)
        assert "error[unfit-prefix]: the environment's path contains `:`" in ran.stderr
        assert ran.stdout == ""


def test_one_environment_in_another(envlock: Envlock) -> None:
    outer = named_prefix("outer", script="export OF_OUTER=1\n")
    (outer / "etc/conda/deactivate.d").mkdir()
    (outer / "etc/conda/deactivate.d/a.sh").write_text("unset OF_OUTER\n")
    named_prefix("inner", conda=False)
    command = ("run", "--name", "inner", "--", sys.executable, "-c", _TELL)
    envlock_itself = (sys.executable, "-m", "envlock")
    found = json.loads(envlock("run", "--name", "outer", "--", *envlock_itself, *command).stdout)
    alone = variables_of(envlock, "inner")
    assert {name for name in found if found[name] != alone.get(name)} <= {"_", "SHLVL"}


def test_what_scripts_print_is_no_data(envlock: Envlock) -> None:
    named_prefix("demo", script="echo hello from a script\nfalse\n")
    ran = envlock("run", "--name", "demo", "--", "echo", "data")
    assert ran.stdout == "data\n"
    assert "hello from a script\n" in ran.stderr
    assert "warning: " in ran.stderr
    assert "activate.d/a.sh ended with status 1" in ran.stderr


def test_an_environment_that_cannot_be_entered_is_reported(envlock: Envlock) -> None:
    named_prefix("demo", script="exit 0\n")
    ran = envlock("run", "--name", "demo", "--", "echo", "data", check=5, env={"TOKEN": "s3cr3t"})
    assert ran.stdout == ""
    assert "error[activation-failed]: cannot enter the environment: etc/conda/activate.d/a.sh" in ran.stderr
    assert "s3cr3t" not in ran.text


def test_the_command_reads_the_input_and_no_script_does(envlock: Envlock, tmp_path: Path) -> None:
    named_prefix("demo", script="cat > /dev/null\n")
    began = time.monotonic()
    assert envlock("run", "--name", "demo", "--", "sh", "-c", "echo done").stdout == "done\n"
    assert time.monotonic() - began < 10
