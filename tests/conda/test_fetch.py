"""One file of a channel, streamed, and what goes wrong with that."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import pytest

from envlock.conda.channels import channel_base, mirrors_in_force
from envlock.conda.client import client_for
from envlock.conda.errors import ChannelFailure
from envlock.conda.fetch import failure_of, fetch
from tests.channel import DROP, Channel, data_package


def fetched(url: str, *channels: str) -> bytes:
    writer = io.BytesIO()
    fetch(url, writer, client_for(channels, mirrors_in_force(())))
    return writer.getvalue()


def test_a_file_of_a_mirrored_channel(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    path, record = channel.records("lower").popitem()

    data = fetched(f"{channel_base('conda-forge')}/{path}", "conda-forge")
    assert hashlib.sha256(data).hexdigest() == record["sha256"]


def test_what_is_not_there(channel: Channel) -> None:
    base = channel.url_of("main")
    with pytest.raises(ChannelFailure) as caught:
        fetched(f"{base}/noarch/nothing-1-0.conda", base)
    assert (caught.value.kind, caught.value.url) == ("missing", f"{base}/noarch/nothing-1-0.conda")


@pytest.mark.usefixtures("asked_once")
@pytest.mark.parametrize("status", [500, DROP])
def test_a_host_with_trouble(make_channel: Callable[..., Channel], status: int) -> None:
    served = make_channel(data_package("tool", "1.0"))
    served.fail("*.conda", status=status)
    url = served.url_of("main")
    with pytest.raises(ChannelFailure) as caught:
        fetched(f"{url}/noarch/tool-1.0-0.conda", url)
    assert caught.value.kind == "unreachable"


def test_a_file_that_breaks_off(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(data_package("tool", "1.0"))
    served.cut("*.conda", after=10)
    url = served.url_of("main")
    with pytest.raises(ChannelFailure, match="the connection broke"):
        fetched(f"{url}/noarch/tool-1.0-0.conda", url)


def test_the_writer_s_own_trouble_is_its_own(channel: Channel) -> None:
    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    url = channel.url_of("main")
    with pytest.raises(OSError, match="No space left"):
        fetch(f"{url}/{next(iter(channel.records('lower')))}", Full(), client_for([url], {}))


def test_reasons_hold_no_secret() -> None:
    text = "Request failed after 2 retries\nCaused by: error sending request for url (http://me:pw@h.example/t/tk-1/x)"
    failure = failure_of(text, "http://h.example/x")

    assert "pw" not in str(failure)
    assert "tk-1" not in str(failure)
