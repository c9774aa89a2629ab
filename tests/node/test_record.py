"""The run of a scheduler is recorded in the cache as any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.model.arch import Arch
from envlock.named.run_record import RunRecord, RunRecords
from metaflow_extensions.envlock.plugins.node.manifest import Target
from metaflow_extensions.envlock.plugins.node.record import Recording, write
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


def test_a_busy_bucket_is_not_waited_for(cache: NodeCache) -> None:
    cache.proxy.breaks(Break.SLOW_DOWN, "PUT", times=1000)
    assert not write(cache.transport, TARGET, "TrainFlow/1/start/1")
    assert len(cache.proxy.passed) == 2


def test_a_task_records_where_it_is_without_waiting_for_it(
    cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = manifest(cache=cache.manifest.cache, options=cache.manifest.options)
    (tmp_path / ".mf_meta").mkdir()
    (tmp_path / ".mf_meta" / "envlock.json").write_bytes(canonical(told))
    monkeypatch.setenv("METAFLOW_EXTRACTED_ROOT", str(tmp_path))
    Recording(f"{cache.manifest.flow}/7/start/t-1", [REQ_ID, FULL_ID, ARCH]).end()
    (record,) = RunRecords(cache.store).read(cache.manifest.flow, "7", "start")
    assert (record.req_id, record.full_id, record.arch) == (REQ_ID, FULL_ID, ARCH)
    Recording("OtherFlow/7/start/t-1", [REQ_ID, FULL_ID, ARCH]).end()
    assert RunRecords(cache.store).read("OtherFlow", "7", "start") == ()
