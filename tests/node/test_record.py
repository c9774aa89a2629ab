"""The run of a scheduler is recorded in the cache as any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.model.arch import Arch
from envlock.named.run_record import RunRecord, RunRecords
from metaflow_extensions.envlock.plugins.node import plain_s3
from metaflow_extensions.envlock.plugins.node.manifest import Target
from metaflow_extensions.envlock.plugins.node.record import Marks, write, write_from_task
from tests.node.conftest import FolderCache, NodeCache
from tests.node.plans import ARCH, FULL_ID, REQ_ID, canonical, manifest
from tests.servers.proxy import Break

TARGET = Target(ARCH, REQ_ID, FULL_ID, "a" * 64)


def test_envlock_reads_what_a_node_wrote(folder_cache: FolderCache) -> None:
    assert write(folder_cache.transport, TARGET, "TrainFlow/argo-train-x7/start/t-1")
    record = RunRecord("TrainFlow", "argo-train-x7", "start", Arch(ARCH), REQ_ID, FULL_ID)
    assert RunRecords(folder_cache.store).read("TrainFlow", "argo-train-x7", "start") == (record,)
    assert folder_cache.store.read(record.path) == record.render()


def test_the_first_record_of_a_step_counts(folder_cache: FolderCache) -> None:
    assert write(folder_cache.transport, TARGET, "TrainFlow/1/start/1")
    assert not write(folder_cache.transport, TARGET._replace(full_id="3" * 40), "TrainFlow/1/start/2")
    (record,) = RunRecords(folder_cache.store).read("TrainFlow", "1", "start")
    assert record.full_id == FULL_ID


@pytest.mark.parametrize("pathspec", ["", "TrainFlow/1", "TrainFlow/../start/1", "TrainFlow/a b/start/1", "///"])
def test_what_is_no_pathspec_is_not_recorded(pathspec: str, folder_cache: FolderCache) -> None:
    assert not write(folder_cache.transport, TARGET, pathspec)
    assert list(folder_cache.store.entries("pathspecs")) == []


@pytest.mark.parametrize("name", ["moto", "gcs", "azurite"])
def test_a_bucket_that_may_only_be_read_is_no_failure(name: str, make_cache: Callable[..., NodeCache]) -> None:
    cache = make_cache(name)
    for method in ("PUT", "POST"):
        cache.proxy.breaks(Break.DENIED, method, times=1000)
    assert not write(cache.transport, TARGET, "TrainFlow/1/start/1")
    assert cache.proxy.broken


@pytest.mark.usefixtures("little_patience")
def test_a_busy_bucket_is_not_waited_for(cache: NodeCache) -> None:
    cache.proxy.breaks(Break.SLOW_DOWN, "PUT", times=1000)
    assert not write(cache.transport, TARGET, "TrainFlow/1/start/1")
    assert len(cache.proxy.passed) == 2


class TestFromTheTask:
    """A task whose environment was there already records its step once for each node."""

    @pytest.fixture
    def task(self, cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
        """Records a task; the value are the requests for its record."""
        (tmp_path / ".mf_meta").mkdir()
        fields = {"cache": cache.manifest.cache, "options": cache.manifest.options}
        (tmp_path / ".mf_meta" / "envlock.json").write_bytes(canonical(manifest(**fields)))
        monkeypatch.setenv("METAFLOW_EXTRACTED_ROOT", str(tmp_path))
        prefix = tmp_path / "home" / "environments" / f"metaflow_{REQ_ID}_{FULL_ID}"

        def record(pathspec: str) -> list[str]:
            cache.proxy.passed.clear()
            write_from_task(pathspec, (REQ_ID, FULL_ID, ARCH), str(prefix))
            return [method for method, path in cache.proxy.passed if "pathspecs" in path]

        return record

    def test_only_the_first_one_of_a_step_writes(self, task: Callable[..., list[str]], cache: NodeCache) -> None:
        assert task("TrainFlow/1/start/1") == ["PUT"]
        assert [each.step for each in RunRecords(cache.store).read("TrainFlow", "1", "start")] == ["start"]
        assert task("TrainFlow/1/start/2") == []
        assert task("TrainFlow/1/train/3") == ["PUT"]
        assert task("TrainFlow/2/start/1") == ["PUT"]

    def test_a_library_that_cannot_do_it_is_no_failure(
        self, task: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> bool:
            raise TypeError("put_object() got an unexpected keyword")

        monkeypatch.setattr(plain_s3.PlainS3, "put_new", refuse)
        assert task("TrainFlow/1/start/1") == []

    def test_a_flow_that_the_code_package_is_not_of_writes_nothing(self, task: Callable[..., list[str]]) -> None:
        assert task("InnerFlow/1/start/1") == []

    @pytest.mark.parametrize(("how", "tries"), [(Break.DENIED, 1), (Break.RESET, 2), (Break.STALL, 2)])
    def test_a_cache_that_fails_costs_one_task_some_seconds(
        self, how: Break, tries: int, task: Callable[..., list[str]], cache: NodeCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("metaflow_extensions.envlock.plugins.node.record.SECONDS", 0.2)
        cache.proxy.breaks(how, "PUT", times=1000)
        assert task("TrainFlow/1/start/1") == ["PUT"] * tries
        assert task("TrainFlow/1/start/2") == []


def test_what_a_node_remembers_is_forgotten_after_a_month(tmp_path: Path) -> None:
    prefix, now = str(tmp_path / "environments" / "x"), time.time()
    Marks(prefix).add("TrainFlow/1/start/1", ARCH)
    later = Marks(prefix, now=lambda: now + 31 * 86400)
    assert later.has("TrainFlow/1/start/2", ARCH)
    later.add("TrainFlow/2/start/1", ARCH)
    assert not later.has("TrainFlow/1/start/1", ARCH)


def test_an_image_that_brings_the_environment_remembers_nothing(tmp_path: Path) -> None:
    marks = Marks(str(tmp_path / "opt" / "envlock"))
    marks.add("TrainFlow/1/start/1", ARCH)
    assert not marks.has("TrainFlow/1/start/1", ARCH)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_may_not_be_written_to_remembers_nothing(tmp_path: Path) -> None:
    (tmp_path / "recorded").write_text("in the way")
    marks = Marks(str(tmp_path / "environments" / "x"))
    marks.add("TrainFlow/1/start/1", ARCH)
    assert not marks.has("TrainFlow/1/start/1", ARCH)
