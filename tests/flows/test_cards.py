"""Cards of the environments of tasks: what a page says, and how a browser draws it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser import picture_of, text_of
from tests.flows.conftest import Flows
from tests.index import Index
from tests.support import isolation

pytestmark = [pytest.mark.flows, pytest.mark.index]


@dataclass(frozen=True)
class Cards:
    """The cards of one run: their pages, by step and type."""

    run: str
    pages: dict[tuple[str, str], Path]

    def tables(self, step: str, kind: str = "envlock") -> dict[str, list[list[str]]]:
        """The rows of each table of a page, by the title of its section; the first has none."""
        return dict(_tables(self._document(step, kind)))

    def sentences(self, step: str) -> str:
        """All text of a page that is in no table."""
        return "\n".join(_texts(self._document(step, "envlock")))

    def _document(self, step: str, kind: str) -> Any:
        page = self.pages[step, kind].read_text(encoding="utf-8")
        (encoded,) = re.findall(r'__MF_DATA__\["[^"]+"\] = "([^"]+)"', page)
        return json.loads(base64.b64decode(encoded))


def _tables(node: Any, title: str = "") -> Iterator[tuple[str, list[list[str]]]]:
    for each in node if isinstance(node, list) else [node]:
        if not isinstance(each, dict):
            continue
        if each.get("type") == "table":
            yield title, each["data"]
        yield from _tables(each.get("components", []), each.get("title", title))
        yield from _tables(each.get("contents", []), each.get("title", title))


def _texts(node: Any) -> Iterator[str]:
    for each in node if isinstance(node, list) else [node]:
        if isinstance(each, dict):
            if each.get("type") == "markdown":
                yield each["source"]
            yield from _texts(each.get("components", []))
            yield from _texts(each.get("contents", []))


@pytest.fixture(scope="module")
def cards(locked_flows: Flows, index: Index, shared_uv_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Cards:
    import shutil

    folder = tmp_path_factory.mktemp("cards") / "project"
    shutil.copytree(locked_flows.folder, folder, ignore=shutil.ignore_patterns(".metaflow"))
    with isolation(locked_flows.home, shared_uv_cache):
        flows = Flows(folder, locked_flows.home)
        ended = flows.python("carded.py", "--environment=envlock", "run")
        assert ended.status == 0, ended.text
    runs = folder / ".metaflow" / "mf.cards" / "CardFlow" / "runs" / ended.run_id / "steps"
    found = {}
    for path in runs.glob("*/tasks/*/cards/*.html"):
        found[path.relative_to(runs).parts[0], path.name.partition("-")[0]] = path
    return Cards(ended.run_id, found)


def test_a_card_shows_the_environment_of_its_task(cards: Cards, series: tuple[str, str]) -> None:
    tables = cards.tables("start")
    facts = dict(tables.pop("Environment of start"))
    assert facts["Ran as"].startswith(f"CardFlow/{cards.run}/start/")
    assert facts["Python"].startswith(f"CPython {series[1]}")
    ((title, packages),) = tables.items()
    assert title == f"{len(packages)} packages"
    assert ["alpha", "1.1", "PyPI"] in packages
    assert [row[0].lower() for row in packages] == sorted(row[0].lower() for row in packages)
    assert "The same as what this task ran in." in cards.sentences("start")


def test_a_table_for_other_cards_has_the_packages_that_are_named(cards: Cards) -> None:
    (rows,) = cards.tables("start", "blank").values()
    assert [row[0] for row in rows] == ["alpha", "requests"]


def test_a_card_of_a_disabled_step_says_so(cards: Cards) -> None:
    assert "has no environment" in cards.sentences("report")


def test_a_lock_that_changed_meanwhile_is_a_change(cards: Cards) -> None:
    assert cards.tables("end")["Current lock: 1 change"] == [["alpha", "1.1", "1.0"]]


@pytest.mark.slow
def test_a_browser_draws_the_card(cards: Cards, tmp_path: Path) -> None:
    page = cards.pages["end", "envlock"]
    drawn = re.sub(r"<[^>]+>", " ", text_of(page))
    for words in ("Environment of end", "Current lock: 1 change", "alpha", "1.1", "requests"):
        assert words in drawn
    picture = tmp_path / "card.png"
    picture_of(page, picture)
    assert picture.stat().st_size > 20_000, "an empty page is smaller"
