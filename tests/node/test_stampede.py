"""Many nodes start at once, from a store that answers only so many requests a second: all of them start."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from envlock.cache.open import open_store
from metaflow_extensions.envlock.plugins.node import transport
from metaflow_extensions.envlock.plugins.node.fetch import fetch
from metaflow_extensions.envlock.plugins.node.plan import Object
from metaflow_extensions.envlock.plugins.node.report import Reporter
from tests.hydration.making import SERIES, Making
from tests.node.conftest import NodeCache
from tests.node.nodes import FLOW, Node
from tests.node.plans import canonical
from tests.pods import Folders
from tests.pods.folders import can_mount
from tests.pods.pod import Pod, image_of, wait_for
from tests.servers.clouds import seaweedfs
from tests.servers.processes import ROOT
from tests.servers.proxy import Break, Limit, Proxy, Seen, proxied

WAVES, AT_ONCE, WHEELS = 4, 50, 24
RATE = 30.0
"""Requests a second: for each of 50 nodes as many as S3 has for each of 10,000 in one partition, and less than half."""
BUSY = (Break.SLOW_DOWN, Break.SLOW_DOWN, Break.SLOW_DOWN, Break.RESET)
"""What becomes of requests beyond the limit."""


def times_refused(seen: Sequence[Seen]) -> Counter[tuple[str, str]]:
    """How often each request of each node was refused, by node and path."""
    return Counter((each.who, each.path) for each in seen if each.fate is not None)


def test_ten_nodes_get_all_from_a_store_that_refuses_most_of_what_they_ask(
    cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(transport, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(transport, "BUSY_SECONDS", 60.0)
    objects = []
    for number in range(10):
        data = os.urandom(2000)
        objects.append(Object(f"packages/{number}", len(data), hashlib.sha256(data).hexdigest()))
        cache.store.put(objects[-1].path, data)
    nodes = []
    for number in range(10):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"NODE{number}")
        nodes.append(cache.transport)
        nodes[-1].list("nothing")  # it knows its credentials from here on
    cache.proxy.forget()
    cache.proxy.limit = Limit(50, BUSY)
    failures: list[BaseException] = []

    def start(number: int) -> None:
        try:
            fetch(nodes[number], objects, str(tmp_path / str(number)), Reporter(quiet=60))
        except BaseException as failure:  # noqa: BLE001  asserted in the thread of the test
            failures.append(failure)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(10)]
    began = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert all((tmp_path / str(number) / each.path).is_file() for number in range(10) for each in objects)
    # What is refused so often has to be usual: by a number of attempts, some node would have given up.
    assert max(times_refused(cache.proxy.seen).values()) >= 10
    # And the store has not waited for them: a hundred answers, fifty a second.
    assert time.monotonic() - began < 6


@dataclass(frozen=True)
class Bed:
    """A bucket with an environment of small wheels, behind a limit, and what 200 nodes need to start from it."""

    folder: Path
    node: Node
    """Whose plan, kit and code package all of them have."""
    proxy: Proxy
    bucket: str

    def wave(self, number: int) -> list[str]:
        """Start a task on each of 50 nodes at once, and wait for all. What they said, if it was not right."""
        names = [f"node{number * AT_ONCE + each}" for each in range(AT_ONCE)]
        started = [(name, self._start(name)) for name in names]
        wrong = []
        for name, (pods, pod) in started:
            status = wait_for(pod, 600)
            if status != 0 or f"{WHEELS} of {name}" not in pod.said:
                wrong.append(f"{name} ended with {status}: {pod.said[-1000:]}")
            shutil.rmtree(pods.home.parent)
        return wrong

    def _start(self, name: str) -> tuple[Folders, Pod]:
        pods = Folders.at(str(self.folder / name))
        place = Path("/var/tmp") if can_mount() else pods.node
        shutil.copytree(self.folder / "package", pods.node / "package", copy_function=os.link)
        tool = Path(self.node.plan.tools.uv.path).parent.name
        shutil.copytree(self.folder / "uv", pods.node / "envlock" / "tools" / tool, copy_function=os.link)
        count = "import importlib.metadata as m; print(len(list(m.distributions())))"
        entering = f"python -m metaflow_extensions.envlock.plugins.node {FLOW} train && . ./.envlock/enter.sh"
        command = f'{entering} && echo "$("$ENVLOCK_PYTHON" -c \'{count}\') of {name}"'
        variables = {
            "AWS_ACCESS_KEY_ID": f"{name}-key",
            "AWS_SECRET_ACCESS_KEY": f"s3cr3t-of-{name}",
            "PYTHONPATH": str(place / "package" / ".mf_code"),
            "METAFLOW_EXTRACTED_ROOT": str(place / "package"),
            "MF_PATHSPEC": f"{FLOW}/7/{name}/1",
        }
        return pods, pods.start("task", image_of(SERIES), ["bash", "-c", command], variables)


@pytest.fixture
def bed(tmp_path: Path, kit: Path, unpacked_kit: Path) -> Iterator[Bed]:
    node = Node(tmp_path / "made", Making(tmp_path / "making", WHEELS), kit)
    names = [f"node{number}" for number in range(WAVES * AT_ONCE)]
    with seaweedfs(tmp_path, names) as cloud, proxied(cloud.port) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        url = cloud.url("envlock")
        store = open_store(url, cloud.options)
        assert node.plan
        for path in sorted(each for each in node.cache.rglob("*") if each.is_file()):
            store.put(path.relative_to(node.cache).as_posix(), path)
        package = tmp_path / "package"
        shutil.copytree(ROOT / "src" / "metaflow_extensions", package / ".mf_code" / "metaflow_extensions")
        fields = {**node.fields, "cache": url, "options": {"endpoint": cloud.at(proxy.port).options.endpoint}}
        (package / ".mf_meta").mkdir()
        (package / ".mf_meta" / "envlock.json").write_bytes(canonical(fields))
        shutil.copytree(unpacked_kit, tmp_path / "uv", copy_function=os.link)
        proxy.limit = Limit(RATE, (*BUSY, *BUSY, Break.COME_BACK, Break.COME_BACK))
        yield Bed(tmp_path, node, proxy, url)


@pytest.mark.slow
def test_two_hundred_nodes_start_in_waves_from_a_busy_store(bed: Bed) -> None:
    """Real tasks, from the command that a scheduler runs to a line of Python in the environment."""
    took = []
    for number in range(WAVES):
        began = time.monotonic()
        assert bed.wave(number) == []
        took.append(time.monotonic() - began)
    seen = bed.proxy.seen
    answered = sum(each.fate is None for each in seen)
    print(f"{len(seen)} requests, {answered} of them answered; waves of {took} s")
    assert len({each.who for each in seen}) == WAVES * AT_ONCE
    # Each asks for its plan and for each wheel, and writes its record, or gives that up; nearly all of it once.
    assert WAVES * AT_ONCE * (WHEELS + 1) <= answered <= 1.1 * WAVES * AT_ONCE * (WHEELS + 2)
    assert max(times_refused(seen).values()) >= 10
    # The store is kept busy: a wave takes little longer than its answers do, beside fifty starts on two processors.
    assert max(took) < 2 * AT_ONCE * (WHEELS + 2) / RATE + 150
    pauses = list(pauses_of(seen))
    assert all(each.seconds >= 1.0 for each in pauses if each.after is Break.COME_BACK)
    # No pause is more likely than another: none of those drawn from 5 to 20 s, beside which sending takes no time.
    long = [each for each in pauses if each.after is Break.SLOW_DOWN and each.longest == transport.LONGEST_PAUSE]
    drawn = sorted((each.seconds / each.longest - 0.25) / 0.75 for each in long)
    assert len(drawn) > 150
    assert max(abs(value - place / len(drawn)) for place, value in enumerate(drawn)) < 0.15
    # And requests come as evenly as by chance alone: the counts of neighbouring half seconds differ as their roots do.
    counts = Counter(int(each.when * 2) for each in seen if each.fate is not None)
    neighbours = [(counts[each], counts[each + 1]) for each in range(min(counts), max(counts))]
    spread = [(one - other) ** 2 / (one + other) for one, other in neighbours if one + other > 10]
    assert sum(spread) / len(spread) < 4


class Pause(NamedTuple):
    """How long a node stayed away after a request was refused."""

    seconds: float
    longest: float
    """From which it was drawn."""
    after: Break


def pauses_of(seen: Sequence[Seen]) -> Iterator[Pause]:
    """The pauses of all nodes."""
    requests: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for each in seen:
        requests[each.who, each.path].append(each)
    for tries in requests.values():
        number = 1
        for one, following in itertools.pairwise(tries):
            seconds = following.when - one.when
            if one.fate is None or (one.fate is Break.RESET and seconds < 0.2):
                continue  # what is sent on a connection that has ended meanwhile is sent again at once
            longest = min(transport.LONGEST_PAUSE, transport.FIRST_PAUSE * 2**number)
            yield Pause(seconds, longest, one.fate)
            number += 1
