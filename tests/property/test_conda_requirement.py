"""A conda requirement's text says all of it: what is hashed and kept in locks is read back as it was asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.conda_tables import entry_of
from envlock.model.conda_requirement import BadCondaRequirement, conda_requirement, parse_conda_requirement

names = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,6}[A-Za-z0-9_])?", fullmatch=True)
channels = st.sampled_from(
    ["", "conda-forge::", "a/label/b::", "https://me:pw@conda.example/t/token/x/::", "file:///srv/c::"]
)
numbers = st.lists(st.integers(0, 30).map(str), min_size=1, max_size=3).map(".".join)
clauses = st.builds(
    lambda operator, number, end: f"{operator}{number}{end}",
    st.sampled_from(["", "=", "==", ">=", "<", "!=", "~=", " >= "]),
    numbers,
    st.sampled_from(["", "", ".*", "rc1"]),
)
versions = st.one_of(
    st.just(""),
    st.just("*"),
    clauses,
    st.lists(clauses, min_size=2, max_size=3).map(",".join),
    st.lists(clauses, min_size=2, max_size=2).map("|".join),
)
builds = st.sampled_from(["", "", "=py310*", "=h1_0", " *_cpython", " 0"])
archs = st.sampled_from(["", "", "; linux", ";osx-64", " ; osx-arm64, linux", "; linux osx", ";"])


@given(channel=channels, name=names, version=versions, build=builds, arch=archs)
def test_the_text_of_a_requirement_is_read_as_that_requirement(
    channel: str, name: str, version: str, build: str, arch: str
) -> None:
    try:
        requirement, _ = entry_of(f"{channel}{name}", f"{version}{build}{arch}")
    except BadCondaRequirement:
        return
    assert parse_conda_requirement(str(requirement)) == requirement
    again = conda_requirement(*str(requirement).partition(" ")[::2])
    assert again == requirement
    assert "pw@" not in str(requirement)
    assert "token" not in str(requirement)


@given(st.text(max_size=12), st.text(max_size=12))
def test_whatever_is_written_is_read_or_refused(name: str, constraint: str) -> None:
    try:
        requirement = conda_requirement(name, constraint)
    except BadCondaRequirement:
        return
    assert parse_conda_requirement(str(requirement)) == requirement


@pytest.mark.parametrize("constraint", ["; win", ";", "; linux-64x", ">=1 ; linux ; osx"])
def test_an_arch_that_there_is_not_is_refused(constraint: str) -> None:
    with pytest.raises(BadCondaRequirement):
        conda_requirement("numpy", constraint)


def test_python_is_the_same_for_every_arch() -> None:
    assert not conda_requirement("python", "3.12 ; linux osx").archs
    with pytest.raises(BadCondaRequirement):
        conda_requirement("python", "3.12 ; linux")


@pytest.mark.parametrize("constraint", ["=", "<", "==", ">=1,", ",1", "1,,2", "1||2", "|", ">=,1", ">=1,<", "~"])
def test_an_unfinished_constraint_is_refused(constraint: str) -> None:
    with pytest.raises(BadCondaRequirement):
        conda_requirement("numpy", constraint)


@pytest.mark.parametrize(
    ("constraint", "first", "second"),
    [
        (">=1.26 <2", ">=1.26", "<2"),
        (">=1.26<2", ">=1.26", "<2"),
        ("1.26 != 1.26.1", "1.26", "!=1.26.1"),
        ("1.26==py312*", "1.26", "==py312*"),
    ],
)
def test_clauses_without_a_comma_are_refused(constraint: str, first: str, second: str) -> None:
    with pytest.raises(BadCondaRequirement, match="a comma is missing") as caught:
        conda_requirement("numpy", constraint)
    assert caught.value.reason == f"a comma is missing between `{first}` and `{second}`"


def test_an_epoch_is_no_second_clause() -> None:
    assert conda_requirement("numpy", ">=1!2.0,<2!0").version == ">=1!2.0,<2!0"


def test_a_version_is_shown_as_it_was_written() -> None:
    with pytest.raises(BadCondaRequirement) as caught:
        conda_requirement("numpy", "^1.26")
    assert caught.value.reason == "`^1.26` is not a version that conda knows"
