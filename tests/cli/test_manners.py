"""The options that every command has: how much is printed, in colour or not."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from envlock import reporter
from envlock.__main__ import main
from envlock.cli import console
from envlock.cli.options import JSON
from envlock.cli.progress import LiveReporter
from tests.cli.test_command import commands, value_of
from tests.support import ProjectFolder


@pytest.fixture
def folder(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> Path:
    project.write('[env.base.pypi.packages]\nrich = "*"\n')
    monkeypatch.chdir(project.folder)
    return project.folder


class Screen(io.StringIO):
    """Text that is written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_quiet_leaves_errors_and_the_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "rich", "--env", "base"]) == 0
    assert capsys.readouterr().err
    assert main(["add", "rich", "--env", "base", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["-q", "check", "--config", "nothing.toml"]) == 2
    assert capsys.readouterr().err.startswith("error[no-config]: ")


def test_quiet_ends_with_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    assert main(["-q", "add", "rich", "--env", "base"]) == 0
    assert sys.stderr is before
    assert main(["add", "rich", "--env", "base"]) == 0
    assert "lists that already" in capsys.readouterr().err


def test_quiet_and_verbose_exclude_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-q", "-v", "check"], ["check", "-qv"], ["--quiet", "check", "--verbose"]):
        assert main(words) == 2
        assert capsys.readouterr().err.startswith("error[usage]: `--quiet` and `--verbose` exclude each other\n")


@pytest.mark.parametrize("words", [["check", "--config", "none"], ["lokc"], ["check", "--fromat", "x"]])
def test_errors_have_the_colours_that_the_option_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    assert main([*words, "--color", "always"]) == 2
    assert "\x1b[1;31merror[" in stream.getvalue()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream := Screen())
    assert main([*words, "--color=never"]) == 2
    assert stream.getvalue().startswith("error[")
    assert "\x1b" not in stream.getvalue()


def test_a_table_has_colours_on_a_pipe_if_the_option_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--color", "never"], ["--color", "auto"]):
        main(["show", *words])
        assert "\x1b[" not in capsys.readouterr().out
    main(["show", "--color", "always"])
    assert "\x1b[" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"progress": False}, {"quiet": True}, {"verbose": True}])
def test_no_bars_are_drawn_into_what_is_quiet_or_detailed(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    monkeypatch.setattr(sys, "stderr", Screen())
    assert console.draws_progress()
    try:
        console.print_as(**options)
        assert not console.draws_progress()
        with LiveReporter() as bars:
            bars.began("Resolving", 1, "locks")
            assert bars._timer is None
    finally:
        console.print_as()
    assert console.draws_progress()


def test_details_are_numbered_and_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    reporter.detail("nobody wants to know")
    reporter.asking("GET", "https://index.example/").ended(200)
    try:
        console.print_as(verbose=True)
        first = reporter.asking("GET", "https://me:pw@index.example/simple/x?token=1")
        second = reporter.running(["uv", "pip", "compile\n::error::x"])
        second.ended("status 1")
        first.ended(200)
    finally:
        console.print_as()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" after ")[0] for line in lines] == [
        f"debug: [{first._number}] ask GET https://index.example/simple/x",
        f"debug: [{second._number}] run uv pip compile ::error::x",
        f"debug: [{second._number}] status 1",
        f"debug: [{first._number}] 200",
    ]


_NO_JSON = {
    "run": "what it prints is of another program",
    "shell": "what it prints is of another program",
    "schema": "it prints JSON in any case",
    "help": "it is for people",
}
_WITHOUT_PROJECT = (
    ["init"],
    ["migrate"],
    ["kernel", "list"],
    ["doctor"],
    ["env", "ls"],
    ["env", "gc"],
    ["config", "show"],
)
"""They need no envlock.toml, or say in their result that it is broken."""


def test_every_command_can_print_json() -> None:
    for name, command in commands():
        has = JSON in command.params
        assert has != (name[0] in _NO_JSON), " ".join(name)


def test_an_error_of_every_command_can_be_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fails here, where there is no project, no name and no file: it says so in JSON, and has its status."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envlock.toml").write_text("= broken")
    for name, command in commands():
        if name[0] in _NO_JSON or name in _WITHOUT_PROJECT:
            continue
        needed = [value_of(each) for each in command.arguments if each.is_required]
        status = main([*name, *needed, "--json"])
        told = capsys.readouterr()
        assert status != 0, name
        assert status != 70, name
        error = json.loads(told.out)["error"]
        assert error.get("code") or error["errors"], name
        assert told.err == "", name
