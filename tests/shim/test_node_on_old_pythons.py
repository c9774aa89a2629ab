"""A node's own code runs on the Python and the libraries of an older image."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.cache.open import open_store
from tests.node.plans import canonical, manifest, stored, target_of, wheels_plan
from tests.servers.clouds import Cloud
from tests.servers.proxy import Break, proxied
from tests.shim.conftest import EXTENSION, METAFLOW, SERIES, run_python

_FETCH = """
import sys
from metaflow_extensions.envlock.plugins.node import clients, fetch, manifest, names, record, transport
from metaflow_extensions.envlock.plugins.node.report import Reporter
transport.LONGEST_PAUSE, fetch.RANGE = 0.02, 100000
found = manifest.parse(open({manifest!r}, "rb").read())
way = transport.open_transport(found)
target = names.newest_plan("x", found.environments[0], way)
plan = fetch.fetch_plan(way, target)
print(len(fetch.fetch(way, plan.packages, {folder!r}, Reporter(quiet=60))))
print(record.write(way, target, "TrainFlow/1/start/2"))
"""


@pytest.mark.index
def test_the_oldest_python_fetches_from_a_bucket(
    clouds: Callable[[str], Cloud], installed: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, large = clouds("moto"), os.urandom(450_000)
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    package = stored(large, "demo-1.0-py3-none-any.whl", kind="wheel", name="demo", version="1.0")
    plan = canonical(wheels_plan(package))
    target = target_of(plan)
    url = cloud.url("team/" + tmp_path.name)
    store = open_store(url, cloud.options)
    store.put(package["path"], large)
    store.put(f"plans/{target.arch}/{target.req_id}/{target.full_id}/{target.plan}.json", plan)
    with proxied(cloud.port) as proxy:
        for how in (Break.SLOW_DOWN, Break.RESET, Break.CUT):
            proxy.breaks(how, "GET", "packages")
        options = {"endpoint": cloud.at(proxy.port).options.endpoint}
        (tmp_path / "envlock.json").write_bytes(
            canonical(manifest(cache=url, options=options, environments=[list(target)]))
        )
        code = _FETCH.format(manifest=str(tmp_path / "envlock.json"), folder=str(tmp_path))
        paths = [EXTENSION.parent, installed(SERIES[0], METAFLOW, "boto3")]
        done = run_python(SERIES[0], code, paths=paths)
    assert (done.returncode, done.stdout) == (0, "1\nTrue\n"), done.stderr
    assert done.stderr == ""
    assert (tmp_path / package["path"]).read_bytes() == large
    assert len(proxy.broken) == 3
