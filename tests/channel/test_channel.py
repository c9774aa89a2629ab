"""The channels are what the other tests believe them to be: packages that solve, install and run, and real trouble."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from rattler import (
    Gateway,
    MatchSpec,
    Subdir,
    solve,
)
from rattler.exceptions import SolverError
from rattler.install import InstallerReporter
from rattler.shell import ActivationVariables, Shell, activate
from uv import find_uv_bin

from tests.channel import Channel, built_channels
from tests.channel.archive import pack
from tests.channel.built import small_packages
from tests.channel.catalogue import ARCHS
from tests.channel.interpreters import host_subdir
from tests.channel.solving import FOREIGN, installed, run, solved, versions
from tests.index import Index


def said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


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


def test_link_scripts_run_where_they_may(channel: Channel, tmp_path: Path) -> None:
    records = solved(channel.url_of(), "greets", arch=host_subdir())
    assert not (installed(records, tmp_path / "off") / "share" / "greets" / "linked.txt").exists()
    on = installed(records, tmp_path / "on", execute_link_scripts=True)
    assert (on / "share" / "greets" / "linked.txt").read_text() == "greets was linked\n"
    installed({}, on, execute_link_scripts=True)
    assert not (on / "share" / "greets" / "linked.txt").exists()


def test_a_link_script_can_fail(channel: Channel, tmp_path: Path) -> None:
    class Watching(InstallerReporter):
        ended: list[bool] = []

        def on_post_link_complete(self, index: int, success: bool) -> None:
            self.ended.append(success)

    records = solved(channel.url_of(), "sulks", "greets", arch=host_subdir())
    installed(records, tmp_path / "prefix", execute_link_scripts=True, reporter=Watching())
    assert sorted(Watching.ended) == [False, True]


def test_activation_sets_variables(channel: Channel, tmp_path: Path) -> None:
    prefix = installed(solved(channel.url_of(), "activates", arch=host_subdir()), tmp_path / "prefix")
    script = activate(prefix, ActivationVariables(), Shell.bash).script
    run_it = f'{script}\necho "$ACTIVATES_HOME|$ACTIVATES_LEVEL|$ACTIVATES_NAME"'
    assert said("bash", "-c", run_it) == f"{prefix}/share/activates|11|a b\n"


def test_two_packages_clobber(channel: Channel, tmp_path: Path) -> None:
    records = solved(channel.url_of(), "clobber-one", "clobber-two", "accents", arch=host_subdir())
    prefix = installed(records, tmp_path / "prefix")
    assert (prefix / "share" / "clobber" / "who.txt").read_text() in {"one\n", "two\n"}
    assert {path.name for path in (prefix / "share" / "clobber").iterdir()} == {"who.txt", "one.txt", "two.txt"}
    assert (prefix / "share" / "accents" / "näme of a file.txt").read_text() == "ünïcode\n"


def test_odd_records_are_understood(channel: Channel, tmp_path: Path) -> None:
    url = channel.url_of()
    assert versions(solved(url, "mended", "guards")) == {"mended": "1.0", "lower": "1.2", "guards": "1.0"}
    records = solved(url, "epochal", "unhashed", "twice", "bundle", "candid", arch=host_subdir())
    assert records["unhashed"].sha256 is None
    assert records["twice"].file_name.endswith(".conda")
    assert str(records["candid"].version) == "2.0rc1"
    installed(records, tmp_path / "prefix")


def test_the_same_recipe_makes_the_same_bytes(channel: Channel, tmp_path: Path) -> None:
    published = channel.records()
    series = {record["version"].rpartition(".")[0] for record in channel.records("python").values()}
    again = 0
    for package in small_packages((), tuple(series)):
        path = f"{package.subdir}/{package.filename}"
        if package.name != "python":
            assert pack(package)[1] == published[path], path
            again += 1
    assert again > 100


def test_every_record_tells_the_truth(channel: Channel) -> None:
    for name in ("main", "other", "private"):
        for path, record in channel.records(channel=name).items():
            data = (channel.folder / name / path).read_bytes()
            assert len(data) == record["size"]
            assert hashlib.sha256(data).hexdigest() == record.get("sha256", hashlib.sha256(data).hexdigest()), path
            assert ("sha256" in record) is (record["name"] != "unhashed")
    raw = (channel.folder / "main" / "noarch" / "repodata.json").read_bytes()
    assert b"indexed_timestamp" not in raw


def test_the_built_channels_are_only_looked_at_afterwards(channel: Channel) -> None:
    channel.need("numpy")
    began = time.perf_counter()
    assert built_channels.__wrapped__() == channel.folder
    assert time.perf_counter() - began < 2
