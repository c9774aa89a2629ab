"""What machines bring: `sys_packages`, `system-requirements`, and the defaults below them."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.config.system_packages import BadSystemVersion, system_version
from tests.config.test_inherit import steps

CONDA = 'conda = { libraries = { numpy = "" } }\n'
PYPI = 'pypi = { packages = { rich = "" } }\n'


def system(folder: Path, tables: str, *, settings: str = "", step: str = "end") -> dict[str, dict[str, str]]:
    """For each arch, its virtual packages."""
    environment = steps(folder, tables, settings=settings)[step]
    assert environment is not None
    found: dict[str, dict[str, str]] = {}
    for arch, package, version in environment.requirements.system:
        found.setdefault(arch, {})[package] = version
    return found


def test_defaults_without_conda(tmp_path: Path) -> None:
    assert system(tmp_path, PYPI) == {
        "linux-64": {"__glibc": "2.28"},
        "linux-aarch64": {"__glibc": "2.28"},
        "osx-64": {"__osx": "13.0"},
        "osx-arm64": {"__osx": "13.0"},
    }


@pytest.mark.parametrize("tables", [CONDA, CONDA + PYPI, 'pypi = { conda_only = { ffmpeg = "" } }\n'])
def test_defaults_with_conda(tmp_path: Path, tables: str) -> None:
    assert system(tmp_path, tables) == {
        "linux-64": {"__archspec": "x86_64", "__glibc": "2.28", "__linux": "4.18"},
        "linux-aarch64": {"__archspec": "aarch64", "__glibc": "2.28", "__linux": "4.18"},
        "osx-64": {"__archspec": "x86_64", "__osx": "13.0"},
        "osx-arm64": {"__archspec": "m1", "__osx": "13.0"},
    }


def test_a_step_goes_over_its_flow_and_both_over_the_project_key_by_key(tmp_path: Path) -> None:
    found = system(
        tmp_path,
        PYPI + 'sys_packages = { packages = { __cuda = "12", __glibc = "2.31" } }\n'
        '[flow.Train.step.end]\nsys_packages = { packages = { __cuda = "==12.4", __osx = "=14.0" } }',
        settings="[envlock.system-requirements]\n"
        'linux-64 = { __glibc = "2.17", __linux = "5.10" }\nosx-64 = { __osx = "12.0" }',
    )
    assert found == {
        "linux-64": {"__cuda": "12.4", "__glibc": "2.31", "__linux": "5.10"},
        "linux-aarch64": {"__cuda": "12.4", "__glibc": "2.31"},
        "osx-64": {"__osx": "14.0"},
        "osx-arm64": {"__osx": "14.0"},
    }


def test_the_project_says_what_each_arch_brings(tmp_path: Path) -> None:
    settings = (
        "[envlock.system-requirements]\n"
        'linux-64 = { __cuda = "12.4", __archspec = "x86_64_v3" }\nosx-64 = { __osx = "=14.1" }'
    )
    found = system(tmp_path, CONDA, settings=settings)
    assert found["linux-64"] == {"__archspec": "x86_64_v3", "__cuda": "12.4", "__glibc": "2.28", "__linux": "4.18"}
    assert found["osx-64"]["__osx"] == "14.1"
    assert "__cuda" not in found["linux-aarch64"]


@pytest.mark.parametrize(
    ("processor", "archs"),
    [
        ("x86_64_v3", {"linux-64", "osx-64"}),
        ("skylake", {"linux-64", "osx-64"}),
        ("neoverse_v1", {"linux-aarch64"}),
        ("m2", {"osx-arm64"}),
    ],
)
def test_a_processor_is_that_of_archs_which_have_it(tmp_path: Path, processor: str, archs: set[str]) -> None:
    found = system(tmp_path, f'{CONDA}sys_packages = {{ packages = {{ __archspec = "{processor}" }} }}')
    assert {arch for arch, packages in found.items() if packages["__archspec"] == processor} == archs


def test_the_key_of_the_requirement_is_known(tmp_path: Path) -> None:
    tables = f'{CONDA}sys_packages = {{ packages = {{ __cuda = "12" }} }}'
    settings = 'system-requirements = { linux-64 = { __cuda = "11", __linux = "5.10" } }'
    environment = steps(tmp_path, tables, settings=settings)["end"]
    assert environment is not None
    assert environment.origin("__cuda") == ("flow", "Train", "sys_packages", "packages", "__cuda")
    assert environment.origin("__linux") == ("envlock", "system-requirements", "linux-64", "__linux")
    assert environment.origin("__glibc") is None


@pytest.mark.parametrize(
    ("package", "right", "wrong"),
    [
        ("__glibc", ["2.28", "=2.28", "==2.28", " 2.28 "], ["2", "2.28.1", ">=2.28", "", "2.x"]),
        ("__osx", ["13.0"], ["13", "13.0.1"]),
        ("__linux", ["4.18", "5.10.0"], ["5", "5.10.0.1"]),
        ("__cuda", ["12", "12.4"], ["12.4.1", "cuda12", "===12"]),
        ("__archspec", ["x86_64_v3", "m1"], ["x86-64", "X86_64", ""]),
    ],
)
def test_versions(package: str, right: list[str], wrong: list[str]) -> None:
    assert [system_version(package, text) for text in right] == [text.strip().lstrip("=") for text in right]
    for text in wrong:
        with pytest.raises(BadSystemVersion):
            system_version(package, text)
