"""`envlock cache verify --repair` of what comes from conda channels, and of a cache that others use meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.cache.gc_lock import Needs, announced
from envlock.cache.layout import environment_place
from envlock.cache.open import open_store
from envlock.cache.packages import path_of
from envlock.cache.port import Entry, Store
from envlock.cache.verify import verify
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.artifact import artifacts_of
from envlock.places import home
from envlock.reporter import Reporter
from envlock.words import short_hashes
from envlock.workflow.cache import verify_cache
from envlock.workflow.push import push
from tests.channel import Channel
from tests.conftest import Envlock
from tests.support import ProjectFolder
from tests.workflow.made_up import made_up_project, packages_in, paths, store_of


class TestConda:
    @pytest.fixture
    def own(self, make_channel: Callable[..., Channel], monkeypatch: pytest.MonkeyPatch) -> Channel:
        channel = make_channel(whole=True)
        monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
        return channel

    @pytest.fixture
    def store(self, conda_project: ProjectFolder, own: Channel, envlock: Envlock) -> Store:
        """The cache of a mixed environment, whose packages are nowhere else on this machine."""
        settings = "metaflow-requirements = false"
        conda_project.write_conda_env("alpha", pypi=["lam"], settings=settings, archs=["linux-64"])
        envlock("lock")
        envlock("push")
        shutil.rmtree(home() / "packages", ignore_errors=True)
        return open_store(str(conda_project.folder / "envlock-cache"))

    def path_of(self, store: Store, start: str) -> str:
        (path,) = (path for path in paths(store, "packages") if path.rpartition("/")[2].startswith(start))
        return path

    def test_archives_come_from_their_channel_again(self, store: Store, envlock: Envlock) -> None:
        before = {path: store.read(path) for path in paths(store, "packages", "envs")}
        conda, python, wheel = (self.path_of(store, start) for start in ("alpha-", "python-3", "lam-"))
        store.put(conda, before[conda][:-1] + b"?")
        store.delete(python)
        store.put(wheel, b"cut")
        (environment,) = paths(store, "envs")
        store.put(environment, b"")
        said = envlock("cache", "verify", check=3).stdout
        assert all(short_hashes(path) in said for path in (conda, wheel, environment))
        said = envlock("cache", "verify", "--repair").stdout
        assert said.count("\n  repaired\n") == 4 - 1, "of a lost lock, nobody knows what it names"
        assert {path: store.read(path) for path in paths(store, "packages", "envs")} == before
        envlock("cache", "verify")

    def test_what_the_channel_has_no_more_is_named(self, store: Store, own: Channel, envlock: Envlock) -> None:
        path, other = self.path_of(store, "alpha-"), self.path_of(store, "lam-")
        store.put(path, b"cut")
        store.delete(other)
        for name in own.records("alpha"):
            own.tamper(f"main/{name}")
        ran = envlock("cache", "verify", "--repair", check=3)
        assert f"damaged-package: {short_hashes(path)}" in ran.stdout
        assert "2 findings, 1 not repaired" in ran.stdout
        assert "upstream-hash-mismatch" in ran.stderr
        assert store.entry(other) is not None
        told = envlock("cache", "verify", "--repair", "--json", check=3).json
        assert [(each["path"], each["repaired"]) for each in told["findings"]] == [(path, False)]
        assert [error["code"] for error in told["errors"]] == ["upstream-hash-mismatch"]


class TestAmongOthers:
    def test_from_this_machine_without_a_request(self, tmp_path: Path) -> None:
        """What is locked is at hosts that are not there."""
        project = made_up_project(tmp_path / "project", {"mine": ["own", "other"]})
        push(project)
        store = store_of(project)
        first, second = sorted(paths(store, "packages"))
        store.put(first, b"cut")
        store.delete(second)
        result = verify_cache(project, repair=True)
        assert (result.findings, result.failures) == ((), ())
        assert len(result.repaired) == 2

    def test_a_stray_that_a_push_is_about_to_name_stays(self, tmp_path: Path) -> None:
        project = made_up_project(tmp_path / "project", {"mine": ["own"]})
        other = made_up_project(tmp_path / "other", {"theirs": ["needed"]})
        store = store_of(project)
        lock = read_lock(lock_files(other.lock_folder)[0])
        needed = path_of(artifacts_of(lock)[0])
        store.put(needed, b"cut")
        with announced(store, Needs(packages=frozenset({needed}))):
            assert [each.path for each in verify_cache(project, repair=True).findings] == [needed]
            assert store.entry(needed) is not None
        assert verify_cache(project, repair=True).findings == ()
        assert store.entry(needed) is None

    def test_what_goes_and_comes_meanwhile_is_no_damage(self, tmp_path: Path) -> None:
        """An environment goes, and then its packages, after they were listed; another one comes."""
        project = made_up_project(tmp_path / "project", {"old": ["first", "shared"]})
        later = made_up_project(tmp_path / "later", {"new": ["second", "shared"]})
        push(project)
        store = store_of(project)
        lock = read_lock(lock_files(project.lock_folder)[0])

        class Busy:
            """Sweeps the old environment before a package is hashed, and pushes the new one between listings."""

            def __getattr__(self, name: str) -> object:
                return getattr(store, name)

            def entries(self, folder: str) -> list[Entry]:
                found = list(store.entries(folder))
                if folder == "envs":
                    push(later)
                return found

            def sha256(self, path: str) -> str:
                store.delete(environment_place(lock).path)
                store.delete(path_of(artifacts_of(lock)[0]))
                return store.sha256(path)

        result = verify(Busy(), Reporter())  # type: ignore[arg-type]
        assert result.findings == ()
        assert packages_in(store) == {"second", "shared"}

    def test_an_environment_that_is_swept_while_it_is_read(self, tmp_path: Path) -> None:
        project = made_up_project(tmp_path / "project", {"old": ["first", "shared"]})
        push(project)
        store = store_of(project)

        class Swept:
            def __getattr__(self, name: str) -> object:
                return getattr(store, name)

            def entries(self, folder: str) -> list[Entry]:
                if folder == "packages":
                    for path in paths(store, "envs", "packages"):
                        store.delete(path)
                return list(store.entries(folder))

        result = verify(Swept(), Reporter())  # type: ignore[arg-type]
        assert (result.findings, result.contents.environments) == ((), ())
