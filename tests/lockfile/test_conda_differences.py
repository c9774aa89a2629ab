"""Which changes of a conda or mixed environment an old lock still serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envlock.lockfile.differences import Difference, differences
from envlock.model.arch import LINUX_64, OSX_64
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from tests.lockfile.conda_locks import CHANNEL, PYTHON, TZDATA, WHEEL, ZLIB, conda_package
from tests.support import conda_requirements

OTHER = "https://conda.example/other"
REQUESTS = conda_package("requests", "2.32.3", "pyhd8ed1ab_0", subdir="noarch")
NUMPY = conda_package(
    "numpy",
    "1.26.4",
    "py313h64a7726_0",
    depends=("libblas",),
    dependencies=("libblas",),
    provides=(("numpy", "1.26.4"),),
)
BLAS = conda_package("libblas", "3.9.0", "1_openblas")
SCIPY = conda_package("scipy", "1.14.1", "py313_0", depends=("numpy",), dependencies=("numpy",), channel=OTHER)
ASKED = Requirements(
    python="<3.14,>=3.12",
    python_from="conda",
    metaflow=(parse_requirement("requests>=2.21.0"),),
    default_index="https://index.example/simple/",
    conda=conda_requirements("numpy =1.26", "scipy"),
    channels=(CHANNEL, OTHER),
    system=((LINUX_64, "__glibc", "2.28"), (OSX_64, "__osx", "13.0")),
)
LOCK = Lock(
    arch=LINUX_64,
    requirements=ASKED,
    python=LockedPython(source="conda", version="3.13.9"),
    packages=(BLAS, ZLIB, NUMPY, PYTHON, REQUESTS, SCIPY, TZDATA),
)
MIXED = replace(
    LOCK, requirements=ASKED._replace(pypi=(parse_requirement("demo>=1"),)), packages=(*LOCK.packages, WHEEL)
)


def conda(*texts: str) -> Requirements:
    return ASKED._replace(conda=conda_requirements(*texts))


@pytest.mark.parametrize(
    ("asked", "thing", "is_satisfied", "sentence"),
    [
        (
            conda("numpy >=1.26,<2", "scipy"),
            "conda:numpy",
            True,
            "conda package numpy >=1.26,<2, locked: 1.26.4 py313h64a7726_0",
        ),
        (conda("numpy ==1.26.4", "scipy"), "conda:numpy", True, "numpy ==1.26.4"),
        (conda("numpy ==1.26 py313*", "scipy"), "conda:numpy", False, "locked: 1.26.4 py313h64a7726_0"),
        (conda("numpy ==1.26.4 py313*", "scipy"), "conda:numpy", True, ""),
        (conda("numpy ==1.26.4 py312*", "scipy"), "conda:numpy", False, ""),
        (conda("numpy >=2", "scipy"), "conda:numpy", False, "conda package numpy >=2, locked: 1.26.4 py313h64a7726_0"),
        (conda(f"{CHANNEL}::numpy =1.26", "scipy"), "conda:numpy", True, f"py313h64a7726_0 of {CHANNEL}"),
        (conda(f"{OTHER}::numpy =1.26", "scipy"), "conda:numpy", False, f"py313h64a7726_0 of {CHANNEL}"),
        (conda("libblas", "numpy =1.26", "scipy"), "conda:libblas", True, ""),
        (conda("libblas 3.9.0 *mkl", "numpy =1.26", "scipy"), "conda:libblas", False, ""),
        (conda("ffmpeg", "numpy =1.26", "scipy"), "conda:ffmpeg", False, "conda package ffmpeg, not locked"),
        (conda("python 3.13.* *_cp313", "numpy =1.26", "scipy"), "conda:python", True, ""),
        (conda("python 3.13.* *_cpython", "numpy =1.26", "scipy"), "conda:python", False, ""),
        (conda("scipy"), "conda:numpy", True, "conda package numpy is no longer required"),
        (conda("numpy =1.26"), "conda:scipy", False, "conda package scipy is no longer required"),
        (ASKED._replace(conda=(CondaRequirement("scipy", ">=1["),)), "conda:scipy", False, ""),
        (
            ASKED._replace(conda=conda_requirements("scipy"), conda_only=conda_requirements("numpy =1.26")),
            "conda:numpy",
            True,
            "in `conda_only`, locked for `libraries`",
        ),
        (ASKED._replace(metaflow=()), "conda:requests", False, "no longer"),
        (ASKED._replace(metaflow=(parse_requirement("requests>=2.30"),)), "conda:requests", True, "requests >=2.30"),
        (ASKED._replace(metaflow=(parse_requirement("requests>=2.33"),)), "conda:requests", False, ""),
        (
            ASKED._replace(metaflow=(*ASKED.metaflow, parse_requirement("boto3"))),
            "conda:boto3",
            False,
            "boto3, not locked",
        ),
        (ASKED._replace(python=">=3.13"), "python", True, "python >=3.13, locked for >=3.12,<3.14: 3.13.9"),
        (ASKED._replace(python="<3.13"), "python", False, ""),
        (ASKED._replace(channels=(OTHER, CHANNEL)), OTHER, False, f"channels {OTHER}, {CHANNEL}, locked with"),
        (ASKED._replace(channels=(CHANNEL, "new", OTHER)), "new", False, ""),
        (ASKED._replace(channels=(CHANNEL,)), "channels", False, ""),
        (ASKED._replace(channels=(CHANNEL, OTHER, "after all")), "after all", True, ""),
        (
            ASKED._replace(channel_priority="disabled"),
            "channel-priority",
            False,
            "channel-priority disabled, locked with strict",
        ),
        (
            ASKED._replace(system=((LINUX_64, "__glibc", "2.17"), ASKED.system[1])),
            "__glibc",
            False,
            "__glibc 2.17 on linux-64, locked for 2.28",
        ),
        (
            ASKED._replace(system=(*ASKED.system, (LINUX_64, "__cuda", "12.4"))),
            "__cuda",
            False,
            "__cuda 12.4 on linux-64, locked for none",
        ),
        (ASKED._replace(system=(ASKED.system[0], (OSX_64, "__osx", "14.0"))), "__osx", True, ""),
        (ASKED._replace(default_index="https://other.example/simple/"), "index-url", True, ""),
        (ASKED._replace(exclude_newer="2026-01-01T00:00:00Z"), "exclude-newer", False, ""),
        (ASKED._replace(pypi=(parse_requirement("numpy>=1.20"),)), "numpy", True, "numpy>=1.20, locked: numpy 1.26.4"),
        (ASKED._replace(pypi=(parse_requirement("numpy>=2"),)), "numpy", False, "numpy>=2, locked: numpy 1.26.4"),
        (ASKED._replace(pypi=(parse_requirement("numpy[extra]"),)), "numpy", False, ""),
        (ASKED._replace(pypi=(parse_requirement("scipy"),)), "scipy", False, "scipy, not locked"),
    ],
)
def test_a_change_is_served_or_not(asked: Requirements, thing: str, is_satisfied: Any, sentence: str) -> None:
    found = {difference.thing: difference for difference in differences(LOCK, asked)}
    assert found[thing].is_satisfied is is_satisfied
    assert sentence in found[thing].sentence
    assert all(difference.is_satisfied for difference in found.values()) is is_satisfied


def test_nothing_differs() -> None:
    assert differences(LOCK, ASKED) == ()
    assert differences(MIXED, MIXED.requirements) == ()


def sentences(found: tuple[Difference, ...]) -> list[str]:
    return [difference.sentence for difference in found if not difference.is_satisfied]


def test_a_first_conda_package_is_the_only_difference_that_is_reported() -> None:
    lock = replace(
        MIXED,
        requirements=Requirements(python="<3.14,>=3.12", pypi=MIXED.requirements.pypi, system=ASKED.system),
        python=LockedPython("machine", "3.13.0"),
        packages=(WHEEL,),
    )
    asked = MIXED.requirements._replace(conda=conda_requirements("ffmpeg"), metaflow=(), default_index="")
    assert sentences(differences(lock, asked)) == [
        "python-from conda, locked with machine",
        "conda package ffmpeg, not locked",
    ]


def test_the_wheels_of_a_mixed_environment_are_judged_as_ever() -> None:
    def asking(*texts: str) -> Requirements:
        return MIXED.requirements._replace(pypi=tuple(parse_requirement(text) for text in texts))

    assert sentences(differences(MIXED, asking("demo>=1.2"))) == []
    assert sentences(differences(MIXED, asking("demo>=2"))) == ["demo>=2, locked: demo 1.2.3"]
    assert sentences(differences(MIXED, asking("demo>=1", "numpy<2"))) == []
    assert sentences(differences(MIXED, asking("demo>=1", "libblas"))) == ["libblas, not locked"]
    assert sentences(differences(MIXED, asking())) == ["demo is no longer required"]
    index = MIXED.requirements._replace(default_index="https://other.example/simple/")
    assert [difference.is_satisfied for difference in differences(MIXED, index)] == [False]


def test_a_provided_distribution_need_not_be_required() -> None:
    lock = replace(LOCK, requirements=ASKED._replace(pypi=(parse_requirement("numpy>=1.20"),)))
    (difference,) = differences(lock, ASKED)
    assert (difference.thing, difference.is_satisfied) == ("numpy", True)
