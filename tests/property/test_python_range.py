"""Our quick answer about a Python range is `packaging`'s."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from envlock.model.python_range import python_allows

numbers = st.lists(st.integers(0, 14), min_size=1, max_size=4).map(lambda found: ".".join(map(str, found)))
plain = st.builds(lambda operator, text: operator + text, st.sampled_from(["==", "!=", "<=", ">=", "<", ">"]), numbers)
compatible = st.lists(st.integers(0, 14), min_size=2, max_size=3).map(lambda found: "~=" + ".".join(map(str, found)))
wild = st.builds(lambda operator, text: f"{operator}{text}.*", st.sampled_from(["==", "!="]), numbers)
odd = st.sampled_from(["==3.12.0rc1", ">=3.12rc1", "<3.13.dev0", "==1!3.12", "===3.12.0"])
ranges = st.lists(plain | compatible | wild | odd, max_size=3).map(",".join)


@given(specifier=ranges, version=numbers | st.sampled_from(["3.13.0rc1", "3.12.0a1"]))
@example(specifier=">3.11", version="3.11.1")
@example(specifier="==3.11", version="3.11.0.0")
@example(specifier="~=3.11.2", version="3.11")
def test_it_is_packagings_answer(specifier: str, version: str) -> None:
    assert python_allows(specifier, version) is SpecifierSet(specifier).contains(version)
