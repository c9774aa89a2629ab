"""Entering an environment on a node: what `enter.sh` does to a shell, and the variables of a process that does it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from metaflow_extensions.envlock.plugins.node import enter, kept, manifest, start
from metaflow_extensions.envlock.plugins.node import home as homes
from metaflow_extensions.envlock.plugins.node.errors import NodeError
from metaflow_extensions.envlock.plugins.node.manifest import Target
from metaflow_extensions.envlock.plugins.node.prepare import Entered
from tests.node.nodes import FLOW, Node, Said

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")
SHELLS = [each for each in ("bash", "dash", "sh") if shutil.which(each)]
_TELL = "python -c 'import json, os; print(json.dumps(dict(os.environ)))'"


def variables_in(node: Node, shell: str = "bash", **environ: str) -> dict[str, str]:
    """The variables of a process of a shell that has read `enter.sh`."""
    ran = node.shell(_TELL.replace("python", sys.executable), shell, **environ)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return dict(json.loads(ran.stdout))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_enters_the_environment(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    environ = {"PYTHONPATH": f"{node.task}/.mf_code:/opt/of_the_image:", "PYTHONHOME": "/elsewhere"}
    assert node.run(monkeypatch, capsys, PYTHONPATH=environ["PYTHONPATH"])[0] == 0
    ran = node.shell("\"$ENVLOCK_PYTHON\" -c 'import sys, package_0.part_0; print(sys.prefix)'", shell, **environ)
    assert (ran.stdout, ran.stderr) == (f"{node.prefix}\n", "")
    found = variables_in(node, shell, **environ)
    lock = node.lock
    assert found["ENVLOCK_PYTHON"] == str(node.prefix / "bin" / "python")
    assert found["_METAFLOW_ENVLOCK_ENV"] == json.dumps([lock.req_id, lock.full_id, lock.arch])
    assert found["_METAFLOW_ENVLOCK_TASK"] == f"{FLOW}/7/train"
    assert found["PATH"] == f"{node.prefix}/bin:/usr/bin:/bin"
    assert found["PYTHONNOUSERSITE"] == "1"
    assert found["PYTHONPATH"] == f"{node.task}/.mf_code:", "Metaflow's code package is found, and nothing else"
    assert "PYTHONHOME" not in found


def test_a_disabled_step_stays_on_the_images_python(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run(monkeypatch, capsys, "join", MF_PATHSPEC=f"{FLOW}/7/join/2") == (0, "")
    found = variables_in(node)
    assert found["ENVLOCK_PYTHON"] == sys.executable
    assert found["_METAFLOW_ENVLOCK_ENV"] == ""
    assert found["_METAFLOW_ENVLOCK_TASK"] == f"{FLOW}/7/join"
    assert found["PATH"] == "/usr/bin:/bin"


def test_the_task_is_every_runs_where_the_backend_does_not_tell_its_own() -> None:
    assert enter.task_of("F", "s", {"MF_PATHSPEC": "Other/1/s/2"}) == "F//s"
    assert enter.task_of("F", "s", {"MF_PATHSPEC": "F/sfn-9/s/2"}) == "F/sfn-9/s"


def test_the_shell_holds_the_environment_as_long_as_it_lives(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run(monkeypatch, capsys)[0] == 0
    place = f"environments/{node.lock.prefix_name}"
    shell = subprocess.Popen(
        ["bash", "-c", ". ./.envlock/enter.sh && echo in && read line"],
        cwd=node.task,
        env=node.environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout is not None
    assert shell.stdout.readline() == "in\n"
    assert not kept.evict(str(node.home), place)
    shell.communicate("\n")
    assert kept.evict(str(node.home), place)


def test_what_was_removed_before_the_shell_could_hold_it_is_made_once_more(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run(monkeypatch, capsys)[0] == 0
    assert kept.evict(str(node.home), f"environments/{node.lock.prefix_name}")
    # In place of the node's command, which would ask a bucket, the tests' one with a folder.
    script = node.task / ".envlock" / "enter.sh"
    text = script.read_text()
    again = f"-m metaflow_extensions.envlock.plugins.node {FLOW} train"
    assert again in text
    script.write_text(text.replace(again, " ".join(node.command()[1:])))
    ran = node.shell('"$ENVLOCK_PYTHON" -c "import package_0.part_0"')
    assert (ran.returncode, node.fetched()) == (0, 2), ran.stderr


# Without an environment: what is written for paths and values of any kind.

TARGET = Target("linux-64", "1" * 40, "2" * 40, "3" * 64)


@pytest.fixture
def conda(tmp_path: Path) -> Callable[..., Entered]:
    """Makes a prefix that is entered as one of conda packages, with scripts and variables."""

    def make(name: str = "env", **scripts: str) -> Entered:
        prefix = tmp_path / name
        for folder in ("conda-meta", "bin", "etc/conda/activate.d", "etc/conda/deactivate.d", "etc/conda/env_vars.d"):
            (prefix / folder).mkdir(parents=True)
        for script, text in scripts.items():
            kind, _, stem = script.partition("_")
            (prefix / "etc" / "conda" / f"{kind}.d" / f"{stem}.sh").write_text(text)
        return Entered(str(prefix), str(prefix / "bin" / "python"), TARGET, None)

    return make


def in_shell(text: str, environ: dict[str, str], tmp_path: Path) -> tuple[dict[str, str], str]:
    """The variables after a shell has read a script, and what that said."""
    path = tmp_path / "enter.sh"
    path.write_text(text)
    tell = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    ran = subprocess.run(["bash", "-c", f". {path} && {tell}"], env=environ, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout), ran.stderr


def test_conda_packages_are_activated(conda: Callable[..., Entered], tmp_path: Path) -> None:
    entered = conda(
        activate_b="export LIBRARY=$CONDA_PREFIX/lib; echo said by b", activate_a="export FIRST=a", activate_c="false"
    )
    prefix = Path(entered.prefix)
    values = {"QUOTED": 'it\'s $HOME `x` "y"\n', "GONE": "***unset***", "OWN": "package", "PYTHONPATH": "/of/it"}
    (prefix / "etc" / "conda" / "env_vars.d" / "p.json").write_text(json.dumps(values))
    (prefix / "conda-meta" / "state").write_text(json.dumps({"env_vars": {"OWN": "environment"}}))
    environ = {"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": "/outer", "MF_PATHSPEC": "F/1/s/2"}
    environ |= {"METAFLOW_EXTRACTED_ROOT": "/code", "PYTHONPATH": "/code/.mf_code"}
    found, said = in_shell(enter.script(entered, "F", "s", environ), environ, tmp_path)
    assert (found["FIRST"], found["LIBRARY"]) == ("a", f"{prefix}/lib")
    assert (found["QUOTED"], found["OWN"]) == (values["QUOTED"], "environment")
    assert "GONE" not in found
    assert found["PYTHONPATH"] == "/code/.mf_code:/of/it"
    assert "VIRTUAL_ENV" not in found
    assert (found["CONDA_PREFIX"], found["CONDA_SHLVL"]) == (str(prefix), "1")
    assert found["PATH"] == f"{prefix}/bin:/usr/bin:/bin"
    assert "said by b" in said
    assert "c.sh failed" in said


@pytest.mark.parametrize("text", ["[]", "{", '{"A=B": "1"}', r'{"A": "x\u0000"}', r'{"A": "\ud800"}', '{"": "1"}'])
def test_variables_that_no_process_can_have_are_an_error(conda: Callable[..., Entered], text: str) -> None:
    entered = conda()
    Path(entered.prefix, "etc/conda/env_vars.d/p.json").write_text(text)
    with pytest.raises(NodeError, match=r"p\.json is not a JSON object of variables"):
        enter.script(entered, "F", "s", {})


def test_a_variable_whose_name_no_shell_takes_is_left_out(conda: Callable[..., Entered], tmp_path: Path) -> None:
    """`sh` of Debian would end there."""
    entered = conda()
    Path(entered.prefix, "etc/conda/env_vars.d/p.json").write_text('{"\u00e9": "1", "a-b": "1", "GOOD": "1"}')
    (tmp_path / "enter.sh").write_text(enter.script(entered, "F", "s", {}))
    command = ["sh", "-c", f". {tmp_path}/enter.sh && echo $GOOD"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"1\n"


def test_variables_of_an_environment_are_set_as_they_are_written(tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    (prefix / "bin").mkdir(parents=True)
    variables = {"SAID": 'it\'s $HOME `x` "y"\n', "EMPTY": "", "THREADS": "4"}
    homes.write_variables(str(prefix), tuple(variables.items()))
    entered = Entered(str(prefix), str(prefix / "bin" / "python"), TARGET, None)
    environ = {"PATH": "/usr/bin:/bin", "THREADS": "of the image"}
    of_shell, said = in_shell(enter.script(entered, "F", "s", environ), environ, tmp_path)
    of_process = enter.variables(entered, "F", "s", environ)
    assert said == ""
    for found in (of_shell, of_process):
        assert {name: found[name] for name in variables} == variables
    own = ["THREADS", "EMPTY"]  # what @environment sets comes first, where it is set
    kept, _ = in_shell(enter.script(entered, "F", "s", environ, own), environ, tmp_path)
    assert (kept["THREADS"], kept["EMPTY"]) == ("of the image", "")
    assert enter.variables(entered, "F", "s", environ, own)["THREADS"] == "of the image"


def test_an_image_that_is_in_an_environment_leaves_it(conda: Callable[..., Entered], tmp_path: Path) -> None:
    outer, entered = conda("outer", deactivate_o="unset OUTER"), conda()
    environ = {
        "PATH": f"{outer.prefix}/bin:/usr/bin:/bin",
        "CONDA_PREFIX": outer.prefix,
        "CONDA_SHLVL": "3",
        "OUTER": "1",
    }
    found, _ = in_shell(enter.script(entered, "F", "s", environ), environ, tmp_path)
    assert "OUTER" not in found
    assert (found["CONDA_PREFIX"], found["CONDA_SHLVL"]) == (entered.prefix, "1")
    assert found["PATH"] == f"{entered.prefix}/bin:/usr/bin:/bin"


def test_both_ways_in_give_the_same_variables(conda: Callable[..., Entered], tmp_path: Path) -> None:
    entered = conda(activate_a="export FIRST='a b'")
    environ = {"PATH": "/usr/bin:/bin", "PYTHONHOME": "/x", "KEPT": "é\n"}
    of_shell, _ = in_shell(enter.script(entered, "F", "s", environ), environ, tmp_path)
    of_process = enter.variables(entered, "F", "s", environ)
    shells = {"_", "SHLVL", "PWD", "OLDPWD"}
    assert {name: of_process[name] for name in of_process.keys() - shells} == {
        name: of_shell[name] for name in of_shell.keys() - shells
    }


def test_a_process_enters_wheels_without_a_shell(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = node.prepare(monkeypatch)
    monkeypatch.setattr(subprocess, "run", None)
    found = enter.variables(entered, FLOW, "train", node.environ(PYTHONHOME="/x", KEPT="1"))
    assert found["PATH"] == f"{node.prefix}/bin:/usr/bin:/bin"
    assert found["KEPT"] == "1"
    assert "PYTHONHOME" not in found


@pytest.mark.parametrize("name", ["a b", "a'b", "a$(touch evil)b", "é"])
def test_a_prefix_may_have_any_name(tmp_path: Path, name: str) -> None:
    prefix = tmp_path / name
    (prefix / "bin").mkdir(parents=True)
    lock = os.open(prefix, os.O_RDONLY)
    entered = Entered(str(prefix), str(prefix / "bin" / "python"), TARGET, lock)
    environ = {"PATH": "/usr/bin:/bin"}
    found, said = in_shell(enter.script(entered, "F", "s", environ), environ, tmp_path)
    os.close(lock)
    assert (found["ENVLOCK_PYTHON"], said) == (f"{prefix}/bin/python", "")
    assert not Path("evil").exists()


# The command.


@pytest.mark.parametrize("names", [[], ["F"], ["F", "s'; touch evil; '"], ["F", "s", "x"], ["F/x", "s"]])
def test_other_names_than_those_of_flows_and_steps_are_refused(
    names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert start.start(names) == 2
    assert capsys.readouterr().err.startswith("envlock: ")


def test_a_name_may_have_any_letters_that_python_allows(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "usage" not in node.run(monkeypatch, capsys, "größe")[1]


def test_a_step_that_the_code_package_does_not_know_is_reported(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = node.run(monkeypatch, capsys, "other")
    assert (status, said.count("\n"), f"{FLOW}/other" in said) == (1, 1, True)


def test_what_fails_is_one_line_and_leaves_no_script(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wheel in (node.cache / node.plan.packages[0].file.path,):
        wheel.unlink()
    status, said = node.run(monkeypatch, capsys)
    assert status == 1
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert not (node.task / ".envlock" / "enter.sh").exists()


def test_a_defect_of_ours_is_one_line_too(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(homes, "prebuilt", lambda *_: 1 / 0)
    status, said = node.run(monkeypatch, capsys)
    assert status == 70
    assert "ZeroDivisionError" in said
    assert said.count("\n") == 1


def test_a_second_of_work_is_passed_over_in_silence_and_more_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    from metaflow_extensions.envlock.plugins.node.report import Reporter

    quiet = Reporter()
    quiet.began("fetching", 100)
    quiet.advanced(50)
    assert capsys.readouterr().err == ""
    talking = Reporter(quiet=0, every=0)
    talking.began("fetching 3 files", 20_000_000)
    talking.advanced(10_000_000)
    assert capsys.readouterr().err.splitlines()[-1] == "envlock: fetching 3 files (10 MB of 20 MB)"
    assert Said().lines == []


def test_a_task_reads_the_names_that_the_node_wrote() -> None:
    # Two modules have them: one is imported by each `import metaflow`, the other must not import Metaflow.
    from metaflow_extensions.envlock.plugins import envlock_environment as task

    assert (enter.IDENTITY_VARIABLE, enter.TASK_VARIABLE) == (task.IDENTITY_VARIABLE, task.TASK_VARIABLE)
    assert enter.task_of("F", "s", {"MF_PATHSPEC": "F/1/s/2"}) == task.pathspec("F", "1", "s")
    assert manifest.NAME == task.MANIFEST
