"""Markers that are made of markers mean what they say, as packaging evaluates them."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker

from envlock.model.marker import all_hold, is_marker, negated

ATOMS = [
    *("sys_platform == 'linux'", "sys_platform != 'darwin'", "python_version < '3.12'", "python_version >= '3.9'"),
    *("os_name in 'posix nt'", "platform_machine not in 'x86_64'"),
]
MARKERS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.lists(
        st.tuples(inner, st.booleans(), st.sampled_from([" and ", " or "])), min_size=1, max_size=3
    ).map(
        lambda parts: (
            "".join(f"{f'({text})' if wrap else text}{join}" for text, wrap, join in parts)
            .rpartition(" ")[0]
            .rpartition(" ")[0]
        )
    ),
    max_leaves=6,
)
MACHINES = [
    {"sys_platform": system, "python_version": python, "os_name": name, "platform_machine": machine}
    for system, python, name, machine in product(
        ("linux", "darwin"), ("3.8", "3.10", "3.13"), ("posix", "java"), ("x86_64", "arm64")
    )
]


@given(MARKERS)
def test_a_negated_marker_is_true_where_the_marker_is_not(marker: str) -> None:
    found = negated(marker)
    assert is_marker(found)
    assert [Marker(found).evaluate(each) for each in MACHINES] == [
        not Marker(marker).evaluate(each) for each in MACHINES
    ]


@given(st.lists(MARKERS, min_size=1, max_size=3))
def test_markers_together_are_true_where_each_is(markers: list[str]) -> None:
    found = Marker(all_hold(*markers))
    for each in MACHINES:
        assert found.evaluate(each) == all(Marker(marker).evaluate(each) for marker in markers)
