"""The light parser of requirements against `packaging`: what it accepts, packaging accepts, and both mean the same."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from envlock.errors import ConfigError
from envlock.model.requirement import (
    PypiRequirement,
    contradict,
    normalize_name,
    normalize_specifier,
    parse_requirement,
)

space = st.sampled_from(["", "", "", " ", "  ", "\t"])
name = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?", fullmatch=True)
version = st.one_of(
    st.from_regex(r"v?([0-9]{1,3}!)?[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True),
    st.from_regex(r"[0-9](\.[0-9]){0,2}[-_.]?(a|b|rc|alpha|beta|c|pre|preview)[-_.]?[0-9]?", fullmatch=True),
    st.from_regex(
        r"[0-9](\.[0-9]){0,2}([-_.]?(post|rev|r)[-_.]?[0-9]?|-[0-9])?([-_.]?dev[-_.]?[0-9]?)?", fullmatch=True
    ),
    st.from_regex(r"[0-9](\.[0-9])?\+[a-z0-9]{1,4}([-_.][a-z0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"[0-9](\.[0-9])?\.\*", fullmatch=True),
)
operator = st.sampled_from(["==", "!=", ">=", "<=", ">", "<", "~=", "==="])
clause = st.tuples(space, operator, space, version, space).map("".join)
specifier = st.lists(clause, max_size=3).map(",".join)
extras = st.one_of(
    st.just(""), st.lists(st.tuples(space, name, space).map("".join), max_size=3).map(",".join).map("[{}]".format)
)
value = st.sampled_from(["'linux'", '"3.12"', "sys_platform", "python_version", "extra", "'it is; so'", "'a  b'"])
comparison = st.tuples(value, space, st.sampled_from(["==", "<", ">=", "!=", " in ", " not in ", "~="]), space, value)
marker = st.one_of(
    st.just(""),
    st.lists(comparison.map("".join), min_size=1, max_size=3).map(" and ".join).map(";{}".format),
    comparison.map("".join).map("; ( {} ) or os_name=='nt'".format),
)
url = st.sampled_from(
    ["https://index.example/demo-1.whl", "https://code.example:8443/a@v1#egg=x", "http://[::1]/x;y", "${FILES}/a.whl"]
)
spelled = st.one_of(
    st.tuples(space, name, space, extras, space, specifier, space, marker, space).map("".join),
    st.tuples(name, extras, space, specifier.map("({})".format), space, marker).map("".join),
    st.tuples(space, name, extras, space, st.just("@"), space, url, st.sampled_from(["", " "]), marker).map("".join),
)
scrambled = st.text("ab1.,<>=!~;@[]()'\"*+- _/:#v\t\n", max_size=16)


def mutated(text: str, at: int, letter: str) -> str:
    at %= len(text) + 1
    return text[:at] + letter + text[at + 1 :]


almost = st.builds(
    mutated, spelled, st.integers(0, 60), st.sampled_from([*"ab1.,<>=!~;@[]()'\"* \n", "", "é", "\x00", "\\"])
)


def ours(text: str) -> PypiRequirement | None:
    try:
        return parse_requirement(text)
    except ConfigError:
        return None


def theirs(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def meaning(requirement: Requirement) -> tuple[object, ...]:
    return (
        canonicalize_name(requirement.name),
        {canonicalize_name(extra) for extra in requirement.extras},
        requirement.specifier,
        str(requirement.marker or ""),
        requirement.url or "",
    )


@given(st.one_of(spelled, almost, scrambled))
@example("pandas ; ")
@example("pandas>=1,,<2")
@example("pandas >=1,")
@example("pandas *")
@example("pandas (>=1")
@example("pandas >=1)")
@example("pandas []")
@example("pandas[,a]")
@example("pandas[a,,b]")
@example("pandas ()")
@example("pandas @ x")
@example("pandas@https://index.example/a.whl; os_name=='nt'")
@example("pandas ; extra == 'a  b'")
@example("pandas === 1;2")
@example("pandas >=1+local")
@example("pandas ~=1")
def test_what_ours_accepts_packaging_accepts_with_the_same_meaning(text: str) -> None:
    mine = ours(text)
    if mine is None:
        return
    other = theirs(text.strip())
    assert other is not None, f"{text!r} was read as {mine}"
    assert meaning(Requirement(str(mine))) == meaning(other)


@given(spelled)
def test_what_packaging_accepts_ours_accepts(text: str) -> None:
    # packaging takes the comma for a part of the version, and a marker without a space before it for one of the URL's
    # fragment; ours refuses both.
    is_odd = ("===" in text and "," in text) or "#egg=x;" in text
    if theirs(text) is not None and not is_odd:
        assert ours(text) is not None, text


@given(st.one_of(spelled, almost))
def test_the_canonical_spelling_stays_as_it_is(text: str) -> None:
    mine = ours(text)
    if mine is not None:
        assert parse_requirement(str(mine)) == mine
        assert str(parse_requirement(str(mine))) == str(mine)


@pytest.mark.parametrize("text", ["x{}y", "x{}@", "x @ u{}y", "x ({}y", "x[a]{}>", "x>=1{}@ ;", "x{}' y' @"])
def test_spaces_cost_no_more_than_their_number(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError):
        parse_requirement(text.format(" " * 20_000))
    assert time.process_time() - began < 1


@given(st.lists(clause, max_size=4), st.randoms())
def test_the_order_and_the_spaces_of_clauses_do_not_matter(clauses: list[str], random: object) -> None:
    try:
        first = normalize_specifier(",".join(clauses))
    except ConfigError:
        return
    random.shuffle(clauses)  # type: ignore[attr-defined]
    assert normalize_specifier(" , ".join(clauses)) == first
    assert SpecifierSet(first) == SpecifierSet(",".join(clauses))


@given(st.one_of(specifier, version, st.text("1.,<>=!~*() av", max_size=8)))
def test_a_specifier_that_ours_accepts_packaging_accepts(text: str) -> None:
    try:
        mine = normalize_specifier(text)
    except ConfigError:
        return
    try:
        SpecifierSet(mine)
    except InvalidSpecifier as error:
        raise AssertionError(f"{text!r} was read as {mine}") from error


@given(st.text("aZ0._- é", max_size=8))
def test_names_are_normalised_as_packaging_does(text: str) -> None:
    try:
        mine = normalize_name(text)
    except ConfigError:
        return
    assert mine == canonicalize_name(text, validate=True)


plain_clauses = st.builds(
    lambda operator, version: f"{operator}{version}",
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["1", "1.0", "1.5", "2", "2.0.0", "2.0.1", "3"]),
)
SAMPLES = ["0.9", "1", "1.0.1", "1.2", "1.5", "1.5.post1", "1.9", "2", "2.0.0.1", "2.0.1", "2.5", "3", "3.1", "2.0rc1"]


@given(one=st.lists(plain_clauses, max_size=3), other=st.lists(plain_clauses, max_size=3))
def test_what_is_called_a_contradiction_no_version_meets(one: list[str], other: list[str]) -> None:
    first, second = (parse_requirement(f"x{','.join(clauses)}") for clauses in (one, other))
    if contradict(first, second):
        both = SpecifierSet(",".join([*one, *other]), prereleases=True)
        assert not [version for version in SAMPLES if version in both]
