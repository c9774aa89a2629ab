"""Logins come from where docker has them: its file, and the credential helpers that the file names."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.image.docker_login import DockerLogin, Login
from envlock.image.errors import BadDockerConfig, CredentialHelperFailed

HOST = "registry.example:5000"
MIA = Login("mia", "s3cr3t:with:colons")
AUTH = base64.b64encode(b"mia:s3cr3t:with:colons").decode()


@pytest.fixture
def logins(tmp_path: Path) -> Callable[..., DockerLogin]:
    """Makes docker's configuration of what is given, with the folder of this test on PATH."""

    def make(config: object, **options: float) -> DockerLogin:
        text = config if isinstance(config, str) else json.dumps(config)
        (tmp_path / "config.json").write_text(text)
        return DockerLogin({"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}, **options)

    return make


@pytest.fixture
def credential_helper(tmp_path: Path) -> Callable[..., None]:
    """Makes a credential helper: a shell script."""

    def make(name: str, script: str) -> None:
        program = tmp_path / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return make


def says(username: str, secret: str) -> str:
    told = json.dumps({"ServerURL": HOST, "Username": username, "Secret": secret})
    return f"[ $1 = get ] && [ \"$(cat)\" = {HOST} ] && echo '{told}'"


ENTRIES = {
    "base64": ({HOST: {"auth": AUTH}}, MIA),
    "plain": ({HOST: {"username": "mia", "password": "s3cr3t:with:colons"}}, MIA),
    "a URL": ({f"https://{HOST}/v1/": {"auth": AUTH}}, MIA),
    "an identity token": (
        {HOST: {"auth": base64.b64encode(b"mia:").decode(), "identitytoken": "s3cr3t"}},
        Login("mia", "", "s3cr3t"),
    ),
    "a registry token": ({HOST: {"registrytoken": "s3cr3t"}}, Login(registry_token="s3cr3t")),
    "another port": ({"registry.example:5001": {"auth": AUTH}}, None),
    "no port": ({"registry.example": {"auth": AUTH}}, None),
    "empty": ({HOST: {}}, None),
    "odd": ({HOST: 7}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("auths", "login"), ENTRIES.values(), ids=ENTRIES)
def test_a_login_is_that_of_the_file(logins: Callable[..., DockerLogin], auths: object, login: Login | None) -> None:
    assert logins({"auths": auths}).for_registry(HOST) == login


def test_without_a_file_there_is_no_login(tmp_path: Path) -> None:
    assert DockerLogin({"HOME": str(tmp_path)}).for_registry(HOST) is None


def test_the_file_of_the_home_is_read_where_no_variable_names_another(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {HOST: {"auth": AUTH}}}))
    assert DockerLogin({"HOME": str(tmp_path)}).for_registry(HOST) == MIA
    assert DockerLogin({"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}).for_registry(HOST) is None


def test_the_logins_of_podman_count_where_docker_has_no_file(tmp_path: Path) -> None:
    (tmp_path / "containers").mkdir()
    for name, who in (("auth.json", b"named:x"), ("containers/auth.json", b"mia:s3cr3t:with:colons")):
        (tmp_path / name).write_text(json.dumps({"auths": {HOST: {"auth": base64.b64encode(who).decode()}}}))
    variables = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert DockerLogin(variables).for_registry(HOST) == MIA
    named = DockerLogin({**variables, "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")})
    assert named.for_registry(HOST) == Login("named", "x")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{}")
    assert DockerLogin(variables).for_registry(HOST) is None


@pytest.mark.parametrize(
    "config",
    ["", "{", "[]", "7", "[" * 9999, {"auths": {HOST: {"auth": "!s3cr3t!"}}}, {"auths": {HOST: {"auth": "czNjcjN0"}}}],
)
def test_a_file_that_cannot_be_read_is_named_and_not_shown(logins: Callable[..., DockerLogin], config: object) -> None:
    with pytest.raises(BadDockerConfig, match=r"config\.json") as raised:
        logins(config).for_registry(HOST)
    assert "s3cr3t" not in raised.value.render()
    assert "czNjcjN0" not in raised.value.render()


@pytest.mark.parametrize(
    "entry",
    [{"registrytoken": "s3cr3t\n"}, {"registrytoken": "s3cr3t\u00e9"}, {"username": "mia", "password": "s3cr3t\ud800"}],
)
def test_a_login_that_no_request_can_have_is_refused_and_not_shown(
    logins: Callable[..., DockerLogin], entry: dict[str, str]
) -> None:
    with pytest.raises(BadDockerConfig, match="cannot be sent") as raised:
        logins({"auths": {HOST: entry}}).for_registry(HOST)
    assert "s3cr3t" not in raised.value.render()


FAILING = (
    *("echo s3cr3t; exit 3", "echo s3cr3t", "echo '[]'", "kill -9 $$", "exec no-s3cr3t"),
    """echo '{"Username": "s3cr3t"}'""",
)


class TestCredentialHelpers:
    def test_have_the_login_of_their_registry(
        self, logins: Callable[..., DockerLogin], credential_helper: Callable[..., None]
    ) -> None:
        credential_helper("team", says("mia", "s3cr3t"))
        credential_helper("other", "exit 1")
        config = {"credHelpers": {HOST: "team"}, "credsStore": "other", "auths": {HOST: {"auth": AUTH}}}
        assert logins(config).for_registry(HOST) == Login("mia", "s3cr3t")

    def test_have_the_logins_of_all_registries_that_name_none(
        self, logins: Callable[..., DockerLogin], credential_helper: Callable[..., None]
    ) -> None:
        credential_helper("store", says("<token>", "s3cr3t"))
        config = {"credHelpers": {"other.example": "team"}, "credsStore": "store", "auths": {HOST: {}}}
        assert logins(config).for_registry(HOST) == Login(identity_token="s3cr3t")

    def test_are_not_asked_where_the_file_is_to_be_read(self, logins: Callable[..., DockerLogin]) -> None:
        config = {"credHelpers": {HOST: ""}, "credsStore": "missing", "auths": {HOST: {"auth": AUTH}}}
        assert logins(config).for_registry(HOST) == MIA

    def test_may_have_nothing(self, logins: Callable[..., DockerLogin], credential_helper: Callable[..., None]) -> None:
        credential_helper("store", "echo credentials not found in native keychain; exit 1")
        assert logins({"credsStore": "store"}).for_registry(HOST) is None
        assert logins({"credsStore": "store", "auths": {HOST: {"auth": AUTH}}}).for_registry(HOST) == MIA

    def test_are_asked_once(
        self, logins: Callable[..., DockerLogin], credential_helper: Callable[..., None], tmp_path: Path
    ) -> None:
        credential_helper("store", f"echo x >> {tmp_path}/asked; {says('mia', 's3cr3t')}")
        login = logins({"credsStore": "store"})
        assert login.for_registry(HOST) == login.for_registry(HOST)
        assert (tmp_path / "asked").read_text() == "x\n"

    @pytest.mark.parametrize(
        "script",
        [
            "echo s3cr3t; exit 3",
            "echo s3cr3t",
            'echo \'{"Username": "s3cr3t"}\'',
            'echo \'{"Username": "mia", "Secret": "s3cr3t\\\\ud800"}\'',
            "echo '[]'",
            "kill -9 $$",
            "exec no-s3cr3t",
        ],
    )
    def test_that_fail_are_named_and_what_they_print_is_not_shown(
        self,
        logins: Callable[..., DockerLogin],
        credential_helper: Callable[..., None],
        script: str,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        credential_helper("store", f"echo s3cr3t >&2; {script}")
        with pytest.raises(CredentialHelperFailed, match="docker-credential-store") as raised:
            logins({"credsStore": "store"}).for_registry(HOST)
        assert raised.value.code == "credential-helper-failed"
        assert "s3cr3t" not in raised.value.render() + "".join(capfd.readouterr())

    def test_that_are_missing_are_named(self, logins: Callable[..., DockerLogin]) -> None:
        with pytest.raises(CredentialHelperFailed, match="no such program"):
            logins({"credsStore": "missing"}).for_registry(HOST)

    def test_are_given_little_time(
        self, logins: Callable[..., DockerLogin], credential_helper: Callable[..., None], tmp_path: Path
    ) -> None:
        credential_helper("store", f"(sleep 0.6; touch {tmp_path}/late) & sleep 60")
        began = time.monotonic()
        with pytest.raises(CredentialHelperFailed, match=r"more than 0\.2 seconds"):
            logins({"credsStore": "store"}, seconds=0.2).for_registry(HOST)
        assert time.monotonic() - began < 10
        time.sleep(0.6)
        assert not (tmp_path / "late").exists(), "what it started ended with it"

    @pytest.mark.parametrize("name", ["../../tmp/x", "a b", "x;y", "$(x)", "x" * 101])
    def test_have_names_of_programs(self, logins: Callable[..., DockerLogin], name: str) -> None:
        with pytest.raises(BadDockerConfig):
            logins({"credsStore": name}).for_registry(HOST)


def test_a_login_shows_nothing_of_itself() -> None:
    assert "s3cr3t" not in f"{MIA} {MIA!r} {[MIA]}"
