"""Locks that do not hold what they say they are for, though their digests and ids are right."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from envlock.lockfile.document import parse, render, summary_of
from envlock.lockfile.summary import quick_summary
from envlock.model.arch import OSX_ARM64
from envlock.model.lock import Lock, LockedPackage
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from tests.lockfile.conda_locks import CONDA, MIXED, MOVED, WHEEL, WHOLE, conda_package
from tests.lockfile.test_formats import LOCKS, TORCH

LOCK = LOCKS["pylock.machine.toml"]
EXACT = LOCKS["pylock.exact.toml"]
DEMO, REQUIRED = LOCK.packages[0], LOCK.requirements._replace(metaflow=(), pypi=(parse_requirement("demo"),))
LACKING = {
    "a root": (replace(LOCK, packages=(TORCH,), requirements=REQUIRED), "demo"),
    "what Metaflow needs": (LOCK, "requests"),
    "a root of this arch": (
        replace(
            LOCK,
            packages=(),
            requirements=REQUIRED._replace(pypi=(parse_requirement("demo ; sys_platform == 'linux'"),)),
        ),
        "demo",
    ),
    "what a package needs": (replace(LOCK, packages=(DEMO,), requirements=REQUIRED), "torch"),
    "what a conda package needs": (
        replace(MIXED, packages=tuple(p for p in MIXED.packages if p.name != "tzdata")),
        "tzdata",
    ),
    "a conda package": (
        replace(MIXED, packages=(MOVED, *(p for p in MIXED.packages if p.name not in {"tool", "numpy"}))),
        "numpy",
    ),
}


@pytest.mark.parametrize(("lock", "name"), LACKING.values(), ids=list(LACKING))
def test_what_is_required_or_needed_and_not_there_is_reported(lock: Lock, name: str) -> None:
    lock = replace(lock, packages=tuple(sorted(lock.packages, key=lambda each: (each.kind, each.name))))
    summary = quick_summary(render(lock).encode())
    assert summary is not None
    assert re.search(rf"\b{name}(,| is required,) .*not locked", summary.inconsistency)


def test_a_version_that_is_not_required_is_reported() -> None:
    for asked in ("demo>=2", "demo[fast]!=1.2.3 ; platform_machine == 'x86_64'"):
        lock = replace(LOCK, requirements=REQUIRED._replace(pypi=(parse_requirement(asked),)))
        assert "demo 1.2.3 is locked, but demo" in summary_of(lock).inconsistency


@pytest.mark.parametrize(("lock", "required"), [(LOCK, "uv"), (EXACT, "machine"), (MIXED, "uv")])
def test_a_python_from_elsewhere_than_required_is_reported(lock: Lock, required: str) -> None:
    assert "a Python from" not in summary_of(lock).inconsistency
    wrong = replace(lock, requirements=lock.requirements._replace(python_from=required))
    assert summary_of(wrong).inconsistency == (
        f"a Python from {lock.python.source} is locked, but one from {required} is required"
    )


def pinned(index: str, marker: str = "") -> Requirements:
    """demo, asked of one index alone."""
    return REQUIRED._replace(pypi=(parse_requirement(f"demo{marker}")._replace(from_index=index),))


@pytest.mark.parametrize("found", ["https://other.example/simple", "https://index.example/simple/more", ""])
@pytest.mark.parametrize("upload_time", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05+01:00"])
def test_a_package_from_another_index_than_its_own_is_reported(found: str, upload_time: str) -> None:
    packages = (replace(DEMO, index=found, upload_time=upload_time), TORCH)
    for marker in ("", " ; sys_platform == 'linux'"):
        lock = replace(LOCK, packages=packages, requirements=pinned("https://index.example/simple", marker))
        parse(render(lock).encode(), "pylock.toml")
        assert "but demo from https://index.example/simple is required" in summary_of(lock).inconsistency


@pytest.mark.parametrize(
    ("asked", "marker"),
    [
        ("https://index.example/simple/", ""),
        ("https://Index.example:443/simple", ""),
        ("https://${HOST}:${PORT}/simple", ""),
        ("https://${TEAM}.example/simple", ""),
        ("${BASE}/simple", ""),
        ("${INDEX}", ""),
        ("https://other.example/simple", " ; sys_platform == 'darwin'"),
    ],
)
def test_the_index_of_a_package_may_be_written_otherwise(asked: str, marker: str) -> None:
    assert "but demo from" not in summary_of(replace(LOCK, requirements=pinned(asked, marker))).inconsistency


@pytest.mark.parametrize("asked", ["https://${HOST}/other", "https://${TEAM}.other/simple", "${BASE}/other"])
def test_a_variable_of_an_index_is_no_more_than_its_place(asked: str) -> None:
    assert "but demo from" in summary_of(replace(LOCK, requirements=pinned(asked))).inconsistency


@pytest.mark.parametrize("asked", ["==3.11.*", "<3.12", "<3.13,>=3.12.5", "==3.12.3"])
def test_a_python_that_is_not_required_is_reported(asked: str) -> None:
    lock = replace(LOCK, requirements=REQUIRED._replace(python=asked))
    assert summary_of(lock).inconsistency == f"Python 3.12.4 is locked, but Python {asked} is required"
    assert summary_of(replace(lock, requirements=REQUIRED._replace(python="==3.12.*"))).inconsistency == ""


def with_file(filename: str, version: str = "1.2.3", **changes: Any) -> str:
    """What is told of a lock of demo whose file is called so."""
    demo = replace(DEMO, filename=filename, url=f"https://files.example/{filename}", version=version)
    return summary_of(replace(LOCK, packages=(demo, TORCH), requirements=REQUIRED, **changes)).inconsistency


@pytest.mark.parametrize(
    "filename",
    [
        "evil-1.2.3-py3-none-any.whl",
        "demo_evil-1.2.3-py3-none-any.whl",
        "demo-1.2.4-py3-none-any.whl",
        "demo-1.2.3rc1-py3-none-any.whl",
        "demo-1.2.3.whl",
        "demo-1.2.3-py2-none-any.whl",
        "demo-1.2.3-py313-none-any.whl",
        "demo-1.2.3-cp311-cp311-manylinux_2_28_x86_64.whl",
        "demo-1.2.3-cp313-abi3-manylinux_2_28_x86_64.whl",
        "demo-1.2.3-pp310-pypy310_pp73-manylinux_2_28_x86_64.whl",
        "demo-1.2.3-cp312-cp312-manylinux_2_28_aarch64.whl",
        "demo-1.2.3-cp312-cp312-macosx_11_0_x86_64.whl",
        "demo-1.2.3-cp312-cp312-win_amd64.whl",
    ],
)
def test_the_file_of_another_package_version_machine_or_python_is_reported(filename: str) -> None:
    assert filename in with_file(filename)


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("Demo-1.2.3-py2.py3-none-any.whl", "1.2.3"),
        ("demo-1.2.3-1local-py3-none-any.whl", "1.2.3"),
        ("demo-2024.07.04-py3-none-any.whl", "2024.7.4"),
        ("demo-1.0.0-py3-none-any.whl", "1.0"),
        ("demo-1.0.0.post1-py3-none-any.whl", "1.0.0.post1"),
        ("demo-1.0.beta1-py3-none-any.whl", "1.0b1"),
        ("demo-1.0_cu12-py3-none-any.whl", "1.0+cu12"),
        ("demo-1.2.3-cp36-abi3-manylinux1_x86_64.manylinux2014_x86_64.whl", "1.2.3"),
        ("demo-1.2.3-cp311.cp312-none-linux_x86_64.whl", "1.2.3"),
        ("demo-1.2.3-py3-none-musllinux_1_2_x86_64.whl", "1.2.3"),
    ],
)
def test_a_file_may_spell_its_package_and_version_otherwise(filename: str, version: str) -> None:
    assert with_file(filename, version) == ""


@pytest.mark.parametrize("platform", ["macosx_11_0_arm64", "macosx_10_9_universal2", "any"])
def test_a_file_for_several_machines_is_for_each_of_them(platform: str) -> None:
    assert with_file(f"demo-1.2.3-py3-none-{platform}.whl", arch=OSX_ARM64) == ""


def test_what_is_whole_lacks_nothing() -> None:
    for lock in (
        replace(LOCK, requirements=REQUIRED),
        *(
            replace(LOCK, packages=(), requirements=REQUIRED._replace(pypi=(parse_requirement(f"demo ; {marker}"),)))
            for marker in ("os_name == 'nt'", "sys_platform == 'darwin' or python_version < '3.12'", "extra == 'x'")
        ),
        holding(LOCK, asked="demo, demo<1 ; os_name == 'nt'"),
        replace(LOCK, requirements=REQUIRED._replace(pypi=(parse_requirement(f"demo @ {DEMO.url}"),))),
        replace(CONDA, requirements=CONDA.requirements._replace(conda=())),
        WHOLE,
        EXACT,
    ):
        assert summary_of(lock).inconsistency == ""


def wheel(name: str, *needed: str) -> LockedPackage:
    file = f"{name}-1.2.3-py3-none-any.whl"
    return replace(WHEEL, name=name, filename=file, url=f"https://files.example/{file}", dependencies=needed)


def holding(lock: Lock, *packages: LockedPackage, asked: str = "demo", metaflow: str = "", **changes: str) -> Lock:
    """A lock with more packages, and with other requirements."""
    requirements = lock.requirements._replace(
        pypi=tuple(map(parse_requirement, asked.split(", "))),
        metaflow=(parse_requirement(metaflow),) if metaflow else (),
        **changes,
    )
    found = sorted((*lock.packages, *packages), key=lambda each: (each.kind, each.name))
    return replace(lock, requirements=requirements, packages=tuple(found))


OTHER = wheel("other")
NEEDED = {
    "a root": holding(LOCK, OTHER, asked="demo, other"),
    "what a root needs": holding(replace(LOCK, packages=(TORCH,)), wheel("demo", "other", "torch"), OTHER),
    "what Metaflow needs": holding(LOCK, OTHER, metaflow="other"),
    "what some releases of Python need": holding(LOCK, OTHER, asked="demo, other ; python_full_version >= '3.12.9'"),
    "what Metaflow needs of PyPI, beside conda packages": holding(WHOLE, OTHER, metaflow="other"),
    "what Metaflow needs of a channel": holding(
        WHOLE, conda_package("pytorch", "2.0", "h1_0", provides=(("torch", "2.0"),)), metaflow="torch"
    ),
    "what an extra of a conda package may need": holding(WHOLE, OTHER, asked="demo, numpy[fast]"),
    "what a base brings": holding(MIXED, OTHER, base=f"mixed:{'1' * 40}:{'2' * 40}"),
}
UNNEEDED = {
    "a wheel": holding(LOCK, OTHER),
    "wheels that need each other": holding(LOCK, wheel("other", "zlib"), wheel("zlib", "other")),
    "a wheel that needs itself": holding(LOCK, wheel("other", "other")),
    "a wheel for another arch": holding(LOCK, OTHER, asked="demo, other ; sys_platform == 'darwin'"),
    "a wheel beside conda packages": holding(WHOLE, OTHER),
    "a conda package": holding(WHOLE, conda_package("other", "1.2.3", "h1_0")),
}


@pytest.mark.parametrize("lock", NEEDED.values(), ids=list(NEEDED))
def test_a_package_that_something_needs_may_be_locked(lock: Lock) -> None:
    assert summary_of(lock).inconsistency == ""


@pytest.mark.parametrize("lock", UNNEEDED.values(), ids=list(UNNEEDED))
def test_a_package_that_nothing_needs_is_reported(lock: Lock) -> None:
    assert summary_of(lock).inconsistency == "other is locked, but nothing that is required needs it"
