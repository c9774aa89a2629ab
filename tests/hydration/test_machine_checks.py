"""What a lock asks of a machine, held against this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import timeit
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.hydration.errors import SystemNotMet
from envlock.hydration.machine_checks import Unmet, unmet
from envlock.model.arch import ARCHS, Arch, host_arch
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirements import Requirements
from tests.conftest import Envlock
from tests.hydration.making import SERIES, Heard, Making
from tests.support import ProjectFolder

HOST = host_arch()
LINUX = HOST.startswith("linux")
FOREIGN = next(arch for arch in ARCHS if arch != HOST)
only_on_linux = pytest.mark.skipif(not LINUX, reason="it is about Linux")


def asking(*rows: tuple[str, str], arch: Arch = HOST) -> Lock:
    return Lock(
        arch=HOST,
        requirements=Requirements(system=tuple((arch, package, version) for package, version in rows)),
        python=LockedPython("machine", f"{SERIES}.0"),
        packages=(),
    )


def lacks(*rows: tuple[str, str]) -> list[tuple[str, str, str]]:
    return [tuple(each) for each in unmet(asking(*rows))]  # type: ignore[misc]


@only_on_linux
def test_what_every_machine_has() -> None:
    assert (
        lacks(("__glibc", "2.17"), ("__linux", "3.10"), ("__archspec", {"linux-64": "x86_64"}.get(HOST, "aarch64")))
        == []
    )


@only_on_linux
def test_what_no_machine_has_yet() -> None:
    glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    kernel = os.uname().release.split("-")[0]
    assert lacks(("__glibc", "2.99"), ("__linux", "99.0")) == [("__glibc", "2.99", glibc), ("__linux", "99.0", kernel)]
    assert lacks(("__osx", "13.0"), ("__win", "0")) == [("__osx", "13.0", ""), ("__win", "0", "")]


def test_what_is_required_of_other_archs_does_not_matter() -> None:
    assert unmet(asking(("__glibc", "2.99"), arch=FOREIGN)) == ()


@pytest.mark.parametrize(
    ("package", "here", "asked", "is_met"),
    [
        ("__cuda", "12.4", "12.4", True),
        ("__cuda", "12.10", "12.9", True),
        ("__cuda", "12", "12.4", False),
        ("__cuda", "13", "12.4", True),
        ("__cuda", "", "11", False),
        ("__glibc", "2.17", "2.28", False),
        ("__glibc", "2.28", "2.28", True),
        ("__glibc", "", "2.17", False),
        ("__linux", "5.10.0-21-amd64", "5.10", True),
        ("__osx", "12.6", "13.0", False),
        ("__osx", "14", "13.0", True),
        ("__glibc", "nonsense", "2.17", False),
        ("__archspec", "x86_64_v3", "x86_64_v2", True),
        ("__archspec", "x86_64_v2", "x86_64_v3", False),
        ("__archspec", "zen4", "zen4", True),
        ("__archspec", "zen3", "zen4", False),
        ("__archspec", "", "x86_64_v2", False),
    ],
)
def test_overrides_are_believed_as_conda_believes_them(
    monkeypatch: pytest.MonkeyPatch, package: str, here: str, asked: str, is_met: bool
) -> None:
    monkeypatch.setenv(f"CONDA_OVERRIDE_{package[2:].upper()}", here)
    assert lacks((package, asked)) == ([] if is_met else [(package, asked, here)])


@pytest.mark.skipif(HOST != "linux-64", reason="it is about x86-64 on Linux")
def test_the_levels_of_processors_are_those_of_the_machine() -> None:
    from rattler import VirtualPackage

    from metaflow_extensions.envlock.plugins.node.machine import processor

    (here,) = [str(each) for each in map(repr, VirtualPackage.detect()) if "Archspec" in each]
    for level in ("x86_64_v2", "x86_64_v3", "x86_64_v4"):
        assert processor(level)[1] == (f'"{level}"' in here)
    assert processor("zen99")[1] is False


def test_cuda_is_that_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not LINUX:
        pytest.skip("no driver can be made here")
    source = tmp_path / "driver.c"
    source.write_text("int cuDriverGetVersion(int *version) { *version = 12040; return 0; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", source], check=True)
    drivers = "metaflow_extensions.envlock.plugins.node.machine.DRIVERS"
    monkeypatch.setattr(drivers, (str(tmp_path / "gone.so"), str(tmp_path / "libcuda.so.1")))
    assert lacks(("__cuda", "12.4")) == []
    assert lacks(("__cuda", "12.5")) == [("__cuda", "12.5", "12.4")]
    monkeypatch.setattr(drivers, (str(tmp_path / "gone.so"),))
    assert lacks(("__cuda", "11")) == [("__cuda", "11", "")]


@only_on_linux
def test_it_costs_next_to_nothing() -> None:
    lock = asking(("__glibc", "2.17"), ("__linux", "3.10"), ("__archspec", "x86_64"))
    assert min(timeit.repeat(lambda: unmet(lock), number=10, repeat=5)) / 10 < 0.001


def test_the_error_says_each_thing_and_what_to_do() -> None:
    error = SystemNotMet("Train/fit", "linux-64", (Unmet("__cuda", "12.4", ""), Unmet("__glibc", "2.36", "2.31")))
    assert error.render() == (
        "error[system-not-met]: this machine lacks what `Train/fit` requires\n"
        "  __cuda: 12.4 is required, none is here\n"
        "  __glibc: 2.36 is required, 2.31 is here\n"
        "\n"
        "hint: require less in `sys_packages` or `[envlock.system-requirements.linux-64]` and run `envlock lock`, "
        "or make it anyway with `--force`"
    )


def test_nothing_is_made_on_a_machine_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making = Making(tmp_path)
    making.write_artifacts()
    package = "__glibc" if LINUX else "__osx"
    lock = replace(making.lock, requirements=replace_system(making.lock.requirements, package, "2.28"))
    monkeypatch.setenv(f"CONDA_OVERRIDE_{package[2:].upper()}", "1.0")
    with pytest.raises(SystemNotMet, match="lacks what"):
        making.hydrate(lock=lock)
    assert not making.environments.exists()
    monkeypatch.setenv(f"CONDA_OVERRIDE_{package[2:].upper()}", "99")
    prefix = making.hydrate(lock=lock)
    monkeypatch.setenv(f"CONDA_OVERRIDE_{package[2:].upper()}", "1.0")
    heard = Heard()
    assert making.hydrate(lock=lock, reporter=heard) == prefix, "what is there is not held against the machine"
    assert heard.notes == []


def replace_system(requirements: Requirements, package: str, version: str) -> Requirements:
    return requirements._replace(system=((HOST, package, version),))


@pytest.mark.parametrize("command", ["create", "path", "run"])
def test_force_makes_it_all_the_same(project: ProjectFolder, envlock: Envlock, command: str) -> None:
    more = 'sys_packages = { packages = { __cuda = "12.4" } }' if LINUX else ""
    project.write(f'[env.demo]\npypi = {{ python = "{SERIES}", packages = {{ alpha = "" }} }}\n{more}', archs=[HOST])
    if not LINUX:
        pytest.skip("CUDA is of Linux")
    envlock("lock")
    tail = ("--", "true") if command == "run" else ()
    none = {"CONDA_OVERRIDE_CUDA": ""}
    refused = envlock(command, "--env", "demo", *tail, check=5, env=none)
    assert refused.stderr.startswith("error[system-not-met]: this machine lacks what `demo` requires\n")
    assert "__cuda: 12.4 is required, none is here" in refused.stderr
    forced = envlock(command, "--env", "demo", "--force", *tail, env=none)
    assert "warning: demo requires __cuda 12.4, and this machine has none" in forced.stderr
    again = envlock(command, "--env", "demo", *tail, env=none)
    assert again.stderr == ""
