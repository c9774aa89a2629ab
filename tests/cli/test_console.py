"""What others called something steers neither the terminal nor the log of CI, whichever command shows it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.text import Text

from envlock.__main__ import main
from envlock.cli.console import console, write_table
from envlock.config.read import load_project
from envlock.errors import EnvlockError, Location
from envlock.lockfile.folder import write_lock
from envlock.model.arch import host_arch
from envlock.model.lock import Lock, LockedPython
from tests.cli.terminal import Terminal
from tests.conftest import Envlock
from tests.index import Index
from tests.support import ProjectFolder, isolation

HERE = host_arch()
EVIL = (
    "::error::own\n::add-mask::x\r\n  ::set-env name=A::b ##[add-mask]y ##vso[task.x]z "
    "\x1b[2J\x1b]0;t\x07\x9b31m\u202e\u2028::debug::q"
)
CONFIG = """\
[envlock]
archs = [{archs}]
cache = "cache"
metaflow-requirements = false

[env.{name}.pypi]
python = "3.12"
"""
FLOW = """\
from metaflow import FlowSpec, step

class EvilFlow(FlowSpec):
    @step
    def start(self): pass
    @step
    def end(self): pass
"""


def write_config(folder: Path, name: str, more: str = "", *, archs: str = f'"{HERE}"') -> None:
    text = CONFIG.format(name=json.dumps(name), archs=archs) + more
    (folder / "envlock.toml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[Path]:
    """A project whose environment, flow file, lock files, author and alias are called by whoever means harm."""
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        folder = tmp_path_factory.mktemp("evil") / EVIL.replace("/", "_")[:20]
        folder.mkdir()
        write_config(folder, EVIL, f"[flow.EvilFlow]\nfile = {json.dumps(EVIL + '.py')}\n")
        (folder / f"{EVIL}.py").write_text(FLOW)
        for environment in load_project(folder / "envlock.toml").environments():
            lock = Lock(
                HERE, environment.requirements, LockedPython("machine", "3.12.0"), (),
                asked_by=(environment.name,), resolved_by=EVIL, resolved_at="2026-11-01T00:00:00Z",
            )  # fmt: skip
            write_lock(folder / "envlock.lock", lock)
        before = Path.cwd()
        os.chdir(folder)
        yield folder
        os.chdir(before)


@pytest.fixture
def folder(made: Path) -> Path:
    """With a second lock, of such a name."""
    own = next((made / "envlock.lock" / HERE).iterdir())
    (own / f"pylock.{EVIL}.toml").write_text("")
    return made


def assert_harmless(text: str, *, own: str = r"(?!)") -> None:
    for line in text.splitlines():
        assert re.match(own, line) or not line.lstrip().startswith("::"), line
        assert "##[" not in line
        assert "##vso[" not in line
    assert not set(text) & set("\x1b\x07\x9b\u202e\u2028\r"), ascii(text)


COMMANDS = [
    *(["check"], ["check", "--format", "json"], ["lock", "--offline"], ["show"], ["show", "--json"], ["show", EVIL]),
    *(["show", EVIL, "--json"], ["show", "nothing\n::error::x"], ["push"], ["cache", "ls"], ["cache", "ls", "--json"]),
    *(["cache", "verify"], ["cache", "gc"], ["alias", "give", EVIL, "team/x"], ["alias", "ls"], ["verify"]),
    *(["get", EVIL], ["path", "--env", EVIL], ["run", "--env", "x\n::error::y"]),
    ["check", "--config", "a\n::error::b.toml"],
    *(["::error::command"], ["check", "--::error::option\n::error::x"], ["add", "a\n::error::x"], ["init"]),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: ascii(" ".join(command))[:40])
def test_no_command_passes_on_what_a_name_says(
    folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) != 70
    told = capsys.readouterr()
    assert_harmless(told.out)
    assert_harmless(told.err)
    if "json" in "".join(command):
        json.loads(told.out)


def test_annotations_are_of_envlock_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--format", "github"]) == 3
    told = capsys.readouterr().out
    assert len(told.splitlines()) >= 2
    assert_harmless(told, own=r"::error file=[^:,]+(?:,line=\d+)?,title=envlock%3A [^:]+::")


def test_an_error_is_an_annotation_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "sub"
    project.mkdir()
    (project / "envlock.toml").write_text('[envlock]\nchannels = 3\nhosts = ["%\\n::error::x"]\n')
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--config", "sub/envlock.toml", "--format=github"]) == 2
    told = capsys.readouterr()
    assert told.err == ""
    first, second = told.out.splitlines()
    assert first.startswith("::error file=sub/envlock.toml,line=2,title=envlock%3A wrong-type::")
    assert "%0Ahint: " in first
    assert second.startswith("::error file=sub/envlock.toml,line=3,title=envlock%3A bad-value::")
    assert "%25" in second


def test_an_error_without_a_file_is_an_annotation_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--format", "github"]) == 2
    assert capsys.readouterr().out.startswith("::error title=envlock%3A no-config::")


def test_a_message_is_one_line_and_so_is_a_place() -> None:
    text = EnvlockError("a\n::error::b", locations=(Location("c\n::d::"),), hint="e\n::f::").render()
    assert text.splitlines() == ["error[envlock]: a ::error::b", "  at c ::d::", "", "hint: e ::f::"]


def test_on_a_terminal_style_is_left_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    console.cache_clear()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    console().print(Text("::error::\x1b[2J", style="bold"))
    console().print("::error::")
    console.cache_clear()
    assert sys.stdout.getvalue() == "\x1b[1m::error::?[2J\x1b[0m\n| ::error::\n"  # type: ignore[attr-defined]


NARROW = [
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "C"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:surrogateescape"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"PYTHONIOENCODING": "utf-8:surrogateescape"},
]


@pytest.mark.parametrize("variables", NARROW, ids=lambda found: ",".join(f"{key}={found[key]}" for key in found))
def test_what_an_encoding_lacks_is_reported_in_another_way(tmp_path: Path, variables: dict[str, str]) -> None:
    flow = os.fsdecode(b"caf\xe9\xc3\xa9.py")
    write_config(tmp_path, "Zoë 数", archs='"linux-64"', more='[flow."EvilFlow"]\nfile = "flow.py"\n')
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / flow).write_text("")
    # One process for all of them, for an encoding is chosen when an interpreter starts.
    code = (
        "import sys, os; from envlock.__main__ import main\n"
        "for arguments in (['show'], ['show', 'Zo\\u00eb \\u6570'], ['check'], ['check', '--format', 'github'], "
        "['check', '--config', os.fsdecode(b'caf\\xe9\\xc3\\xa9.py')], ['cache', 'ls'], ['push']):\n"
        "    assert main(arguments) in {0, 1, 2}, arguments\n"
        "sys.stdout.write('\\ud800 end\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"\\ud800 end" in done.stdout
    assert b"Zo" in done.stdout
    assert b"Traceback" not in done.stderr


def test_what_is_passed_to_a_resolver_is_utf_8_in_every_locale(
    project: ProjectFolder, envlock: Envlock, index: Index
) -> None:
    project.write_env("alpha", name="base", settings=f'index-url = "{index.url}é/"', archs=[HERE])
    ran = envlock("lock", check=4, env=NARROW[0])
    assert "\\xe9/" in ran.stderr


def test_a_table_on_a_pipe_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(("name", "size", "state"), [("a\n::error::x", "10 kB", "fresh"), ("bb", "9 bytes"), ("c",)], right={1})
    assert capsys.readouterr().out.splitlines() == [
        "name             size  state",
        "a ::error::x    10 kB  fresh",
        "bb            9 bytes",
        "c",
    ]


def test_a_table_that_a_terminal_has_no_room_for_is_folded_and_nothing_is_cut(tmp_path: Path) -> None:
    script = "import sys; from envlock.cli.console import write_table; write_table(sys.argv[1:4], [sys.argv[4:]])"
    cells = (
        "environment",
        "size",
        "needed by",
        "Forecast/train, Forecast/start",
        "10 kB",
        "name jup, kernel jup, project",
    )
    variables = {"COLUMNS": "30", "TERM": "xterm"}
    with Terminal([sys.executable, "-c", script, *cells], cwd=tmp_path, variables=variables) as terminal:
        assert terminal.ended() == 0
        lines = [line.rstrip() for line in terminal.shown.splitlines()]
    assert max(map(len, lines)) <= 30
    words = "".join("".join(lines).split())
    assert "…" not in words
    assert sorted(words) == sorted("".join("".join(cells).split()))


def test_a_table_on_a_terminal_has_the_same_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("a", "10 kB", "fresh"), ("bb", "9 bytes", "stale")]
    write_table(("name", "size", "state"), rows, right={1})
    plain = capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR")
    console.cache_clear()
    try:
        write_table(("name", "size", "state"), rows, right={1})
    finally:
        console.cache_clear()
    drawn = capsys.readouterr().out
    assert "\x1b[1m" in drawn
    words = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    assert [line.rstrip() for line in words.splitlines()] == plain.splitlines()
