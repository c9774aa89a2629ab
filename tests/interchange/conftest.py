"""Locks of other tools, written once for all tests of a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.channel import Channel
from tests.interchange.sources import packages_of, write_conda_lock, write_pixi_lock


@pytest.fixture(scope="session")
def conda_lock_yml(channel: Channel, new_folder: Callable[[str], Path]) -> Path:
    """A conda-lock.yml of `packages_of(channel)`, by conda-lock itself, whose import takes seconds."""
    return write_conda_lock(new_folder("conda-lock") / "conda-lock.yml", packages_of(channel))


@pytest.fixture(scope="session")
def pixi_lock(channel: Channel, new_folder: Callable[[str], Path]) -> Path:
    """A pixi.lock of the same."""
    return write_pixi_lock(new_folder("pixi") / "pixi.lock", packages_of(channel))
