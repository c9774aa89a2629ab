"""A project's lock becomes a prefix: from the cache alone, with Pythons of every source."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.interpreters import Interpreter, NoInterpreter, find_interpreter, machine_series
from envlock.lockfile.drift import check
from envlock.lockfile.folder import read_lock
from envlock.model.arch import host_arch
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirements import Requirements
from envlock.places import home
from envlock.resolve import python_builds
from envlock.uv_command import run_uv
from envlock.workflow import pythons as module
from envlock.workflow.choice import choose_one
from envlock.workflow.hydrate import find_lock, find_prefix, hydrate
from envlock.workflow.lock import lock as lock_project
from envlock.workflow.pythons import LockedPythons, allows
from tests.conftest import Envlock, ProjectFolder
from tests.hydrate.builds import SERIES, VERSION, served, sums
from tests.hydrate.making import Heard, Making, missing_files
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
    assert find_prefix(lock) is None
    prefix = hydrate(loaded, lock)
    assert hydrate(loaded, lock) == find_prefix(lock) == prefix
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


# Pythons of the machine.


def lock_for(requirement: str = "", *, version: str = f"{SERIES}.0", source: str = "machine") -> Lock:
    return Lock(host_arch(), Requirements(python=requirement), LockedPython(source, version), ())


@pytest.mark.parametrize(
    ("requirement", "oldest", "found", "verdict"),
    [
        ("", "3.12.0", "3.12.9", True),
        (">=3.12.4,<3.13", "3.12.4", "3.12.3", False),
        (">=3.12.4,<3.13", "3.12.4", "3.12.4", True),
        ("<3.12.5", "3.12.0", "3.12.5", False),
        (">=3.12", "3.12.0", "3.13.0", False),
        (">=3.12", "3.12.0", "3.12.0rc1", False),
        ("!=3.12.7", "3.12.0", "3.12.7", False),
    ],
)
def test_which_versions_a_lock_allows(requirement: str, oldest: str, found: str, verdict: bool) -> None:
    assert allows(lock_for(requirement, version=oldest), found) is verdict


def test_an_exact_build_allows_itself_alone() -> None:
    lock = lock_for(version="3.12.4", source="uv")
    assert [version for version in ("3.12.3", "3.12.4", "3.12.5") if allows(lock, version)] == ["3.12.4"]


def test_the_interpreter_of_the_machine_serves(tmp_path: Path) -> None:
    pythons = LockedPythons(Making(tmp_path), Heard())
    found = pythons.provide(lock_for())
    assert found == find_interpreter(SERIES, lambda version: True)
    assert pythons.still_serves(lock_for(), found.path) == found
    assert pythons.still_serves(lock_for(f"<{SERIES}"), found.path) is None
    assert pythons.still_serves(lock_for(), tmp_path / "gone") is None


@pytest.fixture
def without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The only way out is a proxy that refuses everything."""
    with served(tmp_path) as host:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, host.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield


def missing_series() -> str:
    """A series that uv knows and this machine does not have."""
    here = machine_series()
    for minor in range(int(python_builds.newest_series("").partition(".")[2]), 8, -1):
        if f"3.{minor}" not in here:
            return f"3.{minor}"
    pytest.skip("this machine has every Python")


@pytest.mark.usefixtures("without_network")
def test_no_interpreter_and_no_network_says_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_patience(arguments: Sequence[str], *, extra: Mapping[str, str]) -> object:
        return run_uv(arguments, extra={**extra, "UV_HTTP_RETRIES": "0"})

    monkeypatch.setattr(module, "run_uv", without_patience)
    series = missing_series()
    heard = Heard()
    lock = lock_for(f"=={series}.*", version=f"{series}.0")
    with pytest.raises(NoInterpreter) as caught:
        LockedPythons(Making(tmp_path), heard).provide(lock)
    said = caught.value.render()
    assert f"there is no CPython {series} that fits `=={series}.*` on this machine" in said
    assert "other series here:" in said
    assert "uv could not download one: Failed to install cpython-" in said
    assert 'python-from = "uv"' in said
    assert any("uv downloads one" in note for note in heard.notes)


def test_offline_asks_no_network(tmp_path: Path) -> None:
    series = missing_series()
    with pytest.raises(NoInterpreter) as caught:
        LockedPythons(Making(tmp_path), Heard(), offline=True).provide(lock_for(version=f"{series}.0"))
    assert "disabled" in caught.value.render()


def test_where_only_chosen_pythons_may_serve_none_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVLOCK_PYTHONS", f"only:{tmp_path}")
    heard = Heard()
    with pytest.raises(NoInterpreter):
        LockedPythons(Making(tmp_path), heard).provide(lock_for())
    assert heard.notes == []


def test_uv_downloads_one_where_the_machine_has_none(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv's own list is the one thing exchanged: it names a real archive, on loopback."""
    data = archive.read_bytes()
    shutil.copy(archive, tmp_path / "cpython.tar.gz")
    system, machine = ("linux", "gnu") if sys.platform == "linux" else ("darwin", "none"), os.uname().machine
    major, minor, patch = map(int, VERSION.split("."))
    with served(tmp_path) as host:
        listed = {
            f"cpython-{VERSION}-{system[0]}-{machine}-{system[1]}": {
                "name": "cpython",
                "arch": {"family": machine.replace("arm64", "aarch64"), "variant": None},
                "os": system[0],
                "libc": system[1],
                "major": major,
                "minor": minor,
                "patch": patch,
                "prerelease": "",
                "url": f"{host.url}/cpython.tar.gz",
                "sha256": sums({"x": data}).decode().split()[0],
                "variant": None,
                "build": "20240107",
            }
        }
        (tmp_path / "list.json").write_text(json.dumps(listed))
        list_url = (tmp_path / "list.json").as_uri()
        monkeypatch.setattr(
            module,
            "run_uv",
            lambda arguments, *, extra: run_uv([*arguments, "--python-downloads-json-url", list_url], extra=extra),
        )
        elsewhere = find_interpreter
        pythons = home() / "pythons"

        def only_envlocks_own(series: str, accepts: object, *, wanted: str) -> Interpreter:
            monkeypatch.setenv("ENVLOCK_PYTHONS", f"only:{os.pathsep.join(map(str, pythons.glob('cpython-*')))}")
            try:
                return elsewhere(series, accepts, wanted=wanted)  # type: ignore[arg-type]
            finally:
                monkeypatch.delenv("ENVLOCK_PYTHONS")

        monkeypatch.setattr(module, "find_interpreter", only_envlocks_own)
        heard = Heard()
        found = LockedPythons(Making(tmp_path), heard).provide(lock_for(f"=={SERIES}.*"))
    assert host.paths == ["/cpython.tar.gz"]
    assert found.version == VERSION
    assert pythons in found.path.parents
    assert any(str(found.path.parent.parent) in note for note in heard.notes)
    making = Making(tmp_path)
    making.write_artifacts()
    assert missing_files(making.ensure(pythons=LockedPythons(making, heard))) == []


# Exact builds.


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Path:
    """A mirror with the running version's builds: this arch's is real, the others are bytes."""
    folder = tmp_path_factory.mktemp("builds")
    for build in python_builds._builds():
        if str(build.version) != VERSION:
            continue
        release = folder / build.folder.rsplit("/", 1)[1]
        release.mkdir(exist_ok=True)
        data = archive.read_bytes() if build.arch == host_arch() else build.filename.encode()
        (release / build.filename).write_bytes(data)
    for release in folder.iterdir():
        files = {path.name: path.read_bytes() for path in release.iterdir()}
        (release / "SHA256SUMS").write_bytes(sums(files))
    if not list(folder.iterdir()):
        pytest.skip(f"uv has no build of {VERSION}")
    return folder


def test_an_exact_build_is_locked_mirrored_and_hydrated_from_the_cache(
    project: ProjectFolder, builds: Path, envlock: Envlock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(builds) as host:
        settings = f'python-from = "uv"\npython-mirror = "{host.url}"'
        project.write_env("alpha==1.1", python=f"=={VERSION}", settings=settings)
        envlock("lock")
        lock = read_lock(project.lock_of(host_arch()))
        assert lock.python.source == "uv"
        assert host.url not in project.lock_of(host_arch()).read_text()
        assert envlock("check").status == 0
        envlock("push")
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "another-home"))
    monkeypatch.setenv("ENVLOCK_PYTHONS", "only:")
    prefix = Path(envlock("path", "--offline").stdout.strip())
    assert missing_files(prefix) == []
    code = "import alpha, platform, sys; print(platform.python_version(), sys.base_prefix)"
    said = envlock("run", "--", "python", "-c", code)
    assert said.stdout == f"{VERSION} {home()}/pythons/{lock.python.sha256}/python\n"
    shutil.rmtree(home() / "pythons")
    assert envlock("path", "--no-hydrate", check=1).status == 1
    assert envlock("run", "--offline", "--", "python", "-c", "import alpha").status == 0


def test_an_exact_build_of_another_version_than_it_says_is_refused(
    project: ProjectFolder, builds: Path, envlock: Envlock, tmp_path: Path
) -> None:
    other = next(
        build
        for build in python_builds._builds()
        if build.arch == host_arch() and str(build.version).startswith(f"{SERIES}.") and str(build.version) != VERSION
    )
    release = tmp_path / "mirror" / other.folder.rsplit("/", 1)[1]
    release.mkdir(parents=True)
    (real,) = (path for path in builds.glob("*/*.tar.gz") if path.stat().st_size > 1_000_000)
    shutil.copy(real, release / other.filename)
    (release / "SHA256SUMS").write_bytes(sums({other.filename: real.read_bytes()}))
    with served(tmp_path / "mirror") as host:
        settings = f'python-from = "uv"\npython-mirror = "{host.url}"'
        project.write_env("alpha==1.1", python=f"=={other.version}", settings=settings, archs=[host_arch()])
        envlock("lock")
        ran = envlock("path", check=3)
    assert f"it holds CPython {VERSION}" in ran.stderr


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
