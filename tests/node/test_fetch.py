"""What a plan names arrives whole and right, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaflow_extensions.envlock.plugins.node import fetch as fetching
from metaflow_extensions.envlock.plugins.node.errors import Damaged, Missing, NodeError
from metaflow_extensions.envlock.plugins.node.fetch import fetch, fetch_plan
from metaflow_extensions.envlock.plugins.node.plan import Object, path_of
from metaflow_extensions.envlock.plugins.node.report import Reporter
from metaflow_extensions.envlock.plugins.node.transport import Forbidden, NotThere, Transport, Unreachable
from tests.node.conftest import NodeCache
from tests.node.plans import canonical, stored, target_of, wheels_plan
from tests.servers.proxy import Break

ALWAYS = 1000
SMALL, LARGE = os.urandom(2_999) + b".", os.urandom(449_999) + b"."  # tests replace the last byte


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of 450,000 bytes come in five parts."""
    monkeypatch.setattr(fetching, "RANGE", 100_000)


def put(
    cache: NodeCache, data: bytes, name: str = "demo-1.0-py3-none-any.whl", *, there: bytes | None = None
) -> Object:
    """An object of a plan, in the cache; `there` is what is in its place."""
    fields = stored(data, name)
    cache.store.put(fields["path"], data if there is None else there)
    return Object(fields["path"], fields["size"], fields["sha256"])


def fetched(transport: Transport, folder: Path, *objects: Object, **more: Any) -> dict[str, str]:
    return fetch(transport, objects, str(folder), Reporter(quiet=60), **more)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_objects_lie_as_in_the_cache(cache: NodeCache, tmp_path: Path) -> None:
    objects = [put(cache, SMALL), put(cache, LARGE, "large.conda"), put(cache, b"", "empty.whl")]
    places = fetched(cache.transport, tmp_path, *objects, objects[0])
    for each, data in zip(objects, (SMALL, LARGE, b""), strict=True):
        assert places[each.sha256] == str(tmp_path / each.path)
        assert Path(places[each.sha256]).read_bytes() == data
    assert len(files_in(tmp_path)) == 3


def test_large_objects_come_in_parts_and_small_ones_at_once(cache: NodeCache, tmp_path: Path) -> None:
    fetched(cache.transport, tmp_path, put(cache, LARGE, "large.conda"), put(cache, SMALL))
    ranges = {headers.get("Range") for headers in cache.proxy.headers}
    assert ranges == {None, "bytes=0-99999", "bytes=400000-", *(f"bytes={n}00000-{n}99999" for n in range(1, 4))}


def test_each_is_passed_on_once_it_is_whole_by_the_thread_that_fetched_it(cache: NodeCache, tmp_path: Path) -> None:
    objects = [put(cache, SMALL), put(cache, LARGE, "large.conda")]
    seen: dict[str, tuple[str, bool]] = {}

    def arrived(each: Any, place: str) -> None:
        right = hashlib.sha256(Path(place).read_bytes()).hexdigest() == each.sha256
        seen[place] = (threading.current_thread().name, right)

    fetched(cache.transport, tmp_path, *objects, arrived=arrived)
    assert sorted(seen) == sorted(str(tmp_path / each.path) for each in objects)
    assert all(right and thread != threading.main_thread().name for thread, right in seen.values())


def test_what_is_there_is_hashed_and_not_fetched_again(cache: NodeCache, tmp_path: Path) -> None:
    right, wrong = put(cache, SMALL), put(cache, LARGE, "large.conda")
    places = fetched(cache.transport, tmp_path, right, wrong)
    Path(places[wrong.sha256]).write_bytes(LARGE[:-1] + b"?")
    cache.proxy.forget()
    seen: list[str] = []
    fetched(cache.transport, tmp_path, right, wrong, arrived=lambda each, place: seen.append(place))
    assert not [path for _, path in cache.proxy.passed if right.sha256 in path]
    assert Path(places[wrong.sha256]).read_bytes() == LARGE
    assert sorted(seen) == sorted(places.values())


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "other", [lambda data: data[:-1] + b"?", lambda data: data[:-1], lambda data: b"", lambda data: data + b"!" * 10**6]
)
def test_an_object_replaced_by_another_is_not_used(
    data: bytes, other: Callable[[bytes], bytes], cache: NodeCache, tmp_path: Path
) -> None:
    bad = put(cache, data, there=other(data))
    with pytest.raises(Damaged, match="not used: run `envlock push --verify`") as raised:
        fetched(cache.transport, tmp_path, bad, arrived=lambda *_: pytest.fail("it was used"))
    assert bad.path in str(raised.value)
    assert files_in(tmp_path) == []


def test_an_object_that_goes_on_is_given_up_early(cache: NodeCache, tmp_path: Path) -> None:
    endless = put(cache, SMALL, there=SMALL + bytes(30 << 20))
    got: list[int] = []
    counted = Reporter(quiet=60)
    counted.advanced = got.append  # type: ignore[method-assign]
    with pytest.raises(Damaged, match="longer than 3000 bytes"):
        fetch(cache.transport, [endless], str(tmp_path), counted)
    assert sum(got) <= 3000


def test_a_wrong_hash_is_not_requested_again(cache: NodeCache, tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        fetched(cache.transport, tmp_path, put(cache, SMALL, there=SMALL[::-1]))
    assert len(cache.proxy.passed) == 1


def test_cuts_and_stalls_are_not_seen(cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaflow_extensions.envlock.plugins.node.clients.ANSWER_SECONDS", 1.5)
    objects = [put(cache, LARGE, "large.conda"), put(cache, SMALL)]
    for how in (Break.CUT, Break.STALL_HALFWAY, Break.RESET, Break.SLOW_DOWN):
        cache.proxy.breaks(how, "GET")
    places = fetched(cache.transport, tmp_path, *objects)
    assert [Path(places[each.sha256]).read_bytes() for each in objects] == [LARGE, SMALL]
    assert len(cache.proxy.broken) == 4


def test_the_first_failure_ends_all(cache: NodeCache, tmp_path: Path) -> None:
    objects = [put(cache, os.urandom(3000), f"demo{number}-1.0-py3-none-any.whl") for number in range(30)]
    cache.proxy.breaks(Break.DENIED, "GET", times=ALWAYS)
    with pytest.raises(Forbidden):
        fetched(cache.transport, tmp_path, *objects)
    assert len(cache.proxy.passed) <= 2 * fetching.THREADS
    assert files_in(tmp_path) == []


def test_a_failure_ends_the_pauses_of_others(cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(f"metaflow_extensions.envlock.plugins.node.transport.{name}", 600.0)
    busy, bad = put(cache, LARGE, "busy.whl"), put(cache, SMALL, "bad.whl", there=SMALL[::-1])
    cache.proxy.breaks(Break.SLOW_DOWN, "GET", "busy.whl", times=ALWAYS)
    began = time.monotonic()
    with pytest.raises(Damaged, match=r"bad\.whl"):
        fetched(cache.transport, tmp_path, busy, bad)
    assert time.monotonic() - began < 140, "the shortest pause is of 150 seconds"


def test_what_is_done_with_a_file_may_fail(cache: NodeCache, tmp_path: Path) -> None:
    def refuse(each: Any, place: str) -> None:
        raise NodeError("no archive of a Python")

    with pytest.raises(NodeError, match="no archive of a Python"):
        fetched(cache.transport, tmp_path, put(cache, SMALL), arrived=refuse)


def test_a_missing_object_is_named(cache: NodeCache, tmp_path: Path) -> None:
    gone = put(cache, SMALL)._replace(path="packages/" + "ab/" + "ab" * 32 + "/gone.whl")
    with pytest.raises(NotThere, match=r"gone\.whl: run `envlock push`"):
        fetched(cache.transport, tmp_path, gone)


def test_a_cache_that_dies_on_the_way_leaves_nothing(cache: NodeCache, tmp_path: Path) -> None:
    large = put(cache, LARGE, "large.conda")
    cache.proxy.breaks(Break.CUT, "GET", times=ALWAYS)
    with pytest.raises(Unreachable):
        fetched(cache.transport, tmp_path, large)
    assert files_in(tmp_path) == []


def test_a_full_disk_is_reported(cache: NodeCache, small_disk: Path) -> None:
    large = put(cache, os.urandom(3_000_000), "large.conda")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        fetched(cache.transport, small_disk, large)
    assert files_in(small_disk) == []
    assert not cache.proxy.broken


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_is_not_taken_for_the_network(
    number: int, cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        fetched(cache.transport, tmp_path, put(cache, SMALL))
    assert len(cache.proxy.passed) == 1


def test_a_folder_that_may_not_be_written_to_is_reported(cache: NodeCache, tmp_path: Path) -> None:
    (tmp_path / "packages").write_text("in the way")
    with pytest.raises(NotADirectoryError):
        fetched(cache.transport, tmp_path, put(cache, SMALL))


def test_a_plan_is_fetched_and_verified(cache: NodeCache) -> None:
    data = canonical(wheels_plan())
    target = target_of(data)
    cache.store.put(path_of(target), data)
    assert fetch_plan(cache.transport, target).data == data
    cache.store.put(path_of(target), canonical(wheels_plan(system=[])))
    with pytest.raises(Damaged, match="not used"):
        fetch_plan(cache.transport, target)
    with pytest.raises(Missing, match=r"no longer has the plan of 222222222222 on linux-64: run `envlock push`"):
        fetch_plan(cache.transport, target._replace(plan="0" * 64))
