"""A target is what PEP 425, PEP 508 and uv call an arch and a Python, whatever machine the tests run on."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import packaging._manylinux
import packaging._musllinux
import packaging.tags
import pytest
from packaging.markers import Marker
from packaging.utils import parse_wheel_filename
from uv import find_uv_bin

from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.requirements import Requirements
from envlock.resolve.platform_tags import Target, target_of


def target(arch: Arch, python: str = "3.12.4", **floors: str) -> Target:
    system = tuple((arch, f"__{name}", version) for name, version in floors.items())
    return target_of(Requirements(system=system), arch, python)


def fits(wheel: str, where: Target) -> bool:
    return bool(parse_wheel_filename(wheel)[3] & set(where.tags()))


@pytest.mark.parametrize(
    ("tag", "arch", "floors", "expected"),
    [
        ("py3-none-any", LINUX_64, {}, True),
        ("cp312-cp312-manylinux_2_28_x86_64", LINUX_64, {}, True),
        ("cp312-cp312-manylinux_2_28_x86_64", LINUX_AARCH64, {}, False),
        ("cp312-cp312-manylinux_2_34_x86_64", LINUX_64, {}, False),
        ("cp312-cp312-manylinux_2_34_x86_64", LINUX_64, {"glibc": "2.34"}, True),
        ("cp312-cp312-manylinux_2_28_x86_64", LINUX_64, {"glibc": "2.27"}, False),
        ("cp312-cp312-manylinux2014_x86_64", LINUX_64, {"glibc": "2.17"}, True),
        ("cp312-cp312-manylinux1_x86_64", LINUX_64, {}, True),
        ("cp312-cp312-manylinux2014_aarch64", LINUX_AARCH64, {}, True),
        ("cp312-cp312-linux_x86_64", LINUX_64, {}, True),
        ("cp312-cp312-musllinux_1_2_x86_64", LINUX_64, {}, False),
        ("cp311-cp311-manylinux_2_17_x86_64", LINUX_64, {}, False),
        ("cp313-cp313-manylinux_2_17_x86_64", LINUX_64, {}, False),
        ("cp312-cp312t-manylinux_2_17_x86_64", LINUX_64, {}, False),
        ("cp312-cp312m-manylinux_2_17_x86_64", LINUX_64, {}, False),
        ("cp39-abi3-manylinux_2_17_x86_64", LINUX_64, {}, True),
        ("cp313-abi3-manylinux_2_17_x86_64", LINUX_64, {}, False),
        ("pp312-pypy312_pp73-manylinux_2_17_x86_64", LINUX_64, {}, False),
        ("cp312-cp312-macosx_11_0_arm64", OSX_ARM64, {}, True),
        ("cp312-cp312-macosx_11_0_universal2", OSX_ARM64, {}, True),
        ("cp312-cp312-macosx_11_0_universal2", OSX_64, {}, True),
        ("cp312-cp312-macosx_11_0_x86_64", OSX_ARM64, {}, False),
        ("cp312-cp312-macosx_10_9_x86_64", OSX_64, {}, True),
        ("cp312-cp312-macosx_14_0_x86_64", OSX_64, {}, False),
        ("cp312-cp312-macosx_14_0_x86_64", OSX_64, {"osx": "14.0"}, True),
        ("cp312-cp312-macosx_14_0_arm64", OSX_ARM64, {"osx": "14.2"}, True),
        ("cp312-cp312-win_amd64", LINUX_64, {}, False),
    ],
)
def test_which_wheels_fit(tag: str, arch: Arch, floors: dict[str, str], expected: bool) -> None:
    assert fits(f"demo-1.0-{tag}.whl", target(arch, **floors)) is expected


def test_the_tags_are_those_that_packaging_gives_each_python_that_uv_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = subprocess.run(
        [*(find_uv_bin(), "python", "list", "--all-versions", "--only-downloads", "--output-format", "json")],
        capture_output=True,
        check=True,
    )
    series = {
        (each["version_parts"]["major"], each["version_parts"]["minor"])
        for each in json.loads(listed.stdout)
        if each["implementation"] == "cpython" and each["variant"] == "default"
    }
    assert {(3, 8), (3, 14)} <= series
    for major, minor in sorted(series | {(3, 6), (3, 7)}):
        for arch in ARCHS:
            where = target(arch, f"{major}.{minor}.0")
            given, real = where.tags(), tags_there(monkeypatch, where)
            assert set(given) == set(real), (major, minor, arch)
            # Of a wheel that any Linux takes, uv thinks least, and packaging most.
            ordered = [[tag for tag in tags if not tag.platform.startswith("linux_")] for tags in (given, real)]
            assert ordered[0] == ordered[1], (major, minor, arch)


def tags_there(monkeypatch: pytest.MonkeyPatch, where: Target) -> list[packaging.tags.Tag]:
    """What `packaging.tags.sys_tags` says when it is made to believe that it runs there."""
    major, minor, _ = map(int, where.python.split("."))
    machine = where.marker_texts()["platform_machine"]
    suffix = f".cpython-{major}{minor}{'m' if minor < 8 else ''}-there.so"
    config = {"py_version_nodot": f"{major}{minor}", "EXT_SUFFIX": suffix}
    with monkeypatch.context() as there:
        system = SimpleNamespace(
            version_info=(major, minor, 0), implementation=sys.implementation, executable="", maxunicode=sys.maxunicode
        )
        there.setattr(packaging.tags, "sys", system)
        configured = SimpleNamespace(get_config_var=config.get, get_platform=lambda: f"linux-{machine}")
        there.setattr(packaging.tags, "sysconfig", configured)
        kind = where.marker_texts()["platform_system"]
        machinery = SimpleNamespace(system=lambda: kind, mac_ver=lambda: ("13.0", ("", "", ""), machine))
        there.setattr(packaging.tags, "platform", machinery)
        there.setattr(packaging._manylinux, "_get_glibc_version", lambda: (2, 28))
        there.setattr(packaging._manylinux, "_have_compatible_abi", lambda *_: True)
        there.setattr(packaging._musllinux, "_get_musl_version", lambda _: None)
        return list(packaging.tags.sys_tags())


def test_a_floor_of_another_arch_has_no_effect() -> None:
    requirements = Requirements(system=((LINUX_AARCH64, "__glibc", "2.17"),))
    assert target_of(requirements, LINUX_64, "3.12.0").glibc == (2, 28)
    assert target_of(requirements, LINUX_AARCH64, "3.12.0").glibc == (2, 17)


def test_the_best_wheel_comes_first() -> None:
    order = {str(tag): place for place, tag in reversed(list(enumerate(target(LINUX_64).tags())))}
    best_to_worst = [
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp312-abi3-manylinux_2_28_x86_64",
        "cp311-abi3-manylinux_2_28_x86_64",
        "py3-none-manylinux_2_28_x86_64",
        "py3-none-any",
    ]
    places = [order[tag] for tag in best_to_worst]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("marker", "archs"),
    [
        ("sys_platform == 'linux'", {LINUX_64, LINUX_AARCH64}),
        ("platform_system == 'Darwin'", {OSX_64, OSX_ARM64}),
        ("platform_machine == 'x86_64'", {LINUX_64, OSX_64}),
        ("platform_machine == 'arm64'", {OSX_ARM64}),
        ("platform_machine == 'aarch64'", {LINUX_AARCH64}),
        ("os_name == 'nt'", set()),
        ("python_version == '3.12' and python_full_version >= '3.12.4'", set(ARCHS)),
        ("implementation_name == 'cpython' and platform_python_implementation == 'CPython'", set(ARCHS)),
        ("extra == 'any'", set()),
    ],
)
def test_markers_are_those_of_the_arch(marker: str, archs: set[Arch]) -> None:
    held = {arch for arch in ARCHS if Marker(marker).evaluate({**target(arch).marker_texts(), "extra": ""})}
    assert held == archs


@pytest.mark.parametrize("minor", [5, 12, 17, 18, 26, 27, 28, 29, 31, 34, 36, 40, 41])
def test_uv_knows_every_platform_that_is_named(minor: int) -> None:
    where = target(LINUX_64, glibc=f"2.{minor}")
    assert compiles(where)


@pytest.mark.parametrize("arch", ARCHS)
def test_uv_knows_every_arch(arch: Arch) -> None:
    assert compiles(target(arch))


def compiles(where: Target) -> bool:
    done = subprocess.run(
        [
            *(find_uv_bin(), "pip", "compile", "-", "--offline", "--no-config"),
            *("--python-platform", where.uv_platform, "--python", sys.executable, "--python-version", where.python),
        ],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return True
