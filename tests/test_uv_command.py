"""uv is found, and run so that nothing of the user's decides."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envlock.uv_command import run_uv, uv_environment, uv_executable

MANY_THREADS = """
import sysconfig, threading, time
slowly = sysconfig._init_posix
def init(variables):
    time.sleep(0.1)
    slowly(variables)
sysconfig._init_posix = init
from envlock.uv_command import uv_executable
gate, wrong = threading.Barrier(8), []
def find():
    gate.wait()
    try:
        uv_executable()
    except Exception as error:
        wrong.append(error)
threads = [threading.Thread(target=find) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong, wrong
"""


def test_uv_is_found_by_many_threads_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", MANY_THREADS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_uv_runs_without_settings_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert uv_executable().is_absolute()
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "no-such-file"))
    monkeypatch.setenv("UV_INDEX", "https://index.example/simple/")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple/")
    kept = uv_environment({"UV_PYTHON_DOWNLOADS": "never"})
    assert {name for name in kept if name.startswith(("UV_", "PIP_"))} == {
        "UV_CACHE_DIR",
        "UV_NO_PROGRESS",
        "UV_PYTHON_DOWNLOADS",
    }
    assert run_uv(["--version"]).returncode == 0


def test_what_fails_while_uv_runs_ends_uv(tmp_path: Path) -> None:
    endless = tmp_path / "uv"
    endless.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/started\nexec sleep 600\n")
    endless.chmod(0o755)

    def fail() -> None:
        while not (tmp_path / "started").exists() or not (tmp_path / "started").read_text():
            time.sleep(0.001)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_uv([], executable=endless, meanwhile=fail)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "started").read_text()), 0)
