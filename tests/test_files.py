"""What others put where a file should be never makes a command wait, read without an end, or leave the project."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.config.read import load_project
from envlock.files import NotPlain, holds, leads_out, read_file, write_atomically
from envlock.lockfile.folder import write_lock
from envlock.model.arch import LINUX_64
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.named.pin import Pin, pin_path, write_pin

MACHINE = LockedPython(source="machine", version="3.12.0")
LAM = LockedPackage(
    name="lam",
    version="1.0",
    filename="lam-1.0-py3-none-any.whl",
    url="https://files.example/lam-1.0-py3-none-any.whl",
    sha256="a" * 64,
)
PIN = Pin("name", "team/base:v1", Requirements(pypi=(parse_requirement("lam"),)), ((LINUX_64, "1" * 40),))
CONFIG = """\
[envlock]
archs = ["linux-64"]
metaflow-requirements = false

[env.demo]
requirements = "r.txt"

[env.named]
named_env = { name = "team/base:v1" }

[flow.DemoFlow]
file = "demoflow.py"
"""
FLOW = """\
from metaflow import FlowSpec, step
class DemoFlow(FlowSpec):
    @step
    def start(self): pass
    @step
    def end(self): pass
"""


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    """A command that waits for the other end of a pipe is ended by a signal that nothing catches."""
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a lock, a pin, a file of requirements and a flow file."""
    found = tmp_path / "project"
    found.mkdir()
    (found / "envlock.toml").write_text(CONFIG)
    (found / "r.txt").write_text("lam\n")
    (found / "demoflow.py").write_text(FLOW)
    write_pin(found / "envlock.lock", PIN)
    for environment in load_project(found / "envlock.toml").environments():
        if environment.base is None:
            packages = (LAM,) if environment.requirements.pypi else ()
            write_lock(found / "envlock.lock", Lock(LINUX_64, environment.requirements, MACHINE, packages))
    monkeypatch.chdir(found)
    return found


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_gigabyte(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def a_socket(path: Path) -> None:
    # The path of a socket is short: it is made in its folder.
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def a_link_out(path: Path) -> None:
    path.symlink_to("/etc/passwd")


PUT = {"a named pipe": a_pipe, "a device": a_device, "MiB": a_gigabyte, "a socket": a_socket, "a link": a_link_out}


def the_lock(folder: Path) -> Path:
    return min((folder / "envlock.lock" / "linux-64").glob("*/pylock.*.toml"))


VICTIMS: dict[str, Callable[[Path], Path]] = {
    "lock": the_lock,
    "pin": lambda folder: pin_path(folder / "envlock.lock", "name", "team/base:v1"),
    "requirements": lambda folder: folder / "r.txt",
    "flow": lambda folder: folder / "demoflow.py",
}


@pytest.mark.parametrize("says", PUT)
@pytest.mark.parametrize("victim", VICTIMS)
def test_check_calls_it_damage_and_says_what_lies_there(
    folder: Path, victim: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = VICTIMS[victim](folder)
    path.unlink()
    PUT[says](path)
    assert main(["check"]) == 3
    said = "".join(capsys.readouterr())
    assert says in said
    assert path.name in said
    assert "root:" not in said


@pytest.mark.parametrize("depth", [3, 2, 1])
@pytest.mark.parametrize("command", ["check", "check --format github", "show", "lock", "verify"])
def test_a_folder_of_locks_that_is_a_link_to_itself_is_damage(
    folder: Path, command: str, depth: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = the_lock(folder).parents[depth - 1]
    shutil.rmtree(path)
    path.symlink_to(path.name)
    assert main(command.split()) == 3
    said = "".join(capsys.readouterr())
    assert "damaged-" in said  # with pins in the folder, one of them may be told first
    assert "`git checkout -- " in said


@pytest.mark.parametrize("says", PUT)
@pytest.mark.parametrize("command", ["check", "show", "lock"])
def test_an_envlock_toml_that_is_no_file_is_a_wrong_configuration(
    folder: Path, command: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "envlock.toml").unlink()
    PUT[says](folder / "envlock.toml")
    assert main([command]) == 2
    said = capsys.readouterr().err
    assert "error[unreadable-config]" in said
    assert says in said
    assert "root:" not in said


def test_in_json_it_is_an_error_with_a_code_and_a_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "r.txt").unlink()
    os.mkfifo(folder / "r.txt")
    assert main(["check", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["locations"][0]["key"]) == ("unsafe-file", "env.demo.requirements")


def test_links_lead_anywhere_in_the_project(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "real").mkdir()
    for name in ("r.txt", "demoflow.py", "envlock.lock"):
        (folder / name).rename(folder / "real" / name)
        (folder / name).symlink_to(Path("real", name))
    status = main(["check"])
    said = "".join(capsys.readouterr())
    assert "cannot be read" not in said
    assert status < 2, said


def test_the_work_tree_of_git_is_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "r.txt").write_text("lam\n")
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "r.txt").symlink_to("../common/r.txt")
    assert leads_out(tmp_path / "team" / "r.txt", tmp_path / "team")
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    assert not leads_out(tmp_path / "team" / "r.txt", tmp_path / "team")


def test_a_project_laid_out_as_links_is_one(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "links").mkdir()
    for name in ("envlock.toml", "r.txt"):
        (tmp_path / "sources" / name).write_text("")
        (tmp_path / "links" / name).symlink_to(tmp_path / "sources" / name)
    assert not leads_out(tmp_path / "links" / "r.txt", tmp_path / "links")


def test_a_folder_on_the_way_may_lead_out_no_more_than_a_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "r.txt").write_text("")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "sub").symlink_to("../elsewhere")
    assert leads_out(tmp_path / "project" / "sub" / "r.txt", tmp_path / "project")
    # The author wrote that it is outside: it is no link of the project.
    assert not leads_out(tmp_path / "project" / ".." / "elsewhere" / "r.txt", tmp_path / "project")


def test_as_much_as_the_limit_is_read_and_no_byte_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", 5) == b"12345"
    with pytest.raises(NotPlain):
        read_file(tmp_path / "file", 4)
    assert holds(tmp_path / "file", b"12345")
    assert not holds(tmp_path / "file", b"1234")


def test_a_file_that_says_it_is_empty_is_read_all_the_same(tmp_path: Path) -> None:
    assert read_file("/proc/self/status", 1 << 20).startswith(b"Name:")
    with pytest.raises(NotPlain):
        read_file("/proc/self/status", 10)


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_what_is_replaced_keeps_its_permissions(tmp_path: Path, umask: int) -> None:
    """In a checkout that a team shares, what one rewrites stays open to the others."""
    kept, new = tmp_path / "kept", tmp_path / "new"
    kept.write_bytes(b"1")
    kept.chmod(0o664)
    before = os.umask(umask)
    try:
        write_atomically(kept, b"2")
        write_atomically(new, b"2")
    finally:
        os.umask(before)
    assert kept.read_bytes() == b"2"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o664
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~umask
