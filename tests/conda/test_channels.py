"""Channels: their URLs, and where they are asked instead."""

from __future__ import annotations

import pytest

from envlock.conda.channels import channel_base, mirrors_in_force, without_secrets
from envlock.conda.errors import BadChannelMirror
from envlock.model.url import strip_channel_credentials

BASE = channel_base("conda-forge")


def test_a_name_is_what_py_rattler_makes_of_it() -> None:
    assert BASE.startswith("https://")
    assert BASE.endswith("/conda-forge")
    assert channel_base("conda-forge/label/dev") == f"{BASE}/label/dev"
    assert channel_base(BASE) == BASE


@pytest.mark.parametrize(
    "url",
    [
        "https://channel.example/team",
        "https://channel.example/team/",
        "HTTPS://Channel.Example/team",
        "https://me:p%40ss@channel.example/team",
        "https://${USER}:${TOKEN}@channel.example/team/",
        "https://channel.example/t/tk-123-abc/team",
        "https://channel.example/t/${TOKEN}/team?x=1#y",
    ],
)
def test_one_channel_has_one_url(url: str) -> None:
    assert channel_base(url) == "https://channel.example/team"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://channel.example/api/t/tk-123-abc/team", "https://channel.example/api/team"),
        ("https://me:pw@Channel.example/api/t/${TOKEN}/team/", "https://channel.example/api/team"),
        ("https://channel.example/t/tk-1/t/tk-2/team", "https://channel.example/team"),
        ("https://channel.example/t", "https://channel.example/t"),
        ("s3://bucket/t/x/team", "s3://bucket/t/x/team"),
        ("file:///t/x/team", "file:///t/x/team"),
    ],
)
def test_the_channel_of_a_lock_and_of_its_package_are_one_url(url: str, base: str) -> None:
    assert channel_base(url) == strip_channel_credentials(url) == base
    assert channel_base(base) == base
    assert without_secrets(f"{url.rstrip('/')}/noarch/a-1-0.conda").lower() == f"{base}/noarch/a-1-0.conda"


def test_a_folder_called_t_is_no_token_where_it_ends_the_path() -> None:
    assert without_secrets("https://channel.example/t") == "https://channel.example/t"
    assert without_secrets("https://channel.example/cat/food/x") == "https://channel.example/cat/food/x"


def test_no_mirror_is_in_force_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVLOCK_CHANNEL_MIRRORS", raising=False)
    assert mirrors_in_force(()) == {}


def test_the_variable_wins_channel_by_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", "  conda-forge=http://127.0.0.1:1/main/\n other=file:///srv/other ")
    configured = (("conda-forge", "https://mirror.example/forge"), ("team", "https://me:pw@mirror.example/team"))

    assert mirrors_in_force(configured) == {
        BASE: "http://127.0.0.1:1/main",
        channel_base("team"): "https://me:pw@mirror.example/team",
        channel_base("other"): "file:///srv/other",
    }


def test_a_bad_mirror_does_not_tell_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", "conda-forge=ftp://me:s3cr3t@mirror.example/x")
    with pytest.raises(BadChannelMirror) as caught:
        mirrors_in_force(())
    assert "s3cr3t" not in caught.value.render()
