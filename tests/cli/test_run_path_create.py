"""`envlock run`, `path` and `create`, as a user calls them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from envlock.cli.app import run
from envlock.model.arch import host_arch
from envlock.places import home
from envlock.workflow.machine.errors import BadName
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.making import SERIES, missing_files
from tests.index import Index
from tests.support import ENVLOCK, isolation, run_envlock


def table(packages: str) -> str:
    return f'{{ python = "{SERIES}", packages = {packages} }}'


@pytest.fixture(scope="module")
def locked_flows(tmp_path_factory: pytest.TempPathFactory, index: Index, shared_uv_cache: Path) -> Path:
    project = ProjectFolder.make(tmp_path_factory.mktemp("locked") / "flows", index.url)
    project.write_flow("OneFlow", steps=("start", "train", "end"))
    project.write_flow("TwoFlow", steps=("start", "score", "end"))
    project.write(
        f"""
[flow.OneFlow]
file = "oneflow.py"
pypi = {table('{ alpha = "1.0" }')}
[flow.OneFlow.step.train]
pypi = {{ packages = {{ lam = "" }} }}
[flow.OneFlow.step.end]
disabled = true
[flow.TwoFlow]
file = "twoflow.py"
pypi = {table('{ alpha = "1.1" }')}
[env.base]
pypi = {table('{ beta = "1.0" }')}
""",
        archs=[host_arch()],
    )
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        run_envlock("lock", cwd=project.folder)
    return project.folder


@pytest.fixture(scope="module")
def locked_one(tmp_path_factory: pytest.TempPathFactory, index: Index, shared_uv_cache: Path) -> Path:
    project = ProjectFolder.make(tmp_path_factory.mktemp("locked") / "one", index.url)
    project.write_env("alpha==1.1", "lam", python=SERIES, archs=[host_arch()])
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        run_envlock("lock", cwd=project.folder)
    return project.folder


@pytest.fixture
def flows(project: ProjectFolder, locked_flows: Path) -> ProjectFolder:
    """Two flows that share a step's name, steps that differ, a disabled one, and a named environment; locked."""
    shutil.copytree(locked_flows, project.folder, dirs_exist_ok=True)
    return project


@pytest.fixture
def one(project: ProjectFolder, locked_one: Path) -> ProjectFolder:
    """A project with one environment, locked."""
    shutil.copytree(locked_one, project.folder, dirs_exist_ok=True)
    return project


def version_in(envlock: Envlock, package: str, *chosen: str) -> str:
    return envlock(
        "run", *chosen, "--", "python", "-c", f"import {package}; print({package}.__version__)"
    ).stdout.strip()


@pytest.mark.usefixtures("flows")
def test_environments_are_chosen_by_step_flow_and_name(envlock: Envlock) -> None:
    assert version_in(envlock, "lam", "--step", "train") == "1.0"
    assert version_in(envlock, "lam", "--flow=OneFlow", "--step=train") == "1.0"
    assert version_in(envlock, "lam", "--step", "OneFlow/train") == "1.0"
    assert version_in(envlock, "alpha", "--step", "score") == "1.1"
    assert version_in(envlock, "alpha", "--flow", "OneFlow", "--step", "start") == "1.0"
    assert version_in(envlock, "beta", "--env", "base") == "1.0"
    # Every step of this flow asks for the same.
    assert version_in(envlock, "alpha", "--flow", "TwoFlow") == "1.1"


WRONG: list[tuple[str, str, list[str]]] = [
    ("", "several-environments", ["OneFlow/train", "TwoFlow/start", "base", "hint: for example: `--flow OneFlow"]),
    ("--step start", "several-environments", ["OneFlow/start", "TwoFlow/start"]),
    ("--flow OneFlow", "several-environments", ["OneFlow/start", "OneFlow/train"]),
    ("--step end --flow OneFlow", "step-disabled", ["`OneFlow/end` is disabled", "envlock.toml:"]),
    ("--step trian", "no-such-selection", ["did you mean `train`?"]),
    ("--flow TwoFlow --step train", "no-such-selection", ["TwoFlow/train", "TwoFlow/score"]),
    ("--env bse", "no-such-selection", ["did you mean `base`?"]),
    ("--flow Nope", "no-such-selection", ["OneFlow"]),
    ("--name nope", "no-such-name", ["names: none"]),
    ("--name x --step train", "usage", ["`--name` and `--step`"]),
    ("--nope", "usage", ["--nope"]),
    ("--step train --step score", "usage", ["`--step` is given twice"]),
]


@pytest.mark.usefixtures("flows")
def test_a_wrong_choice_is_reported(envlock: Envlock) -> None:
    for arguments, code, told in WRONG:
        ran = envlock("path", *arguments.split(), check=2)
        assert f"error[{code}]" in ran.stderr, arguments
        assert ran.stdout == ""
        for text in told:
            assert text in ran.stderr, arguments
    assert "error[usage]" in envlock("path", "--step", check=2).stderr
    for arguments, code, _ in WRONG[:2]:
        assert f"error[{code}]" in envlock("run", *arguments.split(), "--", "python", check=2).stderr


@pytest.mark.usefixtures("flows")
def test_a_flag_that_is_given_twice_is_given_once(envlock: Envlock) -> None:
    for command in ("create", "path", "shell"):
        ran = envlock(command, "--offline", "--offline", "--env", "bse", check=2)
        assert "error[no-such-selection]" in ran.stderr, command


@pytest.mark.usefixtures("one")
def test_an_empty_config_is_no_config(envlock: Envlock) -> None:
    """As from `--config "$CONFIG"`, where the variable is not set: another project may be near."""
    for command in ("check", "lock", "show", "path", "run -- true", "push", "add rich"):
        name, *rest = command.split()
        ran = envlock(name, "--config", "", *rest, check=2)
        assert "error[unreadable-config]" in ran.stderr, command


@pytest.mark.usefixtures("one")
def test_one_environment_needs_no_choice(envlock: Envlock) -> None:
    assert version_in(envlock, "alpha") == "1.1"
    prefix = Path(envlock("path").stdout.strip())
    for command in ("path", "create"):
        assert envlock(command, "--json").json == {"prefix": str(prefix), "python": str(prefix / "bin" / "python")}
    assert missing_files(prefix) == []


def test_a_project_is_found_from_below_and_by_config(one: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    prefix = envlock("path").stdout
    inner = one.folder / "deep" / "down"
    inner.mkdir(parents=True)
    assert envlock("path", cwd=inner).stdout == prefix
    assert envlock("path", "--config", str(one.config), cwd=tmp_path).stdout == prefix
    assert "error[no-config]" in envlock("path", cwd=tmp_path, check=2).stderr


@pytest.mark.usefixtures("one")
def test_path_without_hydrating(envlock: Envlock) -> None:
    ran = envlock("path", "--no-hydrate", check=1)
    assert "error[not-hydrated]: the environment of `demo` is not on this machine" in ran.stderr
    assert not (home() / "environments").exists()
    prefix = envlock("path").stdout
    assert envlock("path", "--no-hydrate").stdout == prefix
    assert Path(prefix.strip()).name in ran.stderr


@pytest.mark.usefixtures("one")
def test_the_command_runs_inside_the_environment(envlock: Envlock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("ENVLOCK_TEST_VARIABLE", "kept")
    names = ("VIRTUAL_ENV", "PYTHONNOUSERSITE", "PYTHONHOME", "ENVLOCK_TEST_VARIABLE", "PATH")
    code = f"import os, sys; print(sys.prefix, *(os.environ.get(n, 'unset') for n in {names}), sep='|')"
    monkeypatch.delenv("PYTHONHOME")
    prefix = envlock("path").stdout.strip()
    path = os.environ["PATH"]
    said = envlock("run", "--", "python", "-c", code, env={"PYTHONHOME": ""}).stdout.strip()
    assert said == f"{prefix}|{prefix}|1|unset|kept|{prefix}/bin:{path}"
    assert envlock("run", "--", "sh", "-c", 'echo "$0 $1"', "a b", "--help").stdout == "a b --help\n"
    assert envlock("run", "lam").stdout == "lam 1.0\n"
    assert envlock("run", "python", "-c", "print(1)").stdout == "1\n"
    assert envlock("run", "--", f"{prefix}/bin/python", "-c", "print(2)").stdout == "2\n"


@pytest.mark.usefixtures("one")
def test_the_exit_status_is_the_commands_own(envlock: Envlock) -> None:
    for status in (0, 1, 7, 127):
        assert envlock("run", "--", "sh", "-c", f"exit {status}", check=False).status == status
    assert envlock("run", "--", "sh", "-c", "kill -TERM $$", check=False).status == -signal.SIGTERM


@pytest.mark.usefixtures("one")
def test_the_command_gets_the_signals_of_a_shell(envlock: Envlock) -> None:
    """An interpreter ignores SIGPIPE, which is inherited: `envlock run -- yes | head` would end with an error."""
    assert envlock("run", "--", "sh", "-c", "kill -PIPE $$; echo alive", check=False).status == -signal.SIGPIPE


@pytest.mark.usefixtures("one")
def test_the_command_is_this_very_process(envlock: Envlock, tmp_path: Path) -> None:
    envlock("path")
    with subprocess.Popen(
        [ENVLOCK, "run", "--", "sh", "-c", "echo $$"], cwd=tmp_path / "project", stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.communicate(timeout=60)[0].strip() == str(process.pid)


def test_a_command_that_cannot_be_run_is_reported(one: ProjectFolder, envlock: Envlock) -> None:
    ran = envlock("run", "--", "no-such-command", "x", check=2)
    assert "error[no-such-command]: `no-such-command` cannot be run: it is not on PATH" in ran.stderr
    assert str(home() / "environments") in ran.stderr
    plain = one.folder / "plain"
    plain.write_text("echo hello\n")
    assert "Permission denied" in envlock("run", "--", "./plain", check=2).stderr
    plain.chmod(0o755)
    assert "does not start (Exec format error)" in envlock("run", "--", "./plain", check=2).stderr
    plain.write_text("#!/no/such/interpreter\n")
    assert f"does not start ({os.strerror(2)})" in envlock("run", "--", "./plain", check=2).stderr
    assert "error[no-such-command]" in envlock("run", "--", "./gone", check=2).stderr
    assert "error[no-such-command]" in envlock("run", "--", ".", check=2).stderr
    assert "error[no-such-command]" in envlock("run", "--", "", check=2).stderr


@pytest.mark.usefixtures("one")
def test_nothing_to_run_is_reported(envlock: Envlock) -> None:
    for arguments in (("run",), ("run", "--"), ("run", "--env", "demo")):
        ran = envlock(*arguments, check=2)
        assert "no command to run is given" in ran.stderr
        assert not (home() / "environments").exists()


@pytest.mark.usefixtures("flows")
def test_help_and_completion_know_the_commands(envlock: Envlock) -> None:
    for command in ("run", "path", "create"):
        said = envlock(command, "--help").stdout
        for option in ("--flow", "--step", "--env", "--offline", "--config", "--name"):
            assert option in said
    assert "--no-hydrate" in envlock("path", "--help").stdout
    assert "--force" in envlock("create", "--help").stdout
    variables = {"_ENVLOCK_COMPLETE": "complete_bash", "COMP_WORDS": "envlock run --step t", "COMP_CWORD": "3"}
    assert envlock(env=variables, check=False).stdout.split() == ["train"]


# Names.


def test_a_named_environment_works_anywhere(one: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    prefix = envlock("create", "--name", "demo").stdout
    assert envlock("path").stdout == prefix
    link = home() / "named" / "demo"
    assert link.readlink() == Path(prefix.strip())
    one.config.unlink()
    assert envlock("path", "--name", "demo", cwd=tmp_path).stdout == prefix
    assert envlock("run", "--name", "demo", "--", "lam", cwd=tmp_path).stdout == "lam 1.0\n"
    assert envlock("path", "--name=demo", "--no-hydrate", cwd=tmp_path).stdout == prefix
    assert "hint: did you mean `demo`?" in envlock("path", "--name=dmo", cwd=tmp_path, check=2).stderr


@pytest.mark.usefixtures("one")
def test_create_without_a_name_prints_the_path(envlock: Envlock) -> None:
    assert envlock("create").stdout == envlock("path").stdout
    assert not (home() / "named").exists()


@pytest.mark.usefixtures("one")
def test_an_environment_for_an_image_has_a_home_of_its_own(envlock: Envlock, tmp_path: Path) -> None:
    into = tmp_path / "opt" / "envlock"
    prefix = Path(envlock("create", "--into", str(into)).stdout.strip())
    assert prefix.parent == into / "environments"
    assert missing_files(prefix) == []
    assert sorted(each.name for each in into.iterdir()) == ["environments"]
    assert not (home() / "environments").exists()
    assert envlock("create", "--into", "../opt/envlock").stdout == f"{prefix}\n", "it is found again"
    assert Path(envlock("path").stdout.strip()).parent == home() / "environments", "other commands do not look there"
    refused = envlock("create", "--into", str(into), "--name", "n", check=2)
    assert "`--name` and `--into`" in refused.stderr


NAMING = {
    "path": "path --no-hydrate {}",
    "create": "create --dry-run {}",
    "show": "show {}",
    "tree": "tree {}",
    "why": "why lam {}",
    "export": "export --format requirements {}",
    "kernel install": "kernel install --dry-run {}",
    "alias": "alias team/new:v1 --dry-run {}",
    "outdated": "outdated {}",
}
"""Commands that take an environment without an option; `run` does not, for its words are the command."""


@pytest.mark.usefixtures("flows")
@pytest.mark.parametrize("command", NAMING.values(), ids=NAMING.keys())
def test_every_command_that_takes_an_environment_takes_the_same_names(command: str, envlock: Envlock) -> None:
    said = []
    for name in ("train", "OneFlow/train", "base"):
        done = envlock(*command.format(name).split(), check=False)
        errors = "".join(line for line in done.stderr.splitlines() if line.startswith("error"))
        said.append((done.status, (done.stdout + errors).replace("OneFlow/train", "train")))
    assert said[0] == said[1]
    assert said[0][1] != said[2][1]
    assert not {"no-such-selection", "bad-alias", "alias-not-found"} & set(
        re.findall(r"error\[([a-z-]+)\]", said[0][1])
    )
    done = envlock(*command.format("tarin").split(), check=2)
    assert "error[no-such-selection]" in done.stderr or "error[alias-not-found]" in done.stderr


@pytest.mark.usefixtures("flows")
@pytest.mark.parametrize("command", ["path", "create", "shell", "export --format pylock"])
def test_a_name_and_an_option_are_two_environments(command: str, envlock: Envlock) -> None:
    done = envlock(*command.split(), "train", "--step", "train", check=2)
    assert "give one environment" in done.stderr


@pytest.mark.usefixtures("flows")
def test_what_is_created_by_name_gets_the_name_of_its_step(envlock: Envlock) -> None:
    prefix = envlock("create", "train", "--name", "n").stdout.strip()
    assert envlock("path", "--flow", "OneFlow", "--step", "train").stdout.strip() == prefix
    assert envlock("path", "train").stdout.strip() == prefix
    assert envlock("path", prefix).stdout.strip() == prefix
    assert envlock("path", "--name", "n").stdout.strip() == prefix


@pytest.mark.usefixtures("flows")
def test_a_name_is_not_taken_away_silently(envlock: Envlock) -> None:
    train = envlock("create", "--step", "train", "--name", "n").stdout.strip()
    assert envlock("create", "--step", "train", "--name", "n").stdout.strip() == train
    ran = envlock("create", "--step", "score", "--name", "n", check=2)
    assert "error[name-taken]: `n` is the name of another environment" in ran.stderr
    assert train in ran.stderr
    assert "--force" in ran.stderr
    assert envlock("path", "--name", "n").stdout.strip() == train
    score = envlock("create", "--step", "score", "--name", "n", "--force").stdout.strip()
    assert score != train
    assert envlock("path", "--name", "n").stdout.strip() == score
    assert sorted(path.name for path in (home() / "named").iterdir()) == [".n.from", "n"]


@pytest.mark.usefixtures("one")
def test_a_bad_name_is_refused_before_anything_is_made(envlock: Envlock) -> None:
    assert "error[bad-name]: `../x`" in envlock("create", "--name", "../x", check=2).stderr
    for name in ("", "..", ".hidden", "a/b", "-x", "a b", "é", "a\n"):
        with pytest.raises(BadName):
            run(["create", f"--name={name}"])
    assert not (home() / "environments").exists()


@pytest.mark.usefixtures("one")
def test_a_name_whose_environment_is_gone_is_reported(envlock: Envlock) -> None:
    prefix = Path(envlock("create", "--name", "n").stdout.strip())
    (prefix / ".envlock.json").unlink()
    ran = envlock("path", "--name", "n", check=5)
    assert "error[named-environment-gone]" in ran.stderr
    assert "hint: envlock sync n --config" in ran.stderr
    envlock("create", "--name", "n", "--force")
    assert envlock("run", "--name", "n", "--", "lam").stdout == "lam 1.0\n"


@pytest.mark.usefixtures("one")
def test_a_name_whose_interpreter_is_gone_is_reported(
    envlock: Envlock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "pythons" / f"python{SERIES}"
    python.parent.mkdir()
    python.symlink_to(Path(sys.base_prefix) / "bin" / f"python{SERIES}")
    monkeypatch.setenv("ENVLOCK_PYTHONS", str(python.parent))
    envlock("create", "--name", "n")
    python.unlink()
    ran = envlock("run", "--name", "n", "--", "lam", check=5)
    assert f"its interpreter {python} is gone" in ran.stderr
    envlock("create", "--name", "n")
    assert envlock("run", "--name", "n", "--", "lam").stdout == "lam 1.0\n"


def test_a_home_that_cannot_be_written_is_reported(one: ProjectFolder, envlock: Envlock) -> None:
    ran = envlock("path", env={"ENVLOCK_HOME": str(one.config / "home")}, check=False)
    assert ran.status in {2, 5}
    assert "error[" in ran.stderr
    assert str(one.config) in ran.stderr


def test_a_dry_run_of_create_writes_nothing(one: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    before = one.snapshot()
    for more in ((), ("--name", "jup"), ("--in-project",), ("--into", str(tmp_path / "image"))):
        planned = envlock("create", *more, "--dry-run", "--json").json
        assert planned.pop("dry_run") is True
        assert not Path(planned["prefix"]).exists()
        assert (one.snapshot(), (home() / "named").exists()) == (before, False)
        assert envlock("create", *more, "--dry-run").stdout == f"would create {planned['prefix']}\n"
    assert not (tmp_path / "image").exists()
    made = envlock("create", "--name", "jup", "--json").json
    assert envlock("create", "--name", "jup", "--dry-run").stdout == f"{made['prefix']} is there already\n"
    assert envlock("create", "--rebuild", "--dry-run").stdout == f"would create {made['prefix']}\n"
    (home() / "named" / "other").symlink_to("/elsewhere")
    assert "error[name-taken]" in envlock("create", "--name", "other", "--dry-run", check=2).stderr
    one.edit('"==1.1"', '"==1.0"')
    assert "error[stale-lock]" in envlock("create", "--dry-run", check=1).stderr
