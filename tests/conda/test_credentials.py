"""Channels that want credentials: every way to give them works, and none leaves a trace."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.conda.channels import channel_base, mirrors_in_force
from envlock.conda.client import Place, authorization, client_for, places_of
from envlock.conda.errors import ChannelFailure
from envlock.conda.fetch import fetch
from envlock.model.lock import LockedPackage
from envlock.resolve.errors import ChannelUnauthorized
from tests.channel import Channel, Credentials, data_package
from tests.resolve.conda_asking import ask, pins
from tests.support import files_holding

SECRETS = ("s3cr3t-passw0rd", "tk-s3cr3t-t0ken", "s3cr3t-b34rer")


def host_variable(channel: Channel) -> str:
    return "ENVLOCK_INDEX_" + channel.host.partition(":")[0].replace(".", "_")


def in_url(channel: Channel, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    return channel.url_with_password("private")


def in_variables(channel: Channel, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    monkeypatch.setenv("WHO", "reader")
    monkeypatch.setenv("SECRET", "s3cr3t-passw0rd")
    return channel.url_of("private").replace("http://", "http://${WHO}:${SECRET}@")


def in_index_variables(channel: Channel, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    monkeypatch.setenv(f"{host_variable(channel)}_USERNAME", "reader")
    monkeypatch.setenv(f"{host_variable(channel)}_PASSWORD", "s3cr3t-passw0rd")
    return channel.url_of("private")


def in_netrc(channel: Channel, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    path = home / "netrc"
    path.write_text("machine 127.0.0.1 login reader password s3cr3t-passw0rd\n")
    monkeypatch.setenv("NETRC", str(path))
    return channel.url_of("private")


def as_token(channel: Channel, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    return channel.url_with_token("private")


def as_token_below_a_folder(channel: Channel, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    return channel.url_of("private").replace("/private", "/t/tk-s3cr3t-t0ken/private")


def as_token_of_a_variable(channel: Channel, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    monkeypatch.setenv("CHANNEL_TOKEN", "tk-s3cr3t-t0ken")
    return channel.url_with_token("private").replace("tk-s3cr3t-t0ken", "${CHANNEL_TOKEN}")


def as_bearer(channel: Channel, monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    path = home / "auth.json"
    path.write_text(json.dumps({"127.0.0.1": {"BearerToken": "s3cr3t-b34rer"}}))
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(path))
    return channel.url_of("private")


WAYS = (
    in_url,
    in_variables,
    in_index_variables,
    in_netrc,
    as_token,
    as_token_below_a_folder,
    as_token_of_a_variable,
    as_bearer,
)


def locked(channel: Channel, url: str) -> tuple[LockedPackage, ...]:
    """What is locked from the private channel, beside a Python from the open one."""
    main = (channel.folder / "main").as_uri()
    return ask("secret", channels=(channel.url_of("private"), main), urls=(url, main)).packages


@pytest.mark.parametrize("way", WAYS)
def test_every_way_opens_the_channel_and_leaves_no_trace(
    way: Callable[..., str], private_channel: Channel, monkeypatch: pytest.MonkeyPatch, isolated: Path, tmp_path: Path
) -> None:
    url = way(private_channel, monkeypatch, tmp_path)
    packages = locked(private_channel, url)

    (secret,) = [package for package in packages if package.name == "secret"]
    base = private_channel.url_of("private")
    assert secret.url == f"{base}/noarch/{secret.filename}"
    assert not any(word in repr(packages) for word in (*SECRETS, "reader", "/t/"))
    for word in SECRETS:
        assert not files_holding(word, isolated)

    writer = io.BytesIO()
    fetch(secret.url, writer, client_for([url], {}))
    assert len(writer.getvalue()) == secret.size


@pytest.mark.parametrize("way", [in_url, as_token, in_netrc])
def test_a_mirror_can_want_credentials(
    way: Callable[..., str], private_channel: Channel, monkeypatch: pytest.MonkeyPatch, isolated: Path, tmp_path: Path
) -> None:
    url = way(private_channel, monkeypatch, tmp_path).replace("/private", "/main")
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", f"conda-forge={url}")
    found = ask("upper")

    assert pins(found) == {"upper": "2.0", "lower": "2.0"}
    assert all(package.url.startswith(channel_base("conda-forge")) for package in found.packages)
    for word in SECRETS:
        assert not files_holding(word, isolated)
    writer = io.BytesIO()
    fetch(found.packages[0].url, writer, client_for(["conda-forge"], mirrors_in_force(())))
    assert len(writer.getvalue()) == found.packages[0].size


def test_wrong_and_missing_credentials_are_refused_without_telling_them(private_channel: Channel) -> None:
    base = private_channel.url_of("private")
    wrong = base.replace("http://", "http://reader:wr0ng@")
    token = private_channel.url_with_token("private").replace("tk-s3cr3t-t0ken", "wr0ng")
    for url in (base, wrong, token):
        with pytest.raises(ChannelUnauthorized) as caught:
            locked(private_channel, url)
        text = caught.value.render()
        assert base in text
        assert "401" in text
        assert "wr0ng" not in text
        assert "/t/" not in caught.value.message
        with pytest.raises(ChannelFailure) as refused:
            fetch(f"{base}/noarch/secret-1.0-0.conda", io.BytesIO(), client_for([url], {}))
        assert refused.value.kind == "unauthorized"
        assert "wr0ng" not in str(refused.value)


def test_credentials_go_to_their_own_channel_only(make_channel: Callable[..., Channel]) -> None:
    """Two channels on one host: only the one that they are for is shown them."""
    mine = make_channel(data_package("mine", "1.0"), credentials=Credentials(basic=("reader", "s3cr3t")))
    theirs = make_channel(data_package("python", "3.12.1"))
    urls = (mine.url_with_password("main"), theirs.url_of("main"))
    found = ask("mine", channels=(mine.url_of("main"), theirs.url_of("main")), urls=urls)

    assert pins(found) == {"mine": "1.0"}
    assert all(each.headers.get("authorization") for each in mine.requests)
    assert not any(each.headers.get("authorization") for each in theirs.requests)


def test_hosts_that_cannot_be_told_apart_get_no_credentials() -> None:
    places = [
        Place("https://channel.example/team", "https://channel.example/team", "Basic one"),
        Place("https://channel.example:8443/team", "https://channel.example:8443/team", "Basic two"),
        Place("https://channel.example/team/deep", "https://channel.example/team/deep", "Basic three"),
        Place("https://channel.example/open", "https://channel.example/open"),
    ]
    ask_for = authorization(places)

    assert ask_for("channel.example", "/team/noarch/repodata.json") is None
    assert ask_for("channel.example", "/team/deep/noarch/repodata.json") == {"Authorization": "Basic three"}
    assert ask_for("channel.example", "/open/noarch/repodata.json") is None
    assert ask_for("other.example", "/team/deep/noarch/repodata.json") is None


def test_no_place_holds_a_password_in_its_url() -> None:
    (place,) = places_of(["https://me:p%40ss@channel.example/team"], {})
    assert (place.base, place.url, place.source) == ("https://channel.example/team",) * 3
    assert place.header == "Basic bWU6cEBzcw=="


def test_nothing_is_logged(private_channel: Channel, capfd: pytest.CaptureFixture[str]) -> None:
    os.environ["RUST_LOG"] = "trace"
    try:
        locked(private_channel, private_channel.url_with_password("private"))
    finally:
        del os.environ["RUST_LOG"]
    assert capfd.readouterr() == ("", "")
