"""What the members of parts write: plain files and links below one folder, and nothing else, whatever they say."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from metaflow_extensions.envlock.plugins.node.members import BadMember, Members, Placeholder
from tests.node.packs import DEVICE, FIFO, FOLDER, HARD_LINK, LINK, PAX, TIME, Member, slices, tar_of

OLD = "/opt/placeholder".ljust(255, "_")
LONG = "lib/" + "x" * 90 + "/y" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder that is filled. Nothing beside it changes."""
    inner = tmp_path / "prefix"
    inner.mkdir()
    (tmp_path / "outside").write_bytes(b"as it was")
    yield inner
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "prefix"}
    assert (tmp_path / "outside").read_bytes() == b"as it was"


def write(folder: Path, *parts: Sequence[Member] | bytes, placeholder: Placeholder | None = None) -> None:
    members = Members(str(folder), placeholder)
    for each in parts:
        members.write(memoryview(each if isinstance(each, bytes) else tar_of(each)), lambda: False)
    members.check_slices()


def test_files_and_links_are_as_the_parts_have_them(folder: Path) -> None:
    names = ["a", "lib/b.py", LONG, "lib/é\nx", "lib/\udcff", "deep/er/c"]
    members = [
        *(Member(name, os.fsencode(name) * 500, 0o755 if "b" in name else 0o644) for name in names),
        Member("lib/empty"),
        Member("lib/link", kind=LINK, link="../deep/er/./c"),
        Member("lib/far", kind=LINK, link=f"{'n' * 120}"),
        Member("lib64", kind=LINK, link="lib"),
    ]
    write(folder, members[:4], members[4:])
    for name in names:
        assert (folder / name).read_bytes() == os.fsencode(name) * 500
        assert (folder / name).stat().st_mode & 0o7777 == (0o755 if "b" in name else 0o644)
    assert (folder / "lib" / "empty").read_bytes() == b""
    assert (folder / "lib" / "link").readlink() == Path("../deep/er/c")
    assert os.readlink(folder / "lib" / "far") == "n" * 120  # noqa: PTH115


def test_it_reads_what_tarfile_writes(folder: Path) -> None:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a", LONG, "lib/é", f"{'p' * 80}/{'q' * 80}"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 3, TIME
            archive.addfile(info, BytesIO(b"abc"))
    write(folder, out.getvalue())
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *("a", LONG, "lib/é", f"{'p' * 80}/{'q' * 80}")
    }


def test_a_file_in_slices_is_whole_in_whatever_order_they_come(folder: Path) -> None:
    member = Member("lib/large.so", os.urandom(10_000), 0o755)
    first, second, third, last = slices(member, 3000)
    write(folder, [third], [first, last], [second])
    assert (folder / "lib" / "large.so").read_bytes() == member.data
    assert (folder / "lib" / "large.so").stat().st_mode & 0o777 == 0o755


FIRST, SECOND = slices(Member("lib/large", b"0123456789"), 5)


@pytest.mark.parametrize(
    "parts",
    [
        [[FIRST]],
        [[FIRST, FIRST], [SECOND]],
        [[FIRST], [SECOND._replace(mode=0o755)]],
        [[FIRST], [SECOND._replace(data=b"567890")]],
        [[FIRST], [SECOND._replace(records={"ENVLOCK.offset": "4", "ENVLOCK.size": "10"})]],
        [[FIRST], [SECOND._replace(records={"ENVLOCK.offset": "5", "ENVLOCK.size": "11"})]],
        [[FIRST], [SECOND._replace(records={"ENVLOCK.offset": "-5", "ENVLOCK.size": "10"})]],
        [[Member("lib/large", b"x", records={"ENVLOCK.offset": f"{1 << 70}", "ENVLOCK.size": f"{(1 << 70) + 1}"})]],
        [[FIRST], [SECOND._replace(records={"ENVLOCK.offset": "5"})]],
        [[FIRST], [SECOND._replace(records={"ENVLOCK.size": "10"})]],
        [[FIRST], [SECOND._replace(data=b"")]],
        [[FIRST], [Member("lib/large", b"other")]],
        [[Member("lib/large", b"other")], [FIRST, SECOND]],
        [[FIRST._replace(records={**FIRST.records, "ENVLOCK.prefix": "text"}), SECOND]],
    ],
    ids=[
        *(
            "missing",
            "twice",
            "mode",
            "longer",
            "overlap",
            "sizes",
            "before",
            "too far",
            "no size",
            "no offset",
            "empty",
        ),
        *("and a file", "after a file", "prefix"),
    ],
)
def test_slices_that_do_not_fit_are_refused(folder: Path, parts: list[list[Member]]) -> None:
    with pytest.raises(BadMember):
        write(folder, *parts, placeholder=Placeholder(OLD, "/p"))


REFUSED: list[list[Member]] = [
    [Member("../outside", b"x")],
    [Member("lib/../../outside", b"x")],
    [Member("lib/..", b"x")],
    [Member("/outside", b"x")],
    [Member("lib//x", b"x")],
    [Member("lib/./x", b"x")],
    [Member(".", b"x")],
    [Member("lib/", b"x")],
    [Member("lib/x\0y", b"x", records={"path": "lib/x\0y"})],
    [Member("lib", records={"path": ""})],
    [Member("d", kind=LINK, link="."), Member("d/x", b"x")],
    [Member("d", kind=LINK, link=".."), Member("d/outside", b"x")],
    [Member("e/d", kind=LINK, link="../lib"), Member("e/d/deep/x", b"x")],
    [Member("outside", kind=LINK, link="../outside"), Member("outside", b"x")],
    [Member("l", kind=LINK, link="../outside")],
    [Member("l", kind=LINK, link="/etc/passwd")],
    [Member("a/l", kind=LINK, link="../../outside")],
    [Member("a/l", kind=LINK, link="b/../../outside")],
    [Member("l", kind=LINK, link="")],
    [Member("f", b"x"), Member("f/x", b"x")],
    [Member("f", b"x"), Member("f", b"y")],
    [Member("f", b"x"), Member("f", kind=LINK, link="lib")],
    [Member("f/x", b"x"), Member("f", b"x")],
    [Member("d/" * 5000 + "f", b"x")],
    [Member("d/" * 1500 + "f", b"x")],
    [Member("d/" * 129 + "f", b"x")],
    [Member("n" * 256, b"x")],
    [Member("n" * 256 + "/f", b"x")],
    [Member("l", kind=LINK, link="d/" * 5000 + "f")],
    [Member("f", b"x", 0o4755)],
    [Member("f", b"x", 0o2755)],
    [Member("f", b"x", 0o1644)],
    [Member("f", b"x", 0o666)],
    [Member("f", kind=HARD_LINK, link="../outside")],
    [Member("f", b"x"), Member("g", kind=HARD_LINK, link="f")],
    [Member("f", kind=DEVICE)],
    [Member("f", kind=b"4")],
    [Member("f", kind=FIFO)],
    [Member("f", kind=FOLDER)],
    [Member("f", kind=b"7")],
    [Member("f", kind=b"L")],
    [Member("f", kind=b"g")],
    [Member("f", b"x", kind=LINK, link="lib")],
    [Member("f", b"x", records={"size": "100"})],
    [Member("f", b"x", records={"SCHILY.xattr.security.capability": "x"})],
    [Member("f", b"x", records={"ENVLOCK.other": "x"})],
    [Member("f", b"x", records={"ENVLOCK.prefix": "text"})],
    [Member("f", b"5 a=\n", kind=PAX)],
    [Member("f", b"99 path=x\n", kind=PAX), Member("f")],
    [Member("f", b"-9 path=x\n", kind=PAX), Member("f")],
    [Member("f", b"path=x\n", kind=PAX), Member("f")],
    [Member("f", b"10 path=x\n" * 2, kind=PAX), Member("f")],
    *([Member(name, b"x")] for name in ("pyvenv.cfg", "PyVenv.cfg", ".envlock.json", "bin/python", "bin/python3.9")),
    *([Member(name, b"x")] for name in (".envlock-variables.json", "conda-meta/x.json", "lib64", "bin", "lib")),
    *([Member(name, b"x")] for name in ("pyvenv.cfg/x", ".envlock.json/x", "lib64/x", "Conda-meta/a/b/c/d")),
    [Member("lib64", kind=LINK, link="share")],
    [Member("bin/python3", kind=LINK, link="x")],
]


def named(members: list[Member]) -> str:
    return " ".join(f"{each.kind.decode()}{each.path[:40]}" for each in members).replace("\0", "NUL")


@pytest.mark.parametrize("members", REFUSED, ids=named)
def test_what_no_maker_of_packs_writes_is_refused(folder: Path, members: list[Member]) -> None:
    with pytest.raises(BadMember):
        write(folder, [Member("lib/before", b"x"), *members])
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(path.stat().st_mode & 0o7000 for path in found)


@pytest.mark.parametrize("members", [each for each in REFUSED if len(each) > 1 and each[0].kind != PAX], ids=named)
def test_what_two_parts_write_together_is_refused(folder: Path, members: list[Member]) -> None:
    with pytest.raises(BadMember):
        write(folder, *([each] for each in members))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 511,
        tar_of([Member("a", b"x")])[:-1024],
        tar_of([Member("a", b"x" * 600)])[:1024],
        tar_of([Member("a", b"x")])[:-1024] + tar_of([])[:1023] + b"x",
        tar_of([]) + tar_of([Member("a")]),
        tar_of([Member("a", b"x")]).replace(b"00000000001\0", b"0000000000x\0"),
        tar_of([Member("a", b"x")]).replace(b"00000000001\0", b"77777777777\0"),
        tar_of([Member("a", b"x")]).replace(b"00000000001\0", b"-0000000001\0"),
    ],
    ids=["empty", "short", "no end", "cut", "no zeros", "goes on", "no number", "too large", "negative"],
)
def test_what_is_no_archive_is_refused(folder: Path, raw: bytes) -> None:
    with pytest.raises(BadMember):
        write(folder, raw)


def test_writing_ends_when_another_part_failed(folder: Path) -> None:
    Members(str(folder), None).write(memoryview(tar_of([Member("a")])), lambda: True)
    assert list(folder.iterdir()) == []


def test_conda_packages_bring_their_python_and_their_records(folder: Path) -> None:
    own = [Member("bin/python3.12", b"x", 0o755), Member("conda-meta/history"), Member("lib64/x"), Member("Lib", b"x")]
    write(folder, own, placeholder=Placeholder(OLD, "/p"))
    for name in ("pyvenv.cfg", ".envlock.json", ".envlock.json/x"):
        with pytest.raises(BadMember):
            write(folder, [Member(name)], placeholder=Placeholder(OLD, "/p"))


class TestPlaceholder:
    @pytest.mark.parametrize("prefix", ["/p", "/p" * 60, "/p" * 127 + "p"], ids=["short", "long", "longest"])
    def test_a_binary_keeps_its_size_and_each_string_its_end(self, folder: Path, prefix: str) -> None:
        old, new = OLD.encode(), prefix.encode()
        strings = [b"ELF", old, old + b"/lib:" + old + b"/lib64", b"RPATH=" + old + b"/lib", b"", old * 3 + b"/x", b"z"]
        data = b"\0".join(strings) + b"\0\0\1" + old
        write(
            folder,
            [Member("lib/x.so", data, records={"ENVLOCK.prefix": "binary"})],
            placeholder=Placeholder(OLD, prefix),
        )
        found = (folder / "lib" / "x.so").read_bytes()
        assert len(found) == len(data)
        assert [each for each in found.split(b"\0") if each] == [
            each for each in data.replace(old, new).split(b"\0") if each
        ]
        position = 0
        for each in strings:
            end = position + len(each)
            assert found[position:end] == each.replace(old, new).ljust(len(each), b"\0")
            position = end + 1

    @pytest.mark.parametrize("prefix", ["/p", "/p" * 200], ids=["shrinks", "grows"])
    def test_a_text_has_whatever_size_it_needs(self, folder: Path, prefix: str) -> None:
        text = f"prefix={OLD}\n# {OLD}/lib {OLD}\n" * 300
        member = Member("lib/x.cfg", text.encode(), 0o755, records={"ENVLOCK.prefix": "text"})
        write(folder, [member, Member("lib/y", OLD.encode())], placeholder=Placeholder(OLD, prefix))
        assert (folder / "lib" / "x.cfg").read_text() == text.replace(OLD, prefix)
        assert (folder / "lib" / "x.cfg").stat().st_mode & 0o777 == 0o755
        assert (folder / "lib" / "y").read_text() == OLD, "only files that say so have one"

    @pytest.mark.parametrize(
        ("line", "prefix", "expected"),
        [
            ("#!{}/bin/python3.12 -u", "/p", "#!/p/bin/python3.12 -u"),
            ("#! {}/bin/perl", "/p", "#! /p/bin/perl"),
            ("#!{}/bin/perl -w", "/p" * 60, "#!/usr/bin/env perl -w"),
            ("#!/bin/sh {}", "/p" * 60, "#!/usr/bin/env sh " + "/p" * 60),
            ("#!/usr/bin/env python", "/p", "#!/usr/bin/env python"),
            ("# {}", "/p" * 90, "# " + "/p" * 90),
        ],
    )
    def test_a_line_that_names_an_interpreter_is_short_enough_for_the_kernel(
        self, line: str, prefix: str, expected: str
    ) -> None:
        found = Placeholder(OLD, prefix).text(f"{line.format(OLD)}\n{OLD}\n".encode())
        assert found.decode() == f"{expected}\n{prefix}\n"
