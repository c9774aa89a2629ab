"""The console script: which module runs a command, and how every failure ends."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from envlock import __main__, __version__
from envlock.__main__ import main
from envlock.errors import ConfigError, DamageError, Location, ManyErrors
from tests.conftest import Envlock
from tests.support import ENVLOCK, ProjectFolder


def failing(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    def run(arguments: list[str]) -> int:
        raise failure

    monkeypatch.setattr(__main__, "_run", run)


class Broken(DamageError):
    code = "broken"

    def __init__(self) -> None:
        super().__init__("it is broken", locations=(Location("a.toml", 3, "x.y"),), details=("a fact",), hint="mend it")


def test_an_error_is_rendered_once_on_stderr_and_gives_the_status(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, Broken())
    assert main(["lock"]) == 3
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == "error[broken]: it is broken\n  at a.toml:3 (x.y)\n  a fact\n\nhint: mend it\n"


@pytest.mark.parametrize("arguments", [["lock", "--json"], ["check", "--format", "json"], ["check", "--format=json"]])
def test_an_error_is_json_with_the_option_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    failing(monkeypatch, Broken())
    assert main(arguments) == 3
    said = capfd.readouterr()
    assert said.err == ""
    assert json.loads(said.out) == {
        "error": {
            "code": "broken",
            "message": "it is broken",
            "locations": [{"path": "a.toml", "line": 3, "key": "x.y"}],
            "details": ["a fact"],
            "hint": "mend it",
        }
    }


def test_an_import_that_ctrl_c_broke_off_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = ImportError("cannot import name 'BaseModel'")
    error.__context__ = KeyboardInterrupt()
    failing(monkeypatch, error)
    assert main(["check"]) == 130
    assert capfd.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    "arguments", [["run", "--", "tool", "--json"], ["run", "tool", "--json"], ["check", "--format", "text"], ["lock"]]
)
def test_the_json_of_another_command_is_not_ours(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    failing(monkeypatch, Broken())
    assert main(arguments) == 3
    assert capfd.readouterr().out == ""


def test_many_errors_are_all_reported_and_the_gravest_gives_the_status(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    many = ManyErrors((ConfigError("first"), Broken(), ConfigError("last")))
    failing(monkeypatch, many)
    assert main(["lock"]) == 3
    assert re.findall(r"error\[(.*)\]", capfd.readouterr().err) == ["config", "broken", "config"]
    failing(monkeypatch, many)
    assert main(["lock", "--json"]) == 3
    assert [each["code"] for each in json.loads(capfd.readouterr().out)["error"]["errors"]] == [
        "config",
        "broken",
        "config",
    ]


def test_an_interrupt_is_one_quiet_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert main(["lock"]) == 130
    assert capfd.readouterr() == ("", "interrupted\n")


def test_a_defect_is_said_shortly_and_its_traceback_kept_for_us(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(monkeypatch, RuntimeError("one\ntwo"))
    assert main(["lock", "--secret", "s3cr3t"]) == 70
    (record,) = tmp_path.iterdir()
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == (
        "error[defect]: this is a defect in envlock: RuntimeError: one\n"
        f"  the traceback is in {record}\n\nhint: report it, with that file\n"
    )
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"envlock {__version__}, Python ")
    assert "Traceback (most recent call last)" in text
    assert text.endswith("RuntimeError: one\ntwo\n")
    assert "s3cr3t" not in text
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


def test_a_reader_that_goes_away_is_no_defect() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([ENVLOCK, "schema"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_version(envlock: Envlock) -> None:
    ran = envlock("--version")
    assert (ran.stdout, ran.stderr) == (f"envlock {__version__}\n", "")
    module = [sys.executable, "-m", "envlock", "--version"]
    assert subprocess.run(module, capture_output=True, text=True, check=True).stdout == ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["lokc"], "No such command 'lokc'. Did you mean 'lock'?", "envlock --help"),
        (["schema", "--ouput", "x"], "No such option: --ouput", "envlock schema --help"),
        (["check", "--format", "yaml"], "yaml", "envlock check --help"),
        (["schema", "extra"], "extra", "envlock schema --help"),
        (["check", "train"], "train", "if that is a step, choose it with an option: envlock check --step STEP"),
        (
            ["lock", "libs/base.in"],
            "libs/base.in",
            "if that is a requirement file, name it with an option: envlock lock -r libs/base.in",
        ),
        (
            ["lock", "environment.yml"],
            "environment.yml",
            "if that is a requirement file, name it with an option: envlock lock -f environment.yml",
        ),
        (["show", "--step", "train"], "--step", "name it without an option: envlock show STEP"),
        (["check", "--step"], "--step", "envlock check --help"),
        (["remove"], "PACKAGE", "envlock remove --help"),
    ],
)
def test_a_wrong_call_names_the_help_that_helps(
    envlock: Envlock, arguments: list[str], message: str, hint: str
) -> None:
    ran = envlock(*arguments, check=2)
    assert ran.stdout == ""
    assert ran.stderr.startswith("error[usage]: ")
    assert message in ran.stderr
    assert ran.stderr.endswith(f"\nhint: {hint}\n")


def test_a_wrong_call_is_json_too(envlock: Envlock) -> None:
    assert envlock("lokc", "--json", check=2).json["error"]["code"] == "usage"


def test_a_file_that_this_user_may_not_read_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it is: the lock folder, what lies in it, the home. Root may read everything, so this one is made up."""
    (tmp_path / "envlock.toml").write_text("[env.base.pypi.packages]\n")
    monkeypatch.chdir(tmp_path)

    def refused(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "envlock.lock"))

    monkeypatch.setattr("envlock.workflow.check.lock_files", refused)
    assert main(["check"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error[machine-refused]: permission denied\n")
    assert "envlock.lock" in error
    assert "hint: check who owns it" in error


@pytest.mark.parametrize("arguments", ["import {}", "migrate {}", "check --config {}", "lock -r x.txt --output {}/y"])
def test_a_path_that_is_too_long_is_no_defect(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert main(arguments.format("x" * 300).split()) == 2
    assert "error[defect]" not in capsys.readouterr().err


def test_a_working_folder_that_was_deleted(tmp_path: Path) -> None:
    for arguments in ("check", "path", "run -- true", "init"):
        gone = tmp_path / "gone"
        gone.mkdir()
        command = f'cd "{gone}"; rmdir "{gone}"; exec "{ENVLOCK}" {arguments}'
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.splitlines()[0]) == (
            2,
            "error[no-working-folder]: the working folder was deleted",
        ), arguments


def test_what_follows_two_dashes_is_no_option(envlock: Envlock, tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text("[env.base.pypi.packages]\n")
    for arguments in (["add", "--", "--json"], ["remove", "--", "--format=github"], ["init", "--", "--json"]):
        ran = envlock(*arguments, cwd=tmp_path, check=2)
        assert ran.stdout == ""
        assert ran.stderr.startswith("error["), arguments


@pytest.mark.parametrize("output", ["", ".", "/", "..", "folder", "file/below", "pipe", "link-to-pipe"])
def test_the_schema_goes_to_a_file_and_to_nothing_else(envlock: Envlock, tmp_path: Path, output: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link-to-pipe").symlink_to("pipe")
    ran = envlock("schema", "--output", output, cwd=tmp_path, check=2)
    assert ran.stderr.startswith("error[cannot-write]: ")
    assert (tmp_path / "file").read_text() == "kept"
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link-to-pipe").is_symlink()


def test_every_command_refuses_a_folder_without_a_project(envlock: Envlock, tmp_path: Path) -> None:
    for command in (["lock"], ["check"], ["push"], ["add", "rich"], ["path", "--step", "start"], ["cache", "ls"]):
        ran = envlock(*command, cwd=tmp_path, check=2)
        assert ran.stderr.startswith("error[no-config]: "), command
        assert ran.stderr.endswith("hint: envlock init\n"), command


@pytest.mark.parametrize("command", [["lock"], ["check"]])
def test_a_config_that_is_no_file(envlock: Envlock, tmp_path: Path, command: list[str]) -> None:
    assert "error[no-config]" in envlock(*command, "--config", "nothing.toml", cwd=tmp_path, check=2).stderr
    assert "error[unreadable-config]" in envlock(*command, "--config", str(tmp_path), cwd=tmp_path, check=2).stderr


def test_bad_configuration_is_reported_by_every_way_in(envlock: Envlock, project: ProjectFolder) -> None:
    project.config.write_text("[envlock]\narchs = ['windows']\npython_from = 'uv'\n", encoding="utf-8")
    for command in ("lock", "check", "push"):
        ran = envlock(command, check=2)
        assert re.findall(r"^error\[(.*?)\]|at (.*?) ", ran.stderr, re.MULTILINE) == [
            ("unknown-arch", ""),
            ("", "envlock.toml:2"),
            ("unknown-key", ""),
            ("", "envlock.toml:3"),
        ]
    assert [each["code"] for each in envlock("check", "--json", check=2).json["error"]["errors"]] == [
        "unknown-arch",
        "unknown-key",
    ]


def on_a_terminal(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """What a command writes to a terminal, and its status."""
    ours, theirs = pty.openpty()
    without = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    child = subprocess.Popen(
        [ENVLOCK, *arguments], cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**without, "TERM": "xterm-256color", **(env or {})},
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 4096):
            said += data
    except OSError:  # Linux: the other end is closed
        pass
    os.close(ours)
    return child.wait(), said.decode().replace("\r\n", "\n")


def test_colour_on_a_terminal_changes_no_word(envlock: Envlock, tmp_path: Path) -> None:
    status, coloured = on_a_terminal("lock", cwd=tmp_path)
    assert status == 2
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == envlock("lock", cwd=tmp_path, check=2).stderr
    without = on_a_terminal("lock", cwd=tmp_path, env={"NO_COLOR": "1"})[1]
    assert re.findall(r"\x1b\[([0-9;]*)m", coloured) != re.findall(r"\x1b\[([0-9;]*)m", without)
    assert not re.search(r"\x1b\[(\d+;)*[34]\d", without), "bold may stay, colour may not"
