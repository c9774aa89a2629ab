"""What a lock must hold is judged without `packaging`, and never otherwise than by it; what git left is always read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from envlock.lockfile.merge_conflicts import sides
from envlock.model.arch import ARCHS, MARKER_VALUES, Arch
from envlock.model.marker import holds
from envlock.model.requirement import rules_out

texts = st.sampled_from(["linux", "darwin", "win32", "x86_64", "arm64", "aarch64", "posix", "nt", "Linux", "CPython"])
variables = st.sampled_from(
    ["sys_platform", "platform_machine", "os_name", "platform_system", "platform_python_implementation"]
)
comparisons = st.one_of(
    st.builds(
        lambda name, operator, text: f"{name} {operator} '{text}'", variables, st.sampled_from(["==", "!="]), texts
    ),
    st.builds(
        lambda name, operator, text: f"'{text}' {operator} {name}", variables, st.sampled_from(["==", "in"]), texts
    ),
    st.builds(lambda name, text: f"{name} not in '{text} x86_64'", variables, texts),
    st.sampled_from(["python_version < '3.12'", "python_full_version >= '3.12.4'", "platform_release == '5'"]),
)
markers = st.recursive(
    comparisons,
    lambda inner: st.builds(
        lambda left, join, right, is_grouped: f"({left} {join} {right})" if is_grouped else f"{left} {join} {right}",
        inner,
        st.sampled_from(["and", "or"]),
        inner,
        st.booleans(),
    ),
    max_leaves=5,
)


@given(marker=markers, arch=st.sampled_from(ARCHS), release=st.sampled_from(["3.11.2", "3.12.4", "3.13.0"]))
def test_a_marker_that_the_arch_decides_is_judged_as_packaging_judges_it(marker: str, arch: Arch, release: str) -> None:
    found = holds(marker, MARKER_VALUES[arch])
    if found is not None:
        series = release.rpartition(".")[0]
        values = {
            **MARKER_VALUES[arch],
            "python_version": series,
            "python_full_version": release,
            "platform_release": "5",
        }
        assert Marker(marker).evaluate(values) is found


@given(marker=st.text("()'= andorsx_platfmi", max_size=30))
def test_what_is_no_marker_is_not_judged(marker: str) -> None:
    assert holds(marker, {}) is None


clauses = st.builds(
    lambda operator, version: f"{operator}{version}",
    st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "~="]),
    st.sampled_from(["1.0", "1.1", "1.1.0", "2.0", "2.0rc1", "1.0.post1"]),
)
versions = st.sampled_from(["1", "1.0", "1.0.0", "1.1", "1.10", "2.0", "2.0rc1", "2.0+cpu", "1.0.post1", "1!1.0"])


@given(specifier=st.lists(clauses, max_size=3).map(",".join), version=versions)
def test_a_version_that_is_ruled_out_is_not_allowed(specifier: str, version: str) -> None:
    if rules_out(specifier, version):
        assert not SpecifierSet(specifier).contains(Version(version), prereleases=True)


lines = st.sampled_from(["a\n", "b\n", "<<<<<<< x\n", "||||||| x\n", "=======\n", ">>>>>>> x\n", "<<<<<<<< x\n", "c"])


@given(text=st.lists(lines, max_size=12).map("".join))
def test_no_text_with_markers_is_too_odd_to_be_looked_at(text: str) -> None:
    found = sides(text)
    assert found is None or not {"<<<<<<< x", ">>>>>>> x"} & {line for side in found for line in side.splitlines()}


@given(
    parts=st.lists(
        st.tuples(*(st.lists(st.sampled_from(["p\n", "q\n", "r\n"]), max_size=3).map("".join) for _ in range(4))),
        min_size=1,
    ),
    size=st.integers(7, 12),
    shows_ancestor=st.booleans(),
)
def test_both_sides_come_back_whatever_the_style(
    parts: list[tuple[str, str, str, str]], size: int, shows_ancestor: bool
) -> None:
    text = "".join(
        f"{common}{'<' * size} HEAD\n{ours}"
        + (f"{'|' * size} 1a2b\n{ancestor}{'<' * (size + 2)} deeper\n" if shows_ancestor else "")
        + f"{'=' * size}\n{theirs}{'>' * size} branch\n"
        for common, ours, ancestor, theirs in parts
    )
    ours, theirs = ("".join(part[0] + part[at] for part in parts) for at in (1, 3))
    assert sides(text) == (ours, theirs)
