"""Packages of conda channels come to this machine as the project says: from mirrors, with credentials, proved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.channel import Channel
from tests.conftest import Envlock
from tests.support import ProjectFolder


def secrets_of(channel: Channel) -> tuple[str, ...]:
    assert channel.credentials is not None
    assert channel.credentials.basic is not None
    return (channel.credentials.basic[1], channel.credentials.token or "", channel.credentials.bearer or "")


@pytest.fixture
def locked_private(
    tmp_path: Path, private_channel: Channel, envlock: Envlock, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], ProjectFolder]:
    """Locks an environment of the private channel, which is asked as the test says."""

    def locked(how: str) -> ProjectFolder:
        channel = private_channel
        assert channel.credentials is not None
        url = channel.url_of("main")
        if how == "password":
            url = channel.url_with_password("main")
        elif how == "token":
            monkeypatch.setenv("CHANNEL_TOKEN", channel.credentials.token or "")
            url = channel.url_with_token("main").replace(channel.credentials.token or "-", "${CHANNEL_TOKEN}")
        elif how == "bearer":
            auth = tmp_path / "auth.json"
            auth.write_text(json.dumps({"127.0.0.1": {"BearerToken": channel.credentials.bearer}}))
            monkeypatch.setenv("RATTLER_AUTH_FILE", str(auth))
        elif how == "netrc":
            user, password = channel.credentials.basic or ("", "")
            netrc = tmp_path / "netrc"
            netrc.write_text(f"machine 127.0.0.1\n  login {user}\n  password {password}\n")
            monkeypatch.setenv("NETRC", str(netrc))
        project = ProjectFolder.make(tmp_path / "project", "https://index.example/simple/")
        project.write_conda_env("alpha", channels=[url], python="", settings="metaflow-requirements = false")
        envlock("lock", "--arch", "linux-64")
        return project

    return locked


@pytest.mark.parametrize("how", ["password", "token", "bearer", "netrc"])
def test_a_private_channel_gets_our_credentials(
    how: str, locked_private: Callable[[str], ProjectFolder], private_channel: Channel, envlock: Envlock
) -> None:
    project = locked_private(how)
    said = envlock("push", "--arch", "linux-64", check=0)
    assert "pushed" in said.text
    told = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file() and path.suffix == ".toml"]
    told += [said.text.encode()]
    told += [str(path).encode() for path in project.folder.rglob("*")]
    config = (project.folder / "envlock.toml").read_bytes()
    for secret in secrets_of(private_channel):
        assert not any(secret.encode() in text for text in told if text != config)


def test_wrong_credentials_are_reported_without_them(
    locked_private: Callable[[str], ProjectFolder], private_channel: Channel, envlock: Envlock
) -> None:
    project = locked_private("password")
    config = project.folder / "envlock.toml"
    config.write_text(config.read_text().replace(secrets_of(private_channel)[0], "wrong-passw0rd"))
    said = envlock("push", "--arch", "linux-64", check=4)
    assert "upstream-unauthorized" in said.text
    assert "wrong-passw0rd" not in said.text


def test_other_bytes_than_were_locked_are_refused(
    conda_project: ProjectFolder,
    make_channel: Callable[..., Channel],
    envlock: Envlock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = make_channel(whole=True)
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    conda_project.write_conda_env("alpha", settings="metaflow-requirements = false", archs=["linux-64"])
    envlock("lock")
    for path in channel.records("alpha"):
        channel.tamper(f"main/{path}")
    said = envlock("push", check=3)
    assert "upstream-hash-mismatch" in said.text
    assert "alpha" in said.text
    assert not list((conda_project.folder / "envlock-cache").rglob("alpha-*"))


def test_a_file_channel_is_read_and_proved(
    conda_project: ProjectFolder, channel: Channel, envlock: Envlock, tmp_path: Path
) -> None:
    url = (channel.folder / "main").as_uri()
    conda_project.write_conda_env("alpha", channels=[url], settings="metaflow-requirements = false", archs=["linux-64"])
    envlock("lock")
    assert "pushed" in envlock("push").text
    assert list((conda_project.folder / "envlock-cache").rglob("alpha-*"))
