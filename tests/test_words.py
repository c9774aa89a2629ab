"""The words that messages are made of."""

from __future__ import annotations

import pytest

from envlock.words import byte_size, listed


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (10**9, "1.0 GB"), (10**13, "10000.0 GB")],
)
def test_a_size_has_the_unit_that_fits(number: int, text: str) -> None:
    assert byte_size(number) == text


def test_a_list_of_three_has_one_word_and_commas() -> None:
    assert listed("abc", "or") == "a, b or c"
