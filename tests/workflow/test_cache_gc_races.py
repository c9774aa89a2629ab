"""Sweeping while others push: real processes, and nothing that is named is ever missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

import pytest

from envlock.config.project import Project
from envlock.workflow.cache import verify_cache
from tests.support import wait_until
from tests.workflow.gc_parties import party
from tests.workflow.made_up import kits_in, made_up_project, packages_in, paths, store_of

WRITERS = 3
ROUNDS = 12


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Environments that share packages, so that each sweep finds some that are needed by another environment."""
    environments = {f"e{number}": [f"p{(number + step) % 10}" for step in (0, 1, 3, 4)] for number in range(10)}
    return made_up_project(tmp_path / "project", environments)


def race(project: Project, stop: Path, role: str, rounds: int = ROUNDS) -> tuple[list[str], list[int], int, int]:
    """What the writers said, how they ended, how many sweeps there were, and how many files went."""
    with ThreadPoolExecutor() as pool:
        sweeper = party(pool, "sweeper", project.folder, stop)
        writers = [party(pool, role, project.folder, number, rounds) for number in range(WRITERS)]
        try:
            ended = [writer.result() for writer in writers]
        finally:
            stop.touch()
    status, counted, error = sweeper.result()
    assert status == 0, error
    sweeps, gone = map(int, counted.split())
    return [said for _, said, _ in ended], [status for status, *_ in ended], sweeps, gone


def test_nothing_that_is_named_is_ever_missing(project: Project, tmp_path: Path) -> None:
    said, statuses, sweeps, gone = race(project, tmp_path / "stop", "writer")
    assert sweeps > WRITERS, "sweeps came between"
    assert (statuses, said) == ([0] * WRITERS, [""] * WRITERS)
    assert gone > WRITERS * ROUNDS, "packages went, and came again"
    store = store_of(project)
    assert paths(store, "pushes", "sweeps") == set(), "nobody left anything"
    assert packages_in(store)
    assert kits_in(store)
    assert verify_cache(project).findings == ()


@pytest.mark.slow  # how long it takes is chance: what it proves is that its neighbour could fail
def test_without_announcements_something_is_missing(project: Project, tmp_path: Path) -> None:
    """The race is one: those who do not take part in the protocol lose it."""
    _, statuses, *_ = race(project, tmp_path / "stop", "careless", ROUNDS * 50)  # they end at the first loss
    assert sum(statuses) > 0


def test_a_push_waits_for_a_sweep_that_is_under_way(project: Project, tmp_path: Path) -> None:
    from envlock.cache.gc_lock import GcFlag

    store = store_of(project)
    with ThreadPoolExecutor() as pool:
        with GcFlag(store):
            writer = party(pool, "writer", project.folder, 0, 1)
            wait_until(lambda: bool(paths(store, "pushes")))
            with pytest.raises(FutureTimeout):
                writer.result(timeout=1.0)
            assert paths(store, "packages", "envs", "aliases") == set(), "it has said what it needs, and no more"
        status, said, _ = writer.result()
    assert (status, said) == (0, "")
