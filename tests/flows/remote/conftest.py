"""Flows with steps on nodes: their backends, and a flow that is locked for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.pods.backends import Backends
from tests.pods.fixtures import backends_of, kind
from tests.pods.folders import folder_series
from tests.support import isolation, run_envlock

__all__ = ["backends_of", "kind"]

collect_ignore_glob = ["project/*"]

FILES = Path(__file__).with_name("project")
BUCKET = "team-bucket"


@pytest.fixture(scope="session")
def locked_for_nodes(
    backends_of: Callable[[str], Backends], shared_uv_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The flows of `project/`, locked for the pods' datastore; never changed. Metaflow's own needs alone."""
    folder = tmp_path_factory.mktemp("remote-flows") / "project"
    shutil.copytree(FILES, folder)
    endpoint = backends_of("folder").aws.endpoint
    (folder / "envlock.toml").write_text(
        f"""\
[envlock]
archs = ["{host_arch()}"]
datastore = "s3"
cache = "s3://{BUCKET}/envlock"
cache-options = {{ endpoint = "{endpoint}" }}

[flow.SpreadFlow]
file = "spread.py"

[flow.SpreadFlow.step.start]
pypi = {{ packages = {{ requests = "" }} }}

[flow.SpreadFlow.step.work]
pypi = {{ packages = {{ packaging = "" }} }}

[flow.SpreadFlow.step.join]
disabled = true

[flow.SpreadFlow.step.late]
named_env = {{ name = "team/env:@{{METAFLOW_INIT_ENV_TAG}}", fetch_at_exec = true }}

[flow.SpreadFlow.step.end]
pypi = {{ packages = {{ requests = "" }} }}

[flow.MixedFlow]
file = "mixed.py"
pypi = {{ python = "{folder_series()[-1]}" }}

[flow.MixedFlow.step.work]
pypi = {{ packages = {{ packaging = "" }} }}

[flow.MixedFlow.step.end]
disabled = true
"""
    )
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        run_envlock("lock", cwd=folder)
    return folder
