"""`env gc` leaves the environment of a task that runs, also when the launcher of its flow was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from envlock.workflow.machine import environments, gc
from envlock.workflow.machine.gc_values import limits_of
from tests.flows.conftest import Flows
from tests.support import wait_until

pytestmark = [pytest.mark.flows, pytest.mark.index]

# The task tells its process and its prefix, and waits without an open file of the environment.
WAITS = """
        import json, os, sys, time
        with open("begun.part", "w") as file:
            json.dump([os.getpid(), sys.prefix], file)
        os.rename("begun.part", "begun")
        while not os.path.exists("go"):
            time.sleep(0.05)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(each) for task in tasks for each in (task / "children").read_text().split()}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_the_environment_of_a_running_task_stays(flows: Flows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "home"))
    # Only what the task holds is to count here, not what is seen of its process.
    monkeypatch.setattr(environments, "used_by_processes", lambda *, thorough: frozenset())
    monkeypatch.setattr(gc, "used_by_processes", lambda *, thorough: frozenset())
    flow = flows.folder / "inner.py"
    flow.write_text(flow.read_text().replace("        self.seen = what_is_here()\n", WAITS, 1))
    everything = limits_of(keep="0", size="0")
    launcher = subprocess.Popen(
        [sys.executable, flow.name, "--environment=envlock", "run"],
        cwd=flows.folder,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # not that of all flows: what is killed leaves its code there
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begun = flows.folder / "begun"
    wait_until(begun.exists, 60)
    pid, place = json.loads(begun.read_text())
    prefix = Path(place)
    assert prefix.parent == tmp_path / "home" / "environments"
    note = prefix.parent.parent / "kept" / f"environments-{prefix.name}"
    os.utime(note, (1000, 1000))
    try:
        swept = gc.collect(everything, delete=True)
        assert [(each.path, reason) for each, reason in swept.kept] == [(str(prefix), "in-use")]
        assert "InnerFlow/start" in swept.kept[0][0].asked_by
        others = children_of(launcher.pid) - {pid}
        assert others, "envlock's own process beside the launcher"
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
        wait_until(lambda: not any(map(is_running, others)), 60)
        assert is_running(pid)
        swept = gc.collect(everything, delete=True)
        assert [(each.path, reason) for each, reason in swept.kept] == [(str(prefix), "in-use")]
        assert (prefix / "bin" / "python").exists()
    finally:
        (flows.folder / "go").touch()
        launcher.kill()
        launcher.wait()
    wait_until(lambda: not is_running(pid), 60)
    wait_until(lambda: [each.path for each in gc.collect(everything, delete=True).going] == [str(prefix)], 10)
    assert not prefix.exists()
