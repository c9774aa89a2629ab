"""Many processes that want one environment, and processes that are killed while they make one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.channel import Channel
from tests.hydration.conda_making import CondaMaking, wheels, wrong_files
from tests.hydration.making import Making, missing_files, remains

ROOT = Path(__file__).resolve().parents[2]


Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that make an environment, each with a process group of its own."""
    started: list[Process] = []

    def begin(what: Making | Path, count: int = 0, names: tuple[str, ...] = ()) -> Process:
        command: list[object] = [sys.executable, "-m"]
        if isinstance(what, Making):
            command += ["tests.hydration.making", what.place, what.count, what.files]
        else:
            command += ["tests.hydration.conda_making", what, count, *names]
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def began(process: Process) -> None:
    """Wait until the process is about to make its environment."""
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "began\n", process.stderr.read()


def installing(making: Making, process: Process) -> None:
    """Wait until the process installs: it holds the lock, and has a stage."""
    began(process)
    while not making.installs.exists():
        assert process.poll() is None
        time.sleep(0.002)


@pytest.fixture
def making(tmp_path: Path) -> Making:
    made = Making(tmp_path, count=20, files=20)
    made.write_artifacts()
    return made


def test_eight_processes_make_it_once(making: Making, start: Start) -> None:
    processes = [start(making) for _ in range(8)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert {out for out, _ in outputs} == {f"began\n{making.prefix}\n"}
    assert len(making.installs.read_text().splitlines()) == 1
    assert missing_files(making.prefix) == []
    assert remains(making.environments) == []


def test_those_who_wait_say_so(making: Making, start: Start) -> None:
    making.gate.touch()
    first = start(making)
    installing(making, first)
    second = start(making)
    began(second)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=0.5)
    making.gate.unlink()
    assert first.communicate(timeout=60)[0] == f"{making.prefix}\n"
    out, err = second.communicate(timeout=60)
    assert out == f"{making.prefix}\n"
    assert "waiting for another process" in err
    assert len(making.installs.read_text().splitlines()) == 1


@pytest.mark.parametrize("whom", ["group", "one", "interrupt"], ids=["both killed", "uv goes on alone", "Ctrl-C"])
def test_an_end_at_any_moment_leaves_nothing_that_looks_whole(making: Making, whom: str) -> None:
    command = [sys.executable, "-m", "tests.hydration.killing", making.place, "pypi", making.count, 8, whom]
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["broken"] == []
    assert result["left"] == []
    assert result["unfinished"] >= 3, "the ends came too late to prove anything"
    shutil.rmtree(making.prefix, ignore_errors=True)  # the last end may have come after it was whole, and kept a stage
    assert making.hydrate() == making.prefix
    assert missing_files(making.prefix) == []
    if whom != "one":
        assert remains(making.environments) == []


@pytest.mark.parametrize("whom", ["group", "interrupt"], ids=["killed", "Ctrl-C"])
def test_a_conda_environment_that_is_ended_at_any_moment_is_not_there_or_whole(
    tmp_path: Path, channel: Channel, whom: str
) -> None:
    channel.need("click")
    command = [sys.executable, "-m", "tests.hydration.killing", tmp_path, "conda", 3, 5, whom]
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["broken"] == []
    assert result["unfinished"] >= 2, "the ends came too late to prove anything"
    making = CondaMaking(tmp_path, ("click", "vintage", "clobber-one"), wheels=wheels(3))
    assert wrong_files(making.hydrate()) == []
    assert remains(making.environments) == []


def test_processes_that_want_the_same_and_different_conda_environments(
    tmp_path: Path, channel: Channel, start: Start
) -> None:
    channel.need("click", "pygments")
    same = ("click", "pygments")
    others = [("click", "vintage"), ("speak", "pygments")]
    processes = [start(tmp_path, 2, names) for names in (same, same, *others)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    for names in (same, *others):
        making = CondaMaking(tmp_path, names, wheels=wheels(2))
        assert making.find() == making.prefix
        assert wrong_files(making.prefix) == []
    assert remains(making.environments) == []


def test_processes_that_find_the_same_unpacked_package_changed(tmp_path: Path, channel: Channel, start: Start) -> None:
    channel.need("click", "pygments")
    making = CondaMaking(tmp_path, ("click", "pygments"))
    making.hydrate()
    for package in ("pygments", "click", "python"):
        (unpacked,) = (path for path in making.unpacked.glob(f"{package}-[0-9]*") if path.is_dir())
        next(path for path in sorted(unpacked.rglob("__init__.py"))).write_bytes(b"changed")
    names = [("click", "pygments", more) for more in ("lower", "upper", "speak")]
    processes = [start(tmp_path, 0, each) for each in names]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    for each in names:
        assert wrong_files(CondaMaking(tmp_path, each).prefix) == []


def test_what_the_dead_left_is_removed_by_whoever_builds_next(making: Making, start: Start, tmp_path: Path) -> None:
    making.gate.touch()
    process = start(making)
    installing(making, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert remains(making.environments) != []
    Making(tmp_path, count=0).hydrate()
    assert remains(making.environments) == []


def test_the_stage_of_the_living_is_left_alone(making: Making, start: Start, tmp_path: Path) -> None:
    making.gate.touch()
    process = start(making)
    installing(making, process)
    Making(tmp_path, count=0).hydrate()
    making.gate.unlink()
    assert process.communicate(timeout=60)[0] == f"{making.prefix}\n"
    assert process.returncode == 0
    assert missing_files(making.prefix) == []
