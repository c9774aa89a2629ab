"""Which interpreter a lock is hydrated with: one of the machine, one that uv downloads, or an exact build."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from envlock import uv_command
from envlock.hydration import pythons as module
from envlock.hydration.errors import BadPythonArchive, ChangedArtifact, DiskFull
from envlock.hydration.pythons import LockedPythons, allows, unpack, unpacked
from envlock.interpreters import Interpreter, NoInterpreter, find_interpreter, machine_series
from envlock.lockfile.folder import read_lock
from envlock.model.arch import host_arch
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirements import Requirements
from envlock.places import home
from envlock.resolve import python_builds
from envlock.uv_command import run_uv
from metaflow_extensions.envlock.plugins.node import pythons as node_module
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.builds import SERIES, VERSION, served, sums
from tests.hydration.making import Heard, Making, missing_files


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
    real = node_module.extract

    def counting(members: tarfile.TarFile, folder: Path) -> None:
        times.append(folder)
        real(members, folder)

    monkeypatch.setattr(node_module, "extract", counting)
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


@pytest.fixture
def without_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `tarfile` as before Python 3.10.12 and 3.11.4: it has no filters, and writes what an archive says."""
    if hasattr(tarfile, "data_filter"):
        monkeypatch.setattr(tarfile.TarFile, "extraction_filter", staticmethod(tarfile.fully_trusted_filter))
        monkeypatch.delattr(tarfile, "data_filter")


@pytest.fixture
def with_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `tarfile` with filters: a later Python's, where this one's has none."""
    if not hasattr(tarfile, "data_filter"):
        from backports.zstd import tarfile as later

        monkeypatch.setitem(sys.modules, "tarfile", later)
        monkeypatch.setattr(node_module, "tarfile", later)


@pytest.mark.parametrize("check", ["with_filter", "without_filter"])
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
        [
            special("x/y/up", tarfile.SYMTYPE, ".."),
            special("out", tarfile.SYMTYPE, "x/./y/up/../.."),
            ("./out/./evil", b"x"),
        ],
        [special("out", tarfile.SYMTYPE, "x/up/.."), special("x/up", tarfile.SYMTYPE, "..")],
    ],
    ids=lambda members: " ".join(name for name, _ in members),
)
def test_nothing_is_written_outside(
    members: list[tuple[str, bytes | tarfile.TarInfo]],
    check: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    request.getfixturevalue(check)
    inner = tmp_path / "deep" / "down" / "pythons"
    bad = tar_of(tmp_path / "bad.tar.gz", *members)
    before = {path for path in tmp_path.rglob("*") if inner not in path.parents}
    with pytest.raises(BadPythonArchive, match=r"bad\.tar\.gz"):
        unpack(locked(bad), bad, inner)
    after = {path for path in tmp_path.rglob("*") if inner not in path.parents}
    assert after - before <= {inner.parent.parent, inner.parent, inner}
    assert not Path("/tmp/envlock-evil").exists()
    assert left(inner) == []


@pytest.mark.parametrize("check", ["with_filter", "without_filter"])
def test_a_real_build_passes(archive: Path, tmp_path: Path, check: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(check)
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
    pythons = LockedPythons(Making(tmp_path), home(), Heard())
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

    monkeypatch.setattr(uv_command, "run_uv", without_patience)
    series = missing_series()
    heard = Heard()
    lock = lock_for(f"=={series}.*", version=f"{series}.0")
    with pytest.raises(NoInterpreter) as caught:
        LockedPythons(Making(tmp_path), home(), heard).provide(lock)
    said = caught.value.render()
    assert f"there is no CPython {series} that fits `=={series}.*` on this machine" in said
    assert "other series here:" in said
    assert "uv could not download one: Failed to install cpython-" in said
    assert 'python-from = "uv"' in said
    assert any("downloading CPython" in note for note in heard.notes)


def test_offline_uses_no_network(tmp_path: Path) -> None:
    series = missing_series()
    with pytest.raises(NoInterpreter) as caught:
        LockedPythons(Making(tmp_path), home(), Heard(), offline=True).provide(lock_for(version=f"{series}.0"))
    assert "disabled" in caught.value.render()


def test_where_only_chosen_pythons_may_serve_none_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVLOCK_PYTHONS", f"only:{tmp_path}")
    heard = Heard()
    with pytest.raises(NoInterpreter):
        LockedPythons(Making(tmp_path), home(), heard).provide(lock_for())
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
            uv_command,
            "run_uv",
            lambda arguments, *, extra: run_uv([*arguments, "--python-downloads-json-url", list_url], extra=extra),
        )
        elsewhere = find_interpreter
        pythons = home() / "pythons"

        def only_envlocks_own(series: str, accepts: object, *, wanted: str, downloads: Path) -> Interpreter:
            monkeypatch.setenv("ENVLOCK_PYTHONS", f"only:{os.pathsep.join(map(str, pythons.glob('cpython-*')))}")
            try:
                return elsewhere(series, accepts, wanted=wanted)  # type: ignore[arg-type]
            finally:
                monkeypatch.delenv("ENVLOCK_PYTHONS")

        monkeypatch.setattr(module, "find_interpreter", only_envlocks_own)
        heard = Heard()
        found = LockedPythons(Making(tmp_path), home(), heard).provide(lock_for(f"=={SERIES}.*"))
    assert host.paths == ["/cpython.tar.gz"]
    assert found.version == VERSION
    assert pythons in found.path.parents
    assert any(str(found.path.parent.parent) in note for note in heard.notes)
    making = Making(tmp_path)
    making.write_artifacts()
    assert missing_files(making.hydrate(pythons=LockedPythons(making, home(), heard))) == []


# Exact builds, from `python-from = "uv"` to the prefix.


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
