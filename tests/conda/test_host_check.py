"""Whether the hosts of channels answer is found out in bounded time, whatever they do."""

from __future__ import annotations

import time

import pytest

from envlock.conda import host_check
from envlock.conda.client import places_of
from envlock.conda.host_check import first_silent
from tests.cache.hosts import Host, Trickle


def test_any_answer_counts() -> None:
    with Host(lambda handler, _: handler.send(b"", status=503)) as host:
        assert first_silent(places_of([host.url("a"), "file:///srv/b"], {})) is None


def test_a_head_that_never_ends_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time."""
    monkeypatch.setattr(host_check, "PATIENCE", 0.7)
    trickle = Trickle(b"HTTP/1.1 200 OK\r\nX-Long: ")
    began = time.monotonic()
    with Host(trickle) as slow, Host(lambda handler, _: handler.send(b"x")) as quick:
        places = places_of([quick.url("a"), slow.url("b")], {})
        found = first_silent(places)
        trickle.ended.set()
    assert found is not None
    assert found.url == slow.url("b")
    assert time.monotonic() - began < 60
