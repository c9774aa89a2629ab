"""The options that every command has: how much is printed, in colour or not."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import sys
from pathlib import Path

import pytest

from envlock import __version__, reporter
from envlock.__main__ import main
from envlock.addresses import address
from envlock.build.errors import GitUnreachable
from envlock.build.git import commit_of
from envlock.cli import console
from envlock.cli.options import JSON
from envlock.cli.progress import LiveReporter
from envlock.files import hold_lock
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


def test_quiet_leaves_what_the_exit_status_is_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-q"]) == 1
    assert "base" in capsys.readouterr().out
    (folder / "envlock.toml").write_text("[envlock]\nmetaflow-requirements = false\n")
    assert main(["check", "-q"]) == 0
    assert main(["verify", "-q"]) == 0
    assert main(["build", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    flow = "from metaflow import FlowSpec, conda, step\nclass F(FlowSpec):\n    @conda(libraries=WHAT)\n    @step\n"
    (folder / "f.py").write_text(
        f"{flow}    def start(self): self.next(self.end)\n    @step\n    def end(self): pass\n"
    )
    assert main(["migrate", "--dry-run", "-q"]) == 1
    assert "f.py:3" in capsys.readouterr().err


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


def test_verbose_says_which_envlock_runs_and_how_long_it_takes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-v", "check"]) == 1
    first, last = capsys.readouterr().err.splitlines()
    assert re.match(rf"debug: \[\d+\] check of envlock {re.escape(__version__)}, on Python 3\.", first)
    assert re.search(r"\] status 1 after \d+\.\d\d s$", last)
    assert main(["-v", "check", "--config", "none"]) == 2
    assert "failed (NoConfig) after" in capsys.readouterr().err


def test_details_are_numbered_and_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    reporter.detail("nobody wants to know")
    reporter.asking("GET", "https://index.example/").ended(200)
    number = next(reporter._NUMBERS) + 1
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
        f"debug: [{number}] request GET https://index.example/simple/x",
        f"debug: [{number + 1}] run uv pip compile...",
        f"debug: [{number + 1}] status 1",
        f"debug: [{number}] 200",
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
    ["kernel", "ls"],
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


SECRET = "s3cr3t-t0ken-of-ours"
SPELT = [
    *(
        f"https://{who}@index.example/simple/"
        for who in (f"me:{SECRET}", SECRET, f":{SECRET}", f"{SECRET}:", f"me%40x:{SECRET}")
    ),
    *(
        f"{scheme}://me:{SECRET}@host.example/a"
        for scheme in ("http", "git+ssh", "ssh", "git+https", "socks5", "s3", "ftp")
    ),
    f"https://me:{SECRET}@[::1]:8080/simple",
    f"https://me:a@b{SECRET}@index.example/simple",
    f"https://me:{SECRET}$x@index.example/simple",
    f"https://me:{SECRET}${{TOKEN:-a b}}@index.example/simple/",
    f"https://index.example/simple?token={SECRET}",
    f"https://bucket.example/a.whl?X-Amz-Signature={SECRET}&X-Amz-Expires=3600",
    f"https://account.example/envs/a?sv=2024&sig={SECRET}",
    f"https://index.example/simple#{SECRET}",
    f"https://channel.example/t/{SECRET}/team/noarch/repodata.json",
    f"https://me:pw@channel.example/t/{SECRET}/team",
    f"HTTPS://me:{SECRET}@INDEX.example/simple",
    f"https//me:{SECRET}@index.example/simple/",
    f"https:/me:{SECRET}@index.example/simple/",
    f"me:{SECRET}@index.example/simple",
    f"--index-url=https://me:{SECRET}@index.example/simple",
    f"rich @ git+https://{SECRET}@code.example/team/rich@v1",
    f"env.base.https://me:{SECRET}@index.example/simple",
    f"'https://me:{SECRET}@index.example/simple'",
]


@pytest.mark.parametrize("text", SPELT)
def test_no_detail_has_a_secret(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        console.print_as(verbose=True)
        with reporter.running(["tool", text, f"-i {text}"]), reporter.asking("GET", text), reporter.waiting(text):
            reporter.detail(f"see {text}, and ({text})")
    finally:
        console.print_as()
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 7
    assert SECRET not in told
    assert "t0ken" not in told


def test_no_detail_has_what_a_variable_of_a_url_holds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_TOKEN", SECRET)
    found = address("https://index.example/${TEAM_TOKEN}/simple/")
    try:
        console.print_as(verbose=True)
        reporter.asking("GET", found.asked)
        reporter.running(["git", "fetch", f"{found.url}rich", f"https://files.example/{SECRET}/a.whl"])
    finally:
        console.print_as()
    told = capsys.readouterr().err
    assert SECRET not in told
    assert told.count("${TEAM_TOKEN}") == 3


def test_a_lock_that_another_process_holds_is_a_detail(tmp_path: Path) -> None:
    other, mine = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    told: list[str] = []

    def tell(message: str) -> None:
        told.append(message)
        fcntl.flock(other, fcntl.LOCK_UN)

    reporter.show_details(tell)
    try:
        hold_lock(mine, tmp_path)
        hold_lock(mine, tmp_path)
    finally:
        reporter.show_details(None)
        os.close(other)
        os.close(mine)
    first, second = told
    assert f"wait for another process, which holds {tmp_path}" in first
    assert " done after 0." in second


def test_git_is_told_of_without_what_a_variable_holds(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://me:{SECRET}@127.0.0.1:9/tk-{SECRET}/demo.git"
    try:
        console.print_as(verbose=True)
        with pytest.raises(GitUnreachable):
            commit_of(url, "main", "demo", kept="http://127.0.0.1:9/${TOKEN}/demo.git")
    finally:
        console.print_as()
    told = capsys.readouterr().err
    assert re.search(r"\] run git .*ls-remote .*http://127\.0\.0\.1:9/\$\{TOKEN\}/demo\.git", told)
    assert SECRET not in told
