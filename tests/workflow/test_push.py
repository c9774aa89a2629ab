from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.download import Upstream
from envlock.cache.environments import Environments
from envlock.cache.errors import (
    CacheUnusable,
    UpstreamHashMismatch,
    UpstreamMissing,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from envlock.cache.layout import package_at
from envlock.cache.open import open_store
from envlock.cache.port import Store
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, ManyErrors
from envlock.lockfile.errors import DamagedLock, NotLocked, TwoLocks
from envlock.lockfile.folder import lock_files, read_lock, write_lock
from envlock.model.arch import ARCHS
from envlock.model.lock import LockedPython
from envlock.places import home
from envlock.workflow.push import PushResult, push
from tests.cache.locks import locked_project
from tests.conftest import Envlock
from tests.index import DROP, Index, Release
from tests.support import ENVLOCK, snapshot, wait_until
from tests.workflow.recording import Recorder

ALPHA = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.5-py3-none-{platform}.whl"
LAM = "lam-1.0-py3-none-any.whl"


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    """Two environments that share a package, for four archs."""
    return locked_project(tmp_path / "project", index, {"one": [ALPHA, BETA], "two": [ALPHA, LAM]}, archs=ARCHS)


@pytest.fixture
def own(make_index: Callable[..., Index]) -> Index:
    """An index that a test may spoil."""
    return make_index()


def files_of(project: Project) -> dict[str, int]:
    """Every file of the project's cache, by path, with its size."""
    store = open_store(project.cache_url)
    return {entry.path: entry.size for folder in ("packages", "envs") for entry in store.entries(folder)}


def assert_whole(store: Store) -> None:
    """Every package has the bytes that its path says; every environment's packages are there."""
    for entry in store.entries("packages"):
        found = package_at(entry.path)
        assert found is not None, entry.path
        assert store.sha256(entry.path) == found[0]
    environments = Environments(store)
    for place in environments.places():
        for package in environments.read(place).packages:
            assert store.entry(f"packages/{package.sha256[:2]}/{package.sha256}/{package.filename}") is not None


def failures(result: PushResult) -> list[type[EnvlockError]]:
    return [type(error) for error in result.failures]


class TestMoving:
    def test_everything_is_mirrored(self, project: Project) -> None:
        recorder = Recorder()
        result = push(project, reporter=recorder)
        assert (result.packages, result.moved, result.environments, result.written) == (6, 6, 8, 8)
        assert result.failures == result.withheld == ()
        sizes = files_of(project)
        packages = {path: size for path, size in sizes.items() if path.startswith("packages/")}
        assert len(packages) == 6, "alpha once, lam once, beta for each arch"
        assert len(sizes) - len(packages) == 8
        assert result.moved_bytes == sum(packages.values())
        assert recorder.totals["pushing"] == recorder.done["pushing"] == result.moved_bytes
        assert set(recorder.over) == {"looking into the cache", "pushing"}
        assert_whole(open_store(project.cache_url))

    def test_what_is_cached_is_the_lock_itself(self, project: Project) -> None:
        push(project)
        environments = Environments(open_store(project.cache_url))
        cached = [environments.read(place) for place in environments.places()]
        locked = [read_lock(path) for path in lock_files(project.lock_folder)]
        assert sorted(cached, key=str) == sorted(locked, key=str)

    def test_a_second_push_moves_nothing(self, project: Project, tmp_path: Path) -> None:
        push(project)
        before = snapshot(tmp_path / "cache")
        recorder = Recorder()
        result = push(project, reporter=recorder)
        assert (result.moved, result.moved_bytes, result.written) == (0, 0, 0)
        assert result.moved_nothing
        assert "pushing" not in recorder.totals
        assert snapshot(tmp_path / "cache") == before

    def test_only_what_is_new_is_moved(self, project: Project, index: Index, tmp_path: Path) -> None:
        push(project)
        more = locked_project(
            tmp_path / "another",
            index,
            {"one": [ALPHA, BETA], "three": [ALPHA, "zeta-1.0-py3-none-any.whl"]},
            archs=ARCHS,
        )
        result = push(more)
        assert (result.moved, result.written) == (1, 4)

    def test_a_selection(self, project: Project) -> None:
        result = push(project, selection=Selection(environments=("two",), archs=("osx-64",)))
        assert (result.packages, result.environments, result.written) == (2, 1, 1)
        assert len(files_of(project)) == 3

    def test_sizes_that_no_lock_knows(self, tmp_path: Path, index: Index) -> None:
        project = locked_project(tmp_path / "project", index, {"one": [ALPHA, LAM]}, with_size=False)
        recorder = Recorder()
        result = push(project, reporter=recorder)
        assert recorder.totals["pushing"] == recorder.done["pushing"] == result.moved_bytes > 0
        assert push(project).moved_nothing

    def test_memory(self, tmp_path: Path, index: Index) -> None:
        settings = f'cache = "memory://{tmp_path.name}"'
        project = locked_project(tmp_path / "project", index, {"one": [ALPHA]}, settings=settings)
        assert push(project).moved == 1
        assert push(project).moved_nothing
        assert_whole(open_store(project.cache_url))

    def test_what_this_machine_has_is_not_downloaded(self, project: Project, own: Index, tmp_path: Path) -> None:
        alone = locked_project(tmp_path / "alone", own, {"one": [ALPHA, LAM]})
        for name, data in ((ALPHA, own.artifact(ALPHA).data), (LAM, b"damaged")):
            artifact = own.artifact(name)
            place = home() / "packages" / artifact.sha256[:2] / artifact.sha256 / name
            place.parent.mkdir(parents=True)
            place.write_bytes(data.ljust(len(artifact.data), b"\0"))
        result = push(alone)
        assert result.moved == 2
        assert [request.path.rpartition("/")[2] for request in own.downloads()] == [LAM]
        assert_whole(open_store(alone.cache_url))

    def test_nothing_is_left_in_the_temporary_folder(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
        push(project)
        assert list((tmp_path / "temporary").iterdir()) == []

    def test_two_at_once(self, project: Project) -> None:
        processes = [
            subprocess.Popen([ENVLOCK, "push"], cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(2)
        ]
        said = [process.communicate(timeout=60)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
        assert_whole(open_store(project.cache_url))
        assert push(project).moved_nothing


class TestWheelsThatCollide:
    @pytest.fixture
    def colliding(self, tmp_path: Path, make_index: Callable[..., Index]) -> Project:
        """Wheels that share a module, a command and a file that is the same in both."""
        one = Release(
            "one", "1.0", scripts={"tool": "one:main"}, files={"cv2/a.py": "1", "cv2/same.py": "", "cv2/b.py": "1"}
        )
        two = Release(
            "two", "1.0", scripts={"tool": "two:main"}, files={"cv2/a.py": "2", "cv2/same.py": "", "other/b.py": "1"}
        )
        names = [f"{name}-1.0-py3-none-any.whl" for name in ("one", "two")]
        return locked_project(
            tmp_path / "project", make_index(one, two), {"both": names, "one": names[:1]}, archs=ARCHS
        )

    def test_are_named(self, colliding: Project) -> None:
        result = push(colliding)
        assert {name for name, _ in result.collisions} == {f"both on {arch}" for arch in ARCHS}
        for _, found in result.collisions:
            assert [each.path for each in found] == ["bin/tool", "site-packages/cv2/a.py"]
            assert {each.owners for each in found} == {("one", "two")}
        assert push(colliding).collisions == ()

    def test_are_told_once_for_all_archs(self, colliding: Project, envlock: Envlock) -> None:
        ran = envlock("push")
        (warning,) = [line for line in ran.stderr.splitlines() if line.startswith("warning: ")]
        assert "one and two both contain bin/tool (and 1 more path): the one of two is used" in warning

    def test_what_is_the_environments_own_keeps_a_package_out(
        self, tmp_path: Path, make_index: Callable[..., Index]
    ) -> None:
        evil = Release("evil", "1.0", files={"evil-1.0.data/data/pyvenv.cfg": "home = /tmp"})
        names = {"bad": ["evil-1.0-py3-none-any.whl"], "good": ["good-1.0-py3-none-any.whl"]}
        result = push(locked_project(tmp_path / "project", make_index(evil, Release("good", "1.0")), names))
        assert [(error.code, error.exit_status) for error in result.failures] == [("reserved-path", 5)]
        assert result.withheld == ("bad on linux-64",)
        assert (result.moved, result.written) == (1, 1)


class TestPython:
    def test_an_exact_build_is_mirrored(self, tmp_path: Path, index: Index) -> None:
        """Any file of the index takes the place of the archive of a build."""
        project = locked_project(tmp_path / "project", index, {"one": [ALPHA]}, python=build_of(index))
        result = push(project)
        assert (result.packages, result.moved) == (2, 2)
        assert any(path.endswith("/pi-1.0.tar.gz") for path in files_of(project))
        assert push(project).moved_nothing

    def test_it_comes_from_the_mirror(self, tmp_path: Path, index: Index) -> None:
        build = replace(build_of(index), url="https://builds.invalid/download/20261101/pi-1.0.tar.gz")
        mirror = tmp_path / "mirror"
        (mirror / "20261101").mkdir(parents=True)
        (mirror / "20261101" / "pi-1.0.tar.gz").write_bytes(index.artifact("pi-1.0.tar.gz").data)
        settings = f'cache = "../cache"\npython-mirror = "{mirror.as_uri()}"'
        project = locked_project(tmp_path / "project", index, {"one": [ALPHA]}, python=build, settings=settings)
        assert push(project).moved == 2


def build_of(index: Index) -> LockedPython:
    artifact = index.artifact("pi-1.0.tar.gz")
    return LockedPython("uv", "3.12.4", index.file_url(artifact.filename), artifact.filename, artifact.sha256)


class TestVerify:
    def test_damage_of_the_same_size_is_found_and_mended(self, project: Project) -> None:
        push(project)
        damaged = damage_a_package(project)
        unread = push(project)
        assert unread.moved_nothing, "a size is all that is looked at"
        assert (unread.unread, unread.damaged) == (unread.packages, ())
        result = push(project, verify=True)
        assert result.moved == 1
        assert (result.unread, result.damaged) == (0, (damaged.rpartition("/")[2],))
        assert_whole(open_store(project.cache_url))
        assert files_of(project)[damaged] == result.moved_bytes

    def test_damage_of_another_size_is_mended_anyway(self, project: Project) -> None:
        push(project)
        store = open_store(project.cache_url)
        path = next(iter(store.entries("packages"))).path
        store.put(path, b"cut off")
        result = push(project)
        assert result.moved == 1
        assert result.damaged == (path.rpartition("/")[2],)
        assert result.unread == result.packages - 1
        assert_whole(store)

    def test_a_damaged_environment_is_written_again(self, project: Project) -> None:
        push(project)
        store = open_store(project.cache_url)
        path = next(iter(store.entries("envs"))).path
        store.put(path, store.read(path)[:-40])
        result = push(project)
        assert (result.moved, result.written) == (0, 1)
        assert_whole(store)


def damage_a_package(project: Project) -> str:
    """Change a byte of a cached package; its path."""
    store = open_store(project.cache_url)
    path = min(entry.path for entry in store.entries("packages"))
    data = bytearray(store.read(path))
    data[len(data) // 2] ^= 1
    store.put(path, bytes(data))
    return path


class TestLocks:
    """What is not fresh and whole is refused before anything is moved."""

    def refused(self, project: Project, kind: type[EnvlockError]) -> EnvlockError:
        with pytest.raises(kind) as caught:
            push(project)
        assert files_of(project) == {}
        return caught.value

    def test_missing(self, project: Project) -> None:
        for path in lock_files(project.lock_folder):
            path.unlink()
        error = self.refused(project, ManyErrors)
        assert error.exit_status == 1
        assert "envlock lock" in error.render()

    def test_one_missing(self, tmp_path: Path, index: Index) -> None:
        project = locked_project(tmp_path / "project", index, {"one": [ALPHA], "two": [LAM]})
        lock_files(project.lock_folder)[0].unlink()
        self.refused(project, NotLocked)

    def test_stale(self, project: Project) -> None:
        project.path.write_text(project.path.read_text().replace('one = "1', 'one = "2'))
        assert self.refused(load_project(project.path), ManyErrors).exit_status == 1

    def test_damaged(self, tmp_path: Path, index: Index) -> None:
        project = locked_project(tmp_path / "project", index, {"one": [ALPHA]})
        (path,) = lock_files(project.lock_folder)
        sha256 = index.artifact(ALPHA).sha256
        path.write_text(path.read_text().replace(sha256, sha256[::-1]))
        assert self.refused(project, DamagedLock).exit_status == 3

    def test_two_locks(self, tmp_path: Path, index: Index) -> None:
        project = locked_project(tmp_path / "project", index, {"one": [ALPHA]})
        (path,) = lock_files(project.lock_folder)
        write_lock(project.lock_folder, replace(read_lock(path), python=LockedPython("machine", "3.11.0")))
        self.refused(project, TwoLocks)

    def test_nothing_to_lock(self, tmp_path: Path, index: Index) -> None:
        project = locked_project(tmp_path / "project", index, {})
        nothing = PushResult(str(tmp_path / "cache"), packages=0, moved=0, moved_bytes=0, environments=0, written=0)
        assert push(project) == nothing


class TestFailures:
    def test_one_failing_package_does_not_stop_the_others(self, tmp_path: Path, own: Index) -> None:
        project = locked_project(tmp_path / "project", own, {"one": [ALPHA, BETA], "two": [LAM]})
        own.tamper(ALPHA)
        result = push(project)
        assert failures(result) == [UpstreamHashMismatch]
        assert ALPHA in result.failures[0].message
        assert (result.moved, result.written, result.withheld) == (2, 1, ("one on linux-64",))
        assert len(files_of(project)) == 3
        assert_whole(open_store(project.cache_url))
        with pytest.raises(UpstreamHashMismatch):
            result.raise_failures()
        own.mend()
        again = push(project)
        assert (again.moved, again.written, again.withheld) == (1, 1, ())

    def test_what_one_host_fails_to_give_is_told_once(self, tmp_path: Path, own: Index) -> None:
        project = locked_project(tmp_path / "project", own, {"one": [ALPHA, BETA], "two": [LAM]}, archs=ARCHS)
        own.fail("files/*", status=404)
        result = push(project)
        assert failures(result) == [UpstreamMissing]
        text = result.failures[0].render()
        assert "6 files" in result.failures[0].message
        assert all(name in text for name in (ALPHA, BETA.format(platform="macosx_11_0_arm64"), "and 1 more"))
        assert (result.moved, result.written, len(result.withheld)) == (0, 0, 8)
        assert files_of(project) == {}

    def test_different_causes_are_told_together(self, tmp_path: Path, own: Index) -> None:
        project = locked_project(tmp_path / "project", own, {"one": [ALPHA, LAM, "zeta-1.0-py3-none-any.whl"]})
        own.tamper(ALPHA)
        own.fail("files/*lam*", status=410)
        result = push(project)
        assert set(failures(result)) == {UpstreamHashMismatch, UpstreamMissing}
        with pytest.raises(ManyErrors) as caught:
            result.raise_failures()
        assert caught.value.exit_status == 4
        assert result.moved == 1

    def test_a_host_that_stumbles(
        self, project: Project, tmp_path: Path, own: Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(Upstream.__init__.__kwdefaults__, "pause", 0.01)
        alone = locked_project(tmp_path / "alone", own, {"one": [ALPHA, LAM]})
        own.fail("files/*", status=503, times=2)
        own.fail("files/*", status=DROP, times=1)
        assert push(alone).moved == 2

    def test_a_host_that_is_gone(self, tmp_path: Path, own: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(Upstream.__init__.__kwdefaults__, "pause", 0.01)
        project = locked_project(tmp_path / "project", own, {"one": [ALPHA, LAM], "two": [BETA]}, archs=ARCHS)
        own.close()
        result = push(project)
        assert failures(result) == [UpstreamUnreachable]
        assert "6 files" in result.failures[0].message

    def test_a_cache_that_cannot_be_written(self, project: Project, tmp_path: Path) -> None:
        (tmp_path / "cache").write_bytes(b"")
        with pytest.raises(CacheUnusable) as caught:
            push(project)
        assert str(tmp_path / "cache") in caught.value.message


class TestCredentials:
    SECRET = "s3cr3t-t0ken"

    def project(self, folder: Path, private: Index, *, url: str = "") -> Project:
        return locked_project(folder, private, {"one": [ALPHA, LAM]}, index_url=url)

    def test_in_the_url(self, tmp_path: Path, private_index: Index) -> None:
        project = self.project(tmp_path / "project", private_index, url=private_index.url_with("reader", self.SECRET))
        assert push(project).moved == 2
        for path in (tmp_path / "cache").rglob("*"):
            assert not path.is_file() or self.SECRET.encode() not in path.read_bytes()

    def test_in_a_variable(self, tmp_path: Path, private_index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        project = self.project(tmp_path / "project", private_index, url=private_index.url_with("reader", "${TOKEN}"))
        unset = push(project)
        assert [error.code for error in unset.failures] == ["unset-variable"]
        monkeypatch.setenv("TOKEN", self.SECRET)
        assert push(project).moved == 2

    def test_in_netrc(self, tmp_path: Path, private_index: Index, isolated: Path) -> None:
        (isolated / ".netrc").write_text(f"machine 127.0.0.1 login reader password {self.SECRET}\n")
        (isolated / ".netrc").chmod(0o600)
        assert push(self.project(tmp_path / "project", private_index)).moved == 2

    def test_in_the_environment(self, tmp_path: Path, private_index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENVLOCK_INDEX_127_0_0_1_USERNAME", "reader")
        monkeypatch.setenv("ENVLOCK_INDEX_127_0_0_1_PASSWORD", self.SECRET)
        assert push(self.project(tmp_path / "project", private_index)).moved == 2

    def test_none(self, tmp_path: Path, private_index: Index) -> None:
        result = push(self.project(tmp_path / "project", private_index))
        assert failures(result) == [UpstreamUnauthorized]
        assert "2 files" in result.failures[0].message

    @pytest.mark.parametrize("trouble", ["refused", "missing", "tampered", "gone"])
    def test_no_error_shows_them(self, tmp_path: Path, private_index: Index, trouble: str, envlock: Envlock) -> None:
        password = "wr0ng-s3cr3t" if trouble == "refused" else self.SECRET
        url = private_index.url_with("reader", password)
        project = self.project(tmp_path / "project", private_index, url=url)
        if trouble == "missing":
            private_index.fail("files/*", status=404)
        elif trouble == "tampered":
            private_index.tamper(ALPHA)
        elif trouble == "gone":
            private_index.close()
        done = envlock("push", cwd=project.folder, check=3 if trouble == "tampered" else 4)
        assert "error[upstream-" in done.stderr
        assert password not in done.stdout + done.stderr


BIG = Release("big", "1.0", files={"big/data.txt": os.urandom(3_000_000).hex()})
"""A wheel that takes a while to go through."""


class TestKilled:
    def test_a_push_that_is_killed_leaves_only_whole_files(
        self, tmp_path: Path, make_index: Callable[..., Index]
    ) -> None:
        """Killed again and again, each time a little later; what is there is always whole, and in the end all is."""
        index = make_index(BIG, *(Release(f"small{number}", "1.0") for number in range(12)))
        names = ["big-1.0-py3-none-any.whl", *(f"small{number}-1.0-py3-none-any.whl" for number in range(12))]
        project = locked_project(tmp_path / "project", index, {"one": names, "two": names[1:]})
        index.slow("files/*", seconds=0.1)
        store = open_store(project.cache_url)
        counts = []
        for delay in (0.0, 0.02, 0.05, 0.1):
            push_and_kill(project, tmp_path / "cache" / ".stage", delay)
            assert_whole(store)
            counts.append(len(list(store.entries("packages"))))
        assert counts[0] < 13, "it was killed before it was through"
        result = push(project)
        assert result.failures == ()
        assert result.moved == 13 - counts[-1]
        assert_whole(store)
        assert push(project).moved_nothing

    def test_an_interrupt_ends_it_at_once(self, tmp_path: Path, own: Index) -> None:
        project = locked_project(tmp_path / "project", own, {"one": [ALPHA, LAM]})
        own.fail("files/*lam*", status=DROP)  # asked at the same time as the other, and answered
        own.slow("files/*alpha*", seconds=20)
        process = subprocess.Popen(
            [ENVLOCK, "push"], cwd=project.folder, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        wait_until(lambda: any(request.status == DROP for request in own.requests))
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=15)[1]
        assert time.monotonic() - began < 5
        assert process.returncode == 130
        assert said.strip().splitlines()[-1] == "interrupted"
        assert files_of(project) == {}


def push_and_kill(project: Project, stage: Path, delay: float) -> None:
    """Kill a push so many seconds after it began to write."""
    shutil.rmtree(stage, ignore_errors=True)
    with subprocess.Popen([ENVLOCK, "push"], cwd=project.folder, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: stage.exists() or process.poll() is not None)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)


def test_the_hash_of_a_file_is_what_its_path_says(project: Project) -> None:
    push(project)
    wheels = list((project.folder.parent / "cache" / "packages").rglob("*.whl"))
    assert wheels
    for path in wheels:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name
