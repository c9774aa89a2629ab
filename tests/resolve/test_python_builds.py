"""Exact Python builds are chosen from uv's list, offline; only their SHA-256 is fetched."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_ARM64
from envlock.model.lock import LockedPython
from envlock.resolve import python_builds
from envlock.resolve.python_builds import (
    Build,
    NoPythonBuild,
    PythonHostUnreachable,
    PythonSumMissing,
    exact_builds,
    newest_series,
)
from tests.cache.hosts import Handler, Host, Request
from tests.hydration.builds import served, sums


@cache
def all_builds() -> tuple[Build, ...]:
    return tuple(python_builds._builds())


def known(version: str) -> dict[str, Build]:
    return {build.arch: build for build in all_builds() if str(build.version) == version}


def mirror_of(folder: Path, *versions: str) -> dict[str, bytes]:
    """Release folders with SHA256SUMS of made-up archives for all archs of these versions."""
    releases: dict[str, dict[str, bytes]] = {}
    for version in versions:
        for build in known(version).values():
            releases.setdefault(build.folder.rsplit("/", 1)[1], {})[build.filename] = build.filename.encode()
    for release, files in releases.items():
        (folder / release).mkdir(parents=True, exist_ok=True)
        (folder / release / "SHA256SUMS").write_bytes(sums(files))
    return {name: data for files in releases.values() for name, data in files.items()}


def test_builds_are_the_plain_ones() -> None:
    builds = list(python_builds._builds())
    assert {build.arch for build in builds} == set(ARCHS)
    names = [build.filename for build in builds]
    assert all(name.startswith("cpython-3.") and "+20" in name for name in names)
    strange = ("musl", "freethreaded", "_v2", "_v3", "debug", "pypy")
    assert not [name for name in names if any(word in name for word in strange)]
    assert not any(build.version.is_prerelease for build in builds)
    assert len({(build.version, build.arch) for build in builds}) == len(builds)


def test_one_version_for_all_archs_its_sum_fetched_once(tmp_path: Path) -> None:
    files = mirror_of(tmp_path, "3.11.9", "3.11.8")
    with served(tmp_path) as host:
        locked = exact_builds(">=3.11.8,<3.11.10", ARCHS, mirror=f"{host.url}/")
    assert set(locked) == set(ARCHS)
    assert {python.version for python in locked.values()} == {"3.11.9"}
    for arch, python in locked.items():
        build = known("3.11.9")[arch]
        assert python == LockedPython(
            source="uv",
            version="3.11.9",
            url=build.url,
            filename=build.filename,
            sha256=hashlib.sha256(files[build.filename]).hexdigest(),
        )
        assert "127.0.0.1" not in python.url
        assert "%2B" in python.url
        assert "+" in python.filename
    assert host.paths == [f"/{known('3.11.9')[LINUX_64].folder.rsplit('/', 1)[1]}/SHA256SUMS"]


def test_a_version_that_one_arch_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mirror_of(tmp_path, "3.11.8")
    builds = [build for build in all_builds() if (str(build.version), build.arch) != ("3.11.9", OSX_ARM64)]
    monkeypatch.setattr(python_builds, "_builds", lambda: iter(builds))
    with served(tmp_path) as host:
        locked = exact_builds(">=3.11.8,<3.11.10", (LINUX_64, OSX_ARM64), mirror=host.url)
    assert {python.version for python in locked.values()} == {"3.11.8"}


def test_settings_of_the_user_do_not_change_the_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = list(python_builds._builds())
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", "file:///nowhere.json")
    monkeypatch.setenv("UV_PYTHON_PREFERENCE", "only-system")
    (tmp_path / "uv.toml").write_text('python-downloads = "never"\n')
    monkeypatch.chdir(tmp_path)
    assert list(python_builds._builds()) == before


def test_no_build_for_all_archs_says_what_there_is() -> None:
    with pytest.raises(NoPythonBuild) as caught:
        exact_builds("<3.7", ARCHS)
    assert caught.value.exit_status == 4
    assert "`<3.7` for each of linux-64, linux-aarch64, osx-64, osx-arm64" in caught.value.render()


def test_what_each_arch_has_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = [build for build in all_builds() if build.arch == LINUX_64]
    monkeypatch.setattr(python_builds, "_builds", lambda: iter(builds))
    with pytest.raises(NoPythonBuild) as caught:
        exact_builds("==3.11.9", (LINUX_64, LINUX_AARCH64))
    assert caught.value.details == ("linux-64: 3.11.9", "linux-aarch64: none")


@pytest.mark.parametrize(
    ("specifier", "series"),
    [(">=3.9,<3.12", "3.11"), ("==3.10.*", "3.10"), (">=3.12.1,<3.13", "3.12")],
)
def test_the_newest_series_in_a_range(specifier: str, series: str) -> None:
    assert newest_series(specifier) == series


def test_the_newest_series_of_all_and_of_none() -> None:
    assert int(newest_series("").partition(".")[2]) >= 14
    with pytest.raises(NoPythonBuild):
        newest_series(">=4")


def test_a_host_that_is_not_there_is_an_error_with_ways_out(tmp_path: Path) -> None:
    with served(tmp_path) as host:
        pass
    with pytest.raises(PythonHostUnreachable) as caught:
        exact_builds("==3.11.9", (LINUX_64,), mirror=host.url_with("user:secret"))
    said = caught.value.render()
    assert caught.value.exit_status == 4
    assert host.url in said
    assert "secret" not in said
    assert "python-mirror" in said
    assert 'python-from = "machine"' in said


def test_a_mirror_without_the_release_is_an_error(tmp_path: Path) -> None:
    with served(tmp_path) as host, pytest.raises(PythonHostUnreachable, match="cannot download") as caught:
        exact_builds("==3.11.9", (LINUX_64,), mirror=host.url)
    assert "HTTP status 404" in caught.value.render()


def test_a_mirror_that_is_no_url_is_an_error() -> None:
    with pytest.raises(PythonHostUnreachable):
        exact_builds("==3.11.9", (LINUX_64,), mirror="somewhere")


@pytest.mark.parametrize(
    "content", [b"", b"<html>a portal</html>", b"zz  {name}\n", b"\xff\xfe", b"{sha}  other.tar.gz\n"]
)
def test_sums_that_lack_the_archive_are_an_error(tmp_path: Path, content: bytes) -> None:
    mirror_of(tmp_path, "3.11.9")
    build = known("3.11.9")[LINUX_64]
    path = tmp_path / build.folder.rsplit("/", 1)[1] / "SHA256SUMS"
    path.write_bytes(content.replace(b"{name}", build.filename.encode()).replace(b"{sha}", b"0" * 64))
    with served(tmp_path) as host, pytest.raises(PythonSumMissing, match="SHA256SUMS") as caught:
        exact_builds("==3.11.9", (LINUX_64,), mirror=host.url)
    assert caught.value.exit_status == 3
    assert build.filename in caught.value.render()


@pytest.mark.parametrize("limit", ["_SUMS_BYTES", "_SUMS_SECONDS"])
def test_a_host_that_sends_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(python_builds, limit, 0.2 if limit == "_SUMS_SECONDS" else 100)

    def send(handler: Handler, _: Request) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        with suppress(OSError):
            while True:
                handler.wfile.write(b"x\n")
                time.sleep(0.01)

    with Host(send) as host, pytest.raises(PythonHostUnreachable) as caught:
        exact_builds("==3.11.9", [LINUX_64], mirror=host.url("python"))
    assert "it sent" in caught.value.details[0]


def test_credentials_of_a_mirror_are_sent_and_kept_nowhere(tmp_path: Path) -> None:
    mirror_of(tmp_path, "3.11.9")
    with served(tmp_path) as host:
        locked = exact_builds("==3.11.9", (LINUX_64,), mirror=host.url_with("user:secret"))
    assert host.authorizations == ["Basic " + base64.b64encode(b"user:secret").decode()]
    assert "secret" not in repr(locked)


def test_uv_is_the_only_process_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Watched(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            started.append(Path(command[0]).name)
            super().__init__(command, **options)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    newest_series(">=3.9")
    assert started == ["uv"]
