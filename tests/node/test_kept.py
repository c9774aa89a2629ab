"""What a node keeps for the next task, what it removes, and what it never takes from a running one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.hydration.prefix import find_prefix
from metaflow_extensions.envlock.plugins.node import home as homes
from metaflow_extensions.envlock.plugins.node import kept
from tests.hydration.making import Making, remains
from tests.node.nodes import Node, let_go

MakeNode = Callable[..., Node]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")


def others(make_node: MakeNode, tmp_path: Path, count: int, **options: object) -> list[Node]:
    """Nodes that share a home and a cache, each with an environment of its own."""
    return [make_node(making=Making(tmp_path / f"m{each}", count=each + 1), **options) for each in range(count)]


def test_the_least_recently_used_environment_goes_first(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_UNUSED_SECONDS", 1e12)
    monkeypatch.setattr(kept, "_OLD_SECONDS", 1e12)
    first, second, third = others(make_node, tmp_path, 3, cold=True)
    let_go(first, monkeypatch, used=1000)
    let_go(second, monkeypatch, used=500)
    tools = sum(path.stat().st_size for path in (first.home / "tools").rglob("*") if path.is_file())
    size = kept.Kept(str(first.home), f"environments/{first.lock.prefix_name}").summary()["bytes"]
    keeping = replace(third, options={"keep": int(tools + 2.9 * size)})
    let_go(keeping, monkeypatch)
    assert (first.prefix.exists(), second.prefix.exists(), third.prefix.exists()) == (True, False, True)
    assert remains(first.home / "environments") == []
    let_go(second, monkeypatch)
    assert second.prefix.exists(), "what was removed is made again"


def test_an_environment_that_was_never_finished_goes_with_the_next_one(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = others(make_node, tmp_path, 2)
    let_go(first, monkeypatch)
    (first.prefix / ".envlock.json").unlink()
    (first.home / "kept" / f"environments-{first.lock.prefix_name}").unlink()
    (first.home / "environments" / "mine").mkdir()
    let_go(second, monkeypatch)
    assert {path.name for path in (first.home / "environments").glob("[!.]*")} == {second.lock.prefix_name, "mine"}


def test_notes_that_nobody_waits_for_go(tmp_path: Path) -> None:
    notes = tmp_path / "kept"
    notes.mkdir()
    for name, age in {"a.failed": 7200, "b.failed": 60, "c.1.x.part": 7200, "d.1.x.part": 60}.items():
        (notes / name).write_text("")
        os.utime(notes / name, (time.time() - age,) * 2)
    kept.make_room(str(tmp_path), 1 << 40)
    assert {path.name for path in notes.iterdir()} == {"b.failed", "d.1.x.part"}


def test_what_a_task_uses_or_used_a_moment_ago_stays(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, fresh, last = others(make_node, tmp_path, 3, options={"keep": 0})
    entered = used.prepare(monkeypatch)
    assert entered.lock is not None
    os.utime(used.home / "kept" / f"environments-{used.lock.prefix_name}", (1000, 1000))
    let_go(fresh, monkeypatch)
    let_go(last, monkeypatch)
    assert used.prefix.exists()
    assert fresh.prefix.exists()
    os.close(entered.lock)
    kept.make_room(str(used.home), 0)
    assert not used.prefix.exists()
    assert fresh.prefix.exists()


@pytest.mark.parametrize("when", ["hold", "distrust"])
def test_an_environment_that_is_removed_under_a_waiting_task_is_made_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    let_go(node, monkeypatch)
    real, removed = getattr(homes, when), list[bool]()

    def removing_first(folder: str) -> object:
        if not removed:
            removed.append(kept.evict(str(node.home), f"environments/{node.lock.prefix_name}"))
        return real(folder)

    monkeypatch.setattr(homes, when, removing_first)
    let_go(node, monkeypatch)
    assert removed == [True]
    assert node.fetched() == 2
    assert find_prefix(node.lock, node.home) == node.prefix


def test_a_lock_outlives_the_process_that_took_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = node.prepare(monkeypatch)
    assert entered.lock is not None
    os.set_inheritable(entered.lock, True)
    task = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    os.close(entered.lock)
    assert not kept.evict(str(node.home), f"environments/{node.lock.prefix_name}")
    task.communicate(b"\n")
    assert kept.evict(str(node.home), f"environments/{node.lock.prefix_name}")


def test_a_python_that_an_environment_needs_stays_as_long_as_that(
    make_node: MakeNode, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(build=build, image=None)
    entered = node.prepare(monkeypatch)
    assert entered.lock is not None
    (python,) = (node.home / "pythons").glob("[!.]*")
    for record in (node.home / "kept").iterdir():
        os.utime(record, (1000, 1000))
    kept.make_room(str(node.home), 0)
    assert python.exists()
    os.close(entered.lock)
    kept.make_room(str(node.home), 0)
    assert not python.exists()
    assert not node.prefix.exists()
    assert list((node.home / "kept").iterdir()) == []


def test_a_shared_lock_is_what_a_task_holds(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = node.prepare(monkeypatch)
    handle = os.open(node.prefix, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert entered.lock is not None
    os.close(entered.lock)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
