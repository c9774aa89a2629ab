"""What a store in a folder does beyond what every store does: it survives what happens to processes and disks."""

from __future__ import annotations

import errno
import os
import posix
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

from envlock.cache import folder_store
from envlock.cache.errors import CacheUnusable
from envlock.cache.folder_store import STAGE, FolderStore
from tests.support import as_any_other_user

# Of Python 3.12 and later; the children only call the store.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


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


def test_what_cannot_be_swept_keeps_nothing_else(root: Path) -> None:
    FolderStore(root).put("packages/a", b"1")
    stage, two_days_ago = root / STAGE, time.time() - 2 * 24 * 3600
    for name in "bdfh":
        (stage / name / "full").mkdir(parents=True)
        os.utime(stage / name, (two_days_ago, two_days_ago))
    for name in "aceg":
        (stage / name).symlink_to(stage / "b")
        os.utime(stage / name, (two_days_ago, two_days_ago), follow_symlinks=False)
    FolderStore(root).put("packages/b", b"2")
    assert {left.name for left in stage.iterdir()} == {*"bdfh"}


def test_nothing_is_deleted_through_a_link_that_leads_out(root: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    precious = tmp_path / "home" / "a.whl"
    precious.write_bytes(b"x")
    root.mkdir()
    (root / "packages").symlink_to(tmp_path / "home")
    (root / "a.whl").symlink_to(precious)
    with pytest.raises(CacheUnusable, match="leads out of the cache"):
        FolderStore(root).delete("packages/a.whl")
    FolderStore(root).delete("a.whl")
    FolderStore(root).delete("parts/ab/none")
    assert precious.exists()
    assert not os.path.lexists(root / "a.whl")


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


def test_a_root_that_is_not_ours(root: Path) -> None:
    store = FolderStore(root)
    store.put("packages/a", b"1")
    (root / "packages").chmod(0)
    try:
        with as_any_other_user(), pytest.raises(CacheUnusable, match="cannot be read: Permission denied"):
            store.entry("packages/a")
        with as_any_other_user(), pytest.raises(CacheUnusable, match="cannot be written: Permission denied"):
            store.put("packages/b", b"1")
    finally:
        (root / "packages").chmod(0o755)


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files takes the place of a full disk: the same call fails, with another number."""
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


@pytest.fixture
def secretive() -> Iterator[None]:
    """A colleague's umask that lets nobody else in."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("secretive")
@pytest.mark.parametrize("mode", [0o2775, 0o775, 0o2770, 0o755, 0o700, 0o1777])
def test_what_is_made_is_as_open_as_the_root(root: Path, mode: int) -> None:
    """What one member of a team puts into a shared folder, the others may read, replace and sweep."""
    root.mkdir()
    root.chmod(mode)
    store = FolderStore(root)
    store.put("packages/ab/abcd/a.whl", b"1")
    store.create("aliases/a/1.json", b"{}")
    for folder in ("packages", "packages/ab", "packages/ab/abcd", "aliases", "aliases/a", STAGE):
        assert stat.S_IMODE((root / folder).stat().st_mode) == mode
    for file in ("packages/ab/abcd/a.whl", "aliases/a/1.json"):
        assert stat.S_IMODE((root / file).stat().st_mode) == mode & 0o666


@pytest.mark.usefixtures("secretive")
def test_a_root_that_a_push_makes_keeps_its_makers_mind(root: Path) -> None:
    FolderStore(root).put("packages/a", b"1")
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in (".", "packages")] == [0o700, 0o700]
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in (".gitignore", "packages/a")] == [0o600, 0o600]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to other groups")
def test_what_is_made_is_of_the_roots_group(root: Path) -> None:
    """Also where the root's set-group bit is missing, which would see to it for folders."""
    root.mkdir()
    os.chown(root, -1, 4242)
    root.chmod(0o770)
    FolderStore(root).put("packages/a", b"1")
    assert {(root / name).stat().st_gid for name in ("packages", "packages/a", STAGE)} == {4242}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become two other users")
def test_two_members_of_a_team_share_a_folder_whatever_their_umasks(root: Path) -> None:
    root.mkdir()
    os.chown(root, 0, 4242)
    root.chmod(0o2770)
    for above in list(root.parents)[:-1]:
        above.chmod(above.stat().st_mode | 0o711)

    def work_as(user: int, number: int) -> None:
        os.setgroups([4242])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.umask(0o077)
        store = FolderStore(root)
        if number:
            assert store.read("packages/ab/0") == b"0"
            store.delete("packages/ab/0")
        store.put(f"packages/ab/{number}", str(number).encode())
        assert store.create("aliases/a", b"mine") is (number == 0 or store.read("aliases/a") == b"mine")

    for number, user in enumerate((4001, 4002)):
        child = os.fork()
        if not child:
            status = 1
            try:
                work_as(user, number)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0, user
    assert [entry.path for entry in FolderStore(root).entries("packages")] == ["packages/ab/1"]


@pytest.mark.usefixtures("secretive")
def test_a_folder_is_open_before_it_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed right after a folder is there keeps nobody else out of it."""
    root.mkdir()
    root.chmod(0o2775)
    rename = Path.rename
    seen: list[tuple[str, int]] = []

    def look(place: Path, target: Path) -> Path:
        seen.append((target.name, stat.S_IMODE(place.stat().st_mode)))
        return rename(place, target)

    monkeypatch.setattr(Path, "rename", look)
    FolderStore(root).put("packages/ab/a.whl", b"1")
    assert seen == [(STAGE, 0o2775), ("packages", 0o2775), ("ab", 0o2775)]


def test_a_folder_that_is_swept_away_meanwhile_is_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace
    swept: list[Path] = []

    def sweep_first(place: Path, target: Path) -> Path:
        if not swept:
            swept.append(target.parent)
            target.parent.rmdir()
        return replace(place, target)

    monkeypatch.setattr(Path, "replace", sweep_first)
    store = FolderStore(root)
    store.put("packages/ab/a", b"1")
    assert swept
    assert store.read("packages/ab/a") == b"1"


@pytest.mark.parametrize("write", [FolderStore.put, FolderStore.create])
def test_a_new_folder_that_is_swept_away_before_it_has_its_name_is_made_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[FolderStore, str, bytes], object]
) -> None:
    rename = Path.rename
    swept: list[str] = []

    def sweep_first(place: Path, target: Path) -> Path:
        if target.name not in swept:
            swept.append(target.name)
            place.rmdir()
        return rename(place, target)

    monkeypatch.setattr(Path, "rename", sweep_first)
    store = FolderStore(root)
    write(store, "packages/ab/a", b"1")
    assert swept == [STAGE, "packages", "ab"]
    assert store.read("packages/ab/a") == b"1"


def test_nobody_fails_to_write_while_others_delete_empty_folders(root: Path) -> None:
    writers, files = 3, 150

    def sweep() -> None:
        while not (root / "done").exists():
            FolderStore(root).tidy()

    def write(number: int) -> None:
        store = FolderStore(root)
        for file in range(files):
            path = f"packages/{number}/{file % 5}/{file}"
            assert store.create(path, b"1")
            store.put(path, b"2")
            assert store.read(path) == b"2"
            store.delete(path)  # which leaves an empty folder

    with ThreadPoolExecutor() as pool:
        sweepers = [pool.submit(sweep) for _ in range(2)]
        try:
            list(pool.map(write, range(writers)))
        finally:
            FolderStore(root).put("done", b"")
        for each in sweepers:
            each.result()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take files from a user, and become one")
@pytest.mark.parametrize(
    ("locked_out", "named", "work"),
    [
        ("packages/a", "packages/a", lambda store: store.read("packages/a")),
        ("packages", "packages", lambda store: list(store.entries("packages"))),
        (STAGE, "packages/b", lambda store: store.put("packages/b", b"2")),
    ],
)
def test_an_error_names_what_cannot_be_reached_and_whose_it_is(
    root: Path, locked_out: str, named: str, work: Callable[[FolderStore], object]
) -> None:
    FolderStore(root).put("packages/a", b"1")
    for above in [root, *list(root.parents)[:-1]]:
        above.chmod(above.stat().st_mode | 0o711)
    (root / locked_out).chmod(0o700 if (root / locked_out).is_dir() else 0o600)
    os.seteuid(4001)
    try:
        with pytest.raises(CacheUnusable) as caught:
            work(FolderStore(root))
    finally:
        os.seteuid(0)
    assert [location.path for location in caught.value.locations] == [str(root / named)]
    assert f"{root / locked_out} belongs to root, with the permissions" in caught.value.details[0]
    assert caught.value.hint == f"ask its owner to share it: chmod -R g+rwX {root}"


def make_pipe(place: Path) -> None:
    os.mkfifo(place)


def make_endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


def make_loop(place: Path) -> None:
    place.symlink_to(place)


def make_dangling(place: Path) -> None:
    place.symlink_to(place.with_name("nowhere"))


@pytest.mark.parametrize("make", [make_pipe, make_dangling])
def test_a_name_is_taken_by_what_is_no_file_too(root: Path, make: Callable[[Path], None]) -> None:
    """To compare a pipe with what was to be written would wait for ever."""
    store = FolderStore(root)
    store.put("aliases/b", b"2")
    make(root / "aliases" / "a")
    assert not store.create("aliases/a", b"1")


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


def test_a_folder_where_a_file_should_be_is_reported(root: Path) -> None:
    (root / "packages" / "a").mkdir(parents=True)
    assert FolderStore(root).entry("packages/a") is None
    with pytest.raises(CacheUnusable, match="Is a directory"):
        FolderStore(root).read("packages/a")


def test_a_stranger_with_an_odd_name_is_listed(root: Path) -> None:
    FolderStore(root).put("packages/b", b"2")
    (root / "packages" / "a\n\\").write_bytes(b"1")
    assert sorted(entry.path for entry in FolderStore(root).entries("packages")) == ["packages/a\n\\", "packages/b"]


def without_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    """Such as FAT, and some FUSE and network mounts."""

    def refuse(place: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)


def without_exclusive_renames(monkeypatch: pytest.MonkeyPatch, number: int = errno.EINVAL) -> None:
    """Such as many FUSE mounts, and every machine but Linux."""

    def refuse(stage: Path, place: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_store, "_rename_exclusively", refuse)


WITHOUT = {"links": (without_links,), "both": (without_links, without_exclusive_renames)}


@pytest.fixture(params=WITHOUT)
def lacking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for take_away in WITHOUT[request.param]:
        take_away(monkeypatch)


@pytest.mark.usefixtures("lacking")
def test_create_where_the_filesystem_lacks_what_it_takes(root: Path) -> None:
    store = FolderStore(root)
    assert store.create("aliases/a", b"ours") is True
    assert store.create("aliases/a", b"theirs") is False
    assert store.create("aliases/a", b"ours") is True
    assert store.read("aliases/a") == b"ours"
    assert list((root / STAGE).iterdir()) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
@pytest.mark.parametrize("renaming", [errno.EINVAL, errno.ENOSYS])
def test_the_ways_in_which_filesystems_say_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, renaming: int
) -> None:
    without_links(monkeypatch, number)
    without_exclusive_renames(monkeypatch, renaming)
    assert FolderStore(root).create("aliases/a", b"ours") is True
    assert FolderStore(root).create("aliases/a", b"theirs") is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems hold a lock instead")
def test_what_linux_renames_exclusively_replaces_nothing(tmp_path: Path) -> None:
    stage, place = tmp_path / "stage", tmp_path / "place"
    stage.write_bytes(b"ours")
    folder_store._rename_exclusively(stage, place)
    stage.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        folder_store._rename_exclusively(stage, place)
    assert place.read_bytes() == b"ours"


CHANGES = {"open", "write", "flush", "fsync", "close", "rename", "replace", "link", "unlink", "mkdir", "rmdir"}
CHANGES |= {"chmod", "chown", "flock"}


@pytest.mark.usefixtures("lacking")
def test_a_create_that_is_killed_shows_nothing_or_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every change that it makes: nobody ever sees a record that is empty, and none stays taken."""
    import ctypes  # noqa: F401  so that the child need not

    monkeypatch.setattr(os, "fsync", posix.fsync)  # which is one of the moments
    FolderStore(root).put("packages/a", b"1")
    for number in range(1, 100):
        path = f"aliases/{number}"
        child = os.fork()
        if not child:
            calls = 0

            def count(frame: FrameType, event: str, function: object, last: int = number) -> None:
                nonlocal calls
                if event == "c_call" and getattr(function, "__name__", "") in CHANGES:
                    calls += 1
                    if calls == last:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.setprofile(count)
            try:
                FolderStore(root).create(path, b"whole")
            finally:
                sys.setprofile(None)
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        found = FolderStore(root).entry(path)
        assert found is None or FolderStore(root).read(path) == b"whole", number
        assert FolderStore(root).create(path, b"mine") is (found is None), number
        if status == 0:
            break
        for left in (root / STAGE).iterdir():
            left.rmdir() if left.is_dir() else left.unlink()
    else:
        pytest.fail("it never came to its end")
    assert number > 10, "it was killed in many places"


@pytest.mark.usefixtures("lacking")
def test_of_many_that_create_one_succeeds(root: Path) -> None:
    """Processes, each with several threads; and whoever reads meanwhile sees a whole file, or none."""
    begin, told = os.pipe(), os.pipe()
    children = []
    for number in range(4):
        child = os.fork()
        if not child:
            try:
                os.close(begin[1])
                os.read(begin[0], 1)
                with ThreadPoolExecutor(3) as pool:
                    for round_ in range(20):
                        names = [f"{number}.{thread}".encode() * 100 for thread in range(3)]
                        made = pool.map(lambda name, r=round_: FolderStore(root).create(f"aliases/{r}", name), names)
                        os.write(told[1], bytes([round_]) * sum(made))
            finally:
                os._exit(0)
        children.append(child)
    os.close(begin[0])
    os.close(begin[1])
    os.close(told[1])
    store = FolderStore(root)
    while any(os.waitpid(child, os.WNOHANG) == (0, 0) for child in children[-1:]):
        for entry in store.entries("aliases"):
            assert entry.size == 300
    for child in children[:-1]:
        os.waitpid(child, 0)
    winners = b""
    while more := os.read(told[0], 1000):
        winners += more
    os.close(told[0])
    assert sorted(winners) == list(range(20))


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


def test_a_folder_that_another_process_replaces_while_it_is_empty_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel then says once that the folder is not there: the first name of each kind is in one that is not."""
    names = iter(["gone/stage", "stage", "gone/file", "file", "gone/folder", "folder", "further"])
    monkeypatch.setattr(folder_store, "_nonce", names.__next__)
    store = FolderStore(tmp_path / "cache")
    store.put("packages/one", b"1")
    assert store.read("packages/one") == b"1"
