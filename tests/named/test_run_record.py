"""Run records: what the launcher writes into the cache, and what is read there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from envlock.cache.open import open_store
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.model.arch import host_arch
from envlock.named.errors import (
    DamagedRunRecord,
)
from envlock.named.lookup import Lookup
from envlock.named.run_record import RunRecorder, RunRecords
from envlock.workflow.launch import serve
from tests.index import Index, Release
from tests.named.projects import (
    locks,
    pushed_project,
    record_of,
)
from tests.support import ProjectFolder, run_envlock


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return pushed_project(tmp_path, index)


@pytest.fixture
def no_metaflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaflow.client.core", None)


class TestReading:
    def test_the_first_word_counts(self, project: Project) -> None:
        kept = RunRecords(open_store(project.cache_url))
        ran = record_of(project)
        assert kept.write(ran)
        assert kept.write(ran), "every task of a step says the same"
        assert not kept.write(ran._replace(full_id="0" * 40))
        assert kept.read("TrainFlow", "142", "start") == (ran,)

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b'{"format": 1, "flow": {}}'])
    def test_a_record_that_was_changed(self, project: Project, data: bytes, no_metaflow: None) -> None:
        lookup = Lookup(project)
        ran = record_of(project)
        lookup.store.put(ran.path, data)
        with pytest.raises(DamagedRunRecord):
            lookup.pathspec("TrainFlow/142/start")
        lookup.store.put(ran.path, ran._replace(step="end").render())
        with pytest.raises(DamagedRunRecord):
            lookup.pathspec("TrainFlow/142/start")


class TestRecorder:
    """What a run leaves in the cache: at best, and never in its way."""

    def ran(self, project: Project) -> list[str]:
        return [entry.path for entry in open_store(project.cache_url).entries("pathspecs")]

    def record(self, project: Project) -> None:
        lock = locks(project)[0]
        recorder = RunRecorder(project, "TrainFlow")
        for step in ("start", "train", "start"):
            recorder.record("142", step, lock)
        recorder.end()

    def test_every_step_once(self, project: Project) -> None:
        self.record(project)
        assert sorted(self.ran(project)) == [
            "pathspecs/TrainFlow/142/start/linux-64.json",
            "pathspecs/TrainFlow/142/train/linux-64.json",
        ]

    def test_only_in_a_cache_that_is_named(self, project: Project) -> None:
        default = project._replace(settings=project.settings._replace(cache=""))
        self.record(default)
        assert not Path(default.cache_url).exists()

    def test_no_folder_is_made_for_it(self, project: Project, tmp_path: Path) -> None:
        self.record(project._replace(settings=project.settings._replace(cache="../not-mounted")))
        assert not (tmp_path / "not-mounted").exists()

    @pytest.mark.parametrize("cache", ["s3+none://bucket/x", "file"])
    def test_a_cache_that_cannot_be_used_is_no_matter(self, project: Project, tmp_path: Path, cache: str) -> None:
        (tmp_path / "project" / "file").write_text("no folder")
        self.record(project._replace(settings=project.settings._replace(cache=cache)))
        assert self.ran(project) == []

    def test_a_cache_of_a_newer_format_is_left_alone(self, project: Project) -> None:
        open_store(project.cache_url).put("CACHE.json", b'{"format": 99}')
        self.record(project)
        assert self.ran(project) == []

    def test_the_launcher_says_when_a_step_begins(self, tmp_path: Path, make_index: Callable[..., Index]) -> None:
        folder = ProjectFolder.make(tmp_path / "flow", make_index(Release("requests", "2.32.0")).url)
        folder.write_flow()
        folder.write(
            '[flow.DemoFlow]\nfile = "demoflow.py"\npypi = { packages = { requests = "" } }\n'
            "[flow.DemoFlow.step.end]\ndisabled = true",
            settings='cache = "../cache"',
            archs=[host_arch()],
        )
        run_envlock("lock", cwd=folder.folder)
        run_envlock("push", cwd=folder.folder)
        request = {
            "flow": "DemoFlow",
            "file": str(folder.folder / "demoflow.py"),
            "steps": ["start", "train", "end"],
            "datastore": "local",
            "remote": {},
            "command": "",
            "parameters": {},
        }
        project = load_project(folder.config)
        (lock,) = locks(project)
        said = {"started": "start", "as": lock.identity, "run": "1700000000000000"}
        output = StringIO()
        serve([json.dumps(each) + "\n" for each in (request, said)], output)
        ready = json.loads(output.getvalue())
        ids = [lock.req_id, lock.full_id, lock.arch]
        assert (ready["event"], ready["steps"]) == ("ready", {"start": ids, "train": ids, "end": None})
        assert self.ran(project) == [f"pathspecs/DemoFlow/1700000000000000/start/{host_arch()}.json"]
        (ran,) = RunRecords(open_store(project.cache_url)).read("DemoFlow", "1700000000000000", "start")
        assert (ran.arch, ran.req_id, ran.full_id) == (lock.arch, lock.req_id, lock.full_id)
