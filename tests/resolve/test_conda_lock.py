"""What is conda-lock's alone; what it has in common with every resolver is in tests/contract."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from envlock.config.system_packages import system_rows
from envlock.errors import ResolveError
from envlock.model.arch import LINUX_64
from envlock.model.conda_requirement import parse_conda_requirement
from envlock.model.requirements import Requirements
from envlock.resolve import conda_lock_process
from envlock.resolve.conda_lock import CondaLockResolver
from envlock.resolve.conda_lock_run import NoCondaExecutable, conda_executable
from envlock.resolve.conda_rattler import CondaResolver
from envlock.resolve.errors import ResolverCannot, ResolverNotInstalled, ResolversDisagree, UnexpectedAnswer
from envlock.resolve.port import Request, Resolution
from tests.channel import Channel
from tests.resolve.stand_in_micromamba import calls_of, write_stand_in
from tests.support import wait_until
from tests.test_imports import modules_after

pytestmark = pytest.mark.usefixtures("preloaded_resolvers")

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "s3cr3t-passw0rd"


def request_for(*libraries: str, channels: tuple[str, ...] = ("conda-forge",), urls: tuple[str, ...] = ()) -> Request:
    requirements = Requirements(
        python_from="conda",
        conda=tuple(map(parse_conda_requirement, libraries)),
        channels=channels,
        system=system_rows({}, {}, has_conda=True),
    )
    return Request(name="demo", arch=LINUX_64, requirements=requirements, python="", channel_urls=urls)


def resolve(request: Request) -> Resolution:
    return CondaLockResolver().resolve(request)


@pytest.fixture(autouse=True)
def mirrored(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> Channel:
    """The shared channels, in the place of conda-forge and of `other`; no executable."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", "")
    return channel


def script(folder: Path, body: str, name: str = "micromamba") -> Path:
    """An executable that is a few lines of Python."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\nimport json, sys, time\n{body}\n")
    path.chmod(0o755)
    return path


# Which executable.


def test_the_first_executable_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVLOCK_CONDA_EXE")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert conda_executable() is None
    for name in ("conda", "mamba", "micromamba"):
        assert conda_executable() != script(tmp_path, "", name)
        assert conda_executable() == tmp_path / name


def test_the_variable_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "")
    chosen = script(tmp_path / "other", "", "conda")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(chosen))
    assert conda_executable() == chosen
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", "")
    assert conda_executable() is None
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(tmp_path / "gone"))
    with pytest.raises(NoCondaExecutable, match="gone"):
        conda_executable()


# What it is told: shown by the stand-in.


def test_the_command_that_the_executable_gets(
    tmp_path: Path, mirrored: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = write_stand_in(tmp_path)
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(executable))
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12")
    resolve(request_for("lower =1", "upper >=1,<2"))
    (call,) = calls_of(executable)
    assert call["arguments"][0] == "create"
    assert {"--dry-run", "--json", "--override-channels"} <= set(call["arguments"])
    channel, virtual = call["channels"]
    assert channel == mirrored.url_of("main")
    assert virtual.startswith("file://")
    assert call["specifications"] == ["python", "lower 1.*", "upper >=1,<2"]
    variables = call["variables"]
    assert (variables["CONDA_SUBDIR"], variables["CONDA_CHANNEL_PRIORITY"]) == ("linux-64", "strict")
    assert (variables["CONDA_OVERRIDE_GLIBC"], variables["CONDA_OVERRIDE_CUDA"]) == ("2.28", "")


def test_old_versions_are_demanded_of_it_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable = write_stand_in(tmp_path)
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(executable))
    old = CondaResolver().resolve(request_for("lower =1.0", "speak")).packages
    resolve(replace(request_for("lower >=1.1"), conda_pins=old))
    demanded, free = [call["specifications"] for call in calls_of(executable)]
    assert free == ["python", "lower >=1.1"]
    assert "lower >=1.1,==1.0 0" in demanded
    assert [each.partition(" ")[0] for each in demanded] == ["python", "lower", "speak"]


def test_its_failure_is_reported_in_its_words_without_secrets(
    tmp_path: Path, private_channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, url = private_channel.url_of("main"), private_channel.url_with_password("main")
    failing = script(
        tmp_path,
        'print(json.dumps({"message": "odd: " + " ".join(sys.argv)}))\n'
        'print("tk", "/t/tk-s3cr3t/x", file=sys.stderr)\nsys.exit(1)',
    )
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(failing))
    with pytest.raises(UnexpectedAnswer) as caught:
        resolve(request_for("lower", channels=(plain,), urls=(url,)))
    said = caught.value.render()
    assert "micromamba found no solution" in said
    assert "odd: " in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "9.0", "url": "/main/noarch/lower-9.0-0.conda"}, "no build of `lower` matches"),
        ({"sha256": "0" * 64}, "noarch/lower-2.0-0.conda is not the same file as lower-2.0-0.conda"),
        ({"md5": "0" * 32}, "noarch/lower-2.0-0.conda is not the same file as lower-2.0-0.conda"),
        ({"url": "/main/linux-64/lower-2.0-0.conda"}, "linux-64/lower-2.0-0.conda is not the same file as"),
    ],
)
def test_a_file_that_the_channel_does_not_have_is_refused(
    tmp_path: Path, mirrored: Channel, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], said: str
) -> None:
    rows = []
    for each in CondaResolver().resolve(request_for("lower")).packages:
        assert each.conda is not None
        row = {"name": each.name, "version": each.version, "url": each.url, "fn": each.filename, "depends": []}
        rows.append({**row, "md5": each.conda.md5, "sha256": each.sha256, **(change if each.name == "lower" else {})})
    for row in rows:
        row["url"] = mirrored.url + row["url"] if str(row["url"]).startswith("/") else row["url"]
    answer = json.dumps({"success": True, "actions": {"FETCH": rows}})
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(script(tmp_path, f"print({answer!r})")))
    with pytest.raises(ResolversDisagree) as caught:
        resolve(request_for("lower"))
    assert said in caught.value.render()


def test_a_bucket_is_refused_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(script(tmp_path, "sys.exit(1)")))
    with pytest.raises(ResolverCannot, match="s3://team/channel"):
        resolve(request_for("lower", channels=("s3://team/channel",)))


# conda-lock itself.


def test_requirements_that_cannot_be_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResolverCannot, match="one requirement for each package") as caught:
        resolve(request_for("builds =1.4 py311*", "builds * py312*"))
    assert caught.value.packages == ("conda:builds",)


@pytest.mark.parametrize("body", ["def solve_specs_for_arch(conda, specs): ...", "def other(): ..."])
def test_a_conda_lock_that_is_built_otherwise_is_refused(body: str) -> None:
    module = ModuleType("conda_solver")
    exec(body, vars(module))
    with pytest.raises(conda_lock_process.OtherCondaLock, match="solve_specs_for_arch"):
        conda_lock_process._replace_solver(module, lambda _: [])


def test_a_process_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = (sys.executable, "-c", "import sys; sys.exit('conda-lock fell over')")
    monkeypatch.setattr("envlock.resolve.conda_lock_run._COMMAND", dying)
    with pytest.raises(UnexpectedAnswer) as caught:
        resolve(request_for("lower"))
    assert caught.value.details == ("conda-lock fell over",)


def test_stopping_ends_what_conda_lock_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    waiting = script(
        tmp_path,
        f"import os, pathlib\npathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(60)",
    )
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(waiting))
    resolver = CondaLockResolver()
    raised: list[ResolveError] = []

    def run() -> None:
        try:
            resolver.resolve(request_for("lower"))
        except ResolveError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: started.exists() and started.read_text() != "", 60)
    began = time.monotonic()
    resolver.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert time.monotonic() - began < 30
    assert isinstance(raised[0], UnexpectedAnswer)
    wait_until(lambda: not Path(f"/proc/{started.read_text()}").exists() or sys.platform != "linux", 10)


def test_only_its_process_imports_it() -> None:
    asking = (
        "from envlock.config.settings import Resolvers, Settings\n"
        "from envlock.resolve.choose_resolver import resolver_for\n"
    )
    modules = modules_after(
        asking + "from envlock.resolve.conda_lock import CondaLockResolver\n"
        "resolver_for(Settings(resolver=Resolvers('conda-lock', 'pip-tools')))\nCondaLockResolver()\n"
    )
    assert "envlock.resolve.conda_lock" in modules
    assert not {name.partition(".")[0] for name in modules} & {"conda_lock", "piptools", "pip", "rattler", "pydantic"}


def test_without_its_package_there_is_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "conda_lock", None)
    with pytest.raises(ResolverNotInstalled) as caught:
        CondaLockResolver()
    assert caught.value.hint == "pip install 'envlock[conda-lock]'"
    assert (
        caught.value.message == '`resolver.conda = "conda-lock"` needs conda-lock 4.0 or later, before 4.1; found none'
    )


@pytest.mark.parametrize("release", ["3.0.4", "4.1.0", "5.0"])
def test_a_release_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: release)
    with pytest.raises(ResolverNotInstalled, match=f"found {release}"):
        CondaLockResolver()
