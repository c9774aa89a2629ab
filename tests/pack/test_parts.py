"""The parts of a tree: the same bytes wherever they are made, and shared by environments that are alike."""

from __future__ import annotations

import hashlib
import io
import os
import random
import statistics
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from envlock.pack.parts import LARGEST, MTIME, UNREADABLE, RawPart, compress, contents, raw_parts, zstd
from envlock.pack.tree import TreeFile
from tests.forked import run_python
from tests.node.packs import PAX, Member, tar_of


def made(
    folder: Path,
    path: str,
    data: bytes = b"",
    *,
    package: str = "wheel/demo",
    link: str = "",
    executable: bool = False,
    prefix: str = "",
) -> TreeFile:
    if link:
        return TreeFile(path, None, link, 0, executable=False, prefix="", package=package)
    source = folder / hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    source.write_bytes(data)
    return TreeFile(path, source, "", len(data), executable, prefix, package)


def large(folder: Path, path: str, size: int, *, package: str = "wheel/demo", prefix: str = "") -> TreeFile:
    """A file of zeros that takes no room on the disk."""
    file = made(folder, path, package=package, prefix=prefix)
    assert file.source is not None
    os.truncate(file.source, size)
    return file._replace(size=size)


def of_size(name: str, size: int) -> TreeFile:
    """A file that is nowhere, of a package of its own: only what is said of it decides which part it is in."""
    return TreeFile(f"lib/{name}.py", Path("/nowhere"), "", size, False, "", f"wheel/{name}")


def tar(part: RawPart) -> bytes:
    data = b"".join(part.pieces())
    assert (len(data), hashlib.sha256(data).hexdigest()) == (part.size, part.sha256())
    return data


def members(part: RawPart) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar(part))) as archive:
        return archive.getmembers()


def packages(part: RawPart) -> set[str]:
    return {member.file.package for member in part.members}


@pytest.fixture
def files(tmp_path: Path) -> list[TreeFile]:
    """One of each kind, in no order."""
    return [
        made(tmp_path, "lib/python3.12/demo.py", b"x = 1\n"),
        made(tmp_path, "bin/demo", b"#!/bin/sh\n", executable=True),
        made(tmp_path, "lib/libz.so", link="libz.so.1", package="conda/zlib"),
        made(tmp_path, "lib/libz.so.1", b"\x7fELF", prefix="binary", package="conda/zlib"),
        made(tmp_path, "bin/zdemo", b"#!/opt/envlock_placeholder/bin/python\n", prefix="text", package="conda/zlib"),
        made(tmp_path, f"lib/{'long/' * 40}é.txt", b"", package="wheel/long"),
    ]


def test_a_part_is_a_tar_sorted_by_path_in_which_nothing_is_of_the_machine(files: list[TreeFile]) -> None:
    (part,) = raw_parts(files)
    data = tar(part)
    found = members(part)
    assert [each.name for each in found] == sorted((each.path for each in files), key=str.encode)
    assert {(each.mtime, each.uid, each.gid, each.uname, each.gname) for each in found} == {(MTIME, 0, 0, "", "")}
    assert {each.name: oct(each.mode) for each in found if each.mode != 0o644} == {"bin/demo": "0o755"}
    assert [each.linkname for each in found if each.issym()] == ["libz.so.1"]
    prefixes = {each.name: each.pax_headers.get("ENVLOCK.prefix") for each in found}
    assert {name: mode for name, mode in prefixes.items() if mode} == {"lib/libz.so.1": "binary", "bin/zdemo": "text"}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.extractfile("bin/demo").read() == b"#!/bin/sh\n"  # type: ignore[union-attr]
    assert data.endswith(bytes(1024))


def test_the_bytes_of_a_part_never_change(files: list[TreeFile]) -> None:
    """A digest that a plan names is compared with what another machine makes, and with what a later envlock makes."""
    (part,) = raw_parts(files)
    assert part.sha256() == GOLDEN


GOLDEN = "7bb838e36023f04177f4218f1db18a6d37b51266265e9f1cbb17198616fea0b1"


def test_a_file_may_be_a_piece_of_another_file(files: list[TreeFile], tmp_path: Path) -> None:
    together, pieces = tmp_path / "together", []
    with together.open("wb") as out:
        for file in files:
            pieces.append(file._replace(source=together, start=out.tell()) if file.source else file)
            out.write(file.read())
    assert [tar(part) for part in raw_parts(pieces)] == [tar(part) for part in raw_parts(files)]
    os.truncate(together, together.stat().st_size - 1)
    with pytest.raises(OSError, match="changed"):
        [tar(part) for part in raw_parts(pieces)]


def test_neither_the_order_of_the_files_nor_where_they_are_matters(files: list[TreeFile], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    copies = []
    for file in reversed(files):
        if file.source is not None:
            copy = tmp_path / "other" / file.source.name
            copy.write_bytes(file.source.read_bytes())
            copy.chmod(0o600)
            os.utime(copy, (1, 1))
            file = file._replace(source=copy)
        copies.append(file)
    assert [tar(part) for part in raw_parts(copies)] == [tar(part) for part in raw_parts(files)]


def test_a_large_file_is_cut_into_slices_that_say_where_they_belong(tmp_path: Path) -> None:
    size = 2 * LARGEST + 1000
    small = made(tmp_path, "lib/z.py", b"x")
    parts = raw_parts([large(tmp_path, "lib/a.so", size), small])
    assert [part.size <= LARGEST for part in parts] == [True] * 3
    slices = [member for part in parts for member in members(part) if member.name == "lib/a.so"]
    assert {each.pax_headers["ENVLOCK.size"] for each in slices} == {str(size)}
    position = 0
    for each in slices:
        assert int(each.pax_headers["ENVLOCK.offset"]) == position
        position += each.size
    assert position == size
    assert "lib/z.py" in {each.name for each in members(parts[-1])}


def test_a_file_with_a_placeholder_stays_whole_however_large_it_is(tmp_path: Path) -> None:
    parts = raw_parts([large(tmp_path, "lib/a.so", LARGEST + 5, package="conda/a", prefix="binary")])
    assert [member.size for part in parts for member in part.members] == [LARGEST + 5]


def test_a_large_package_has_parts_of_its_own_of_about_the_same_size() -> None:
    big = [of_size(f"f{number:03}", 1_000_000)._replace(package="wheel/big") for number in range(100)]
    parts = raw_parts([*big, of_size("small", 5)])
    assert [packages(part) for part in parts] == [{"wheel/big"}] * 3 + [{"wheel/small"}]
    assert max(part.size for part in parts[:3]) - min(part.size for part in parts[:3]) < 3_000_000


def test_no_part_is_larger_than_48_mb() -> None:
    numbers = random.Random(13)
    files = [of_size(f"p{number}", int(10 ** numbers.uniform(2, 8.3))) for number in range(300)]
    parts = raw_parts(files)
    assert max(part.size for part in parts) <= LARGEST == 48_000_000
    placed = [(member.file.path, member.offset, member.size) for part in parts for member in part.members]
    assert len(set(placed)) == len(placed)
    assert sum(size for _, _, size in placed) == sum(file.size for file in files)


@pytest.mark.parametrize("change", ["grown", "removed", "added"])
def test_what_one_small_package_does_changes_its_own_part_alone(change: str) -> None:
    numbers = random.Random(7)
    before = [of_size(f"p{number}", int(10 ** numbers.uniform(3, 6.9))) for number in range(200)]
    assert len(parts_of(before)) > 10
    changed = []
    for number in range(20):
        name = f"lib/p{number}.py"
        after = {
            "grown": [each if each.path != name else each._replace(size=each.size + 600) for each in before],
            "removed": [each for each in before if each.path != name],
            "added": [*before, of_size(f"newcomer{number}", 4000)],
        }[change]
        changed.append(len(parts_of(before) - parts_of(after)))
    assert statistics.median(changed) == 1
    assert max(changed) <= 3, "a group that is halved, or becomes one with its other half"


def parts_of(files: Iterable[TreeFile]) -> set[tuple[object, ...]]:
    """What decides the bytes of each part, without their content."""
    return {tuple((member.header, member.offset) for member in part.members) for part in raw_parts(files)}


def test_a_package_with_the_name_of_another_kind_is_another_package() -> None:
    both = [of_size("a", 5), of_size("b", 5)._replace(package="conda/a")]
    assert {member.file.package for part in raw_parts(both) for member in part.members} == {"wheel/a", "conda/a"}


def test_nothing_has_no_parts() -> None:
    assert raw_parts([]) == ()


def test_a_compressed_part_is_one_frame_that_says_its_size(files: list[TreeFile], tmp_path: Path) -> None:
    (part,) = raw_parts(files)
    done = compress(part, tmp_path / "part.tar.zst")
    data = (tmp_path / "part.tar.zst").read_bytes()
    assert (done.size, done.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (done.raw_size, done.raw_sha256) == (part.size, part.sha256())
    assert zstd.decompress(data) == tar(part)
    assert zstd.get_frame_info(data).decompressed_size == part.size
    assert zstd.get_frame_info(data).dictionary_id == 0
    assert zstd.get_frame_size(data) == len(data)


def test_a_node_needs_no_more_than_8_mb_to_decompress_a_part(tmp_path: Path) -> None:
    numbers = random.Random(3)
    (part,) = raw_parts([made(tmp_path, "lib/a.bin", numbers.randbytes(12 << 20))])
    compress(part, tmp_path / "part.tar.zst")
    data = (tmp_path / "part.tar.zst").read_bytes()
    options = {zstd.DecompressionParameter.window_log_max: 23}
    assert len(zstd.decompress(data, options=options)) == part.size


@pytest.mark.parametrize("change", [b"longer than before", b"x"])
def test_a_file_that_changes_while_it_is_packed_is_not_packed(tmp_path: Path, change: bytes) -> None:
    file = made(tmp_path, "lib/a.py", b"as it was")
    (part,) = raw_parts([file])
    assert file.source is not None
    file.source.write_bytes(change)
    with pytest.raises(OSError, match=r"lib/a\.py"):
        part.sha256()


def test_memory_stays_small_whatever_the_size_of_a_part(tmp_path: Path) -> None:
    """It never has a whole part at once."""
    file = large(tmp_path, "lib/a.bin", 46_000_000)
    code = f"""
import resource
from pathlib import Path
from envlock.pack.parts import compress, raw_parts
from envlock.pack.tree import TreeFile
(part,) = raw_parts([TreeFile("a", Path({str(file.source)!r}), "", {file.size}, False, "", "wheel/a")])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
compress(part, Path({str(tmp_path / "out")!r}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    status, out, error = run_python(code)
    assert status == 0, error
    grown = int(out)
    assert grown < 40_000, f"{grown} KB"


def test_what_is_in_a_part_is_told_of_each_member_and_slice(files: list[TreeFile], tmp_path: Path) -> None:
    (part,) = raw_parts(files)
    found = contents(part.pieces())
    assert set(found) == {file.path for file in files}
    assert found == contents([b"", tar(part)]), "however it comes"


@pytest.mark.parametrize(
    "member",
    [
        Member("f", b"1" * 1_000_000, kind=PAX),
        Member("f", b"1\n0\n9\n".ljust(512, b"\0"), records={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
        Member("f", b"x", records={"size": "-1"}),
        Member("f", b"x" * 600, kind=b"L"),
    ],
    ids=["a long number", "sparse", "negative", "long name"],
)
def test_what_no_maker_writes_is_not_read(member: Member) -> None:
    """Python's own module for archives would read some of it without an end."""
    with pytest.raises(UNREADABLE):
        contents([tar_of([member])])
