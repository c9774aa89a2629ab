"""What a store in a folder does beyond what every store does: it survives what happens to processes and disks."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.cache.errors import CacheUnusable
from envlock.cache.folder_store import STAGE, FolderStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_put_that_is_killed_leaves_nothing_that_looks_whole(root: Path, tmp_path: Path) -> None:
    """The source is a pipe that stops halfway, so the process is surely killed in the middle."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        "import sys; from pathlib import Path; from envlock.cache.folder_store import FolderStore\n"
        "FolderStore(Path(sys.argv[1])).put('packages/a.whl', Path(sys.argv[2]))"
    )
    store = FolderStore(root)
    store.put("packages/b.whl", b"there before")
    process = subprocess.Popen([sys.executable, "-c", code, str(root), str(pipe)])
    with pipe.open("wb") as source:
        source.write(b"x" * 5_000_000)
        source.flush()
        deadline = time.monotonic() + 20
        while not any(part.stat().st_size for part in (root / STAGE).iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert store.entry("packages/a.whl") is None
    assert [entry.path for entry in store.entries("packages")] == ["packages/b.whl"]
    assert len(list((root / STAGE).iterdir())) == 1
    store.put("packages/a.whl", b"whole")
    assert store.read("packages/a.whl") == b"whole"


def test_what_was_left_long_ago_is_swept(root: Path) -> None:
    FolderStore(root).put("packages/a", b"1")
    old, young = root / STAGE / "1-old.part", root / STAGE / "2-young.part"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    FolderStore(root).put("packages/b", b"2")
    assert list((root / STAGE).iterdir()) == [young]


def test_a_put_that_fails_leaves_nothing(root: Path, tmp_path: Path) -> None:
    store = FolderStore(root)
    store.put("packages/a", b"1")
    with pytest.raises(CacheUnusable):
        store.put("packages/a/b", b"below a file")
    with pytest.raises(FileNotFoundError):
        store.put("packages/c", tmp_path / "no such source")
    assert list((root / STAGE).iterdir()) == []
    assert [entry.path for entry in store.entries("packages")] == ["packages/a"]


def test_a_root_that_is_a_file(root: Path) -> None:
    root.write_bytes(b"")
    store = FolderStore(root)
    with pytest.raises(CacheUnusable, match="cannot be written") as caught:
        store.put("packages/a", b"1")
    assert str(root) in caught.value.message
    assert caught.value.exit_status == 2
    assert store.entry("packages/a") is None


def test_a_root_that_cannot_be_made() -> None:
    with pytest.raises(CacheUnusable, match="cannot be written"):
        FolderStore(Path("/proc/envlock-cache")).put("packages/a", b"1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_root_that_is_not_ours(root: Path) -> None:
    store = FolderStore(root)
    store.put("packages/a", b"1")
    (root / "packages").chmod(0)
    try:
        with pytest.raises(CacheUnusable, match="cannot be read: Permission denied"):
            store.entry("packages/a")
        with pytest.raises(CacheUnusable, match="cannot be written: Permission denied"):
            store.put("packages/b", b"1")
    finally:
        (root / "packages").chmod(0o755)


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk: the same call fails, with another number."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from envlock.cache.folder_store import FolderStore\n"
        "from envlock.cache.errors import CacheUnusable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: FolderStore(Path(sys.argv[1])).put('packages/a', b'x' * 200_000)\n"
        "except CacheUnusable as error: print(error.render())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_git_does_not_see_what_a_push_makes(root: Path) -> None:
    subprocess.run(["git", "init", "-q", str(root.parent)], check=True)
    FolderStore(root).put("packages/a", b"1")
    status = subprocess.run(["git", "status", "--porcelain"], cwd=root.parent, capture_output=True, check=True)
    assert status.stdout == b""


def test_folders_are_as_open_as_the_root(root: Path) -> None:
    """What one member of a team makes in a shared folder, the others may write into."""
    root.mkdir()
    root.chmod(0o2775)
    FolderStore(root).put("packages/ab/abcd/a.whl", b"1")
    for folder in ("packages", "packages/ab", "packages/ab/abcd", STAGE):
        assert stat.S_IMODE((root / folder).stat().st_mode) == 0o2775


def make_pipe(place: Path) -> None:
    os.mkfifo(place)


def make_endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


def make_loop(place: Path) -> None:
    place.symlink_to(place)


def make_dangling(place: Path) -> None:
    place.symlink_to(place.with_name("nowhere"))


@pytest.mark.parametrize("make", [make_pipe, make_endless, make_loop, make_dangling])
def test_what_is_no_file_is_not_there(root: Path, tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Reading it would wait for ever, or never end: a cache is written by many."""
    store = FolderStore(root)
    store.put("packages/b", b"2")
    make(root / "packages" / "a")
    assert store.entry("packages/a") is None
    assert [entry.path for entry in store.entries("packages")] == ["packages/b"]
    for read in (store.read, store.sha256, lambda path: store.fetch(path, tmp_path / "copy")):
        with pytest.raises(FileNotFoundError):
            read("packages/a")
    assert not (tmp_path / "copy").exists()
    store.put("packages/a", b"1")
    assert store.read("packages/a") == b"1"


def test_a_folder_where_a_file_should_be_is_told(root: Path) -> None:
    (root / "packages" / "a").mkdir(parents=True)
    assert FolderStore(root).entry("packages/a") is None
    with pytest.raises(CacheUnusable, match="Is a directory"):
        FolderStore(root).read("packages/a")


def test_a_stranger_with_an_odd_name_is_listed(root: Path) -> None:
    FolderStore(root).put("packages/b", b"2")
    (root / "packages" / "a\n\\").write_bytes(b"1")
    assert sorted(entry.path for entry in FolderStore(root).entries("packages")) == ["packages/a\n\\", "packages/b"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_create_without_hard_links(root: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Some mounts have none: the name is claimed first then, and filled by a rename."""

    def refuse(place: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store = FolderStore(root)
    assert store.create("aliases/a", b"ours") is True
    assert store.create("aliases/a", b"theirs") is False
    assert store.create("aliases/a", b"ours") is True
    assert store.read("aliases/a") == b"ours"
    assert list((root / STAGE).iterdir()) == []


def test_create_whose_answer_was_lost(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network mount that made the link, and says that it was there."""
    link = Path.hardlink_to

    def lose(place: Path, target: Path) -> None:
        link(place, target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(Path, "hardlink_to", lose)
    assert FolderStore(root).create("aliases/a", b"ours") is True
    assert FolderStore(root).create("aliases/a", b"theirs") is False


def test_create_where_a_folder_is(root: Path) -> None:
    (root / "aliases" / "a").mkdir(parents=True)
    assert FolderStore(root).create("aliases/a", b"ours") is False
