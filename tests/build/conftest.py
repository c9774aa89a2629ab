"""Builds are kept from everything but their own folders and /dev/shm, where semaphores are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that builds may not write into, and a home, also where what tests write is in memory."""
    if not tmp_path.is_relative_to("/dev/shm"):
        yield tmp_path
        return
    with TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("ENVLOCK_HOME", f"{folder}/home")
        yield Path(folder)
