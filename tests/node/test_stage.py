"""How those who want one folder share it. `tests/hydration/test_processes.py` kills those who make one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
