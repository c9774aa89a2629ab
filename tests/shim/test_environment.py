"""What the environment tells Metaflow, and what it makes of the command that is running."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import wait_until

_IDS = ["a" * 40, "b" * 40, "linux-64"]


# Forks a process that has imported Metaflow for each line of stdin; answers with its status, and with what it said.
_FORKS = """
import json, os, sys, tempfile, traceback
import metaflow
for line in sys.stdin:
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            status = 0
            try:
                exec(json.loads(line), {"__name__": "__main__"})
            except BaseException:
                status = traceback.print_exc() or 1
            sys.stdout.flush()
            os._exit(status)
        status = os.waitpid(pid, 0)[1]
        said.seek(0)
        print(json.dumps([status, said.read().decode()]), flush=True)
"""


def metaflow(code: str) -> Any:
    """What Python prints, as JSON, in a process of its own that has imported Metaflow."""
    parent = _forks()
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(json.dumps(code) + "\n")
    parent.stdin.flush()
    status, said = json.loads(parent.stdout.readline())
    assert status == 0, said
    return json.loads(said.splitlines()[-1])


@cache
def _forks() -> subprocess.Popen[str]:
    parent = subprocess.Popen([sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(parent.communicate)
    return parent


def test_the_command_that_deploys_is_known() -> None:
    code = """
import json
from metaflow._vendor import click
from metaflow_extensions.envlock.plugins.envlock_environment import _deploying_command
said = []
@click.group(invoke_without_command=True)
def start(): pass
def add(group, name, kind):
    made = getattr(group, kind)(name)(lambda: said.append([_deploying_command(each) for each in ("s3", "local")]))
    return made
for name in ("run", "resume", "spin"):
    add(start, name, "command")
package = add(start, "package", "group")
add(package, "list", "command")
schedulers = ("argo-workflows", "step-functions", "airflow", "prefect", "dagster", "temporal", "new-scheduler")
for name in schedulers:
    add(start.group(name)(lambda: None), "create", "command")
for words in ("run", "resume", "spin", "package list", *(name + " create" for name in schedulers)):
    start.main(words.split(), standalone_mode=False)
said.append([_deploying_command("s3")] * 2)
print(json.dumps(said))
"""
    of_nodes = [[f"{name} create"] * 2 for name in ("argo-workflows", "step-functions", "airflow")]
    local = [["", ""]] * 5  # a group says it before its command does
    with_envlock, unknown = [["", ""]] * 3, ["new-scheduler create", ""]
    assert metaflow(code) == [*local, *of_nodes, *with_envlock, unknown, ["", ""]]


def test_a_scheduler_that_writes_a_tasks_command_down_gets_it_unchanged(tmp_path: Path) -> None:
    """Metaflow's own runtime calls all hooks of a decorator; others call this one alone, and of new decorators."""
    (tmp_path / "nodeflow.py").write_text(_FLOW)
    code = f"""
import json, sys
from types import SimpleNamespace as Thing
sys.path.insert(0, {str(tmp_path)!r})
from nodeflow import NodeFlow
from metaflow_extensions.envlock.plugins.envlock_decorator import EnvlockInternalDecorator
from metaflow_extensions.envlock.plugins.envlock_environment import EnvlockEnvironment
environment = EnvlockEnvironment(NodeFlow(use_cli=False))
begun = EnvlockInternalDecorator()
begun.step_init(None, None, "start", [], environment, None, None)
command = Thing(commands=["step"], entrypoint=["python", "flow.py"], env={{}})
for decorator in (EnvlockInternalDecorator(), begun):
    decorator.runtime_step_cli(command, 0, 0, None)
environment._launcher = Thing(runs=False)
begun.runtime_step_cli(command, 0, 0, None)
print(json.dumps([command.entrypoint, command.env]))
"""
    assert metaflow(code) == [["python", "flow.py"], {}]


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
    assert (remote["batch"], remote["kubernetes"]) == (["batch", "linux-64"], ["kubernetes", "linux-64"])
    assert not {"retry", "catch", "resources", "environment", "card", "envlock_internal"} & set(remote)


def test_what_starts_tasks_without_the_environment_is_refused_unless_it_is_the_default() -> None:
    def said(default: str) -> Any:
        code = """
import json
from types import SimpleNamespace as Thing
import metaflow
from metaflow_extensions.envlock.plugins.envlock_environment import EnvlockException, _refuse_to_be_left_out
said = []
for name in ("gha", "retry"):
    try:
        said.append(_refuse_to_be_left_out([Thing(decorators=[Thing(name=name)])]))
    except EnvlockException as refused:
        said.append(str(refused))
print(json.dumps(said))
"""
        variables = {**os.environ, "METAFLOW_DEFAULT_ENVIRONMENT": default}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
        return json.loads(done.stdout)

    refused, accepted = said("local")
    assert "METAFLOW_DEFAULT_ENVIRONMENT=envlock" in refused
    assert accepted is None
    assert said("envlock") == [None, None]


_FLOW = """\
from metaflow import FlowSpec, step
class NodeFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)
    @step
    def end(self):
        pass
"""


def test_a_step_gets_the_image_of_its_environment_unless_it_names_one() -> None:
    code = """
import json
from types import SimpleNamespace as Thing
from metaflow.plugins import STEP_DECORATORS
from metaflow_extensions.envlock.plugins import envlock_environment, launcher
class Launched:
    images = dict.fromkeys(("bare", "named", "both", "emptied"), "registry.example/a@sha256:1")
    def __init__(self, request, logger): asked.append(request["imageless"])
launcher.Launcher, asked = Launched, []
every = {each.name: each for each in STEP_DECORATORS}
def of(name, **attributes):
    made = every[name](attributes)
    made.external_init()
    return made
steps = {
    "here": [every["retry"]()],
    "bare": [of("kubernetes")],
    "named": [of("batch", image="own")],
    "both": [of("batch"), of("kubernetes", image="own")],
}
class Flow(list):
    name = "F"
    _get_parameters = staticmethod(lambda: [])
flow = Flow(Thing(name=name, decorators=found) for name, found in steps.items())
environment = envlock_environment.EnvlockEnvironment(flow)
environment.launch(list(steps), {"bare": ["kubernetes", None]}, "")
environment.launch(["here"], {}, "")
images = {name: [each.attributes.get("image") for each in found] for name, found in steps.items()}
print(json.dumps([asked, images]))
"""
    asked, images = metaflow(code)
    assert asked == [["bare", "both"], []], "a task that enters by itself launches nothing elsewhere"
    image = "registry.example/a@sha256:1"
    own = {name: found for name, found in images.items() if name != "here"}
    assert own == {"bare": [image], "named": ["own"], "both": [image, "own"]}


def test_every_step_has_the_same_commands_on_a_node_and_needs_no_plan_for_them(tmp_path: Path) -> None:
    (tmp_path / "nodeflow.py").write_text(_FLOW)
    code = f"""
import json, os, sys
sys.path.insert(0, {str(tmp_path)!r})
from nodeflow import NodeFlow
from metaflow_extensions.envlock.plugins.envlock_environment import EnvlockEnvironment, EnvlockException
environment = EnvlockEnvironment(NodeFlow(use_cli=False))
try:
    environment.bootstrap_commands("it's", "s3")
except EnvlockException as refused:
    said = str(refused)
told = [environment.executable("end", "python3.9")]
os.environ.update(_METAFLOW_ENVLOCK_ENV="", _METAFLOW_ENVLOCK_TASK="NodeFlow/None/end")  # as for a disabled step
told += [environment.executable(each, "python3.9") for each in ("end", "start")]
print(json.dumps([told, [environment.bootstrap_commands(each, "s3") for each in ("start", "end")], environment.launcher,
                  [environment.executable(each) for each in ("start", "end", "_parameters")],
                  environment.base_env.executable("start"), environment.add_to_package(), said]))
"""
    told, (start, end), launcher, executables, of_workers, packaged, said = metaflow(code)
    assert told == ["$ENVLOCK_PYTHON", "python3.9", "$ENVLOCK_PYTHON"], (
        "what a decorator names, if the step is disabled"
    )
    assert start == [
        "python -m metaflow_extensions.envlock.plugins.node 'NodeFlow' 'start'",
        ". ./.envlock/enter.sh",
    ]
    assert [each.replace("'end'", "'start'") for each in end] == start
    assert len(" && ".join(start)) < 300
    assert executables == ["$ENVLOCK_PYTHON", "$ENVLOCK_PYTHON", "python"]
    assert (of_workers, launcher, packaged) == ("python", None, [])
    assert said.startswith("`it's` cannot run on other machines")


def test_a_process_is_inside_by_the_name_of_its_prefix_or_by_its_receipt(tmp_path: Path) -> None:
    named = tmp_path / "metaflow_{}_{}".format(*_IDS)
    for folder, ids in (("image", _IDS), ("other", ["c" * 40, *_IDS[1:]])):
        (tmp_path / folder).mkdir()
        receipt = dict(zip(("req_id", "full_id", "arch"), ids, strict=True))
        (tmp_path / folder / ".envlock.json").write_text(json.dumps(receipt))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / ".envlock.json").write_text("[]")
    prefixes = [str(named), *(str(tmp_path / each) for each in ("image", "other", "damaged", "nothing"))]
    code = f"""
import json, metaflow, sys
from metaflow_extensions.envlock.plugins.envlock_environment import is_inside
said = []
for sys.prefix in {prefixes!r}:
    said.append(is_inside({json.dumps(_IDS)!r}))
print(json.dumps([said, is_inside("nonsense")]))
"""
    assert metaflow(code) == [[True, True, False, False, False], False]


_OLD = """\
import metaflow as mf
from metaflow import FlowSpec, conda_base, step
from metaflow import pypi as pp

@conda_base(python="3.11")
class OldFlow(FlowSpec):
    @mf.conda(libraries={})
    @step
    def start(self):
        self.next(self.end)

    @pp(packages={})
    @step
    def end(self):
        pass

if __name__ == "__main__":
    OldFlow()
"""


def test_decorators_of_another_environment_are_told_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(_OLD)
    command = [sys.executable, "old.py", "--environment=envlock", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    told = [line.strip() for line in done.stderr.splitlines() if "old.py" in line]
    assert told == ["old.py:5: @conda_base of OldFlow", "old.py:7: @conda of start", "old.py:12: @pypi of end"]
    assert "hint: `envlock migrate --apply` copies" in done.stderr


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
