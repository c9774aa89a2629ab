from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.errors import CacheHashMismatch, UnsafePath
from envlock.cache.folder_store import FolderStore
from envlock.cache.local import LocalPackages
from envlock.cache.packages import Packages, path_of
from envlock.model.arch import LINUX_64
from envlock.model.artifact import Artifact, artifacts_of
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements

DATA = os.urandom(100_000)
WHEEL = Artifact(
    "demo-1.0-py3-none-any.whl", hashlib.sha256(DATA).hexdigest(), "https://index.example/demo.whl", len(DATA)
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "cache")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "wheel"
    path.write_bytes(DATA)
    return path


class TestPackages:
    def test_in_and_out(self, store: FolderStore, wheel: Path, tmp_path: Path) -> None:
        packages = Packages(store)
        assert not packages.has(WHEEL)
        assert not packages.is_whole(WHEEL)
        assert not packages.fetch(WHEEL, tmp_path / "out")
        packages.put(WHEEL, wheel)
        assert packages.has(WHEEL)
        assert packages.is_whole(WHEEL)
        assert packages.fetch(WHEEL, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == DATA

    def test_what_is_another_file_does_not_come_in(self, store: FolderStore, wheel: Path) -> None:
        wheel.write_bytes(DATA[::-1])
        with pytest.raises(CacheHashMismatch):
            Packages(store).put(WHEEL, wheel)
        assert list(store.entries("packages")) == []

    @pytest.mark.parametrize("damaged", [DATA[::-1], DATA[:-1], b"", DATA + b"\0"])
    def test_what_is_another_file_does_not_come_out(self, store: FolderStore, tmp_path: Path, damaged: bytes) -> None:
        store.put(path_of(WHEEL), damaged)
        packages = Packages(store)
        assert packages.has(WHEEL) == (len(damaged) == len(DATA)), "a look at the size does not read the bytes"
        assert not packages.is_whole(WHEEL)
        with pytest.raises(CacheHashMismatch) as caught:
            packages.fetch(WHEEL, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        text = caught.value.render()
        assert caught.value.exit_status == 3
        assert f"at {tmp_path / 'cache' / path_of(WHEEL)}" in text
        assert WHEEL.sha256 in text
        assert hashlib.sha256(damaged).hexdigest() in text
        assert text.endswith("hint: envlock cache verify --repair")

    @pytest.mark.parametrize("size", [len(DATA), None])
    def test_what_is_far_too_large_does_not_fill_the_disk(
        self, store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
    ) -> None:
        monkeypatch.setattr("envlock.cache.packages.PACKAGE_BYTES", 1 << 20)
        place = tmp_path / "cache" / path_of(WHEEL)
        place.parent.mkdir(parents=True)
        with place.open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(CacheHashMismatch) as caught:
            Packages(store).fetch(replace(WHEEL, size=size), tmp_path / "out")
        assert "more" in caught.value.details[1]
        assert not (tmp_path / "out").exists()

    def test_what_is_longer_than_the_lock_says_is_given_up_a_mebibyte_later(
        self, store: FolderStore, tmp_path: Path
    ) -> None:
        mebibyte = 1 << 20
        came: list[int] = []
        store.put(path_of(WHEEL), DATA + b"\0" * 8 * mebibyte)
        with pytest.raises(CacheHashMismatch) as caught:
            Packages(store).fetch(WHEEL, tmp_path / "out", on_bytes=came.append)
        expected, got = caught.value.details
        assert expected.endswith(f" {len(DATA)} bytes")
        assert got.endswith(" more")
        assert sum(came) <= len(DATA) + mebibyte, "and the rest was not copied"
        assert not (tmp_path / "out").exists()

    def test_what_is_a_mebibyte_longer_is_found_by_its_hash(self, store: FolderStore, tmp_path: Path) -> None:
        longer = DATA + b"\0" * (1 << 20)
        store.put(path_of(WHEEL), longer)
        with pytest.raises(CacheHashMismatch) as caught:
            Packages(store).fetch(WHEEL, tmp_path / "out")
        assert caught.value.details[1].endswith(hashlib.sha256(longer).hexdigest())

    def test_without_a_size_being_there_is_enough(self, store: FolderStore, wheel: Path) -> None:
        unsized = Artifact(WHEEL.filename, WHEEL.sha256, WHEEL.url)
        Packages(store).put(unsized, wheel)
        assert Packages(store).has(unsized)


class TestLocalPackages:
    def test_a_file_is_placed_once(self, tmp_path: Path) -> None:
        local = LocalPackages(tmp_path)
        assert local.find(WHEEL) is None
        placed = local.place(WHEEL, lambda stage: stage.write_bytes(DATA) and None)
        assert placed == tmp_path / "packages" / WHEEL.sha256[:2] / WHEEL.sha256 / WHEEL.filename
        assert stat.S_IMODE(placed.stat().st_mode) == 0o444
        before = placed.stat()
        again = local.place(WHEEL, lambda _: pytest.fail("it is there"))
        assert (again, local.find(WHEEL)) == (placed, placed)
        assert placed.stat() == before, "uv unpacks a wheel again whose times changed"
        assert list(placed.parent.iterdir()) == [placed]

    def test_what_fails_places_nothing(self, tmp_path: Path) -> None:
        def fill(stage: Path) -> None:
            stage.write_bytes(DATA[:100])
            raise CacheHashMismatch(WHEEL.filename, "cache", expected="a", got="b")

        local = LocalPackages(tmp_path)
        with pytest.raises(CacheHashMismatch):
            local.place(WHEEL, fill)
        assert local.find(WHEEL) is None
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_a_file_of_another_size_is_not_it(self, tmp_path: Path) -> None:
        local = LocalPackages(tmp_path)
        path = tmp_path / path_of(WHEEL)
        path.parent.mkdir(parents=True)
        path.write_bytes(DATA[:-1])
        assert local.find(WHEEL) is None
        assert local.place(WHEEL, lambda stage: stage.write_bytes(DATA) and None).read_bytes() == DATA

    def test_one_fills_and_the_others_wait(self, tmp_path: Path) -> None:
        filled: list[int] = []
        barrier = threading.Barrier(8)

        def fill(stage: Path) -> None:
            filled.append(1)
            stage.write_bytes(DATA)

        def place(_: int) -> Path:
            barrier.wait()
            return LocalPackages(tmp_path).place(WHEEL, fill)

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(place, range(8)))) == 1
        assert filled == [1]

    def test_one_process_fills_and_the_others_wait(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from envlock.cache.local import LocalPackages\n"
            "from envlock.model.artifact import Artifact\n"
            "def fill(stage):\n"
            "    time.sleep(0.3); print('filled'); stage.write_bytes(b'x')\n"
            "LocalPackages(Path(sys.argv[1])).place(Artifact('demo.whl', 'ab' * 32, ''), fill)"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        said = [process.communicate(timeout=60)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * 4
        assert sum(text.count("filled") for text in said) == 1

    def test_what_a_killed_process_left_is_taken_away(self, tmp_path: Path) -> None:
        folder = (tmp_path / path_of(WHEEL)).parent
        folder.mkdir(parents=True)
        (folder / f".{WHEEL.filename}.1-abcd.part").write_bytes(DATA[:100])
        local = LocalPackages(tmp_path)
        assert local.find(WHEEL) is None
        local.place(WHEEL, lambda stage: stage.write_bytes(DATA) and None)
        assert [path.name for path in folder.iterdir()] == [WHEEL.filename]

    def test_a_name_that_leads_out_is_refused(self, tmp_path: Path) -> None:
        evil = Artifact("../../../evil.whl", WHEEL.sha256, WHEEL.url)
        with pytest.raises(UnsafePath):
            LocalPackages(tmp_path / "home").place(evil, lambda stage: stage.write_bytes(DATA) and None)
        assert list(tmp_path.iterdir()) == []


def test_the_artifacts_of_a_lock() -> None:
    package = LockedPackage("demo", "1.0", WHEEL.filename, WHEEL.url, WHEEL.sha256, size=WHEEL.size)
    machine = Lock(LINUX_64, Requirements(), LockedPython("machine", "3.12.0"), (package,))
    build = LockedPython("uv", "3.12.4", "https://builds.example/1/cpython.tar.gz", "cpython.tar.gz", "cd" * 32)
    assert artifacts_of(machine) == (WHEEL,)
    assert artifacts_of(Lock(LINUX_64, Requirements(), build, (package,))) == (
        WHEEL,
        Artifact("cpython.tar.gz", "cd" * 32, "https://builds.example/1/cpython.tar.gz"),
    )
