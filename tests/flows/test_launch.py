"""What happens before the first task: refusals, spin, an interrupt while environments are made."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.flows.conftest import OF_GZIP, OUTER, STALE, Flows, Past
from tests.index import Index
from tests.support import run_envlock, wait_until

pytestmark = [pytest.mark.flows, pytest.mark.index]


def refuses(flows: Flows, *arguments: str, **variables: str) -> str:
    """What a flow says that is refused: before it has a run, and without a traceback."""
    before = flows.runs("InnerFlow")
    ended = flows.python("inner.py", "--environment=envlock", *arguments, **variables)
    assert ended.status == 1, ended.text
    assert "Traceback" not in ended.text
    assert "run-id" not in ended.text
    assert flows.runs("InnerFlow") == before
    return ended.text


def test_a_change_that_is_not_locked(flows: Flows) -> None:
    config = flows.folder / "envlock.toml"
    config.write_text(config.read_text().replace('alpha = "1.1"', 'alpha = "1.1.*"'))
    text = refuses(flows, "run")
    assert "error[stale-lock]: `InnerFlow/start` changed in envlock.toml" in text
    assert "at envlock.toml:" in text
    assert "alpha==1.1.\u2217, locked: alpha 1.1" in text, "Metaflow swallows asterisks"
    assert "hint: envlock lock" in text
    run_envlock("lock", cwd=flows.folder)
    assert "fresh" in run_envlock("check", "--flow", "InnerFlow", cwd=flows.folder).stdout


def test_no_envlock_toml(flows: Flows) -> None:
    (flows.folder / "envlock.toml").unlink()
    text = refuses(flows, "run")
    assert "error[no-config]" in text
    assert "hint: envlock init" in text


def test_a_remote_step_whose_environment_no_node_could_make(flows: Flows) -> None:
    text = refuses(
        flows,
        *("run", "--with", "batch"),
        METAFLOW_DEFAULT_DATASTORE="s3",
        METAFLOW_DATASTORE_SYSROOT_S3="s3://bucket/metaflow",
        METAFLOW_DEFAULT_METADATA="local",
        AWS_DEFAULT_REGION="us-east-1",
    )
    assert "error[datastore-not-locked]" in text
    assert "error[cache-out-of-reach]: remote steps cannot reach the cache" in text
    assert "`start` runs on batch" in text, "end is disabled"


def test_a_step_of_a_base_class_elsewhere(flows: Flows) -> None:
    (flows.folder / "base.py").write_text(
        "from metaflow import FlowSpec, step\n"
        "class Base(FlowSpec):\n"
        "    @step\n"
        "    def start(self):\n"
        "        self.next(self.middle)\n"
    )
    text = (
        "from metaflow import step\n"
        "from base import Base\n"
        "class InnerFlow(Base):\n"
        "    @step\n"
        "    def middle(self):\n"
        "        from seen import what_is_here\n"
        "        self.seen = what_is_here()\n"
        "        self.next(self.end)\n"
        "    @step\n"
        "    def end(self): pass\n"
        "if __name__ == '__main__': InnerFlow()\n"
    )
    (flows.folder / "inner.py").write_text(
        text.replace("from base", "import importlib\nBase = importlib.import_module('base').Base #")
    )
    run_envlock("lock", cwd=flows.folder)
    assert "steps = [" in run_envlock("check", "--flow", "InnerFlow", cwd=flows.folder, check=2).stdout
    assert "error[step-not-in-config]: envlock does not know the step `start`" in refuses(flows, "run")
    (flows.folder / "inner.py").write_text(text)
    run_envlock("check", cwd=flows.folder)
    ended = flows.python("inner.py", "--environment=envlock", "run")
    assert ended.status == 0, ended.text
    (middle,) = [task for task in flows.tasks(f"InnerFlow/{ended.run_id}") if task["step"] == "middle"]
    assert middle["seen"]["alpha"] == "1.1"


def test_spin_is_in_the_environment(flows: Flows, past: Past, series: tuple[str, str]) -> None:
    pytest.importorskip("metaflow.plugins.metadata_providers.spin", reason="spin came with Metaflow 2.19")
    text = (flows.folder / "inner.py").read_text().replace("self.seen =", "print('SPUN', what_is_here()) #")
    text = text.replace("import FlowSpec", "import FlowSpec, kubernetes")
    remote = text.replace(
        "    @step\n    def start", "    @kubernetes\n    @step\n    def start"
    )  # `spin` runs it here
    assert "@kubernetes" in remote
    (flows.folder / "inner.py").write_text(remote)
    for more, by_itself in (([], False), (["--skip-decorators"], True)):  # envlock's own decorator is one of those
        spin = ("spin", past.pathspec, *more)
        spun = flows.python("inner.py", "--environment=envlock", *spin, **STALE)
        assert spun.status == 0, spun.text
        (line,) = [line for line in spun.text.splitlines() if "SPUN" in line]
        assert f"'python': '{series[1]}'" in line
        assert "'alpha': '1.1'" in line
        assert f"'entered_by_itself': {by_itself}" in line


def test_a_disabled_step_stays_where_a_node_has_put_it(flows: Flows) -> None:
    there = {"_METAFLOW_ENVLOCK_ENV": "", "_METAFLOW_ENVLOCK_TASK": "InnerFlow/r/end"}
    (flows.folder / "envlock.toml").unlink()  # as in a container, where neither that nor envlock is
    ids = ("--run-id", "r", "--task-id", "t2", "--input-paths", "r/_parameters/t1")
    sent = flows.python("inner.py", "--environment=envlock", "step", "end", *ids, **there)
    assert "r/_parameters/t1" in sent.text, sent.text
    assert "error[" not in sent.text


def test_an_interrupt_while_environments_are_made_leaves_nothing(
    flows: Flows, make_index: Callable[..., Index], isolated: Path
) -> None:
    slow = make_index()
    config = flows.folder / "envlock.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("extra-indices")]
    config.write_text("\n".join(lines).replace("[envlock]", f'[envlock]\nextra-indices = ["{slow.url}"]') + "\n")
    run_envlock("lock", cwd=flows.folder)
    slow.slow("files/*", seconds=60)
    launcher = subprocess.Popen(
        [sys.executable, "inner.py", "--environment=envlock", "run"],
        cwd=flows.folder,
        env={
            **os.environ,
            "TMPDIR": str(flows.temporary),
            "ENVLOCK_HOME": str(isolated / "envlock"),
            "UV_NO_CACHE": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    assert launcher.stdout is not None
    said = ""
    while "making 1 environment: start" not in said:
        line = launcher.stdout.readline()
        assert line, said
        said += line
    assert _processes_of(launcher.pid)
    began = time.monotonic()
    os.killpg(launcher.pid, signal.SIGINT)
    said += launcher.communicate(timeout=30)[0]
    assert time.monotonic() - began < 20, said
    assert launcher.returncode != 0
    assert "Traceback" not in OF_GZIP.sub("", said)
    wait_until(lambda: not _processes_of(launcher.pid))
    wait_until(lambda: not list(flows.temporary.glob("envlock-*")))
    assert list((isolated / "envlock" / "environments").glob("metaflow_*")) == []


def test_an_environment_that_cannot_be_made_stops_the_run_where_it_is_needed(
    flows: Flows, make_index: Callable[..., Index], isolated: Path
) -> None:
    index = make_index()
    (flows.folder / "envlock.toml").write_text(
        f"""\
[envlock]
archs = ["{host_arch()}"]
extra-indices = ["{index.url}"]

[flow.InnerFlow]
file = "inner.py"
pypi = {{ python = "{OUTER}", packages = {{ alpha = "1.0" }} }}

[flow.InnerFlow.step.end]
pypi = {{ packages = {{ lam = "" }} }}
"""
    )
    run_envlock("lock", cwd=flows.folder)
    index.fail("files/*lam*", status=404)
    here = {"ENVLOCK_HOME": str(isolated / "envlock")}
    failed = flows.python("inner.py", "--environment=envlock", "run", **here)
    assert failed.status == 1
    assert "Traceback" not in failed.text
    assert "envlock: could not make the environment of end; the run will stop there" in failed.text
    assert re.search(r"^ +error\[[a-z-]+\]: ", failed.text, re.MULTILINE), failed.text
    assert "lam" in failed.text.partition("error[")[2]
    index.mend()
    resumed = flows.python("inner.py", "--environment=envlock", "resume", **here)
    assert resumed.status == 0, resumed.text
    start, end = flows.tasks(f"InnerFlow/{resumed.run_id}")[::-1]
    assert (start["step"], end["step"]) == ("start", "end")
    assert start["origin"]
    assert end["recorded"] != start["recorded"]


def _processes_of(session: int) -> list[str]:
    """The processes of a session that live still, as Linux tells them: a small Debian has no `ps`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            name, _, rest = stat.read_text().rpartition(") ")
            state, _, _, its_session = rest.split()[:4]
            if its_session == str(session) and state != "Z":
                found.append(name)
    return found
