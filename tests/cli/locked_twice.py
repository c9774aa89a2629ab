"""A project with a flow and an `[env.base]` that was locked, and locked again after an upgrade of alpha."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from envlock.model.arch import host_arch
from tests.hydration.making import SERIES
from tests.index import Index
from tests.support import ProjectFolder, isolation, run_envlock

CONFIG = """
[flow.TrainFlow]
file = "trainflow.py"
pypi = {{ python = "{series}", packages = {{ alpha = "{alpha}" }} }}
[env.base]
pypi = {{ python = "{series}", packages = {{ alpha = "{alpha}", lam = "" }} }}
"""


class LockedTwice(NamedTuple):
    """Two folders that tests copy, and the index."""

    before: Path
    """With alpha 1.1."""
    after: Path
    """With alpha 1.0."""
    index_url: str

    @classmethod
    def make(cls, folders: pytest.TempPathFactory, index: Index, uv_cache: Path, *, more: str = "") -> LockedTwice:
        """Lock the project, with `more` in its envlock.toml."""
        project = ProjectFolder.make(folders.mktemp("twice") / "project", index.url)
        project.write_flow("TrainFlow")
        with isolation(folders.mktemp("home"), uv_cache):
            _lock(project, "1.1", more)
            later = project.copy(project.folder.with_name("later"))
            _lock(later, "1.0", more)
        return cls(project.folder, later.folder, index.url)

    def copy(self, folder: Path) -> ProjectFolder:
        """The project before the upgrade."""
        shutil.copytree(self.before, folder, dirs_exist_ok=True)
        return ProjectFolder(folder, self.index_url)

    def upgrade(self, project: ProjectFolder) -> None:
        """Have in a copy what is in the project after the upgrade."""
        shutil.rmtree(project.lock_folder)
        shutil.copytree(self.after, project.folder, dirs_exist_ok=True)


def _lock(project: ProjectFolder, alpha: str, more: str) -> None:
    project.write(CONFIG.format(series=SERIES, alpha=alpha) + more, archs=[host_arch()])
    run_envlock("lock", cwd=project.folder)
