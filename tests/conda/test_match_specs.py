"""Whether a locked conda package is what a requirement asks for, as conda itself judges it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envlock.conda.channels import channel_base
from envlock.conda.match_specs import edges, name_in, satisfies
from tests.lockfile.conda_locks import CHANNEL, NUMPY


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("numpy", True),
        ("numpy =1.26", True),
        ("numpy =1.2", False),
        ("numpy ==1.26", False),
        ("numpy >=1,<2|>=3", True),
        ("numpy * py313*", True),
        ("numpy * py312*", False),
        ("numpy 1.26.* py313h64a7726_0", True),
        ("scipy", False),
        (f"{CHANNEL}::numpy", True),
        (f"{CHANNEL}/::numpy ==1.26.4", True),
        ("https://conda.example/other::numpy", False),
        ("conda-forge::numpy", False),
        ("numpy >=1[", False),
    ],
)
def test_a_package_satisfies_a_requirement_or_not(requirement: str, expected: object) -> None:
    assert satisfies(NUMPY, requirement) is expected


def test_a_channel_by_name_is_the_one_that_locks_hold() -> None:
    assert NUMPY.conda is not None
    package = replace(NUMPY, conda=replace(NUMPY.conda, channel=channel_base("conda-forge")))
    assert satisfies(package, "conda-forge::numpy")


@pytest.mark.parametrize(
    ("specification", "name"),
    [
        ("imath<3.2.0a0", "imath"),
        ("__osx>=10.12", "__osx"),
        ("conda-forge/linux-64::zlib ==1.3", "zlib"),
        ("PyYAML", "pyyaml"),
        ("", ""),
    ],
)
def test_the_name_in_a_specification(specification: str, name: str) -> None:
    assert name_in(specification) == name


def test_edges_are_what_is_locked_once_each() -> None:
    assert edges(("b >=1", "a", "b <2", "__glibc", ""), {"a", "b", "c"}) == ("a", "b")
