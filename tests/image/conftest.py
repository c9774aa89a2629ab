"""Registries that tests push to, and what they push."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.image.docker_login import DockerLogin
from envlock.image.references import ImageReference
from envlock.image.registry import Registry
from tests.servers.registry import BASIC, RegistryServer, TokenServer, is_set_up, passwords, registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a registry where there is none, and let it be no fast test."""
    for item in items:
        if {"registry_server", "with_tokens", "with_passwords"} & set(
            getattr(item, "fixturenames", ())
        ) and not is_set_up():
            item.add_marker(pytest.mark.skip(reason="docker-registry is not here: make setup"))


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that lets everybody do everything. Tests share it: each has repositories of its own."""
    with registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def open_registry(registry_server: RegistryServer, tmp_path: Path) -> Iterator[Callable[..., Registry]]:
    """Opens a repository: of the shared registry, under this test's own name, unless the reference is given."""
    opened: list[Registry] = []

    def open_one(reference: str = "", port: int = 0, **options: object) -> Registry:
        named = reference or f"127.0.0.1:{port or registry_server.port}/{tmp_path.name.lower().replace('_', '')}"
        login = options.pop("login", None) or DockerLogin({"HOME": str(tmp_path)})
        opened.append(Registry(ImageReference.parse(named), login, **{"pause": 0.01, **options}))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture(scope="session")
def with_passwords(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    folder = tmp_path_factory.mktemp("passwords")
    with registry(folder, passwords(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    server = TokenServer(tmp_path_factory.mktemp("tokens"))
    yield server
    server.close()


@pytest.fixture
def tokens(token_server: TokenServer) -> TokenServer:
    """The token server, which remembers nothing of earlier tests."""
    for each in (token_server.asked, token_server.tokens, token_server.answers, token_server.denied):
        each.clear()
    token_server.lasts = 300
    return token_server


@pytest.fixture(scope="session")
def with_tokens(token_server: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    folder = tmp_path_factory.mktemp("with-tokens")
    with registry(folder, token_server.auth()) as server:
        yield server


@pytest.fixture
def login(tmp_path: Path) -> Callable[..., DockerLogin]:
    """Makes docker's configuration with a login for a registry."""

    def make(registry: str, **entry: str) -> DockerLogin:
        written = json.dumps({"auths": {registry: entry or {"auth": BASIC}}})
        (tmp_path / "config.json").write_text(written)
        return DockerLogin({"DOCKER_CONFIG": str(tmp_path)})

    return make
