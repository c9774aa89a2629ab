"""`envlock push` and those after it, whole, with the cache in a bucket of each service."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envlock.cache.open import open_store
from tests.cache.locks import locked_project
from tests.conftest import Envlock
from tests.index import Index
from tests.servers.clouds import CLOUDS, Cloud
from tests.servers.proxy import proxied

ALPHA = "alpha-1.0-py3-none-any.whl"
LAM = "lam-1.0-py3-none-any.whl"
ARCHS = ("linux-64", "osx-arm64")


def settings(cloud: Cloud, prefix: str, **options: object) -> str:
    chosen = {name: value for name, value in cloud.options._replace(**options)._asdict().items() if value}
    table = ", ".join(f"{name} = {'true' if value is True else repr(value)}" for name, value in chosen.items())
    return f'cache = "{cloud.url(prefix)}"\ncache-options = {{ {table} }}'


@pytest.fixture(params=[name for name in CLOUDS if name != "moto"])  # which has tests of its own below
def cloud(request: pytest.FixtureRequest, clouds: Callable[[str], Cloud], log_in: Callable[[Cloud], Cloud]) -> Cloud:
    return log_in(clouds(request.param))


def test_push_look_and_repair(cloud: Cloud, envlock: Envlock, make_index: Callable[..., Index], tmp_path: Path) -> None:
    own = make_index()
    prefix = f"cli-{tmp_path.name}"
    locked_project(tmp_path / "project", own, {"one": [ALPHA, LAM]}, archs=ARCHS, settings=settings(cloud, prefix))
    url = cloud.url(prefix)
    first = envlock("push")
    assert "pushed 2 packages" in first.stdout
    assert first.stdout.endswith(f"to {url}\n")
    second = envlock("push")
    assert second.stdout == f"nothing to push: 2 packages and 2 environments are already in {url}\n"
    # How long it took may be said, and what was not read; what libraries leave unclosed may not.
    said = r"^(pushing: |looking into the cache: |note: 2 packages were in the cache already ).*\n"
    assert re.sub(said, "", first.stderr + second.stderr, flags=re.MULTILINE) == ""
    listed = envlock("cache", "ls", "--json")
    assert listed.json["packages"] == 2
    store = open_store(url, cloud.options)
    (path,) = (entry.path for entry in store.entries("packages") if entry.path.endswith(ALPHA))
    data = store.read(path)
    store.put(path, b"x" * len(data))
    damaged = envlock("cache", "verify", check=3)
    assert ALPHA in damaged.stdout
    envlock("cache", "verify", "--repair")
    assert store.read(path) == data
    assert not [secret for secret in cloud.secrets for ran in (first, second, listed, damaged) if secret in ran.text]


def test_a_second_push_moves_nothing(
    clouds: Callable[[str], Cloud],
    log_in: Callable[[Cloud], Cloud],
    envlock: Envlock,
    make_index: Callable[..., Index],
    tmp_path: Path,
) -> None:
    """One request for each object, and one for the cache's format."""
    with proxied(clouds("moto").port) as counting:
        cloud = log_in(clouds("moto").at(counting.port))
        text = settings(cloud, tmp_path.name)
        locked_project(tmp_path / "project", make_index(), {"one": [ALPHA, LAM]}, archs=ARCHS, settings=text)
        envlock("push")
        counting.passed.clear()
        envlock("push")
        assert sorted(method for method, _ in counting.passed) == ["GET"] * 3 + ["HEAD"] * 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"bucket": "no-such-bucket"}, "cache-bucket-missing"),
        ({"port": 9}, "cache-unreachable"),
        ({"account": "team"}, "bad-cache-option"),
    ],
)
def test_what_is_wrong_is_reported(
    change: dict[str, object],
    code: str,
    clouds: Callable[[str], Cloud],
    log_in: Callable[[Cloud], Cloud],
    envlock: Envlock,
    make_index: Callable[..., Index],
    tmp_path: Path,
) -> None:
    cloud = log_in(clouds("moto"))
    port = change.pop("port", None)
    bucket = change.pop("bucket", None)
    text = settings(cloud.at(int(str(port))) if port else cloud, tmp_path.name, **change)
    text = text.replace("envlock-team", str(bucket)) if bucket else text
    locked_project(tmp_path / "project", make_index(), {"one": [ALPHA]}, settings=text)
    with ThreadPoolExecutor() as pool:  # most of their time is spent between attempts
        commands = list(pool.map(lambda command: envlock(*command, check=2), (("push",), ("cache", "ls"))))
    for ran in commands:
        assert f"error[{code}]" in ran.stderr
        assert not [secret for secret in cloud.secrets if secret in ran.text]
