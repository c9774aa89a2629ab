"""Archives of others are unpacked into one folder, or not at all."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.build.errors import BadSdist, SourceHashMismatch, UnsafeArchive
from envlock.build.sdists import ENDINGS, Named, check_sha256, named_in, unpack
from envlock.model.url import SDISTS
from envlock.source_tree import EPOCH, content_hash
from tests.build.sources import tar_gz, zipped

FILES = {"demo-1.0/pyproject.toml": "[project]\n", "demo-1.0/src/demo.py": "X = 1\n"}


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def unpacked(archive: Path, tmp_path: Path) -> Path:
    into = tmp_path / "into"
    into.mkdir()
    return unpack(archive, archive.name, into, "demo 1.0")


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar.bz2", "tar.xz", "tar", "zip"])
def test_every_kind_of_archive_has_the_same_content(tmp_path: Path, ending: str) -> None:
    archive = tmp_path / f"demo-1.0.{ending}"
    if ending == "zip":
        zipped(archive, FILES)
    else:
        kind = {"tar.gz": "gz", "tgz": "gz", "tar.bz2": "bz2", "tar.xz": "xz", "tar": ""}[ending]
        with tarfile.open(archive, f"w:{kind}") as tar:
            for name, text in FILES.items():
                info = member(name)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
    top = unpacked(archive, tmp_path)
    assert top.name == "demo-1.0"
    assert (top / "src/demo.py").read_text() == "X = 1\n"
    plain = tmp_path / "plain"
    for name, text in FILES.items():
        (plain / name).parent.mkdir(parents=True, exist_ok=True)
        (plain / name).write_text(text)
    assert content_hash(top) == content_hash(plain / "demo-1.0")


def test_modes_and_times_depend_on_the_content_alone(tmp_path: Path) -> None:
    odd = member("demo-1.0/run", mode=0o4777)
    odd.mtime = 1_700_000_000
    before = os.umask(0o077)
    try:
        top = unpacked(tar_gz(tmp_path / "demo-1.0.tar.gz", FILES, odd), tmp_path)
    finally:
        os.umask(before)
    found = {name: (top / name).stat() for name in ("run", "pyproject.toml")}
    assert {name: stat.S_IMODE(each.st_mode) for name, each in found.items()} == {"run": 0o755, "pyproject.toml": 0o644}
    assert {each.st_mtime for each in found.values()} == {EPOCH}


def test_links_that_stay_inside_are_kept(tmp_path: Path) -> None:
    links = (
        member("demo-1.0/alias.py", tarfile.SYMTYPE, "src/demo.py"),
        member("demo-1.0/copy.py", tarfile.LNKTYPE, "demo-1.0/src/demo.py"),
        member("demo-1.0/docs/up", tarfile.SYMTYPE, "../src"),
    )
    top = unpacked(tar_gz(tmp_path / "demo-1.0.tar.gz", FILES, *links), tmp_path)
    assert (top / "alias.py").is_symlink()
    assert {(top / name).read_text() for name in ("alias.py", "copy.py", "docs/up/demo.py")} == {"X = 1\n"}


HOSTILE = {
    "climbs out": (member("../evil"),),
    "climbs out further down": (member("demo-1.0/a/../../../evil"),),
    "absolute": (member("/tmp/evil"),),
    "backslash": (member("demo-1.0\\..\\..\\evil"),),
    "link to an absolute path": (member("demo-1.0/link", tarfile.SYMTYPE, "/etc/passwd"),),
    "link that leads out": (member("demo-1.0/link", tarfile.SYMTYPE, "../../evil"),),
    "link through links": (
        member("demo-1.0/a/b/here", tarfile.SYMTYPE, "../.."),
        member("demo-1.0/out", tarfile.SYMTYPE, "a/b/here/../../evil"),
    ),
    "file through a link": (
        member("demo-1.0/link", tarfile.SYMTYPE, ".."),
        member("demo-1.0/link/evil"),
    ),
    "link below a link that leads out": (
        member("demo-1.0/out", tarfile.SYMTYPE, "../.."),
        member("demo-1.0/out/evil", tarfile.SYMTYPE, "demo-1.0"),
    ),
    "folders below a link that leads out": (
        member("demo-1.0/out", tarfile.SYMTYPE, "../.."),
        member("demo-1.0/out/evil/more", tarfile.SYMTYPE, "."),
    ),
    "hard link to another file": (member("demo-1.0/link", tarfile.LNKTYPE, "../../../etc/passwd"),),
    "hard link to nothing": (member("demo-1.0/link", tarfile.LNKTYPE, "demo-1.0/nothing"),),
    "named pipe": (member("demo-1.0/pipe", tarfile.FIFOTYPE),),
    "device": (member("demo-1.0/null", tarfile.CHRTYPE),),
    "too long": (member("demo-1.0/" + "a/" * 3000 + "b"),),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_member_of_a_tar_is_refused(tmp_path: Path, kind: str) -> None:
    archive = tar_gz(tmp_path / "demo-1.0.tar.gz", FILES, *HOSTILE[kind])
    with pytest.raises(UnsafeArchive):
        unpacked(archive, tmp_path)
    assert not [
        path for path in (tmp_path / "evil", tmp_path / "into" / "evil", Path("/tmp/evil")) if os.path.lexists(path)
    ]


IMPOSSIBLE: dict[str, tuple[tarfile.TarInfo, ...]] = {
    "a name that is too long": (member("demo-1.0/" + "a" * 300),),
    "a file below a file": (member("demo-1.0/a"), member("demo-1.0/a/b")),
    "a file where a folder is": (member("demo-1.0/a/b"), member("demo-1.0/a")),
    "a folder where a file is": (member("demo-1.0/a"), member("demo-1.0/a", tarfile.DIRTYPE)),
    "a link below a file": (member("demo-1.0/a"), member("demo-1.0/a/b", tarfile.SYMTYPE, "c")),
    "a hard link below a file": (member("demo-1.0/a"), member("demo-1.0/a/b", tarfile.LNKTYPE, "demo-1.0/a")),
    "a link to nothing": (member("demo-1.0/a", tarfile.SYMTYPE, ""),),
    "a link that is too long": (member("demo-1.0/a", tarfile.SYMTYPE, "b" * 5000),),
    "a file that is the folder itself": (member("."),),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_an_archive_that_no_folder_can_hold_is_refused(tmp_path: Path, kind: str) -> None:
    archive = tar_gz(tmp_path / "demo-1.0.tar.gz", FILES, *IMPOSSIBLE[kind])
    with pytest.raises(BadSdist) as raised:
        unpacked(archive, tmp_path)
    assert str(tmp_path) not in raised.value.render()


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def pipe(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFIFO | 0o644) << 16


@pytest.mark.parametrize(
    ("files", "change"),
    [
        ({"../evil": ""}, lambda _: None),
        ({"demo/../../evil": ""}, lambda _: None),
        ({"/tmp/evil": ""}, lambda _: None),
        ({"demo/link": "/etc/passwd"}, link),
        ({"demo/link": "../../evil"}, link),
        ({"demo/pipe": ""}, pipe),
    ],
)
def test_a_hostile_member_of_a_zip_is_refused(
    tmp_path: Path, files: dict[str, str], change: Callable[[zipfile.ZipInfo], None]
) -> None:
    with pytest.raises(UnsafeArchive):
        unpacked(zipped(tmp_path / "demo-1.0.zip", files, change), tmp_path)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / f"demo-1.0.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as found:
            found.writestr("demo/zeros", bytes(3 << 20))
    else:
        with tarfile.open(archive, "w:gz") as tar:
            info = member("demo/zeros")
            info.size = 3 << 20
            tar.addfile(info, io.BytesIO(bytes(3 << 20)))
    monkeypatch.setattr("envlock.build.sdists.SOURCE_BYTES", 1 << 20)
    with pytest.raises(UnsafeArchive):
        unpacked(archive, tmp_path)


def test_attributes_of_a_member_have_a_bound(tmp_path: Path) -> None:
    info = member("demo/x")
    info.pax_headers = {"comment": "x" * (2 << 20)}
    with tarfile.open(tmp_path / "demo-1.0.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    with pytest.raises(BadSdist):
        unpacked(tmp_path / "demo-1.0.tar.gz", tmp_path)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envlock.build.sdists.SOURCE_FILES", 3)
    with pytest.raises(UnsafeArchive):
        unpacked(tar_gz(tmp_path / "demo-1.0.tar.gz", {f"demo/{n}": "" for n in range(5)}), tmp_path)


def broken(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", ["tar.gz", "tar.bz2", "tar.xz", "tar", "zip", "whl", "rar"])
@pytest.mark.parametrize(
    "data",
    [b"", b"<html>404</html>", gzip.compress(b"no tar"), os.urandom(2000)],
    ids=["nothing", "a page", "no tar in it", "noise"],  # the same in each process that collects the tests
)
def test_what_is_no_archive_is_refused(tmp_path: Path, ending: str, data: bytes) -> None:
    if ending == "tar" and not data:
        return  # an empty archive, which holds no project
    with pytest.raises(BadSdist):
        unpacked(broken(tmp_path / f"demo-1.0.{ending}", data), tmp_path)


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_an_archive_that_is_damaged_anywhere_is_refused_or_read(tmp_path: Path, ending: str) -> None:
    whole = tmp_path / f"whole.{ending}"
    data = (zipped(whole, FILES) if ending == "zip" else tar_gz(whole, FILES)).read_bytes()
    for number in range(0, len(data), max(1, len(data) // 60)):
        into = tmp_path / f"into-{number}"
        into.mkdir()
        flipped = bytearray(data)
        flipped[number] ^= 0xFF
        for name, each in (("flipped", bytes(flipped)), ("cut", data[:number])):
            (into / name).mkdir()
            archive = broken(tmp_path / f"{name}-{number}.{ending}", each)
            try:
                unpack(archive, archive.name, into / name, "demo")
            except (BadSdist, UnsafeArchive):
                continue


def test_the_hash_is_compared(tmp_path: Path) -> None:
    archive = tar_gz(tmp_path / "demo-1.0.tar.gz", FILES)
    with pytest.raises(SourceHashMismatch) as raised:
        check_sha256(archive, "0" * 64, "demo 1.0")
    assert any("0" * 64 in line for line in raised.value.details)


def test_what_pkg_info_says(tmp_path: Path) -> None:
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: Demo_Package\nVersion: 1.0\n\nVersion: 2\n")
    assert named_in(tmp_path) == Named("demo-package", "1.0")
    (tmp_path / "PKG-INFO").write_bytes(b"\xff\xfe\x00")
    assert named_in(tmp_path) == Named("", "")


def test_every_kind_of_sdist_that_may_be_named_can_be_unpacked() -> None:
    assert set(SDISTS) <= set(ENDINGS)
