"""What every test stands on: an index on loopback, a machine without settings of its own, and the real command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.index import Index
from tests.support import ProjectFolder, Ran, isolation, run_envlock


class Envlock(Protocol):
    """The real command, in a process of its own."""

    def __call__(
        self, *arguments: str, cwd: Path | None = None, check: bool | int = True, env: dict[str, str] | None = None
    ) -> Ran:
        """Run it, as `tests.support.run_envlock` does: in the project's folder where no other is given."""


@pytest.fixture(scope="session")
def index() -> Iterator[Index]:
    """The catalogue, read-only: shared by every test of this process. Do not publish, fail or forget here."""
    with Index(page_cache_control="max-age=600, public") as served:
        yield served


@pytest.fixture
def make_index() -> Iterator[Callable[..., Index]]:
    """Makes indexes of one's own, each with the releases given (else the catalogue); all are closed afterwards."""
    made: list[Index] = []

    def make(*releases: Any, **options: Any) -> Index:
        made.append(Index(*releases, **options))
        return made[-1]

    yield make
    for served in made:
        served.close()


@pytest.fixture
def private_index(make_index: Callable[..., Index]) -> Index:
    """The catalogue behind basic auth: `reader`, `s3cr3t-t0ken`."""
    return make_index(credentials=("reader", "s3cr3t-t0ken"))


@pytest.fixture(scope="session")
def shared_uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's cache, shared by all tests of a session. A test that needs a cold one sets UV_CACHE_DIR itself."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "uv-cache"


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[Path]:
    """A machine without settings: HOME and every folder of tools are new, and no variable of a tool is set.

    The value is the new HOME.
    """
    home = tmp_path_factory.mktemp("home")
    with isolation(home, shared_uv_cache):
        yield home


@pytest.fixture
def project(tmp_path: Path, index: Index) -> ProjectFolder:
    """An empty project, in `tmp_path / "project"`, that locks from the session's index."""
    return ProjectFolder.make(tmp_path / "project", index.url)


@pytest.fixture
def envlock(tmp_path: Path) -> Envlock:
    """The real command; runs in `tmp_path / "project"` where no other folder is given."""

    def run(
        *arguments: str, cwd: Path | None = None, check: bool | int = True, env: dict[str, str] | None = None
    ) -> Ran:
        folder = tmp_path / "project"
        return run_envlock(*arguments, cwd=cwd or (folder if folder.is_dir() else tmp_path), check=check, env=env)

    return run


@pytest.fixture
def watched(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Envlock:
    """As `envlock`, and `Ran.effects` tells which processes it started, what it wrote, and whom it talked to."""

    def run(
        *arguments: str, cwd: Path | None = None, check: bool | int = True, env: dict[str, str] | None = None
    ) -> Ran:
        folder = tmp_path / "project"
        notes = tmp_path_factory.mktemp("watched") / "effects"
        return run_envlock(
            *arguments, cwd=cwd or (folder if folder.is_dir() else tmp_path), check=check, env=env, notes=notes
        )

    return run
