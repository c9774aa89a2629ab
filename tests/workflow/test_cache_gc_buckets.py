"""Sweeping buckets, each of whose servers has its own clock and its own listings."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envlock.config.project import Project
from envlock.lockfile.folder import lock_files, read_lock
from envlock.workflow.cache import collect_garbage, limits_of, verify_cache
from envlock.workflow.push import push
from tests.servers.clouds import CLOUDS, Cloud
from tests.workflow.gc_parties import party
from tests.workflow.made_up import kits_in, made_up_project, packages_in, paths, store_of, write_plan

# What the SDKs do inside of their own threads and loops.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


@pytest.fixture
def make(tmp_path: Path, clouds: Callable[[str], Cloud], log_in: Callable[[Cloud], Cloud]) -> Callable[..., Project]:
    """Makes a project whose cache is in a bucket."""

    def made(name: str, folder: str, environments: dict[str, list[str]]) -> Project:
        cloud = log_in(clouds(name))
        options = {key: value for key, value in cloud.options._asdict().items() if value}
        table = ", ".join(f"{key} = {'true' if value is True else repr(value)}" for key, value in options.items())
        cache = cloud.url(f"sweep-{tmp_path.parent.name}-{tmp_path.name}")
        settings = f"remote = false\ncache-options = {{ {table} }}"
        return made_up_project(tmp_path / folder, environments, cache=cache, settings=settings)

    return made


@pytest.mark.parametrize("name", CLOUDS)
def test_a_bucket_is_swept(name: str, make: Callable[..., Project]) -> None:
    project = make(name, "project", {"mine": ["shared", "own"]})
    other = make(name, "other", {"theirs": ["shared", "others"]})
    push(other)
    push(project)
    store = store_of(project)
    for each, uv in ((project, "uv1"), (other, "uv2")):
        write_plan(store, read_lock(lock_files(each.lock_folder)[0]), uv, "python1")
    assert collect_garbage(project, limits_of()).doomed == (), "all of it is young"
    shown = collect_garbage(project, limits_of(grace="0"))
    assert {each.kind for each in shown.doomed} == {"environment", "package", "pointer", "plan", "kit"}
    assert packages_in(store) == {"shared", "own", "others"}
    assert verify_cache(project).findings == ()
    done = collect_garbage(project, limits_of(grace="0"), delete=True)
    assert [each.path for each in done.doomed] == [each.path for each in shown.doomed]
    assert packages_in(store) == {"shared", "own"}
    assert len(paths(store, "envs", "resolved")) == 2
    assert (kits_in(store), len(paths(store, "plans"))) == ({"uv1", "python1"}, 1)
    (kit,) = [path for path in paths(store, "kits") if "uv1" in path]
    store.put(kit, b"changed")
    assert {each.verdict for each in verify_cache(project).findings} == {"damaged-kit"}
    assert verify_cache(project, repair=True).findings == verify_cache(project).findings == ()
    assert paths(store, "sweeps", "probe", "pushes") == set()


def test_writers_and_a_sweeper(make: Callable[..., Project], tmp_path: Path) -> None:
    """On a real S3 server, in processes: the environment that a name names is always there."""
    environments = {f"e{number}": [f"p{(number + step) % 6}" for step in (0, 1, 3)] for number in range(6)}
    project = make("seaweedfs", "project", environments)

    with ThreadPoolExecutor() as pool:
        sweeper = party(pool, "sweeper", project.folder, tmp_path / "stop")
        writers = [party(pool, "writer", project.folder, number, 3) for number in range(2)]
        try:
            ended = [writer.result() for writer in writers]
        finally:
            (tmp_path / "stop").touch()
    assert ended == [(0, "", "")] * 2
    assert int(sweeper.result()[1].split()[0]) > 1
    assert paths(store_of(project), "pushes", "sweeps") == set()
