"""Every error has a code of its own, and a page that says what to do about it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from envlock.config.errors import NoSuchSelection
from envlock.errors import EnvlockError, Location
from scripts.error_index import PAGES, documented_errors, index_page, is_as_printed, summary, with_head

ERRORS = documented_errors()


def test_codes_are_unique() -> None:
    counted = Counter(error.code for error in ERRORS)
    assert [code for code, count in counted.items() if count > 1] == []


def test_every_page_has_an_error() -> None:
    pages = {page.stem for page in PAGES.glob("*.md")} - {"index"}
    assert pages - {error.code for error in ERRORS} == set()


def test_the_index_is_current() -> None:
    assert (PAGES / "index.md").read_text(encoding="utf-8") == index_page(), "run `make docs-check`"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_an_error_is_documented(error: type[EnvlockError]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)
    assert summary(error).endswith("."), "its docstring begins with a sentence"
    page = PAGES / f"{error.code}.md"
    assert page.exists(), f"{error.__module__}.{error.__name__} has no page"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {error.code}\n\n")
    assert with_head(text, error) == text, "run `make docs-check`"
    shown = re.search(r"^error\[.*$", text, re.MULTILINE)
    assert shown is not None, "it shows the error"
    assert is_as_printed(shown[0], error), "it shows the error as it is printed"
    assert "## What to do" in text


def test_who_knows_more_makes_another_error() -> None:
    error = NoSuchSelection("step", "strat", ["start"], "envlock.toml")
    place = Location("envlock.toml", 3)
    more = error.adding("its flow is disabled", locations=(place,))
    assert (type(more), more.hint, more.message) == (type(error), error.hint, error.message)
    assert more.details == (*error.details, "its flow is disabled")
    assert more.locations == (*error.locations, place)
    assert error.at(place).locations == (place,)
    assert error.locations == (Location("envlock.toml"),)
