"""The datastore by which an image without boto3 sends logs: what Metaflow asks of it, against a real server."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metaflow_extensions.envlock.plugins.node import s3_settings, transport
from tests.servers.clouds import Cloud
from tests.servers.proxy import Break, proxied


@pytest.fixture
def storage(clouds: Callable[[str], Cloud], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A datastore behind the proxy that is its `.proxy`."""
    with proxied(clouds("moto").port) as proxy:
        cloud = clouds("moto").at(proxy.port)
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        endpoint = {"endpoint_url": f"http://127.0.0.1:{proxy.port}"}
        monkeypatch.setattr(s3_settings, "client_params", lambda *_: endpoint)
        found = opened(cloud, tmp_path)
        found.proxy = proxy
        yield found


def opened(cloud: Cloud, tmp_path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Metaflow imports
        from metaflow_extensions.envlock.plugins.plain_datastore import S3Storage
    return S3Storage(cloud.url(tmp_path.name))


def loaded(storage: Any, *paths: str) -> dict[str, tuple[bytes | None, object]]:
    with storage.load_bytes(list(paths)) as found:
        return {path: (Path(place).read_bytes() if place else None, notes) for path, place, notes in found}


def test_what_is_saved_is_found(storage: Any) -> None:
    storage.save_bytes([("run/a.log", (io.BytesIO(b"said"), {"v": 1})), ("run/below/b", io.BytesIO(b""))])
    assert storage.is_file(["run/a.log", "run/c"]) == [True, False]
    assert storage.info_file("run/a.log") == (True, {"v": 1})
    assert storage.size_file("run/a.log") == 4
    assert sorted(map(tuple, storage.list_content(["run"]))) == [("run/a.log", True), ("run/below", False)]
    assert loaded(storage, "run/a.log", "run/c") == {"run/a.log": (b"said", {"v": 1}), "run/c": (None, None)}


def test_what_is_there_is_replaced_only_if_that_is_wanted(storage: Any) -> None:
    for data, overwrite in ((b"first", False), (b"second", False), (b"third", True)):
        storage.save_bytes([("log", io.BytesIO(data))], overwrite=overwrite)
        assert loaded(storage, "log")["log"][0] == (b"third" if overwrite else b"first")


def test_a_busy_store_is_asked_again(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.01)
    storage.proxy.breaks(Break.SLOW_DOWN, "PUT", times=3)
    storage.save_bytes([("log", io.BytesIO(b"said"))], overwrite=True)
    assert storage.proxy.broken == [Break.SLOW_DOWN] * 3
    assert loaded(storage, "log")["log"][0] == b"said"
