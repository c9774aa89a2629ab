"""Ten thousand tasks that start at once: what each way costs in requests, bytes, seconds and money.

`python scripts/scaling.py` writes the tables and the chart of docs/explanation/scaling.md; a test holds them current.
Figures that were measured stand in `DATA` and `BIG`, those that AWS publishes beside `S3`; the rest is computed, and
the waiting for a busy store is simulated with the pauses that nodes make.
"""

from __future__ import annotations

import heapq
import random
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metaflow_extensions.envlock.plugins.node.fetch import RANGE, THREADS
from metaflow_extensions.envlock.plugins.node.transport import pause

if TYPE_CHECKING:
    from scripts.scaling_chart import Line

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "scaling.md"
CHART = ROOT / "docs" / "explanation" / "scaling.svg"
_TABLE = re.compile(r"(<!-- computed: ([a-z-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)

TASKS = 10_000
SCALE = 20
"""A simulation has so many times fewer nodes, and a store that answers so many times fewer requests: it ends alike."""
NETWORK = 125e6
"""Bytes a second of a node: 1 Gbit/s."""
ANSWER = 0.05
"""Seconds from a request to the first byte of its answer."""
MB, GB, TB = 1e6, 1e9, 1e12


class Service(NamedTuple):
    """What a service gives, and takes, as it publishes it."""

    rate: float
    """Requests a second."""
    dollars: float
    """For one of them."""


S3 = Service(rate=5500.0, dollars=0.0004 / 1000)
"""GETs of one partition of a bucket."""
PARTITIONS = 16
REGISTRY = Service(rate=3000.0, dollars=0.0)
"""Layers of all images of an account of ECR in a region (GetDownloadUrlForLayer)."""
BETWEEN_REGIONS = 0.02 / GB
THROUGH_NAT = 0.045 / GB
PROCESSOR = 0.048 / 3600
"""Dollars for a second of one of a machine's processors."""


class Way(NamedTuple):
    """One way by which a task gets its environment, on a node with nothing on its disk."""

    name: str
    requests: int
    size: float
    """Bytes over the network."""
    work: float
    """Seconds until the first imports are done, beside the network's; on two processors."""
    service: Service | None = S3
    threads: int = THREADS
    """How many requests a node has under way."""

    @property
    def alone(self) -> float:
        """Seconds of one node, if the service answers at once."""
        return self.work + self.network

    @property
    def network(self) -> float:
        """Seconds in which its bytes come."""
        return self.network_at(NETWORK)

    def network_at(self, speed: float) -> float:
        """The same, with so many bytes a second."""
        rounds = -(-self.requests // self.threads)
        return max(self.size / speed, rounds * ANSWER)

    def alone_at(self, speed: float) -> float:
        """Seconds of one node whose network brings so many bytes a second."""
        return self.work + self.network_at(speed)


class Environment(NamedTuple):
    """What was measured of an environment."""

    name: str
    ways: tuple[Way, ...]

    def way(self, name: str) -> Way:
        """One of them, by its name."""
        return next(each for each in self.ways if each.name == name)


def requests_for(sizes: Sequence[int]) -> int:
    """The GETs for files of these sizes: a large one comes in parts.

    >>> requests_for([10, 16 << 20, (16 << 20) + 1])
    4
    """
    return sum(max(1, -(-size // RANGE)) for size in sizes)


def stampede(
    nodes: int,
    requests: int,
    rate: float,
    seconds: float,
    wait: Callable[[int], float],
    *,
    threads: int = THREADS,
    seed: int = 1,
) -> list[float]:
    """When each of `nodes` that start within the same second has all its answers, in order.

    Each makes `requests`, some at a time; one that is answered takes `seconds`. The store answers `rate` requests a
    second, and refuses all others at once. `wait` is how long a node waits after so many refusals.

    >>> stampede(1, 8, rate=100, seconds=0.1, wait=lambda refused: 1.0)[0] < 1.2
    True
    >>> round(stampede(100, 10, rate=100, seconds=0.1, wait=lambda refused: 1.0)[-1])
    10
    """
    chance = random.Random(seed)  # noqa: S311  a simulation
    left, missing, ends = [requests] * nodes, [requests] * nodes, [0.0] * nodes
    events: list[tuple[float, int, int, int]] = []
    number = 0
    for node in range(nodes):
        start = chance.random()
        for _ in range(min(threads, requests)):
            left[node] -= 1
            events.append((start, number, node, 0))
            number += 1
    heapq.heapify(events)
    answers, last = rate, 0.0
    while events:
        now, _, node, refused = heapq.heappop(events)
        answers, last = min(rate, answers + (now - last) * rate), now
        number += 1
        if answers < 1:
            heapq.heappush(events, (now + wait(refused + 1), number, node, refused + 1))
            continue
        answers -= 1
        missing[node] -= 1
        ends[node] = max(ends[node], now + seconds)
        if left[node]:
            left[node] -= 1
            heapq.heappush(events, (now + seconds, number, node, 0))
    return sorted(ends)


@cache
def ends_of(way: Way, partitions: int = 1, nodes: int = TASKS) -> tuple[float, ...]:
    """When the tasks of so many nodes that start at once have done their first imports, in order."""
    count = nodes // SCALE
    if way.service is None:
        return (way.alone,) * count
    if way.service is not S3:  # how a container runtime waits is not known here: it asks at the quota's rate
        a_second = way.service.rate / way.requests / SCALE
        return tuple(max(number / a_second, way.network) + way.work for number in range(count))
    chance = random.Random(1)  # noqa: S311  a simulation
    seconds = way.network / max(1.0, way.requests / way.threads)
    wait = partial(pause, chance=chance)
    ends = stampede(count, way.requests, partitions * way.service.rate / SCALE, seconds, wait, threads=way.threads)
    return tuple(end + way.work for end in ends)


# What was measured, as the page says.


class Seconds(NamedTuple):
    """Of the processors, until the first imports are done."""

    making: float
    """Of making the environment: fetching, hashing, unpacking or installing."""
    imports: float

    def work(self, processors: int = 2) -> float:
        """Seconds of the clock, if the processors are used well: imports use one.

        >>> Seconds(making=4.0, imports=2.5).work()
        4.5
        """
        return self.making / processors + self.imports


UNPACKED_ONE_BY_ONE = 1
"""Processors that a container runtime uses: it unpacks one layer after the other."""
BY_PACKAGES = {"data": Seconds(3.08, 7.07), "big": Seconds(7.18, 6.52)}
BY_PACK = {"data": Seconds(2.58, 2.57), "big": Seconds(5.78, 2.26)}
BY_IMAGE = {"data": Seconds(6.0, 2.3), "big": Seconds(15.0, 2.3)}
KEPT = Seconds(0.06, 2.3)
DATA = Environment(
    "data",
    (
        Way("packages", 102, 220.1 * MB, BY_PACKAGES["data"].work()),
        Way("pack", 35, 207.4 * MB, BY_PACK["data"].work(), threads=4),
        Way("image", 42, 248 * MB, BY_IMAGE["data"].work(UNPACKED_ONE_BY_ONE), REGISTRY),
        Way("on the node", 0, 0.0, KEPT.work(), None),
    ),
)
BIG = Environment(
    "big",
    (
        Way("packages", 114, 591.1 * MB, BY_PACKAGES["big"].work()),
        Way("pack", 73, 492.7 * MB, BY_PACK["big"].work(), threads=4),
        Way("image", 50, 595 * MB, BY_IMAGE["big"].work(UNPACKED_ONE_BY_ONE), REGISTRY),
        Way("on the node", 0, 0.0, KEPT.work(), None),
    ),
)
ENVIRONMENTS = (DATA, BIG)


# The tables.


def processors() -> list[list[str]]:
    """What was measured of the processors, and what follows for nodes with other numbers of them."""
    counts = {1: "one processor", 2: "two", 8: "eight"}
    rows = [["environment", "way", "making it", "imports", *(f"clock, {each}" for each in counts.values())]]
    for name in ("data", "big"):
        for way, found in (("packages", BY_PACKAGES[name]), ("pack", BY_PACK[name])):
            clock = [f"{found.work(each):.1f} s" for each in counts]
            rows.append([name, way, f"{found.making:.1f} s", f"{found.imports:.1f} s", *clock])
    return rows


def networks() -> list[list[str]]:
    """Seconds of one cold task of `data` and `big` on two processors, over other networks."""
    speeds = (100, 1000, 10_000)
    rows = [["environment", "way", *(f"{each / 1000:g} Gbit/s" for each in speeds)]]
    for environment in ENVIRONMENTS:
        for name in ("packages", "pack"):
            way = environment.way(name)
            rows.append([environment.name, name, *(f"{way.alone_at(each * 125_000):.1f} s" for each in speeds)])
    return rows


def one_task(environment: Environment) -> list[list[str]]:
    """What one task costs on a node of two processors and 1 Gbit/s with nothing on its disk."""
    rows = [["way", "requests", "MB", "network", "work", "until the first imports are done"]]
    for way in environment.ways:
        seconds = [f"{each:.1f} s" for each in (way.network, way.work, way.alone)]
        rows.append([way.name, _count(way.requests), _count(way.size / MB), *seconds])
    return rows


def at_once(environment: Environment) -> list[list[str]]:
    """What 10,000 tasks cost that start at once on as many nodes."""
    many = f"of {PARTITIONS} partitions"
    rows = [["way", "requests", "TB", "half have started", "the last has", f"half, {many}", f"the last, {many}"]]
    for way in environment.ways:
        ends = ends_of(way)
        row = [way.name, _count(way.requests * TASKS), f"{way.size * TASKS / TB:.2f}", *_half_and_last(ends)]
        rows.append([*row, *(_half_and_last(ends_of(way, PARTITIONS)) if way.service is S3 else ("", ""))])
    return rows


def _half_and_last(ends: Sequence[float]) -> tuple[str, str]:
    return f"{ends[len(ends) // 2]:.0f} s", f"{ends[-1]:.0f} s"


def money(environment: Environment) -> list[list[str]]:
    """Dollars for 10,000 cold tasks."""
    rows = [["way", "requests", "bytes from another region", "bytes through a NAT gateway", "processors until then"]]
    for way in environment.ways:
        ends, size = ends_of(way), way.size * TASKS
        processors = 2 * PROCESSOR * TASKS * sum(ends) / len(ends)
        requests = way.requests * TASKS * way.service.dollars if way.service else 0.0
        amounts = (requests, size * BETWEEN_REGIONS, size * THROUGH_NAT, processors)
        rows.append([way.name, *(f"${amount:,.2f}" if amount < 10 else f"${amount:,.0f}" for amount in amounts)])
    return rows


def shared(environment: Environment) -> list[list[str]]:
    """What the same 10,000 tasks cost if nodes keep the environment for the tasks after the first one."""
    rows = [["nodes", "tasks on each"]]
    ways = [environment.way(name) for name in ("packages", "pack")]
    for way in ways:
        rows[0] += [f"{way.name}: requests", "TB", "the last has started"]
    for nodes in (TASKS, TASKS // 10, TASKS // 100):
        row = [_count(nodes), _count(TASKS // nodes)]
        for way in ways:
            last = f"{ends_of(way, nodes=nodes)[-1]:.0f} s"
            row += [_count(way.requests * nodes), f"{way.size * nodes / TB:.2f}", last]
        rows.append(row)
    return rows


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    **{
        f"{name}-{environment.name}": partial(make, environment)
        for name, make in {"one-task": one_task, "at-once": at_once, "money": money}.items()
        for environment in ENVIRONMENTS
    },
    "shared-data": partial(shared, DATA),
    "processors": processors,
    "networks": networks,
}


def _count(number: float) -> str:
    return f"{number:,.0f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table of Markdown, the first one its head; all columns but the first are numbers.

    >>> print(table([["way", "requests"], ["pack", "17"]]))
    | way | requests |
    |---|--:|
    | pack | 17 |
    """
    head, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" + "|--:" * (len(rows[0]) - 1) + "|", *rest])


def page(text: str) -> str:
    """The page with every table computed; all else stays."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{table(TABLES[found[2]]())}\n\n", text)


# The chart.

_TITLE = "Tasks that have started, of 10,000 that were asked for at once"


def lines() -> list[Line]:
    """The lines of the chart, as its legend has them."""
    from scripts.scaling_chart import Line

    found = []
    for name, color in (("packages", "a"), ("pack", "b"), ("image", "c"), ("on the node", "d")):
        way = DATA.way(name)
        found.append(Line(name, color, ends_of(way)))
        if way.service is S3:
            found.append(Line(f"{name}, {PARTITIONS} partitions", color, ends_of(way, PARTITIONS), is_dashed=True))
    return found


def generated() -> dict[Path, str]:
    """Each file that this writes, with what it should be."""
    from scripts.scaling_chart import chart

    return {PAGE: page(PAGE.read_text(encoding="utf-8")), CHART: chart(_TITLE, TASKS, lines())}


def main() -> int:
    """Write what differs, and say so."""
    sys.path.insert(0, str(ROOT))
    for path, text in generated().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
