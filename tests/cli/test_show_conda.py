"""`envlock show` of conda and mixed environments: the locks are made by hand, so that every word is known."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from envlock.cli.show_environment import package_lines, package_renderables
from envlock.config.read import load_project
from envlock.lockfile.folder import write_lock
from envlock.model.arch import LINUX_64
from envlock.model.lock import Lock, LockedPackage, LockedPython
from tests.conftest import Envlock
from tests.lockfile.conda_locks import CHANNEL, WHEEL, ZLIB, conda_package

OTHER = "https://conda.example/other"
PYTHON = conda_package(
    "python",
    "3.12.12",
    "h2b335a9_0_cpython",
    size=36_700_000,
    depends=("__glibc >=2.17", "libzlib", "tzdata"),
    dependencies=("libzlib", "tzdata"),
    license="Python-2.0",
)
TZDATA = conda_package("tzdata", "2026a", "h8a4bc1_0", subdir="noarch", size=None)
NUMPY = conda_package(
    "numpy",
    "1.26.4",
    "py312h64a7726_0",
    size=7_500_000,
    depends=("libzlib", "python"),
    dependencies=("libzlib", "python"),
    provides=(("numpy", "1.26.4"),),
)
REQUESTS = conda_package(
    "requests", "2.32.3", "pyhd8ed1ab_0", subdir="noarch", size=59_000, depends=("python",), dependencies=("python",)
)
PACKAGES = (ZLIB, NUMPY, PYTHON, REQUESTS, TZDATA)
CONFIG = """\
[envlock]
archs = ["linux-64"]
index-url = "https://index.example/simple/"
channels = []

[env.media]

[env.media.conda]
python = "3.12"
libraries = { ffmpeg = "" }
channels = ["https://conda.example/conda-forge", "https://conda.example/other"]

[env.mixed]
pypi = { packages = { demo = ">=1" } }
conda = { python = "3.12", libraries = { numpy = "=1.26" }, channels = ["https://conda.example/conda-forge"] }
sys_packages = { packages = { __cuda = "12.4" } }

[env.wheels]
pypi = { python = "3.12", packages = { demo = ">=1" } }
conda = { channels = ["https://conda.example/conda-forge"] }
"""


REQUESTS = replace(
    WHEEL,
    name="requests",
    version="2.32.3",
    filename="requests-2.32.3-py3-none-any.whl",
    url="https://files.example/ab/requests-2.32.3-py3-none-any.whl",
)


def ffmpeg(channel: str = OTHER) -> LockedPackage:
    """A package that one channel has and another one too."""
    return conda_package(
        "ffmpeg", "7.1", "gpl_h1_0", channel=channel, depends=("libzlib", "numpy"), dependencies=("libzlib", "numpy")
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three environments, each of another type, locked by hand; `envlock` runs in it."""
    (tmp_path / "envlock.toml").write_text(CONFIG)
    contents = {
        "media": (ffmpeg(), *(replace(each, conda=replace(each.conda, provides=())) for each in PACKAGES)),  # type: ignore[type-var]
        "mixed": (*PACKAGES, WHEEL),
        "wheels": (ZLIB, PYTHON, TZDATA, WHEEL, REQUESTS),
    }
    project = load_project(tmp_path / "envlock.toml")
    for environment in project.named:
        lock = Lock(
            arch=LINUX_64,
            requirements=environment.requirements,
            python=LockedPython(source="conda", version="3.12.12"),
            packages=contents[environment.name],
            asked_by=(environment.name,),
            resolved_by="mia",
            resolved_at="2026-11-20T16:04:11Z",
        )
        write_lock(project.lock_folder, lock)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(envlock: Envlock, *arguments: str) -> list[str]:
    """What it prints, ids shortened to their kind."""
    text = re.sub(r"[0-9a-f]{40}", "<id>", envlock("show", *arguments, "--arch", "linux-64").stdout)
    return [line.rstrip() for line in text.splitlines()]


def test_a_fresh_conda_lock_is_fresh(project: Path, envlock: Envlock) -> None:
    assert "fresh" in envlock("check").text


def test_all_in_brief(project: Path, envlock: Envlock) -> None:
    lines = [line.split() for line in envlock("show", "--arch", "linux-64").stdout.splitlines()[1:]]
    assert [line[:4] for line in lines[1:]] == [
        ["media", "locked", "3.12", "6"],
        ["mixed", "locked", "3.12", "6"],
        ["wheels", "locked", "3.12", "5"],
    ]


def test_a_conda_environment_in_full(project: Path, envlock: Envlock) -> None:
    assert said(envlock, "media") == [
        "Environment of type conda, <id>:<id>",
        "  Used by             media",
        "  Arch                linux-64",
        "  Available on        linux-64",
        "  Resolved            2026-11-20T16:04:11Z by mia",
        "  Locally present as  not on this machine",
        "  Lock                envlock.lock/linux-64/<id>/pylock.<id>.toml",
        "  Python              CPython 3.12.12 from conda (requested: ==3.12.*)",
        "  Requested           conda: ffmpeg",
        "  For Metaflow        requests>=2.21.0",
        "  Channels            https://conda.example/conda-forge, https://conda.example/other",
        "  System              __glibc 2.28",
        "  Netflix req_id      <id>",
        "Conda packages (6, 44.3 MB)",
        "  ffmpeg    7.1      gpl_h1_0            other         1.0 kB  required",
        "  libzlib   1.3.1    h68df207_2          conda-forge   1.0 kB  needed by ffmpeg, numpy, python",
        "  numpy     1.26.4   py312h64a7726_0     conda-forge   7.5 MB  needed by ffmpeg",
        "  python    3.12.12  h2b335a9_0_cpython  conda-forge  36.7 MB  required, needed by numpy, requests",
        "  requests  2.32.3   pyhd8ed1ab_0        conda-forge  59.0 kB  for Metaflow",
        "  tzdata    2026a    h8a4bc1_0           conda-forge           needed by python",
    ]


def test_a_mixed_environment_in_full(project: Path, envlock: Envlock) -> None:
    assert said(envlock, "mixed") == [
        "Environment of type mixed, <id>:<id>",
        "  Used by             mixed",
        "  Arch                linux-64",
        "  Available on        linux-64",
        "  Resolved            2026-11-20T16:04:11Z by mia",
        "  Locally present as  not on this machine",
        "  Lock                envlock.lock/linux-64/<id>/pylock.<id>.toml",
        "  Python              CPython 3.12.12 from conda (requested: ==3.12.*)",
        "  Requested           conda: numpy =1.26; PyPI: demo>=1",
        "  For Metaflow        requests>=2.21.0",
        "  Sources             https://index.example/simple/",
        "  Channels            https://conda.example/conda-forge",
        "  System              __cuda 12.4, __glibc 2.28",
        "  Conda provides      numpy 1.26.4",
        "  Netflix req_id      <id>",
        "Conda packages (5, 44.3 MB)",
        "  libzlib   1.3.1    h68df207_2          conda-forge   1.0 kB  needed by numpy, python",
        "  numpy     1.26.4   py312h64a7726_0     conda-forge   7.5 MB  required",
        "  python    3.12.12  h2b335a9_0_cpython  conda-forge  36.7 MB  required, needed by numpy, requests",
        "  requests  2.32.3   pyhd8ed1ab_0        conda-forge  59.0 kB  for Metaflow",
        "  tzdata    2026a    h8a4bc1_0           conda-forge           needed by python",
        "PyPI packages (1, 12.3 kB)",
        "  demo==1.2.3",
    ]


def test_wheels_on_a_python_from_conda(project: Path, envlock: Envlock) -> None:
    lines = said(envlock, "wheels")
    assert lines[0] == "Environment of type pypi, <id>:<id>"
    assert "  Requested           demo>=1" in lines
    assert lines[-3:] == ["PyPI packages (2, 24.7 kB)", "  demo==1.2.3", "  requests==2.32.3"]


def test_a_mixed_environment_for_machines(project: Path, envlock: Envlock) -> None:
    (found,) = envlock("show", "mixed", "--arch", "linux-64", "--json").json["environments"]
    assert found["type"] == "mixed"
    assert found["python"] == {
        "requested": "==3.12.*",
        "source": "conda",
        "version": "3.12.12",
        "series": "3.12",
        "filename": None,
    }
    assert found["requested_packages"]["conda"] == ["numpy =1.26"]
    assert found["sources"]["channels"] == [CHANNEL]
    assert found["channel_priority"] == "strict"
    assert found["system_requirements"]["__cuda"] == "12.4"
    assert found["provided_by_conda"] == {"numpy": "1.26.4"}
    assert found["totals"] == {
        "conda": {"packages": 5, "bytes": 44_260_000},
        "pypi": {"packages": 1, "bytes": 12345},
    }
    packages = {package["name"]: package for package in found["packages"]}
    assert packages["python"] == {
        "name": "python",
        "version": "3.12.12",
        "kind": "conda",
        "filename": PYTHON.filename,
        "sha256": PYTHON.sha256,
        "size": 36_700_000,
        "asked_for": True,
        "for_metaflow": False,
        "needed_by": ["numpy", "requests"],
        "dependencies": ["libzlib", "tzdata"],
        "build": "h2b335a9_0_cpython",
        "channel": CHANNEL,
        "subdir": "linux-64",
        "license": "Python-2.0",
        "provides": {},
    }
    assert "build" not in packages["demo"]
    assert packages["demo"]["asked_for"] is True


def test_channels_that_end_alike_are_told_apart(project: Path, envlock: Envlock) -> None:
    loaded = load_project(project / "envlock.toml")
    (media,) = [each for each in loaded.named if each.name == "media"]
    folder = loaded.lock_folder / LINUX_64 / media.requirements.req_id
    (path,) = folder.iterdir()
    from envlock.lockfile.folder import read_lock

    lock = read_lock(path)
    path.unlink()
    elsewhere = ffmpeg("https://mirror.example/conda-forge")
    write_lock(loaded.lock_folder, replace(lock, packages=(elsewhere, *lock.packages[1:])))
    lines = said(envlock, "media")
    assert any(
        line.split()[:4] == ["ffmpeg", "7.1", "gpl_h1_0", "https://mirror.example/conda-forge"] for line in lines
    )
    assert any(line.split()[3:4] == [CHANNEL] for line in lines)


@pytest.mark.parametrize(("width", "fits"), [(120, True), (60, False)])
def test_on_a_terminal_nothing_is_lost(project: Path, width: int, fits: bool) -> None:
    lock = Lock(
        arch=LINUX_64,
        requirements=load_project(project / "envlock.toml").named[1].requirements,
        python=LockedPython(source="conda", version="3.12.12"),
        packages=(*PACKAGES, WHEEL),
    )
    shown = StringIO()
    Console(file=shown, width=width).print(*package_renderables(lock))
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    plain = package_lines(lock).splitlines()
    assert (lines == plain) is fits
    assert max(map(len, lines)) <= width
    for package in lock.packages:
        assert any(package.name in line and package.version in line for line in lines)


def test_what_changed_is_reported_with_its_line(project: Path, envlock: Envlock) -> None:
    config = project / "envlock.toml"
    config.write_text(CONFIG.replace('numpy = "=1.26"', 'numpy = ">=2"'))
    (finding,) = [each for each in envlock("check", "--json", check=1).json["findings"] if each["environment"]]
    assert finding["verdict"] == "stale"
    assert finding["reasons"] == ["conda package numpy >=2, locked: 1.26.4 py312h64a7726_0"]
    assert "numpy" in config.read_text().splitlines()[finding["line"] - 1]
    config.write_text(CONFIG.replace('numpy = "=1.26"', 'numpy = ">=1.25"'))
    assert envlock("check", "--json", check=1).json["findings"][0]["verdict"] == "restamp"
