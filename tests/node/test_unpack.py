"""The parts of a pack onto a node: one request for each, little memory, and no byte that is not the plan's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from envlock.cache.layout import part_path
from metaflow_extensions.envlock.plugins.node import plan, unpack, zstd
from metaflow_extensions.envlock.plugins.node.errors import Damaged, Missing
from metaflow_extensions.envlock.plugins.node.report import Reporter
from metaflow_extensions.envlock.plugins.node.transport import Stopped, Transport, Unreachable, together
from tests.node.conftest import FolderCache, NodeCache
from tests.node.packs import Member, Part, as_part, compressed, part_of, parts_in, tar_of
from tests.servers.proxy import Break
from tests.support import wait_until

MEMBERS = [Member("lib/a.py", b"a" * 3000), Member("lib/b/c.py", b"c" * 3000, 0o755)]


def unpacked(transport: Transport, folder: Path, *parts: Part) -> None:
    decompress = zstd.open_zstd()
    assert decompress is not None
    named = [plan.Part(**part.fields) for part in parts]
    folder.mkdir()
    unpack.unpack(transport, named, decompress, str(folder), None, Reporter())


@pytest.fixture
def put(folder_cache: FolderCache) -> Callable[..., Part]:
    """Puts a part into the cache."""

    def put(part: Part) -> Part:
        folder_cache.store.put(part.path, part.data)
        return part

    return put


def test_a_tree_comes_whole_with_one_request_for_each_part(
    folder_cache: FolderCache, put: Callable[..., Part], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    for number in range(60):
        path = source / f"lib/p{number % 7}/{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 50))
    (source / "lib" / "large").write_bytes(os.urandom(70_000))
    (source / "link").symlink_to("lib/large")
    parts = [put(part) for part in parts_in(source, largest=20_000)]
    unpacked(folder_cache.transport, tmp_path / "to", *parts)
    assert subprocess.run(["diff", "-r", "--no-dereference", source, tmp_path / "to"], check=False).returncode == 0
    assert sorted(folder_cache.client.requested) == sorted(part.path for part in parts)


def longer(data: bytes) -> bytes:
    return data + b"x"


def other(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize(
    ("change", "says"),
    [(longer, "it is longer than"), (other, "its SHA-256 is"), (lambda data: data[:-1], "in place of")],
    ids=["longer", "other", "cut"],
)
def test_a_part_that_was_replaced_is_not_even_decompressed(
    folder_cache: FolderCache, tmp_path: Path, change: Callable[[bytes], bytes], says: str
) -> None:
    part = part_of(MEMBERS)
    folder_cache.store.put(part.path, change(part.data))
    with pytest.raises(Damaged, match=says) as caught:
        unpacked(folder_cache.transport, tmp_path / "to", part)
    assert part.path in str(caught.value)
    assert str(caught.value).endswith("it was not used: run `envlock push --verify`")
    assert list((tmp_path / "to").iterdir()) == []


RAW = tar_of(MEMBERS)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (as_part(compressed(RAW), RAW, raw_sha256="0" * 64), "the SHA-256 of what it holds is"),
        (as_part(compressed(RAW), RAW, raw_size=len(RAW) - 1), "not one zstd frame of"),
        (as_part(compressed(RAW), RAW, raw_size=len(RAW) + 1), "not one zstd frame of"),
        (as_part(compressed(RAW), RAW, raw_size=0), "not one zstd frame of"),
        (as_part(compressed(bytes(1 << 26)), RAW), "not one zstd frame of"),
        (as_part(b"no frame", RAW), "not one zstd frame of"),
        (as_part(b"", RAW), "not one zstd frame of"),
    ],
    ids=["raw hash", "less", "more", "nothing", "bomb", "no frame", "empty"],
)
def test_what_comes_out_is_what_the_plan_says_or_nothing_is_written(
    folder_cache: FolderCache, put: Callable[..., Part], tmp_path: Path, part: Part, says: str
) -> None:
    with pytest.raises(Damaged, match=says):
        unpacked(folder_cache.transport, tmp_path / "to", put(part))
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([part_of(b"no archive" * 100)], "it is not the archive of a pack"),
        ([part_of([Member("../x", b"x")])], "'..' is no folder of a pack"),
        ([part_of([*MEMBERS, Member("a\nb", kind=b"3")])], "neither a plain file nor a link"),
        ([part_of([Member("a", b"x")]), part_of([Member("a", b"y")])], "'a' is in the pack twice"),
        ([part_of([Member("a", b"x", records={"ENVLOCK.offset": "0", "ENVLOCK.size": "2"})])], "not all of 'a'"),
    ],
    ids=["archive", "outside", "device", "twice", "slice"],
)
def test_a_hostile_part_is_damage_that_names_it_in_one_line(
    folder_cache: FolderCache, put: Callable[..., Part], tmp_path: Path, parts: Sequence[Part], says: str
) -> None:
    with pytest.raises(Damaged) as caught:
        unpacked(folder_cache.transport, tmp_path / "to", *map(put, parts))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("run `envlock verify --pack`")


def test_a_part_that_is_gone_ends_the_others(
    folder_cache: FolderCache, put: Callable[..., Part], tmp_path: Path
) -> None:
    parts = [put(part_of([Member(f"lib/{number}", os.urandom(100 + number))])) for number in range(40)]
    folder_cache.store.delete(parts[-1].path)
    before = threading.active_count()
    with pytest.raises(Missing, match=r"does not have parts/.*: run `envlock push`") as caught:
        unpacked(folder_cache.transport, tmp_path / "to", *parts)
    assert parts[-1].path in str(caught.value)
    wait_until(lambda: threading.active_count() <= before)


def test_a_connection_that_breaks_off_is_taken_up_from_where_it_was(cache: NodeCache, tmp_path: Path) -> None:
    part = part_of([Member("lib/x", os.urandom(300_000))])
    cache.store.put(part.path, part.data)
    cache.proxy.breaks(Break.CUT, "GET", part.path, times=2)
    unpacked(cache.transport, tmp_path / "to", part)
    assert (tmp_path / "to" / "lib" / "x").stat().st_size == 300_000


def test_it_takes_little_memory_whatever_the_size_of_the_pack(tmp_path: Path) -> None:
    cache, named = tmp_path / "cache", []
    for number in range(12):
        part = part_of([Member(f"lib/{number}", os.urandom(6_000_000))])
        place = cache / part.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(part.data)
        named.append(part.fields)
    code = f"""\
import os, resource, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
sys.path[:0] = {[str(Path(unpack.__file__).parents[4]), str(Path(__file__).parents[2])]!r}
from metaflow_extensions.envlock.plugins.node import plan, report, transport, unpack, zstd
from tests.node.task import Folder
parts = [plan.Part(**fields) for fields in {named!r}]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
os.mkdir({str(tmp_path / "to")!r})
way = transport.Transport("s3://x", lambda: Folder({str(cache)!r}))
unpack.unpack(way, parts, zstd.open_zstd(), {str(tmp_path / "to")!r}, None, report.Reporter())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    ran = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert len(list((tmp_path / "to" / "lib").iterdir())) == 12
    # Two compressed parts, one raw one, and pieces on their way: of 72 MB.
    assert int(ran.stdout) < 40_000


class TestTogether:
    def test_the_first_failure_is_raised_once_all_have_ended(self, folder_cache: FolderCache) -> None:
        ended = []

        def waits() -> None:
            try:
                folder_cache.transport._stopped.wait(10)
                folder_cache.transport.read(part_path("0" * 64), 1)
            finally:
                ended.append("waits")

        def fails() -> None:
            raise Damaged("first")

        with pytest.raises(Damaged, match="first"):
            together(folder_cache.transport, waits, fails)
        assert ended == ["waits"]
        with pytest.raises(Unreachable):
            folder_cache.transport.list("")

    def test_a_failure_that_comes_late_out_of_several_works_is_raised_and_not_what_its_stop_did_to_others(
        self, folder_cache: FolderCache
    ) -> None:
        """As a pack whose part is lost, beside a Python that is fetched."""
        way, is_stopped = folder_cache.transport, threading.Event()

        def fails() -> None:
            raise Damaged("the cause")

        def lingers() -> None:
            assert is_stopped.wait(10)

        def stopped() -> None:
            try:
                assert way._stopped.wait(10)
                way.read(part_path("0" * 64), 1)
            finally:
                is_stopped.set()

        with pytest.raises(Damaged, match="the cause"):
            together(way, lambda: together(way, fails, lingers), stopped)

    def test_works_that_somebody_else_stops_say_so(self, folder_cache: FolderCache) -> None:
        folder_cache.transport.stop()
        with pytest.raises(Stopped):
            together(folder_cache.transport, *[lambda: folder_cache.transport.read("x", 1)] * 2)
