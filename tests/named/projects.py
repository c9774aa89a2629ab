"""Projects that give aliases, and projects of others that use them."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.config.selection import choose_one
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.model.lock import Lock
from envlock.named.alias import Alias
from envlock.named.give import give
from envlock.named.lookup import Lookup, NamedEnvironment
from envlock.named.run_record import RunRecord
from envlock.workflow.push import push
from tests.cache.locks import asking, locked_project
from tests.index import Index
from tests.support import ProjectFolder

ALPHA = "alpha-1.0-py3-none-any.whl"
NEWER = "alpha-1.1-py3-none-any.whl"
BETA = "beta-1.5-py3-none-{platform}.whl"
LAM = "lam-1.0-py3-none-any.whl"
V1 = Alias("team/base", "v1")
LATEST = Alias("team/base")
TWO = (LINUX_64, OSX_ARM64)


def two_environments(tmp_path: Path, index: Index) -> Project:
    """Two environments that share no file, for two archs; nothing is in the cache."""
    return locked_project(tmp_path / "project", index, {"one": [ALPHA, BETA], "two": [NEWER, LAM]}, archs=TWO)


def pushed_project(tmp_path: Path, index: Index) -> Project:
    """Somebody's project: two environments, both pushed; the first has an alias."""
    shutil.copytree(_pushed_once(tmp_path.parent / "pushed", index), tmp_path, dirs_exist_ok=True)
    return load_project(tmp_path / "project" / "envlock.toml")


@cache
def _pushed_once(folder: Path, index: Index) -> Path:
    made = locked_project(folder / "project", index, {"one": [ALPHA, BETA], "two": [ALPHA, LAM]}, archs=TWO)
    push(made)
    give(Lookup(made), V1, environment_of(made, "one"))
    return folder


def without_locks(project: Project) -> Lookup:
    """A lookup that has the cache alone."""
    for path in lock_files(project.lock_folder):
        path.unlink()
    return Lookup(load_project(project.path))


def environment_of(project: Project, name: str) -> NamedEnvironment:
    return Lookup(project).environment(choose_one(project, environment=name))


def of_another(
    tmp_path: Path,
    project: Project,
    *,
    name: str = "one",
    locked: tuple[str, ...] = ("alpha", "beta"),
    archs: tuple[str, ...] = TWO,
) -> Lookup:
    """Somebody else's project, which asks for the same under another name, has no lock, and has the same cache."""
    made = ProjectFolder.make(tmp_path / "another", project.text.partition('index-url = "')[2].partition('"')[0])
    made.write(f"[env.mine.pypi]\n{asking(name, locked)}", settings='cache = "../cache"', archs=list(archs))
    return Lookup(load_project(made.config))


def locks(project: Project) -> list[Lock]:
    return [read_lock(path) for path in lock_files(project.lock_folder)]


def record_of(project: Project, name: str = "one", arch: str = LINUX_64) -> RunRecord:
    (lock,) = [each for each in locks(project) if each.asked_by == (name,) and each.arch == arch]
    return RunRecord("TrainFlow", "142", "start", lock.arch, lock.req_id, lock.full_id)
