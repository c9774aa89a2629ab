"""The channels are what the other tests believe them to be: packages that solve, install and run, and real trouble."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import pytest
import tomli
from rattler import (
    Client,
    Gateway,
    GenericVirtualPackage,
    MatchSpec,
    PackageName,
    RepoDataRecord,
    Subdir,
    Version,
    install,
    solve,
)
from rattler.exceptions import GatewayError, SolverError
from rattler.package.build_string import BuildString
from uv import find_uv_bin

from tests.channel import DROP, Channel, Credentials, built_channels, data_package, python_package
from tests.channel.archive import pack
from tests.channel.built import small_packages
from tests.channel.catalogue import ARCHS
from tests.channel.interpreters import host_subdir
from tests.index import Index
from tests.support import ProjectFolder

T = TypeVar("T")
FOREIGN = "linux-64" if host_subdir() == "linux-aarch64" else "linux-aarch64"
SYSTEM = {
    "linux": {"__unix": "0", "__linux": "5.10", "__glibc": "2.28"},
    "osx": {"__unix": "0", "__osx": "12.0"},
}


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    async def to_the_end() -> T:
        try:
            return await coroutine
        finally:
            await asyncio.sleep(0.02)  # py-rattler's thread lets go of its last Python object

    return asyncio.run(to_the_end())


def solved(
    url: str, *specs: str, arch: str = "linux-64", system: dict[str, str] | None = None, others: tuple[str, ...] = ()
) -> dict[str, RepoDataRecord]:
    known = {**SYSTEM[arch.partition("-")[0]], **(system or {})}
    virtual = {name: value.partition(" ") for name, value in known.items()}
    records = run(
        solve(
            [url, *others],
            [MatchSpec(spec) for spec in specs],
            gateway=Gateway(cache_dir=Path.home() / "repodata", client=Client()),
            platforms=[arch, "noarch"],
            virtual_packages=[
                GenericVirtualPackage(PackageName(name), Version(version), BuildString(build or "0"))
                for name, (version, _, build) in virtual.items()
            ],
        )
    )
    return {record.name.normalized: record for record in records}


def versions(records: dict[str, RepoDataRecord]) -> dict[str, str]:
    return {name: str(record.version) for name, record in records.items()}


def installed(records: dict[str, RepoDataRecord], prefix: Path, **options: Any) -> Path:
    run(install(list(records.values()), prefix, cache_dir=Path.home() / "pkgs", show_progress=False, **options))
    return prefix


def said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def get(url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


@pytest.mark.parametrize("arch", ARCHS)
def test_solves_for_four_archs(channel: Channel, arch: str) -> None:
    channel.need("numpy")
    series = channel.series[0]
    found = solved(channel.url_of(), f"python {series}.*", "pandas", "requests", "hello", "pip", "builds", arch=arch)
    assert {"numpy", "python-dateutil", "urllib3", "python_abi", "python-tzdata"} <= set(found)
    assert {record.subdir for record in found.values()} == {arch, "noarch"}
    assert str(found["builds"].build) == f"py{series.replace('.', '')}_1"


def test_what_is_installed_runs_at_any_prefix(channel: Channel, tmp_path: Path) -> None:
    channel.need("numpy", "hello")
    records = solved(
        channel.url_of(),
        *(f"python {channel.series[0]}.*", "numpy", "pandas", "requests", "pip", "speak", "vintage", "hello", "builds"),
        arch=host_subdir(),
    )
    prefix = installed(records, tmp_path / "a prefix")
    code = (
        "import sys, ssl, sqlite3, ctypes, lzma, json, numpy, pandas, requests, builds; print(json.dumps([sys.prefix,"
    )
    code += "sys.version.split()[0], numpy.linalg.det(numpy.eye(3)), len(pandas.DataFrame({'a': [1]})), builds.FROM]))"
    python = str(records["python"].version)
    assert json.loads(said(prefix / "bin" / "python", "-c", code)) == [str(prefix), python, 1.0, 1, "conda"]
    assert said(prefix / "bin" / "speak") == f"speak {records['speak'].version} from conda\n"
    assert said(prefix / "bin" / "vintage") == "vintage 1.0 from conda\n"
    assert str(prefix / "lib") in said(prefix / "bin" / "pip", "--version")
    assert said(prefix / "bin" / "hello") == "hello 1.1\n"
    assert (prefix / "share" / "hello" / "prefix.txt").read_text() == f"{prefix}\n"
    frozen = json.loads(said(prefix / "bin" / "python", "-m", "pip", "list", "--format=json"))
    assert {"numpy", "pandas", "requests", "tzdata", "speak"} <= {each["name"] for each in frozen}


def test_each_series_of_python_runs(channel: Channel, tmp_path: Path) -> None:
    channel.need(series=2)
    for series in channel.series:
        records = solved(channel.url_of(), f"python {series}.*", "speak", "numpy", arch=host_subdir())
        prefix = installed(records, tmp_path / series)
        code = "import numpy, sys; print(sys.version_info[:2])"
        assert said(prefix / "bin" / "python", "-c", code) == f"{tuple(map(int, series.split('.')))}\n"
        assert said(prefix / "bin" / "speak") == "speak 1.1 from conda\n"


def test_a_pypi_installer_sees_what_conda_installed(channel: Channel, index: Index, tmp_path: Path) -> None:
    channel.need(series=1)
    specs = ("python", "lambda-tools", "beta 1.5", "gamma", "nu_name_space", "twins")
    prefix = installed(solved(channel.url_of(), *specs, arch=host_subdir()), tmp_path / "prefix")
    uv = (find_uv_bin(), "pip")
    python = ("--python", str(prefix / "bin" / "python"))
    said(*uv, "install", *python, "--index-url", index.url, "alpha", "zeta[full]")
    listed = json.loads(said(*uv, "list", *python, "--format", "json"))
    names = {each["name"]: each["version"] for each in listed}
    assert names == {
        "alpha": "2.0", "beta": "1.5", "gamma": "1.0", "lam": "1.0", "nu-name-space": "1.0", "rho": "1.0",
        "sigma": "1.0", "zeta": "1.0",
    }  # fmt: skip
    assert (
        said(prefix / "bin" / "python", "-c", "import beta, alpha; print(beta.FROM, alpha.__version__)")
        == "conda 2.0\n"
    )


def test_an_environment_for_another_arch_can_be_written(channel: Channel, tmp_path: Path) -> None:
    # Not one for macOS: py-rattler would have Apple's codesign sign what it changes there.
    records = solved(channel.url_of(), "python", "hello", "speak", arch=FOREIGN)
    prefix = installed(records, tmp_path / "prefix", platform=Subdir(FOREIGN))
    data = (prefix / "lib" / "libhello.so").read_bytes()
    assert f"{prefix}/share/hello/greeting.txt\0".encode() in data
    assert b"/placeholder" not in data


def test_a_prefix_can_be_too_long_for_a_binary(channel: Channel, tmp_path: Path) -> None:
    records = solved(channel.url_of(), "hello", arch=FOREIGN)
    with pytest.raises(Exception, match="target prefix cannot be longer than the placeholder"):
        installed(records, tmp_path / ("p" * 250), platform=Subdir(FOREIGN))


def test_traits_steer_the_solver(channel: Channel) -> None:
    url = channel.url_of()
    assert versions(solved(url, "upper", "dated")) == {"upper": "2.0", "lower": "2.0", "dated": "2.0"}
    assert str(solved(url, "accel")["accel"].build) == "cpu_0"
    assert str(solved(url, "accel", system={"__cuda": "12.0"})["accel"].build) == "cuda118_100"
    assert str(solved(url, "accel", system={"__cuda": "12.6"})["accel"].build) == "cuda124_200"
    assert versions(solved(url, "modern")) == {"modern": "1.0"}
    assert versions(solved(url, "modern", system={"__glibc": "2.39"})) == {"modern": "2.0"}
    assert versions(solved(url, "modern", arch="osx-64", system={"__osx": "14.2"})) == {"modern": "2.0"}
    assert str(solved(url, "vector")["vector"].build) == "plain_0"
    assert str(solved(url, "vector", system={"__archspec": "1 x86_64_v3"})["vector"].build) == "v3_1"
    assert versions(solved(url, "lower")) == {"lower": "2.0"}
    assert versions(solved(channel.url_of("other"), "lower", others=(url,))) == {"lower": "3.0"}
    for specs, arch in ((("east", "west"), "linux-64"), (("scarce",), "linux-aarch64"), (("wanting",), "linux-64")):
        with pytest.raises(SolverError):
            solved(url, *specs, arch=arch)


def test_a_moment_in_the_past_can_be_solved_for(channel: Channel) -> None:
    def at(*moment: int) -> str:
        cutoff = datetime(*moment, tzinfo=timezone.utc)
        gateway = Gateway(cache_dir=Path.home() / "repodata")
        found = solve(
            [channel.url_of()], [MatchSpec("dated")], gateway=gateway, platforms=["noarch"], exclude_newer=cutoff
        )
        return str(run(found)[0].version)

    assert [at(2021, 6, 1), at(2022, 6, 1), at(2024, 6, 1)] == ["1.0", "1.1", "2.0"]


def test_the_same_recipe_makes_the_same_bytes(channel: Channel, tmp_path: Path) -> None:
    published = channel.records()
    again = 0
    for package in small_packages((), channel.series):
        path = f"{package.subdir}/{package.filename}"
        if package.name != "python":
            assert pack(package)[1] == published[path], path
            again += 1
    assert again > 100


def test_every_record_tells_the_truth(channel: Channel) -> None:
    for name in ("main", "other", "private"):
        for path, record in channel.records(channel=name).items():
            data = (channel.folder / name / path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (record["size"], record["sha256"])
    raw = (channel.folder / "main" / "noarch" / "repodata.json").read_bytes()
    assert b"indexed_timestamp" not in raw


def test_the_built_channels_are_only_looked_at_afterwards(channel: Channel) -> None:
    built_channels.cache_clear()
    began = time.perf_counter()
    assert built_channels() == channel.folder
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("credentials", "right"),
    [
        (Credentials(basic=("reader", "pass")), {"Authorization": "Basic cmVhZGVyOnBhc3M="}),
        (Credentials(bearer="b34rer"), {"Authorization": "Bearer b34rer"}),
        (Credentials(token="t0ken"), {}),
    ],
)
def test_a_channel_can_want_credentials(
    make_channel: Callable[..., Channel], credentials: Credentials, right: dict[str, str]
) -> None:
    served = make_channel(data_package("one", "1.0"), credentials=credentials)
    url = served.url_with_token() if credentials.token else served.url_of()
    assert get(f"{served.url_of()}/noarch/repodata.json")[0] == 401
    assert get(f"{served.url_of()}/noarch/repodata.json", Authorization="Basic d3Jvbmc6d3Jvbmc=")[0] == 401
    assert get(f"{url}/noarch/repodata.json", **right)[0] == 200
    assert [request.status for request in served.requests] == [401, 401, 200]
    assert served.requests[-1].token == credentials.token


def test_conda_shows_credentials(private_channel: Channel) -> None:
    with pytest.raises(GatewayError, match="401"):
        solved(private_channel.url_of(), "lower")
    assert "lower" in solved(private_channel.url_with_token(), "lower")
    assert "lower" in solved(private_channel.url_with_password(), "lower")
    assert "secret" in solved(private_channel.url_with_password("private"), "secret")


def test_files_come_in_ranges_and_are_revalidated(channel: Channel) -> None:
    path = channel.archive("noarch/lower-1.0-*")
    url, data = f"{channel.url_of()}/noarch/{path.name}", path.read_bytes()
    status, whole, headers = get(url)
    assert (status, whole) == (200, data)
    assert get(url, Range="bytes=4-9")[:2] == (206, data[4:10])
    assert get(url, Range="bytes=-7")[:2] == (206, data[-7:])
    assert get(url, Range="bytes=4-")[:2] == (206, data[4:])
    assert get(url, Range="bytes=4-9")[2]["Content-Range"] == f"bytes 4-9/{len(data)}"
    assert get(url, Range=f"bytes={len(data)}-")[0] == 416
    assert get(url, If_None_Match=headers["ETag"])[0] == 304
    assert get(url, If_Modified_Since=headers["Last-Modified"])[0] == 304
    assert get(f"{channel.url_of()}/noarch/nothing.conda")[0] == 404
    assert get(f"{channel.url_of('nothing')}/noarch/repodata.json")[0] == 404
    assert get(f"{channel.url_of()}/noarch/../../../channel.lock")[0] == 404


def test_trouble_comes_and_goes(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(data_package("one", "1.0"), data_package("two", "1.0"))
    one, two = (f"{served.url_of()}/noarch/{name}-1.0-0.conda" for name in ("one", "two"))
    served.fail("*/one-*", status=503, times=1)
    assert [get(one)[0], get(one)[0], get(two)[0]] == [503, 200, 200]
    served.fail("*/two-*", status=DROP)
    with pytest.raises((OSError, urllib.error.URLError)):
        get(two)
    served.tamper("main/noarch/one-1.0-0.conda")
    data = served.archive("noarch/one-*").read_bytes()
    tampered = get(one)[1]
    assert len(tampered) == len(data)
    assert tampered != data
    served.truncate("main/noarch/one-1.0-0.conda")
    assert get(one)[1] == data[: len(data) // 2]
    served.mend()
    served.cut("*/one-*", after=10)
    with pytest.raises(http.client.IncompleteRead):
        get(one)
    served.mend()
    assert get(one)[1] == data
    assert [request.path for request in served.downloads()][:2] == [
        "main/noarch/one-1.0-0.conda",
        "main/noarch/two-1.0-0.conda",
    ]
    served.rewrite("main/noarch/one-1.0-0.conda", b"wrong")
    assert get(one)[1] == b"wrong"


def test_packages_come_and_go_in_a_copy_of_ones_own(make_channel: Callable[..., Channel], channel: Channel) -> None:
    began = time.perf_counter()
    served = make_channel(data_package("lower", "7.0"), whole=True)
    assert time.perf_counter() - began < 2
    assert versions(solved(served.url_of(), "lower")) == {"lower": "7.0"}
    served.publish(data_package("lower", "8.0"))
    assert versions(solved(served.url_of(), "upper")) == {"upper": "2.0", "lower": "8.0"}
    served.withdraw("noarch/lower-[78]*")
    assert versions(solved(served.url_of(), "lower")) == {"lower": "2.0"}
    served.rewrite("main/noarch/lower-2.0-0.conda", b"wrong")
    assert channel.archive("noarch/lower-2.0-0.conda").read_bytes() != b"wrong"
    assert versions(solved(channel.url_of(), "lower")) == {"lower": "2.0"}
    alone = make_channel(python_package("one", "1.0"), name="team")
    assert set(alone.records(channel="team")) == {"noarch/one-1.0-py_0.conda"}


def test_a_project_locks_from_the_channel(conda_project: ProjectFolder, channel: Channel) -> None:
    config = conda_project.write_conda_env("numpy >=1.26", "other::lower", pypi=["alpha>=1"], system={"__cuda": "12.4"})
    env = tomli.loads(config.read_text())["env"]["demo"]
    assert env["conda"] == {
        "channels": ["conda-forge"], "python": conda_project.conda_python,
        "libraries": {"numpy": ">=1.26", "other::lower": ""},
    }  # fmt: skip
    assert env["pypi"] == {"packages": {"alpha": ">=1"}}
    assert env["sys_packages"] == {"packages": {"__cuda": "12.4"}}
    assert f"conda-forge={channel.url_of('main')}" in os.environ["ENVLOCK_CHANNEL_MIRRORS"].split()
