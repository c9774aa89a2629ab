"""Exact Python builds: proved, unpacked once, and nothing outside of their folder is written."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from envlock.hydrate import python as module
from envlock.hydrate.errors import BadPythonArchive, ChangedArtifact, DiskFull
from envlock.hydrate.python import unpack, unpacked
from envlock.model.lock import LockedPython
from tests.hydrate.builds import SERIES, VERSION


def locked(path: Path) -> LockedPython:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    url = f"https://builds.example/1/{path.name}"
    return LockedPython(source="uv", version=VERSION, url=url, filename=path.name, sha256=sha256)


def tar_of(path: Path, *members: tuple[str, bytes | tarfile.TarInfo]) -> Path:
    """An archive of files by content, and of members as they are."""
    with tarfile.open(path, "w:gz") as out:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                out.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o755
                out.addfile(member, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "") -> tuple[str, tarfile.TarInfo]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return name, member


def left(pythons: Path) -> list[str]:
    stages = pythons / ".stages"
    return sorted(path.name for path in [*pythons.glob("*"), *stages.glob("*")] if path != stages)


def test_a_build_is_unpacked_and_runs(archive: Path, tmp_path: Path) -> None:
    python = locked(archive)
    assert unpacked(python, tmp_path) is None
    path = unpack(python, archive, tmp_path)
    assert path == tmp_path / python.sha256 / "python" / "bin" / f"python{SERIES}"
    assert unpacked(python, tmp_path) == path
    said = subprocess.run(
        [path, "-I", "-c", "import sys, json; print(sys.base_prefix)"], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == str(tmp_path / python.sha256 / "python")
    assert left(tmp_path) == [python.sha256]


def test_it_is_unpacked_once(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, times = locked(archive), []
    real = module._extract

    def counting(members: tarfile.TarFile, folder: Path) -> None:
        times.append(folder)
        real(members, folder)

    monkeypatch.setattr(module, "_extract", counting)
    threads = [threading.Thread(target=unpack, args=(python, archive, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 1


def test_another_archive_than_the_locked_one_is_never_opened(archive: Path, tmp_path: Path) -> None:
    python = locked(archive)
    other = tar_of(tmp_path / archive.name, ("python/bin/x", b"#!"))
    with pytest.raises(ChangedArtifact) as caught:
        unpack(python, other, tmp_path / "pythons")
    assert caught.value.exit_status == 3
    assert python.sha256 in caught.value.render()
    assert left(tmp_path / "pythons") == []


@pytest.mark.parametrize("own_check", [False, True], ids=["tarfile's filter", "own check"])
@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("/tmp/envlock-evil", b"x")],
        [("python/../../evil", b"x")],
        [special("python/link", tarfile.SYMTYPE, "../../..")],
        [special("python/link", tarfile.SYMTYPE, "/etc/passwd")],
        [special("python/link", tarfile.LNKTYPE, "../../evil")],
        [special("python/device", tarfile.CHRTYPE)],
        [special("python/pipe", tarfile.FIFOTYPE)],
        [
            special("python/a", tarfile.SYMTYPE, "."),
            special("python/a/b", tarfile.SYMTYPE, "../.."),
            ("python/b/evil", b"x"),
        ],
    ],
    ids=lambda members: " ".join(name for name, _ in members),
)
def test_nothing_is_written_outside(
    members: list[tuple[str, bytes | tarfile.TarInfo]],
    own_check: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if own_check:
        if sys.version_info >= (3, 12):
            pytest.skip("this Python always has the filter")
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    elif not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no filter")
    inner = tmp_path / "deep" / "down" / "pythons"
    bad = tar_of(tmp_path / "bad.tar.gz", *members)
    before = {path for path in tmp_path.rglob("*") if inner not in path.parents}
    with pytest.raises(BadPythonArchive, match=r"bad\.tar\.gz"):
        unpack(locked(bad), bad, inner)
    after = {path for path in tmp_path.rglob("*") if inner not in path.parents}
    assert after - before <= {inner.parent.parent, inner.parent, inner}
    assert not Path("/tmp/envlock-evil").exists()
    assert left(inner) == []


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python always has the filter")
def test_the_own_check_lets_real_builds_pass(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    path = unpack(locked(archive), archive, tmp_path)
    assert (path.parent / "python3").resolve() == path.resolve()
    assert subprocess.run([path, "-I", "-S", "-c", ""], check=False).returncode == 0


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08 cut off"])
def test_what_is_no_archive_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cpython.tar.gz"
    path.write_bytes(content)
    with pytest.raises(BadPythonArchive) as caught:
        unpack(locked(path), path, tmp_path / "pythons")
    assert caught.value.exit_status == 3
    assert left(tmp_path / "pythons") == []


def test_an_archive_that_is_cut_off_is_an_error(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "cpython.tar.gz"
    path.write_bytes(archive.read_bytes()[:200_000])
    with pytest.raises(BadPythonArchive):
        unpack(locked(path), path, tmp_path / "pythons")
    assert left(tmp_path / "pythons") == []


@pytest.mark.parametrize("place", [20, 100_000, 1_000_000])
def test_an_archive_that_was_locked_broken_is_an_error(archive: Path, tmp_path: Path, place: int) -> None:
    data = bytearray(archive.read_bytes())
    for offset in range(place, place + 64):
        data[offset] ^= 0x5A
    path = tmp_path / "cpython.tar.gz"
    path.write_bytes(data)
    with pytest.raises(BadPythonArchive):
        unpack(locked(path), path, tmp_path / "pythons")
    assert left(tmp_path / "pythons") == []


def test_an_archive_without_an_interpreter_is_an_error(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "cpython.tar.gz", ("python/bin/python2.7", b"x"))
    with pytest.raises(BadPythonArchive) as caught:
        unpack(locked(path), path, tmp_path / "pythons")
    assert f"python/bin/python{SERIES}" in caught.value.message
    assert left(tmp_path / "pythons") == []


def test_a_full_disk_leaves_nothing(archive: Path, small_disk: Path) -> None:
    with pytest.raises(DiskFull) as caught:
        unpack(locked(archive), archive, small_disk / "pythons")
    assert str(small_disk / "pythons") in caught.value.render()
    assert left(small_disk / "pythons") == []
