"""The served channels: credentials, ranges, trouble, and packages that come and go."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
import tomli
from rattler.exceptions import GatewayError

from tests.channel import DROP, Channel, Credentials, data_package, python_package
from tests.channel.solving import solved, versions
from tests.support import ProjectFolder, get


@pytest.mark.parametrize(
    ("credentials", "right"),
    [
        (Credentials(basic=("reader", "pass")), {"Authorization": "Basic cmVhZGVyOnBhc3M="}),
        (Credentials(bearer="b34rer"), {"Authorization": "Bearer b34rer"}),
        (Credentials(token="t0ken"), {}),
    ],
)
def test_a_channel_can_want_credentials(
    make_channel: Callable[..., Channel], credentials: Credentials, right: dict[str, str]
) -> None:
    served = make_channel(data_package("one", "1.0"), credentials=credentials)
    url = served.url_with_token() if credentials.token else served.url_of()
    assert get(f"{served.url_of()}/noarch/repodata.json")[0] == 401
    assert get(f"{served.url_of()}/noarch/repodata.json", Authorization="Basic d3Jvbmc6d3Jvbmc=")[0] == 401
    assert get(f"{url}/noarch/repodata.json", **right)[0] == 200
    assert [request.status for request in served.requests] == [401, 401, 200]
    assert served.requests[-1].token == credentials.token


def test_conda_shows_credentials(private_channel: Channel) -> None:
    with pytest.raises(GatewayError, match="401"):
        solved(private_channel.url_of(), "lower")
    assert "lower" in solved(private_channel.url_with_token(), "lower")
    assert "lower" in solved(private_channel.url_with_password(), "lower")
    assert "secret" in solved(private_channel.url_with_password("private"), "secret")


def test_files_come_in_ranges_and_are_revalidated(channel: Channel) -> None:
    path = channel.archive("noarch/lower-1.0-*")
    url, data = f"{channel.url_of()}/noarch/{path.name}", path.read_bytes()
    status, whole, headers = get(url)
    assert (status, whole) == (200, data)
    assert get(url, Range="bytes=4-9")[:2] == (206, data[4:10])
    assert get(url, Range="bytes=-7")[:2] == (206, data[-7:])
    assert get(url, Range="bytes=4-")[:2] == (206, data[4:])
    assert get(url, Range="bytes=4-9")[2]["Content-Range"] == f"bytes 4-9/{len(data)}"
    assert get(url, Range=f"bytes={len(data)}-")[0] == 416
    assert get(url, If_None_Match=headers["ETag"])[0] == 304
    assert get(url, If_Modified_Since=headers["Last-Modified"])[0] == 304
    assert get(f"{channel.url_of()}/noarch/epochal-1%212.0-0.conda")[0] == 200
    assert get(f"{channel.url_of()}/noarch/nothing.conda")[0] == 404
    assert get(f"{channel.url_of('nothing')}/noarch/repodata.json")[0] == 404
    assert get(f"{channel.url_of()}/noarch/../../../channel.lock")[0] == 404


def test_trouble_comes_and_goes(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(data_package("one", "1.0"), data_package("two", "1.0"))
    one, two = (f"{served.url_of()}/noarch/{name}-1.0-0.conda" for name in ("one", "two"))
    served.fail("*/one-*", status=503, times=1)
    assert [get(one)[0], get(one)[0], get(two)[0]] == [503, 200, 200]
    served.fail("*/two-*", status=DROP)
    with pytest.raises((OSError, urllib.error.URLError)):
        get(two)
    served.tamper("main/noarch/one-1.0-0.conda")
    data = served.archive("noarch/one-*").read_bytes()
    tampered = get(one)[1]
    assert len(tampered) == len(data)
    assert tampered != data
    served.truncate("main/noarch/one-1.0-0.conda")
    assert get(one)[1] == data[: len(data) // 2]
    served.mend()
    served.cut("*/one-*", after=10)
    with pytest.raises(http.client.IncompleteRead):
        get(one)
    served.mend()
    assert get(one)[1] == data
    assert [request.path for request in served.downloads()][:2] == [
        "main/noarch/one-1.0-0.conda",
        "main/noarch/two-1.0-0.conda",
    ]
    elsewhere = make_channel(data_package("one", "2.0"))
    served.redirect("*/repodata.json", elsewhere.url)
    assert b"one-2.0" in get(f"{served.url_of()}/noarch/repodata.json")[1]
    served.rewrite("main/noarch/one-1.0-0.conda", b"wrong")
    assert get(one)[1] == b"wrong"


def test_packages_come_and_go_in_a_copy_of_ones_own(make_channel: Callable[..., Channel], channel: Channel) -> None:
    began = time.perf_counter()
    served = make_channel(data_package("lower", "7.0"), whole=True)
    assert time.perf_counter() - began < 2
    assert versions(solved(served.url_of(), "lower")) == {"lower": "7.0"}
    served.publish(data_package("lower", "8.0"))
    assert versions(solved(served.url_of(), "upper")) == {"upper": "2.0", "lower": "8.0"}
    served.withdraw("noarch/lower-[78]*")
    assert versions(solved(served.url_of(), "lower")) == {"lower": "2.0"}
    served.rewrite("main/noarch/lower-2.0-0.conda", b"wrong")
    assert channel.archive("noarch/lower-2.0-0.conda").read_bytes() != b"wrong"
    assert versions(solved(channel.url_of(), "lower")) == {"lower": "2.0"}
    alone = make_channel(python_package("one", "1.0"), name="team")
    assert set(alone.records(channel="team")) == {"noarch/one-1.0-py_0.conda"}


def test_a_project_locks_from_the_channel(conda_project: ProjectFolder, channel: Channel) -> None:
    config = conda_project.write_conda_env("numpy >=1.26", "other::lower", pypi=["alpha>=1"], system={"__cuda": "12.4"})
    env = tomli.loads(config.read_text())["env"]["demo"]
    assert env["conda"] == {
        "channels": ["conda-forge"], "python": conda_project.conda_python,
        "libraries": {"numpy": ">=1.26", "other::lower": ""},
    }  # fmt: skip
    assert env["pypi"] == {"packages": {"alpha": ">=1"}}
    assert env["sys_packages"] == {"packages": {"__cuda": "12.4"}}
    assert f"conda-forge={channel.url_of('main')}" in os.environ["ENVLOCK_CHANNEL_MIRRORS"].split()
