"""A real run leaves in the cache what each step ran in, for those who have other metadata or no Metaflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.flows.conftest import Flows
from tests.support import run_envlock

pytestmark = [pytest.mark.flows, pytest.mark.index]


def test_a_run_is_found_by_its_pathspec(flows: Flows, tmp_path: Path) -> None:
    config = flows.folder / "envlock.toml"
    config.write_text(config.read_text().replace("[envlock]", '[envlock]\ncache = "../cache"', 1))
    run_envlock("push", "--flow", "InnerFlow", cwd=flows.folder)
    ended = flows.python("inner.py", "--environment=envlock", "run")
    assert ended.status == 0, ended.text

    kept = list((tmp_path / "cache" / "pathspecs").rglob("*.json"))
    assert [str(path.relative_to(tmp_path / "cache")) for path in kept] == [
        f"pathspecs/InnerFlow/{ended.run_id}/start/{host_arch()}.json"
    ], "the other step is disabled"
    start = next(task for task in flows.tasks(f"InnerFlow/{ended.run_id}") if task["step"] == "start")
    fields = json.loads(kept[0].read_text())
    assert [fields["req_id"], fields["full_id"], fields["arch"]] == start["recorded"]

    pathspec = f"InnerFlow/{ended.run_id}/start"
    elsewhere = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(tmp_path / "other-metadata")}
    (mine,) = run_envlock("show", "--pathspec", pathspec, "--json", cwd=flows.folder).json["environments"]
    (theirs,) = run_envlock("show", "--pathspec", pathspec, "--json", cwd=flows.folder, env=elsewhere).json[
        "environments"
    ]
    assert mine["task"] == start["pathspec"]
    assert (theirs["task"], theirs["identity"]) == (pathspec, mine["identity"])
