"""What docs/explanation/scaling.md computes."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest

from metaflow_extensions.envlock.plugins.node import transport
from metaflow_extensions.envlock.plugins.node.transport import pause
from scripts import scaling
from scripts.scaling import DATA, ENVIRONMENTS, S3, SCALE, TASKS, ends_of, stampede


def waiting() -> partial[float]:
    """How long a node waits."""
    return partial(pause, chance=random.Random(1))


def test_the_page_and_the_chart_are_current() -> None:
    """Run `python scripts/scaling.py` if they are not."""
    stale = [path.name for path, text in scaling.generated().items() if path.read_text(encoding="utf-8") != text]
    assert stale == []


def test_every_table_is_on_the_page() -> None:
    text = scaling.PAGE.read_text(encoding="utf-8")
    assert [name for name in scaling.TABLES if f"<!-- computed: {name} -->" not in text] == []


def test_nothing_is_faster_than_the_store_answers_nor_much_slower() -> None:
    for requests in (20, 120):
        ends = stampede(200, requests, rate=110, seconds=0.1, wait=waiting())
        assert len(ends) == 200
        ideal = 200 * requests / 110
        assert ideal - 1.1 < ends[-1] < ideal + 1.5 * transport.LONGEST_PAUSE


def test_fewer_nodes_at_a_lower_rate_end_as_many_do() -> None:
    few, many = (stampede(200 * more, 30, rate=110 * more, seconds=0.1, wait=waiting()) for more in (1, 5))
    assert few[-1] == pytest.approx(many[-1], rel=0.1)
    assert few[100] == pytest.approx(many[500], rel=0.1)


def test_a_number_of_attempts_would_fail_nearly_every_node() -> None:
    """Why nodes have none for requests that a busy store refuses."""
    refusals: Counter[int] = Counter()

    def wait(refused: int) -> float:
        refusals[refused] += 1
        return draw(refused)

    draw = waiting()
    requests = DATA.way("packages").requests
    stampede(TASKS // SCALE, requests, S3.rate / SCALE, 0.1, wait)
    share = refusals[10] / (TASKS // SCALE * requests)
    assert share > 0.025
    assert (1 - share) ** requests < 0.05


def test_without_jitter_the_store_is_idle_half_of_the_time() -> None:
    """Nodes that were refused together come back together, and are refused together again."""
    jittered = stampede(200, 30, rate=110, seconds=0.1, wait=waiting())
    mean = 5 / 8  # of the longest pause, as the jittered ones have it
    together = stampede(
        200, 30, 110, 0.1, lambda refused: mean * min(transport.LONGEST_PAUSE, transport.FIRST_PAUSE * 2**refused)
    )
    assert together[-1] > 1.7 * jittered[-1]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda each: each.name)
def test_a_pack_saves_requests_and_time_where_all_start_at_once(environment: scaling.Environment) -> None:
    packages, pack, kept = (environment.way(name) for name in ("packages", "pack", "on the node"))
    assert pack.requests < packages.requests
    assert pack.alone < packages.alone
    assert ends_of(kept)[-1] < ends_of(pack)[-1] < ends_of(packages)[-1]
    assert ends_of(pack, scaling.PARTITIONS)[-1] < ends_of(pack)[-1]
