"""`envlock shell`: the shells that this machine has, with settings of their users, on a real terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.entered import named_prefix
from tests.cli.terminal import Terminal
from tests.conftest import Envlock
from tests.support import ENVLOCK, ProjectFolder

# What a user's own file does to an environment: other programs come first, and conda's base is active.
_CONDA_BASE = """\
export CONDA_PREFIX_1="$CONDA_PREFIX" CONDA_PREFIX=/opt/base CONDA_SHLVL=2 CONDA_PROMPT_MODIFIER="(base) "
export PATH="/opt/base/bin:$PATH" PYTHONPATH=/opt/mine
MINE=mine
"""
_POSIX_PROMPT = "PS1='(base) me> '\n"
_FISH = """\
set -gx PATH /opt/mine $PATH
set -gx CONDA_SHLVL 2
set -gx CONDA_PREFIX /opt/base
set -gx MINE mine
set -gx PYTHONPATH /opt/mine
set fish_greeting
function fish_prompt; echo -n 'me> '; end
"""
FILES: dict[str, dict[str, str]] = {
    "bash": {".bashrc": _CONDA_BASE + _POSIX_PROMPT},
    "zsh": {".zshenv": "export ZDOTDIR=$HOME/z\n", "z/.zshrc": _CONDA_BASE + _POSIX_PROMPT + "alias rm='rm -i'\n"},
    "fish": {".config/fish/config.fish": _FISH},
    "dash": {".shrc": _CONDA_BASE + "PS1='me> '\n"},
}


def shell_of(kind: str) -> str:
    found = shutil.which(kind)
    if found is None:
        pytest.skip(f"there is no {kind} here")
    return found


def user_of(kind: str, home: Path) -> dict[str, str]:
    """The variables of a user of that shell, with files of their own."""
    for name, text in FILES[kind].items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    (home / "tmp").mkdir()
    return {
        "SHELL": shell_of(kind),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "TMPDIR": str(home / "tmp"),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **({"ENV": "$HOME/.shrc"} if kind == "dash" else {}),
    }


@pytest.mark.parametrize("kind", FILES)
def test_a_shell_in_an_environment(kind: str, isolated: Path, tmp_path: Path) -> None:
    prefix = named_prefix("demo")
    variables = user_of(kind, isolated)
    with Terminal([ENVLOCK, "shell", "--name", "demo"], cwd=tmp_path, variables=variables) as terminal:
        terminal.until("(demo) me> ")
        path = terminal.asks("printenv PATH").split(":")
        assert path[0] == f"{prefix}/bin"
        assert path.count(f"{prefix}/bin") == 1
        assert path[-3:] == ["/usr/local/bin", "/usr/bin", "/bin"]
        assert terminal.asks("echo $MINE") == "mine"
        assert terminal.asks("printenv FROM_SCRIPT") == "a b"
        assert terminal.asks("printenv PYTHONPATH || echo none") == "none"
        assert terminal.asks("echo $CONDA_PREFIX $CONDA_SHLVL") == f"{prefix} 1"
        assert terminal.asks("echo $ENVLOCK_SHELL $ENVLOCK_SHELL_NAME") == f"{prefix} demo"
        assert list((isolated / "tmp").glob("envlock-*")) == [], "what the shell was started with is read, and gone"
        terminal.type("exit 7")
        assert terminal.ended() == 7
    assert "(demo) (base)" not in terminal.shown


@pytest.mark.parametrize("kind", ["bash", "zsh"])
def test_a_prompt_that_is_made_each_time_names_it_too(kind: str, isolated: Path, tmp_path: Path) -> None:
    named_prefix("demo")
    variables = user_of(kind, isolated)
    if kind == "bash":
        (isolated / ".bashrc").write_text("PROMPT_COMMAND='PS1=\"made> \" ; '\n")
    else:
        (isolated / "z/.zshrc").write_text("precmd() { PROMPT='made> ' }\n")
    with Terminal([ENVLOCK, "shell", "--name", "demo"], cwd=tmp_path, variables=variables) as terminal:
        for _ in range(3):
            assert "(demo) (demo)" not in terminal.until("(demo) made> ")
            terminal.type("true")


@pytest.mark.parametrize("kind", ["bash", "zsh"])
def test_a_user_may_want_no_prompt_of_ours(kind: str, isolated: Path, tmp_path: Path) -> None:
    prefix = named_prefix("demo", conda=False)
    variables = {**user_of(kind, isolated), "VIRTUAL_ENV_DISABLE_PROMPT": "1"}
    with Terminal([ENVLOCK, "shell", "--name", "demo"], cwd=tmp_path, variables=variables) as terminal:
        terminal.until("me> ")
        assert terminal.asks("echo $VIRTUAL_ENV") == str(prefix)
        assert terminal.asks("echo ${PYTHONPATH-none}") == "none"
        assert "(demo)" not in terminal.shown


def test_a_shell_keeps_pythonpath_where_that_is_wanted(isolated: Path, tmp_path: Path) -> None:
    named_prefix("demo", conda=False)
    command = [ENVLOCK, "shell", "--name", "demo", "--keep-pythonpath"]
    with Terminal(command, cwd=tmp_path, variables=user_of("bash", isolated)) as terminal:
        terminal.until("(demo) ")
        assert terminal.asks("echo $PYTHONPATH") == "/opt/mine"


def test_zsh_keeps_its_users_folder(isolated: Path, tmp_path: Path) -> None:
    named_prefix("demo")
    variables = user_of("zsh", isolated)
    (isolated / ".zshenv").unlink()
    (isolated / ".zshrc").write_text("PS1='me> '\n")
    with Terminal([ENVLOCK, "shell", "--name", "demo"], cwd=tmp_path, variables=variables) as terminal:
        terminal.until("(demo) me> ")
        assert terminal.asks("echo ${ZDOTDIR-none}") == "none"
    chosen = {**variables, "ZDOTDIR": str(isolated / "z")}
    with Terminal([ENVLOCK, "shell", "--name", "demo"], cwd=tmp_path, variables=chosen) as terminal:
        terminal.until("(demo) me> ")
        assert terminal.asks("echo $ZDOTDIR $MINE") == f"{isolated}/z mine"


@pytest.mark.parametrize("kind", FILES)
def test_commands_come_from_stdin(kind: str, isolated: Path, tmp_path: Path) -> None:
    prefix = named_prefix("demo")
    variables = {**os.environ, **user_of(kind, isolated)}
    if kind == "zsh":  # it reads this file whatever it is started for
        (isolated / ".zshenv").write_text('export PATH="/opt/mine:$PATH"\n')
    commands = "echo $CONDA_PREFIX; printenv PATH FROM_SCRIPT; exit 5\n"
    done = subprocess.run(
        [ENVLOCK, "shell", "--name", "demo"],
        input=commands,
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    shown, path, from_script = done.stdout.splitlines()
    assert (shown, from_script) == (str(prefix), "a b")
    assert path.split(":")[0] == f"{prefix}/bin"
    assert list((isolated / "tmp").glob("envlock-*")) == []


def test_a_shell_in_itself_is_refused(envlock: Envlock) -> None:
    prefix = named_prefix("demo")
    named_prefix("other")
    inside = {"ENVLOCK_SHELL": str(prefix), "ENVLOCK_SHELL_NAME": "demo", "SHELL": "/bin/sh"}
    ran = envlock("shell", "--name", "demo", env=inside, check=2)
    assert "error[already-in-shell]: this shell is in the environment of `demo` already" in ran.stderr
    ran = envlock("shell", "--name", "other", env=inside)
    assert "note: this shell is inside the one of demo" in ran.stderr


def test_a_shell_that_does_not_start_is_reported(envlock: Envlock, isolated: Path) -> None:
    named_prefix("demo")
    (isolated / "tmp").mkdir()
    for shell in ("/no/such/zsh", "/no/such/shell"):
        ran = envlock("shell", "--name", "demo", env={"SHELL": shell, "TMPDIR": str(isolated / "tmp")}, check=2)
        assert f"error[no-shell]: `{shell}` cannot be started: {os.strerror(2)}" in ran.stderr
        assert list((isolated / "tmp").glob("envlock-*")) == []


def test_a_machine_without_room_gets_a_plain_shell(isolated: Path, tmp_path: Path) -> None:
    prefix = named_prefix("demo")
    program = (
        "import sys, tempfile; tempfile.tempdir = '/no/such/folder'; "
        "from envlock.__main__ import main; sys.exit(main(['shell', '--name', 'demo']))"
    )
    variables = {"SHELL": shell_of("bash"), "HOME": str(isolated)}
    with Terminal([sys.executable, "-c", program], cwd=tmp_path, variables=variables) as terminal:
        terminal.until("no temporary file can be written")
        assert terminal.asks("echo $CONDA_PREFIX") == str(prefix)


def test_a_shell_that_is_not_known_is_started_as_it_is(isolated: Path, tmp_path: Path) -> None:
    prefix = named_prefix("demo")
    odd = isolated / "oddshell"
    odd.write_text('#!/bin/sh\necho "odd in $CONDA_PREFIX with $# arguments"\n')
    odd.chmod(0o755)
    with Terminal([ENVLOCK, "shell", "--name", "demo"], cwd=tmp_path, variables={"SHELL": str(odd)}) as terminal:
        assert terminal.ended() == 0
    assert f"odd in {prefix} with 0 arguments" in terminal.shown
    assert "note: entered demo; envlock cannot show that in the prompt" in terminal.shown


def test_the_prompt_has_the_name_that_was_given(project: ProjectFolder, envlock: Envlock, isolated: Path) -> None:
    running = "{}.{}".format(*sys.version_info[:2])
    project.write_flow("DemoFlow")
    project.write(f'[flow.DemoFlow]\nfile = "demoflow.py"\npypi = {{ python = "{running}", packages = {{}} }}\n')
    envlock("lock")
    variables = {"SHELL": shell_of("bash"), "HOME": str(isolated)}
    for arguments, name in (
        (("--step", "train"), "DemoFlow/train"),
        (("--flow", "DemoFlow", "--step", "end"), "DemoFlow/end"),
        ((), "DemoFlow/start"),
    ):
        done = subprocess.run(
            [ENVLOCK, "shell", *arguments],
            input="echo $ENVLOCK_SHELL_NAME\n",
            cwd=project.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == f"{name}\n", done.stderr


def test_a_wrong_command_line_is_reported(envlock: Envlock, tmp_path: Path) -> None:
    assert "error[usage]" in envlock("shell", "--nope", check=2).stderr
    assert "error[no-such-name]" in envlock("shell", "--name", "nope", check=2).stderr
    assert "error[no-config]" in envlock("shell", check=2, cwd=tmp_path).stderr
