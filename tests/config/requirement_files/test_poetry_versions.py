"""Poetry's constraints allow in PEP 440, and as markers, what they allow in Poetry."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from poetry.core.constraints.version import Version, parse_constraint
from poetry.core.packages.utils.utils import create_nested_marker
from poetry.core.version.markers import parse_marker

from envlock.config.requirement_files.poetry_versions import marker_of, specifier_of
from envlock.model.requirement import BadVersionSpecifier

NUMBERS = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
VERSIONS = st.tuples(NUMBERS, st.sampled_from(["", "", "", "a1", "rc2", ".post1", ".dev3", "b1.dev2"])).map("".join)
CLAUSES = st.one_of(
    st.tuples(st.sampled_from(["^", "~", "==", "=", "!=", "<", "<=", ">", ">=", "", "^ ", ">= "]), VERSIONS).map(
        "".join
    ),
    st.tuples(st.sampled_from(["", "==", "!="]), st.lists(st.integers(0, 4), min_size=1, max_size=3)).map(
        lambda made: f"{made[0]}{'.'.join(map(str, made[1]))}.*"
    ),
    st.lists(st.integers(0, 4), min_size=2, max_size=4).map(lambda parts: f"~={'.'.join(map(str, parts))}"),
    st.just("*"),
)
ALL = st.tuples(st.lists(CLAUSES, min_size=1, max_size=2), st.sampled_from([",", ", ", " "])).map(
    lambda made: made[1].join(made[0])
)
SERIES = st.one_of(
    st.tuples(st.sampled_from(["^", "~"]), st.integers(0, 3), st.integers(0, 9)).map(lambda x: f"{x[0]}{x[1]}.{x[2]}"),
    st.tuples(st.integers(0, 3), st.integers(0, 9)).map(lambda x: f"{x[0]}.{x[1]}.*"),
    st.tuples(st.sampled_from([">=", "<"]), st.integers(0, 3), st.integers(0, 9)).map(lambda x: f"{x[0]}{x[1]}.{x[2]}"),
)
RELEASES = [f"{major}.{minor}.{patch}" for major in range(5) for minor in range(11) for patch in (0, 7)]


@given(ALL, st.lists(VERSIONS, min_size=5, max_size=20))
def test_a_constraint_allows_what_poetry_allows(constraint: str, versions: list[str]) -> None:
    found = SpecifierSet(specifier_of(constraint))
    right = parse_constraint(constraint)
    for version in versions:
        assert found.contains(version, prereleases=True) == right.allows(Version.parse(version)), (found, version)


@given(st.lists(SERIES, min_size=2, max_size=4).map(" || ".join))
def test_so_do_alternatives_where_pep_440_can_say_them(constraint: str) -> None:
    right = parse_constraint(constraint)
    try:
        found = SpecifierSet(specifier_of(constraint))
    except BadVersionSpecifier:
        assume(False)
    for version in RELEASES:
        assert found.contains(version) == right.allows(Version.parse(version)), (found, version)


def test_most_alternatives_of_real_projects_can_be_said() -> None:
    for constraint in ("^1.4 || ^2.0", "<2 || >=3", "~1.2 || ~1.4", "2.* || 3.*", ">=1,<2 || >=2.1,<3", "^1.1|^2.0"):
        assert specifier_of(constraint) or constraint == "", constraint


@pytest.mark.parametrize("constraint", ["~2.7 || ^3.6", "^2.7 || >=3.5,<3.9", "2.7.* || 3.8.*", "~3.8 || ~3.10"])
def test_alternatives_of_pythons_leave_out_the_series_that_are_between(constraint: str) -> None:
    found = SpecifierSet(specifier_of(constraint, is_python=True))
    right = parse_constraint(constraint)
    series = [(2, 7), *((3, minor) for minor in range(15))]
    for version in (f"{major}.{minor}.{patch}" for major, minor in series for patch in (0, 3, 18)):
        assert found.contains(version) == right.allows(Version.parse(version)), (found, version)


@pytest.mark.parametrize(
    "constraint", ["~1.2 || ^3.0", "1.2 || 1.4", "<=1.4 || >=2", "", "1.2,||", "banana", "<>1", "===1"]
)
def test_what_pep_440_cannot_say_is_refused(constraint: str) -> None:
    with pytest.raises(BadVersionSpecifier):
        specifier_of(constraint)


PYTHONS = st.one_of(
    st.tuples(
        st.sampled_from(["^", "~", ">=", "<", ">", "<=", "!=", "=="]), st.integers(6, 14), st.sampled_from(["", ".2"])
    ).map(lambda made: f"{made[0]}3.{made[1]}{made[2]}"),
    st.integers(6, 14).map(lambda minor: f"3.{minor}.*"),
    st.sampled_from(["^3", ">=3", "<4", "!=3.9.*"]),
)


@given(st.lists(PYTHONS, min_size=1, max_size=2).map(",".join))
def test_the_python_of_a_dependency_is_the_marker_that_poetry_makes(constraint: str) -> None:
    right = parse_constraint(constraint)
    assume(not right.is_empty() and not right.is_any())
    # Of several clauses that leave one version, such as `>=3.9,<=3.9`, Poetry makes the whole series of `==3.9`.
    assume("," not in constraint or not isinstance(right, Version))
    theirs, ours = parse_marker(create_nested_marker("python_version", right)), Marker(marker_of(constraint))
    for version in (f"3.{minor}.{patch}" for minor in range(6, 15) for patch in (0, 1, 2, 5)):
        values = {"python_full_version": version, "python_version": version.rpartition(".")[0]}
        assert ours.evaluate(values) == theirs.validate(values), (ours, theirs, version)


@given(st.text(alphabet="^~<>=!*x.,| 0123a", max_size=20))
def test_no_text_is_more_than_an_error(text: str) -> None:
    for read in (specifier_of, marker_of):
        with suppress(BadVersionSpecifier):
            read(text)
