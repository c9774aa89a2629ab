"""A project's lock becomes a prefix: from the cache alone, with Pythons of every source."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.config.selection import choose_one
from envlock.errors import EnvlockError
from envlock.hydration.prefix import find_prefix
from envlock.model.arch import host_arch
from envlock.places import home
from envlock.workflow.check import check
from envlock.workflow.hydrate import find_lock, hydrate
from envlock.workflow.lock import lock as lock_project
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.builds import SERIES
from tests.hydration.making import missing_files
from tests.index import Index, Release
from tests.support import ProjectFolder as Folder


def test_hydrating_needs_only_the_cache(
    tmp_path: Path, make_index: type[Index], envlock: Envlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index()
    project = Folder.make(tmp_path / "project", index.url)
    project.write_env("alpha>=2", "lam", python=SERIES, archs=[host_arch()])
    envlock("lock")
    envlock("push")
    index.close()
    asked = len(index.requests)
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "another-home"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cold-cache"))
    prefix = Path(envlock("path", "--offline").stdout.strip())
    assert missing_files(prefix) == []
    assert envlock("run", "--", "lam").stdout == "lam 1.0\n"
    assert envlock("run", "--", "python", "-c", "import alpha, beta; print(alpha.__version__)").stdout == "2.0\n"
    assert len(index.requests) == asked


def test_offline_without_a_cache_is_an_error(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    ran = envlock("path", "--offline", check=5)
    assert "error[not-in-cache]" in ran.stderr
    assert not list((home() / "environments").glob("metaflow_*"))


def test_upstream_serves_where_the_cache_does_not(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    loaded = load_project(project.config)
    environment = choose_one(loaded)
    lock = find_lock(loaded, environment, host_arch())
    assert find_prefix(lock, home()) is None
    prefix = hydrate(loaded, lock)
    assert hydrate(loaded, lock) == find_prefix(lock, home()) == prefix
    assert prefix == home() / "environments" / f"metaflow_{lock.req_id}_{lock.full_id}"


def test_every_release_of_python_gets_what_any_of_them_needs(tmp_path: Path, make_index: type[Index]) -> None:
    """One marker holds for the first release of the series, and one for the last that can be: not both here."""
    needs = (f"lam ; python_full_version < '{SERIES}.1'", f"zeta ; python_full_version >= '{SERIES}.59'")
    served = make_index(Release("app", "1.0", requires=needs), Release("lam", "1.0"), Release("zeta", "1.0"))
    project = Folder.make(tmp_path / "project", served.url)
    project.write_env("app", python=SERIES, archs=[host_arch()])
    loaded = load_project(project.config)
    lock_project(loaded)
    assert check(loaded).findings == ()
    prefix = hydrate(loaded, find_lock(loaded, choose_one(loaded), host_arch()))
    assert missing_files(prefix) == []
    assert {path.name for path in prefix.glob("lib/python3*/site-packages/*.dist-info")} == {
        "app-1.0.dist-info",
        "lam-1.0.dist-info",
        "zeta-1.0.dist-info",
    }


def test_a_changed_package_of_this_machine_is_refused(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    shutil.rmtree(envlock("path").stdout.strip())
    (wheel,) = (home() / "packages").rglob("alpha-*.whl")
    wheel.chmod(0o644)
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    ran = envlock("path", check=3)
    assert "error[changed-artifact]: the file of `alpha` 1.1 is not the one that was locked" in ran.stderr
    assert f"rm '{wheel}'" in ran.stderr
    wheel.unlink()
    assert missing_files(Path(envlock("path").stdout.strip())) == []


# Which lock an environment has.


@pytest.fixture
def locked(project: ProjectFolder, envlock: Envlock) -> ProjectFolder:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    return project


def test_what_is_not_locked_is_refused_with_the_command(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    ran = envlock("path", check=1)
    assert "error[not-locked]" in ran.stderr
    assert "hint: envlock lock" in ran.stderr


def test_a_stale_lock_is_refused(locked: ProjectFolder, envlock: Envlock) -> None:
    locked.write_env("alpha==1.0", python=SERIES, archs=[host_arch()])
    ran = envlock("run", "--", "python", check=1)
    assert "error[stale-lock]" in ran.stderr
    assert "hint: envlock lock" in ran.stderr


def test_an_arch_that_is_not_locked_is_refused(locked: ProjectFolder, envlock: Envlock) -> None:
    other = "osx-64" if host_arch() != "osx-64" else "linux-64"
    locked.write_env("alpha==1.1", python=SERIES, archs=[other])
    ran = envlock("path", check=1)
    assert "error[arch-not-locked]" in ran.stderr
    assert host_arch() in ran.stderr


def test_two_locks_are_refused(locked: ProjectFolder, envlock: Envlock) -> None:
    path = locked.lock_of(host_arch())
    path.with_name(f"pylock.{'0' * 40}.toml").write_bytes(path.read_bytes())
    assert envlock("path", check=False).status in {1, 3}


def test_a_damaged_lock_is_refused(locked: ProjectFolder, envlock: Envlock) -> None:
    path = locked.lock_of(host_arch())
    path.write_text(path.read_text().replace('version = "1.1"', 'version = "1.0"'))
    assert "error[damaged-lock]" in envlock("path", check=3).stderr


def test_several_threads_hydrate_one_lock_once(locked: ProjectFolder) -> None:
    import threading

    project = load_project(locked.config)
    lock = find_lock(project, choose_one(project), host_arch())
    found: list[Path | EnvlockError] = []

    def work() -> None:
        try:
            found.append(hydrate(project, lock))
        except EnvlockError as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [home() / "environments" / lock.prefix_name] * 4
