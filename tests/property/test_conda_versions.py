"""envlock orders conda versions as py-rattler does, without importing it."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from rattler import Version
from rattler.exceptions import InvalidVersionError

from envlock.conda.match_specs import version_order

RUNS = st.sampled_from(["0", "1", "2", "10", "2024", "a", "b", "rc", "w", "dev", "post", "alpha"])
PARTS = st.lists(RUNS, min_size=1, max_size=3).map("".join)
PUBLIC = st.lists(st.tuples(PARTS, st.sampled_from(list(".._-"))), min_size=1, max_size=4).map(
    lambda found: "".join(part + dot for part, dot in found)[:-1]
)


@st.composite
def versions(draw: st.DrawFn) -> str:
    epoch = draw(st.sampled_from(["", "", "0!", "1!"]))
    local = draw(st.sampled_from(["", "", "+1", "+a.2"]))
    return epoch + draw(PUBLIC) + draw(st.sampled_from(["", "", "_"])) + local


@given(versions(), versions())
def test_any_two_versions_are_ordered_as_py_rattler_orders_them(one: str, other: str) -> None:
    try:
        first, second = Version(one), Version(other)
    except InvalidVersionError:
        assume(False)
    assert version_order(one, other) == (first > second) - (first < second)
