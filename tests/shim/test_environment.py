"""What the environment tells Metaflow, and what it makes of the command that is running."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import wait_until

_IDS = ["a" * 40, "b" * 40, "linux-64"]


def metaflow(code: str) -> Any:
    """What Python prints, as JSON; Metaflow is imported in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_command_that_deploys_is_known() -> None:
    code = """
import json
from metaflow._vendor import click
from metaflow_extensions.envlock.plugins.envlock_environment import _deploying_command
said = []
@click.group(invoke_without_command=True)
def start(): pass
def add(group, name, kind):
    made = getattr(group, kind)(name)(lambda: said.append(_deploying_command()))
    return made
for name in ("run", "resume", "spin"):
    add(start, name, "command")
package = add(start, "package", "group")
add(package, "list", "command")
for name in ("argo-workflows", "step-functions", "airflow"):
    add(start.group(name)(lambda: None), "create", "command")
deploying = ("argo-workflows create", "step-functions create", "airflow create")
for words in ("run", "resume", "spin", "package list", *deploying):
    start.main(words.split(), standalone_mode=False)
said.append(_deploying_command())
print(json.dumps(said))
"""
    local = ["", "", "", "", ""]  # a group says it before its command does
    assert metaflow(code) == [*local, "argo-workflows create", "step-functions create", "airflow create", ""]


def test_decorators_that_send_a_step_elsewhere_are_known() -> None:
    code = """
import json
from types import SimpleNamespace as Thing
from metaflow.plugins import STEP_DECORATORS
from metaflow_extensions.envlock.plugins.envlock_environment import _remote_steps
every = {each.name: each for each in STEP_DECORATORS}
flow = [Thing(name=name, decorators=[every["retry"], each]) for name, each in every.items()]
print(json.dumps(_remote_steps(flow)))
"""
    remote = metaflow(code)
    assert {"batch": "batch", "kubernetes": "kubernetes"}.items() <= remote.items()
    assert not {"retry", "catch", "resources", "environment", "card", "envlock_internal"} & set(remote)


def test_the_client_is_told_the_ids() -> None:
    code = f"""
import json
from metaflow.plugins import ENVIRONMENTS
(environment,) = [each for each in ENVIRONMENTS if each.TYPE == "envlock"]
told = environment.get_client_info
print(json.dumps([told("F", {{"envlock_env_id": json.dumps({_IDS!r})}}), told("F", {{}})]))
"""
    known, disabled = metaflow(code)
    assert known == {"type": "envlock", "req_id": _IDS[0], "full_id": _IDS[1], "arch": _IDS[2]}
    assert disabled == {"type": "envlock", "disabled": True}


def test_what_is_packaged_does_not_change_from_one_moment_to_the_next() -> None:
    code = """
import json
from metaflow.plugins import ENVIRONMENTS
(environment,) = [each for each in ENVIRONMENTS if each.TYPE == "envlock"]
made = environment(None)
print(json.dumps([made.get_environment_info(True), made.get_environment_info(True)]))
"""
    first, second = metaflow(code)
    assert first == second
    assert first["environment_type"] == "envlock"


def test_a_task_hands_its_own_arguments_on() -> None:
    told = {
        "python flow.py step a": "flow.py step a",
        "python -u -OB flow.py step a": "-u -OB flow.py step a",
        "python -Iu -EsP -W error -Xutf8 flow.py step a": "-u -s -Werror -Xutf8 flow.py step a",
        "python --check-hash-based-pycs always flow.py step a": "--check-hash-based-pycs always flow.py step a",
        "python -m team.flow step a": "-m team.flow step a",
        "python -umteam.flow step a": "-u -m team.flow step a",
        "python -m pdb -c continue flow.py step a": "-m pdb -c continue flow.py step a",
        "python -m coverage run flow.py step a": "flow.py step a",
        "python -X dev /opt/coverage run flow.py step a": "-Xdev flow.py step a",
        "python made.py --up": "flow.py step a",
    }
    code = f"""
import json, sys
from metaflow_extensions.envlock.plugins.enter import own_arguments
sys.argv = "flow.py step a".split()
said = []
for each in {list(told)!r}:
    sys.orig_argv = each.split()
    said.append(" ".join(own_arguments()))
print(json.dumps(said))
"""
    assert metaflow(code) == list(told.values())


def test_a_debugger_that_cannot_come_along_is_told() -> None:
    code = """
import sys
from metaflow_extensions.envlock.plugins.enter import own_arguments
sys.argv = "flow.py step a".split()
for each in ("python -m debugpy --listen 1 flow.py step a", "python -m pdb flow.py step a", "python flow.py step a"):
    sys.orig_argv = each.split()
    own_arguments()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "envlock: the task runs without debugpy, which is not in its environment\n"


def test_what_a_task_was_given_goes_with_it_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    code = f"""
import os, sys
from metaflow_extensions.envlock.plugins.enter import _remove_at_the_end
_remove_at_the_end({str(folder)!r})
os.execv(sys.executable, [sys.executable, "-c", "import time; print('there', flush=True); time.sleep(60)"])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as task:
        assert task.stdout is not None
        assert task.stdout.readline() == "there\n"
        assert folder.exists()
        task.kill()
    wait_until(lambda: not folder.exists())
