"""The fixtures of whatever starts tasks in pods; a conftest imports those that it gives to its tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.pods import Containers, Folders
from tests.pods.backends import Backends, backends
from tests.pods.docker import daemon, image_series, is_set_up
from tests.pods.folders import folder_series
from tests.support import isolation

IN_CONTAINERS = pytest.param("container", marks=pytest.mark.slow)
"""The kind of pods that `make test-remote` tests too."""

NEEDS_LINUX = "pods are folders and containers of Linux"
KINDS = ["folder", IN_CONTAINERS]


@pytest.fixture(scope="session")
def backends_of(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[Callable[[str], Backends]]:
    """The backends with pods of a kind, started when they are first asked for, and shared by the session."""
    with ExitStack() as stack:
        started: dict[str, Backends] = {}

        def of(kind: str) -> Backends:
            if not sys.platform.startswith("linux"):
                pytest.skip(NEEDS_LINUX)
            if kind not in started:
                if kind == "container" and not is_set_up():
                    pytest.skip("docker is not set up for the tests: run `make setup-pods` as root")
                folder = tmp_path_factory.mktemp(f"backends-{kind}")
                with isolation(folder, shared_uv_cache):
                    if kind == "container":
                        stack.enter_context(daemon())
                        pods, series = Containers.at(str(folder)), image_series()
                    else:
                        pods, series = Folders.at(str(folder)), folder_series()
                    started[kind] = stack.enter_context(backends(pods, folder, series[-1]))
            return started[kind]

        yield of


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of pods."""
    return str(request.param)
