"""How those who want one folder share it. `tests/hydration/test_processes.py` kills those who make one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from metaflow_extensions.envlock.plugins.node import stage
from metaflow_extensions.envlock.plugins.node.stage import make_once
from tests.support import wait_until


def test_all_who_wait_look_at_once_when_the_folder_is_there(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (tmp_path / ".stages").mkdir()
    gate, asked, waits = threading.Event(), threading.Barrier(8), list[int]()

    def build(folder: str) -> None:
        Path(folder, "content").write_text("made")
        gate.wait(60)

    def found() -> bool:
        asked.wait(60)  # broken unless all eight are here at one time
        return place.is_dir()

    def want() -> bool:
        return make_once(
            str(place),
            is_whole=place.is_dir,
            build=build,
            found=found,
            waiting=lambda: waits.append(threading.get_ident()),
        )

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(want)
        wait_until(lambda: any(tmp_path.glob(".stages/*/new/content")))
        others = [pool.submit(want) for _ in range(8)]
        wait_until(lambda: len(waits) == 8)
        gate.set()
        assert first.result() is True
        assert [each.result() for each in others] == [False] * 8
    assert (place / "content").read_text() == "made"
    assert list((tmp_path / ".stages").iterdir()) == []


def test_who_waited_for_one_that_failed_makes_it(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (tmp_path / ".stages").mkdir()
    gate, waits = threading.Event(), list[int]()

    def fail(folder: str) -> None:
        gate.wait(60)
        raise OSError

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(make_once, str(place), is_whole=place.is_dir, build=fail)
        wait_until(lambda: any(tmp_path.glob(".stages/*/new")))
        second = pool.submit(
            make_once,
            str(place),
            is_whole=place.is_dir,
            found=place.is_dir,
            build=lambda folder: None,
            waiting=lambda: waits.append(1),
        )
        wait_until(lambda: waits == [1])
        gate.set()
        assert isinstance(first.exception(), OSError)
        assert second.result() is True
    assert waits == [1], "it is said once"
    assert place.is_dir()


def test_who_is_overtaken_before_the_lock_waits_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    (tmp_path / ".stages").mkdir()
    gate, waits = threading.Event(), list[int]()
    has_waited, asked = stage._has_waited, list[str]()

    def overtaken(path: str, waiting: Callable[[], None]) -> bool:
        """Nobody holds the lock yet when this is asked first; and then somebody takes it."""
        asked.append(path)
        if len(asked) > 1:
            return has_waited(path, waiting)
        other = pool.submit(make_once, str(place), is_whole=place.is_dir, build=lambda _: gate.wait(60))
        others.append(other)
        wait_until(lambda: any(tmp_path.glob(".stages/*/new")))
        return False

    others: list[Future[bool]] = []
    with ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(stage, "_has_waited", overtaken)
        late = pool.submit(
            make_once,
            str(place),
            is_whole=lambda: pytest.fail("it was found"),
            build=lambda _: pytest.fail("it was made"),
            found=place.is_dir,
            waiting=lambda: waits.append(1),
        )
        wait_until(lambda: waits == [1])
        gate.set()
        assert (others[0].result(), late.result()) == (True, False)
    assert waits == [1]
