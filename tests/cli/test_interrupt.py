"""Ctrl-C, at any moment: a word, a status, and nothing half written; and a reader who has seen enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.conftest import Envlock
from tests.index import Index
from tests.support import ENVLOCK, ProjectFolder, wait_until

SERIES = "{}.{}".format(*sys.version_info[:2])
MakeIndex = Callable[..., Index]


@dataclass(frozen=True)
class Moment:
    """A moment at which the user loses patience."""

    name: str
    command: tuple[str, ...]
    slow: str
    """Requests for this are answered too late."""
    locked: bool = True

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


MOMENTS = [
    Moment("lock before the first page", ("lock",), "simple/alpha/", locked=False),
    Moment("lock between two pages", ("lock",), "simple/beta/", locked=False),
    Moment("lock while metadata comes", ("lock",), "*.metadata", locked=False),
    Moment("lock in JSON", ("lock", "--json"), "simple/beta/", locked=False),
    Moment("push", ("push",), "files/*/beta-*.whl"),
    Moment("create", ("create",), "files/*/beta-*.whl"),
    Moment("run", ("run", "--", "true"), "files/*/beta-*.whl"),
]


@pytest.mark.parametrize(
    ("moment", "to"),
    [
        *((moment, "the command and its children") for moment in MOMENTS),
        *((moment, "the command alone") for moment in MOMENTS if moment.name in {"lock between two pages", "push"}),
    ],
    ids=str,
)
def test_ctrl_c(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock, isolated: Path, moment: Moment, to: str
) -> None:
    served = make_index()
    project = ProjectFolder.make(tmp_path / "project", served.url)
    project.write_env("alpha", python=SERIES, archs=[host_arch()])
    if moment.locked:
        envlock("lock")
    before = project.snapshot()
    served.slow(moment.slow, seconds=60)
    running = subprocess.Popen(
        [ENVLOCK, *moment.command],
        cwd=project.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with running:
        try:
            wait_until(lambda: served.has_been_asked(moment.slow))
            if to == "the command alone":
                running.send_signal(signal.SIGINT)
            else:
                os.killpg(running.pid, signal.SIGINT)
            out, err = running.communicate(timeout=10)
        finally:
            served.close()
            running.kill()
    assert running.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert "interrupted" in err
    left = project.snapshot()
    if moment.locked:
        assert {path: left[path] for path in before} == before
        assert {path.parent.name for path in project.folder.rglob("*.part")} <= {".stage"}  # a cache's own, swept later
        assert not list((project.folder / "envlock-cache").rglob("packages/**/beta-*.whl"))
        assert not list((project.folder / "envlock-cache").rglob("envs/**/*.toml"))
        assert not list((isolated / "envlock" / "environments").glob("metaflow_*/*"))
    else:
        assert left == before


@pytest.mark.parametrize(
    ("command", "how", "ignored"),
    [("push", signal.SIGTERM, signal.SIGHUP), ("create", signal.SIGHUP, None), ("lock", signal.SIGHUP, None)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_signal_ends_every_command_as_ctrl_c_does(
    make_index: MakeIndex,
    tmp_path: Path,
    envlock: Envlock,
    isolated: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    how: signal.Signals,
    ignored: signal.Signals | None,
) -> None:
    served = make_index()
    project = ProjectFolder.make(tmp_path / "project", served.url)
    project.write_env("alpha", python=SERIES, archs=[host_arch()])
    slow = "simple/beta/"
    if command != "lock":
        envlock("lock")
        slow = "files/*/beta-*.whl"
    served.slow(slow, seconds=60)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))

    def as_nohup() -> None:
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    running = subprocess.Popen(
        [ENVLOCK, command], cwd=project.folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=as_nohup,
    )  # fmt: skip
    with running:
        try:
            wait_until(lambda: served.has_been_asked(slow))
            if ignored is not None:
                running.send_signal(ignored)
                with pytest.raises(subprocess.TimeoutExpired):
                    running.wait(timeout=0.5)
            running.send_signal(how)
            running.send_signal(how)  # who sends it twice disturbs nothing
            _, err = running.communicate(timeout=10)
        finally:
            served.close()
            running.kill()
    assert running.returncode == 128 + how
    assert err.splitlines()[-1] == {signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}[how]
    assert "Traceback" not in err
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not list((isolated / "envlock" / "environments").glob("metaflow_*/*"))
    assert list(project.folder.rglob("*.part")) == []


@pytest.mark.parametrize(
    ("module", "command"), [("tomli", "check"), ("typer", "cache --none"), ("pydantic", "show"), ("rich.table", "show")]
)
def test_ctrl_c_while_modules_are_imported_is_no_defect(tmp_path: Path, module: str, command: str) -> None:
    (tmp_path / "envlock.toml").write_text("[nonsense]\n" if module == "pydantic" else "[envlock]\n")
    code = (
        "import os, signal, sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())\n"
        f"sys.argv = ['envlock', *{command.split()!r}]\n"
        "from envlock.__main__ import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_ctrl_c_in_a_command_that_runs_is_that_commands(
    project: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    project.write_env("lam", python=SERIES, archs=[host_arch()])
    envlock("lock")
    code = (
        "import pathlib, sys, time\n"
        f"pathlib.Path({str(tmp_path / 'there')!r}).touch()\n"
        "try:\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    sys.exit(7)"
    )
    running = subprocess.Popen(
        [ENVLOCK, "run", "--", "python", "-c", code], cwd=project.folder, stderr=subprocess.PIPE, start_new_session=True
    )
    with running:
        try:
            wait_until((tmp_path / "there").exists)
            os.killpg(running.pid, signal.SIGINT)
            assert running.wait(timeout=10) == 7
            assert b"Traceback" not in running.stderr.read()  # type: ignore[union-attr]
        finally:
            running.kill()


def test_a_reader_that_goes_away(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam", archs=["linux-64"])
    envlock("lock")
    for command in ("check", "check --json", "lock --json"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"({ENVLOCK} {command}; echo $? >&2) | true"],
            cwd=project.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr
