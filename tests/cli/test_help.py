"""Help: every command is there, in its panel, says what it does, and comes quickly."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from envlock.__main__ import main
from envlock.cli import PANELS
from envlock.cli.app import build
from envlock.cli.help_ import as_text, page_of
from scripts import reference_pages
from tests.cli.terminal import Terminal
from tests.conftest import Envlock
from tests.support import ProjectFolder
from tests.test_imports import heavy, imported_by

COMMANDS = [command for commands in PANELS.values() for command in commands]


def registered() -> set[str]:
    return set(getattr(typer.main.get_command(build()), "commands"))  # noqa: B009


def test_every_command_is_in_a_panel_and_there() -> None:
    assert registered() == set(COMMANDS)


def test_help_lists_the_commands_by_panel(envlock: Envlock) -> None:
    text = envlock("--help").stdout
    titles = re.findall(r"^(?!Usage)([A-Z][A-Za-z ]+):$", text, re.MULTILINE)
    assert titles == [*PANELS, "Options", "Global options"]
    order = [word for word in re.findall(r"^  ([a-z]+) ", text, re.MULTILINE) if word in COMMANDS]
    assert order == COMMANDS
    assert max(map(len, text.splitlines())) <= 80
    assert envlock("help").stdout == text


def test_no_command_is_help_and_a_usage_error(envlock: Envlock) -> None:
    ran = envlock(check=2)
    assert "Usage: envlock" in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for words in ([command, "-h"], [command, "--help"], ["help", command]):
        assert main(words) == 0
        said.append(capsys.readouterr())
    assert f"Usage: envlock {command}" in said[0].out
    assert said[0].err == ""
    assert said == [said[0]] * 3


def test_help_of_each_command_has_its_own_options_and_then_the_global_ones() -> None:
    for name, command in leaves(typer.main.get_command(build())):
        text = as_text(page_of(name.split()[1:]))
        _, own, shared = re.split(r"^(?:Options|Global options):$", text, flags=re.MULTILINE)
        spelt = {max(option.opts, key=len) for option in command.params if option.param_type_name == "option"}
        general = {"--quiet", "--verbose", "--color", "--no-progress"}
        assert set(re.findall(r"^  (--[a-z-]+)", own, re.MULTILINE)) == spelt - general | {"--help"}, name
        assert set(re.findall(r"^  (--[a-z-]+)", shared, re.MULTILINE)) == general, name


def test_help_is_the_same_where_only_typer_can_read_the_line(envlock: Envlock) -> None:
    plain = envlock("run", "--help").stdout
    assert envlock("run", "--step", "train", "-h").stdout == plain
    assert envlock("alias", "team/base:v1", "--help").stdout == envlock("help", "alias", "give").stdout


@pytest.mark.parametrize("words", [["cache"], ["cache", "-q"], ["alias"]])
def test_a_group_without_a_command_is_help_and_a_usage_error(envlock: Envlock, words: list[str]) -> None:
    ran = envlock(*words, check=2)
    assert ran.stdout == envlock("help", words[0]).stdout
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["lokc"], "lock"),
        (["cache", "lst"], "ls"),
        (["lock", "now"], "envlock lock --help"),
        (["cache", "ls", "x"], ""),
    ],
)
def test_there_is_no_help_for_what_is_no_command(envlock: Envlock, words: list[str], hint: str) -> None:
    ran = envlock("help", *words, check=2)
    assert ran.stderr.startswith("error[usage]: ")
    assert hint in ran.stderr.partition("hint: ")[2]


def test_code_in_help_is_bold_in_colour_and_in_backticks_without() -> None:
    page = page_of(["cache", "gc"])
    plain, styled = as_text(page), as_text(page, styled=True)
    assert "`--delete`" in plain
    assert "\x1b[1m--delete\x1b[0m" in styled
    assert re.sub(r"\x1b\[[0-9;]*m", "", styled) == plain.replace("`", "")


def test_help_and_the_version_import_no_library(tmp_path: Path) -> None:
    for words in (["--version"], ["--help"], ["help", "lock"], ["cache", "gc", "-h"]):
        status, modules = imported_by(*words, cwd=tmp_path)
        assert status == 0
        assert heavy(modules) == set(), words
        assert modules.isdisjoint({"dataclasses", "inspect", "envlock.cache.gc"}), words


def leaves(command: Any, name: str = "envlock") -> Iterator[tuple[str, Any]]:
    """Every command that has no commands of its own, by what is typed."""
    below = getattr(command, "commands", {})
    for each in below:
        yield from leaves(below[each], f"{name} {each}")
    if not below:
        yield name, command


def test_usage_has_each_argument_with_its_brackets_whole() -> None:
    root = typer.main.get_command(build())
    page = reference_pages.commands_page()
    for name, command in leaves(root):
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        usage = " ".join([name, "[OPTIONS]", *(param.metavar for param in arguments)])
        assert page_of(name.split()[1:]).usage == usage
        assert f"```text\n{usage}\n```" in page
        for param in arguments:
            word = param.metavar
            assert word.count("[") == word.count("]"), word
            assert param.required != word.startswith("[") or word.startswith("--"), word
            assert word.endswith("...") == (param.nargs == -1), word
            assert len(word) <= 27, f"{word}: more of it is cut off in 80 columns"


def test_the_page_has_the_exit_status_that_help_has() -> None:
    page = reference_pages.commands_page()
    pages = [page_of(name.split()[1:]) for name, _ in leaves(typer.main.get_command(build()))]
    said = [(each.name, each.last) for each in pages if each.last]
    assert {"envlock check", "envlock run", "envlock cache verify"} <= {name for name, _ in said}
    for name, epilog in said:
        assert epilog.startswith("Exit status: ")
        (own,) = re.findall(rf"^#+ {name}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
        assert own.rstrip().endswith(epilog)


def test_help_is_in_sentences() -> None:
    group = typer.main.get_command(build())
    for name, command in getattr(group, "commands").items():  # noqa: B009
        first = (command.help or "").strip().split("\n\n")[0]
        assert re.fullmatch(r"[A-Z].*\.", first, re.DOTALL), f"{name}: {first!r}"
        for param in command.params:
            if param.name != "help":
                assert re.fullmatch(r"[A-Z`].*\.?", param.help or "", re.DOTALL), f"{name} {param.name}: {param.help!r}"


def test_one_command_imports_no_other() -> None:
    for command in COMMANDS:
        group = typer.main.get_command(build(command))
        assert set(getattr(group, "commands")) == {command}  # noqa: B009


def test_the_page_of_the_keys_has_every_table() -> None:
    text = reference_pages.CONFIGURATION.read_text(encoding="utf-8")
    from envlock.config.json_schema import json_schema

    assert reference_pages.described_tables(text) == {*json_schema()["definitions"], "MachineTable"}


def completions(envlock: Envlock, line: str, cwd: Path) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    env = {"_ENVLOCK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    ran = envlock(cwd=cwd, env=env)
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.fixture
def flow_project(project: ProjectFolder) -> Path:
    project.write_flow("DemoFlow")
    project.write(
        '[flow.DemoFlow]\nfile = "demoflow.py"\n[env.base.pypi]\npackages = { alpha = "" }\n'
        '[env.other.named_env]\nname = "team/base:stable"\n',
        settings='indexes = { nightly = "https://index.example/nightly" }',
        archs=["linux-64", "osx-64"],
    )
    return project.folder


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("envlock lock --step ", ["start", "train", "end"]),
        ("envlock lock --step t", ["train"]),
        ("envlock check --flow ", ["DemoFlow"]),
        ("envlock check --env ", ["base", "other"]),
        ("envlock push --arch o", ["osx-64"]),
        ("envlock lo", ["lock"]),
        ("envlock check --format g", ["github", "gitlab"]),
        ("envlock show ba", ["base"]),
        ("envlock lock --upgrade-a", ["--upgrade-alias", "--upgrade-aliases"]),
        ("envlock alias team/base:v1 --env b", ["base"]),
        ("envlock -q check --env o", ["other"]),
        ("envlock --color never check --color a", ["auto", "always"]),
        ("envlock --no-p", ["--no-progress"]),
        ("envlock lock --qui", ["--quiet"]),
        ("envlock help ca", ["cache"]),
        ("envlock help cache g", ["gc"]),
        ("envlock remove a", ["alpha"]),
        ("envlock lock -P p", ["python"]),
        ("envlock add rich --index n", ["nightly"]),
        ("envlock lock --upgrade-alias team/", ["team/base:stable"]),
    ],
)
def test_the_shell_completes_what_the_project_has(
    envlock: Envlock, flow_project: Path, line: str, offered: list[str]
) -> None:
    assert completions(envlock, line, flow_project) == offered


def test_the_shell_completes_the_extras_and_groups_of_a_pyproject(envlock: Envlock, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project.optional-dependencies]\ngpu = []\ndoc = []\n")
    (tmp_path / "other.toml").write_text("[dependency-groups]\ntrain = []\n[tool.poetry.group.test]\n")
    assert completions(envlock, "envlock lock --extra ", tmp_path) == ["gpu", "doc"]
    assert completions(envlock, "envlock lock -p other.toml --group t", tmp_path) == ["train", "test"]
    assert completions(envlock, "envlock lock -p nowhere.toml --group ", tmp_path) == []
    (tmp_path / "pyproject.toml").write_text("project = [")
    assert completions(envlock, "envlock lock --extra ", tmp_path) == []


def test_the_shell_completes_nothing_of_a_broken_project(envlock: Envlock, tmp_path: Path) -> None:
    assert completions(envlock, "envlock lock --step ", tmp_path) == []
    (tmp_path / "envlock.toml").write_text("= broken", encoding="utf-8")
    assert completions(envlock, "envlock lock --step ", tmp_path) == []
    assert completions(envlock, "envlock lock --arch linux-a", tmp_path) == ["linux-aarch64"]
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "envlock" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[envlock]\nhome = 1\n")
    without = {"ENVLOCK_HOME": ""}
    line = {"_ENVLOCK_COMPLETE": "complete_bash", "COMP_WORDS": "envlock path --name ", "COMP_CWORD": "3"}
    assert envlock(cwd=tmp_path, env={**line, **without}).text.strip() == "", "nor with a settings file that is broken"


def test_a_real_bash_completes_at_the_tab_key(envlock: Envlock, flow_project: Path) -> None:
    envlock("lock", "--env", "base", cwd=flow_project)
    (flow_project / "names").mkdir()
    script = "source <(_ENVLOCK_COMPLETE=source_bash envlock)\n"
    (flow_project / "rc").write_text(f"PS1='ready> '; bind 'set enable-bracketed-paste off'\n{script}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with Terminal(["bash", "--rcfile", "rc", "-i"], cwd=flow_project, variables={"PATH": path}) as bash:
        for typed, completed in (
            ("envlock lock --step tr", "envlock lock --step train"),
            ("envlock why al", "envlock why alpha"),
            ("envlock remove al", "envlock remove alpha"),
            ("envlock -q sho", "envlock -q show"),
        ):
            bash.until("ready> ")
            bash.press(f"{typed}\t# end\r")
            assert f"{completed} # end" in bash.until("# end")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_the_same(envlock: Envlock, flow_project: Path, shell: str) -> None:
    words = {"_ENVLOCK_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "envlock lock --step t"}
    ran = envlock(cwd=flow_project, env={**words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"})
    assert ran.stderr == ""
    assert re.findall(r"\btrain\b|\bstart\b", ran.stdout) == ["train"]
