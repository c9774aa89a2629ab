"""A cache that fails a task start: the exit status, one line in the task's log, and nothing that looks whole."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from metaflow_extensions.envlock.plugins.node import clients, start, transport
from tests.node.conftest import NodeCache
from tests.node.nodes import wheel_of
from tests.node.plans import canonical, manifest, stored, target_of, wheels_plan
from tests.servers.proxy import Break

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")
SERIES = "{}.{}".format(*sys.version_info[:2])
WHEEL = b"of a wheel" * 2000
UV = wheel_of({"uv-1.0.data/scripts/uv": b"of uv" * 2000})
Started = Callable[..., tuple[int, list[str]]]


class Faulty:
    """A task of a flow whose plan, package and uv are in a bucket."""

    def __init__(self, cache: NodeCache, task: Path, patience: Callable[[float], None]) -> None:
        self.cache = cache
        self.patience = patience
        """Sets how many seconds a server may be silent."""
        wheel = stored(WHEEL, "demo-1.0-py3-none-any.whl", kind="wheel", name="demo", version="1.0")
        uv = stored(UV, "uv-1.0-py3-none-any.whl", "kits/objects")
        python = {"series": SERIES, "image": [[0, None]], "build": None}
        plan = canonical(wheels_plan(wheel, python=python, system=[], tools={"uv": uv}))
        target = target_of(plan)
        self.plan = f"plans/{target.arch}/{target.req_id}/{target.full_id}/{target.plan}.json"
        self.wheel, self.uv = wheel["path"], uv["path"]
        for path, data in ((self.plan, plan), (self.wheel, WHEEL), (self.uv, UV)):
            cache.store.put(path, data)
        (task / ".mf_meta").mkdir()
        fields = manifest(cache=cache.manifest.cache, options=cache.manifest.options, environments=[list(target)])
        (task / ".mf_meta" / "envlock.json").write_bytes(canonical(fields))


@pytest.fixture
def faulty(cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faulty:
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("METAFLOW_EXTRACTED_ROOT", str(tmp_path))
    monkeypatch.setenv("MF_PATHSPEC", "TrainFlow/1/start/1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transport, "BUSY_SECONDS", 0.3)
    return Faulty(cache, tmp_path, partial(monkeypatch.setattr, clients, "ANSWER_SECONDS"))


def breaking(how: Break, path: str = "") -> Callable[[Faulty], None]:
    return lambda task: task.cache.proxy.breaks(how, "GET", path, times=1000)


def silent(task: Faulty) -> None:
    task.patience(0.1)
    breaking(Break.STALL)(task)


def replacing(which: str) -> Callable[[Faulty], None]:
    def replace(task: Faulty) -> None:
        path = getattr(task, which)
        task.cache.store.put(path, task.cache.store.read(path)[::-1])

    return replace


def deleting(which: str) -> Callable[[Faulty], None]:
    return lambda task: task.cache.store.delete(getattr(task, which))


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (breaking(Break.RESET), 5, "cannot be reached (Connection reset by peer"),
        (silent, 5, "cannot be reached (no answer in time"),
        (breaking(Break.SLOW_DOWN), 5, "answers too many requests (503 SlowDown"),
        (breaking(Break.DENIED), 2, "refused access (403 AccessDenied)"),
        (breaking(Break.CUT, "packages"), 5, "cannot be reached"),
        (deleting("plan"), 1, "no longer has the plan"),
        (deleting("wheel"), 1, "demo-1.0-py3-none-any.whl: run `envlock push`"),
        (deleting("uv"), 1, "uv-1.0-py3-none-any.whl: run `envlock push`"),
        (replacing("plan"), 3, "is not the plan that it is named for"),
        (replacing("wheel"), 3, "demo-1.0-py3-none-any.whl is not the file that the plan names"),
        (replacing("uv"), 3, "uv-1.0-py3-none-any.whl is not the file that the plan names"),
    ],
    ids=[
        "reset",
        "stall",
        "throttled",
        "forbidden",
        "cut",
        *(f"{how} {each}" for how in ("no", "other") for each in ("plan", "wheel", "uv")),
    ],
)
def test_the_task_fails_with_one_line(
    fault: Callable[[Faulty], Any],
    status: int,
    says: str,
    faulty: Faulty,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fault(faulty)
    assert start.start(["TrainFlow", "start"]) == status
    *progress, line = capsys.readouterr().err.splitlines()
    assert all(each.startswith(("envlock: reading", "envlock: fetching")) for each in progress), progress
    assert line.startswith("envlock: ")
    assert says in line
    assert not any(secret in line for secret in faulty.cache.cloud.secrets)
    assert not (tmp_path / ".envlock" / "enter.sh").exists()
    assert not list((tmp_path / "home" / "environments").glob("metaflow_*"))
    assert not list(tmp_path.rglob("*.whl"))
