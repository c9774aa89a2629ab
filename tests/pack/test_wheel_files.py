"""The files of wheels in one file: what comes of them is what uv makes of the wheels, or they stay whole."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from envlock.model.lock import LockedPackage
from envlock.pack import tree, wheel_files
from tests.hydration.making import Heard, Making
from tests.index import Release
from tests.pack.trees import SITE, Stubs, tree_in

INFO = "demo-1.0.dist-info"
METADATA = {f"{INFO}/METADATA": "Name: demo\nVersion: 1.0\n", f"{INFO}/WHEEL": "Wheel-Version: 1.0\n"}


def info(name: str, mode: int = 0o644, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | mode) << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def wheel(
    folder: Path,
    members: Iterable[tuple[zipfile.ZipInfo | str, str]] = (("demo.py", "X = 1\n"),),
    rows: str | None = None,
) -> Path:
    """A wheel of these members, whose RECORD has a line for each, or those of `rows`."""
    members = [(each if isinstance(each, zipfile.ZipInfo) else info(each), text) for each, text in members]
    names = [*(member.filename for member, _ in members), *METADATA]
    record = "".join(f"{name},,\n" for name in (*names, f"{INFO}/RECORD")) if rows is None else rows
    path = folder / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in (*members, *((info(name), text) for name, text in METADATA.items())):
            archive.writestr(member, text)
        archive.writestr(info(f"{INFO}/RECORD"), record)
    return path


def divided(folder: Path, *files: Path) -> dict[str, wheel_files.Divided]:
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    locked = [LockedPackage("demo", "1.0", file.name, "https://index.example/x", digest) for file, digest in zip(files, digests, strict=True)]  # fmt: skip  # noqa: E501
    (folder / "divided").mkdir()
    return wheel_files.divide(locked, dict(zip(digests, files, strict=True)), folder / "divided", Heard())


def test_the_files_of_a_wheel_are_in_one_file_and_the_rest_is_a_wheel(tmp_path: Path) -> None:
    big = "y" * (3 << 20)
    members = [("b.py", "X = 1\n"), ("big.txt", big), (info("a.sh", 0o750), "#!"), ("none", "")]
    (found,) = divided(tmp_path, wheel(tmp_path, [*members, ("demo-1.0.data/scripts/run", "#!python\n")])).values()
    data = found.content.read_bytes()
    assert {each.path: data[each.start : each.start + each.size].decode() for each in found.files} == {
        "b.py": "X = 1\n", "big.txt": big, "a.sh": "#!", "none": "",
    }  # fmt: skip
    assert [each.path for each in found.files if each.executable] == ["a.sh"]
    assert found.rows == (b"b.py,,", b"big.txt,,", b"a.sh,,", b"none,,")
    with zipfile.ZipFile(found.rest) as archive:
        assert set(archive.namelist()) == {*METADATA, f"{INFO}/RECORD", "demo-1.0.data/scripts/run"}
    assert found.sha256 == hashlib.sha256(found.rest.read_bytes()).hexdigest()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def with_other_bytes(path: Path) -> None:
    """One that says another CRC of its first member than it has."""
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        crc = archive.infolist()[0].CRC.to_bytes(4, "little")
    path.write_bytes(data.replace(crc, b"\1\2\3\4"))


@pytest.mark.parametrize(
    "members",
    [
        [(info("demo.py", kind=stat.S_IFLNK), "target")],
        [("../demo.py", "")],
        [("/demo.py", "")],
        [("a//demo.py", "")],
        [("a\\demo.py", "")],
        [("n" * 256, "")],
        [("deep/" * 220 + "demo.py", "")],
        [("a,b.py", "")],
        [("demo-1.0.data/purelib/demo.py", "")],
        [("demo-1.0.data/data/lib/python3/site-packages/demo.py", "")],
        [("demo-1.0.data/other", "")],
        [("other-1.0.dist-info/RECORD", "")],
    ],
    ids=lambda members: str(getattr(members[0][0], "filename", members[0][0]))[:60],
)
def test_a_wheel_with_an_unusual_member_stays_whole(
    tmp_path: Path, members: list[tuple[zipfile.ZipInfo | str, str]]
) -> None:
    assert divided(tmp_path, wheel(tmp_path, members)) == {}


@pytest.mark.parametrize(
    "rows",
    ["", "demo.py,,\ndemo.py,,\n", '"demo.py",,\n', "demo.py,,\nother.py,,\n", "demo.py,,\n./demo.py,,\n"],
    ids=["without the file", "twice", "quoted", "of another file", "spelled twice"],
)
def test_a_wheel_stays_whole_whose_record_uv_would_write_in_another_way(tmp_path: Path, rows: str) -> None:
    assert divided(tmp_path, wheel(tmp_path, rows=rows)) == {}


@pytest.mark.parametrize("harm", [cut_off, with_other_bytes, lambda path: path.write_bytes(b"no wheel")])
def test_a_damaged_wheel_stays_whole_for_uv_to_refuse(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    path = wheel(tmp_path)
    harm(path)
    assert divided(tmp_path, path) == {}


def test_a_wheel_that_is_not_the_locked_one_stays_whole(tmp_path: Path) -> None:
    path, sha256 = wheel(tmp_path), "0" * 64
    locked = LockedPackage("demo", "1.0", path.name, "https://index.example/x", sha256)
    assert wheel_files.divide([locked], {sha256: path}, tmp_path, Heard()) == {}


def releases() -> tuple[Release, ...]:
    files = {
        "one/b-a.py": "A = 1\n", "one/b.py": "B = 1\n", "one/b/x.py": "", "One.txt": "text", "one/ü.py": "U = 1\n",
        "one/__pycache__/gone.cpython-311.pyc": "pyc", "one-1.0.data/scripts/tool": "#!python\nprint(1)\n",
        "one-1.0.data/headers/one.h": "// one\n", "one-1.0.data/data/share/one/data.txt": "data",
    }  # fmt: skip
    return (
        Release("one", "1.0", scripts={"one": "one:main"}, files=files),
        Release("two", "1.0", files={"shared/x.py": "X = 2\n", "two.py": "T = 2\n"}),
        Release("three", "1.0", files={"shared/x.py": "X = 3\n"}),
        Release("four", "1.0", files={"four-1.0.data/purelib/four_more.py": "F = 4\n"}),
    )


def made_with(making: Making | Stubs, place: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, object, set[str]]:
    """What is made of wheels, what of wheels that all stay whole, and the names of those that do not."""
    seen: set[str] = set()

    def noted(*arguments: object) -> dict[str, wheel_files.Divided]:
        found = wheel_files.divide(*arguments)  # type: ignore[arg-type]
        seen.update(each.rest.name.partition("-")[0] for each in found.values())
        return found

    monkeypatch.setattr(tree, "divide", noted)
    first = tree_in(making.lock, making, place / "first")
    monkeypatch.setattr(tree, "divide", lambda *_: {})
    return first, tree_in(making.lock, making, place / "second"), seen


def test_what_is_made_is_what_uv_makes_of_whole_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making = Making(tmp_path / "packages", 1, own=releases())
    making.write_artifacts()
    first, second, seen = made_with(making, tmp_path, monkeypatch)
    assert first == second
    assert seen == {"package_0", "one"}, "the others share a path, or have modules elsewhere"


def test_beside_conda_packages_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, seen = made_with(Stubs(tmp_path, wheels=releases()), tmp_path, monkeypatch)
    assert first == second
    assert seen == {"one"}
    assert isinstance(first, tuple)
    assert f"{SITE}/one/b.py" in first[1]
