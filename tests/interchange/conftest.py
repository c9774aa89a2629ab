"""Locks of other tools, written once for all tests of a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.channel import Channel
from tests.index import Index
from tests.interchange.sources import packages_of, write_conda_lock, write_pixi_lock, write_uv_project


@pytest.fixture(scope="session")
def conda_lock_yml(channel: Channel, new_folder: Callable[[str], Path]) -> Path:
    """A conda-lock.yml of `packages_of(channel)`, by conda-lock itself, whose import takes seconds."""
    return write_conda_lock(new_folder("conda-lock") / "conda-lock.yml", packages_of(channel))


@pytest.fixture(scope="session")
def pixi_lock(channel: Channel, new_folder: Callable[[str], Path]) -> Path:
    """A pixi.lock of the same."""
    return write_pixi_lock(new_folder("pixi") / "pixi.lock", packages_of(channel))


@pytest.fixture(scope="session")
def uv_lock(index: Index, new_folder: Callable[[str], Path], shared_uv_cache: Path) -> Path:
    """The uv.lock of `PROJECT`, by uv."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
        return write_uv_project(new_folder("uv"), index.url)
