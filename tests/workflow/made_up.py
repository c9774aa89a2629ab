"""Projects whose packages nobody publishes: any bytes, locked by their hash, which this machine has already."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from envlock.cache.layout import environment_place, kit_path, part_path
from envlock.cache.local import LocalPackages
from envlock.cache.open import open_store
from envlock.cache.packages import path_of
from envlock.cache.plan import (
    Pack,
    Part,
    Plan,
    PlanFile,
    PlanPackage,
    PlanPython,
    PlanTools,
    PythonBuild,
)
from envlock.cache.plans import Plans
from envlock.cache.port import Entry, Store
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.lockfile.folder import write_lock
from envlock.model.artifact import artifacts_of
from envlock.model.lock import Lock, LockedPackage
from envlock.places import home
from tests.cache.locks import MACHINE, asking
from tests.forked import run_python

DAY = 24 * 3600.0


def made_up_project(
    folder: Path,
    environments: Mapping[str, Sequence[str]],
    *,
    cache: str = "../cache",
    archs: Sequence[str] = ("linux-64",),
    settings: str = "",
    resolved_at: str = "2026-11-01T00:00:00Z",
    resolved_by: str = "tester",
    asks: str = "",
) -> Project:
    """A project with an `[env.*]` table and a lock for each environment, of packages of these names.

    A package of a name is the same in all projects. `asks` is a further requirement, which no arch needs, for another
    req_id.
    """
    folder.mkdir(parents=True)
    more = f"\n{asking(asks)}" if asks else ""
    tables = [f"[env.{name}.pypi]\n{asking(name, names)}{more}" for name, names in environments.items()]
    head = f'[envlock]\ncache = "{cache}"\nmetaflow-requirements = false\narchs = {list(archs)!r}\n{settings}\n'
    (folder / "envlock.toml").write_text(head.replace("'", '"') + "\n".join(tables) + "\n")
    project = load_project(folder / "envlock.toml")
    for environment in project.environments():
        for arch in project.settings.archs:
            packages = tuple(made_up_package(name) for name in sorted(environments[environment.name]))
            lock = Lock(
                arch=arch,
                requirements=environment.requirements,
                python=MACHINE,
                packages=packages,
                asked_by=(environment.name,),
                resolved_by=resolved_by,
                resolved_at=resolved_at,
            )
            keep(lock)
            write_lock(project.lock_folder, lock)
    return project


def content_of(name: str) -> bytes:
    """The bytes of a package."""
    return f"the package {name}\n".encode() * 50


def made_up_package(name: str) -> LockedPackage:
    """A package as locks name it."""
    data = content_of(name)
    filename = f"{name}-1.0-py3-none-any.whl"
    return LockedPackage(
        name=name,
        version="1.0",
        filename=filename,
        url=f"https://index.example/{filename}",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )


def keep(lock: Lock) -> None:
    """This machine has what a lock names, so that nothing is fetched."""
    local = LocalPackages(home())
    for artifact in artifacts_of(lock):
        name = artifact.filename.partition("-")[0]
        local.place(artifact, lambda stage, name=name: stage.write_bytes(content_of(name)))  # type: ignore[misc]


def made_up_part(name: str) -> Part:
    """A part whose compressed bytes are those of a made-up package."""
    made = made_up_package(name)
    return Part(PlanFile(part_path(made.sha256), made.size or 0, made.sha256), 1024, made.sha256)


def made_up_plan(lock: Lock, uv: str, python: str, *parts: str) -> Plan:
    """A plan by which a node makes an environment with these files of a kit and parts, which are made-up packages."""
    kit = [(kit_path(each.sha256, each.filename), each) for each in map(made_up_package, (uv, python))]
    tool, build = (PlanFile(path, each.size or 0, each.sha256) for path, each in kit)
    packages = tuple(
        PlanPackage("wheel", each.name, each.version, PlanFile(path_of(artifact), each.size or 0, each.sha256))
        for each, artifact in zip(lock.packages, artifacts_of(lock), strict=True)
    )
    python_of = PlanPython(lock.python.series, ((0, None),), PythonBuild(build, "3.12.4", "python/bin/python3.12"))
    pack = Pack(f"{lock.python.series}.4", "", tuple(map(made_up_part, parts))) if parts else None
    return Plan(environment_place(lock), python_of, (), PlanTools(tool), packages, pack=pack)


def write_plan(store: Store, lock: Lock, uv: str, python: str, *parts: str) -> Plan:
    """Write a made-up plan, and before it the files of its kit and the parts that are not there."""
    for name in (uv, python):
        made = made_up_package(name)
        path = kit_path(made.sha256, made.filename)
        if store.entry(path) is None:
            store.put(path, content_of(name))
    for name in parts:
        if store.entry(made_up_part(name).file.path) is None:
            store.put(made_up_part(name).file.path, content_of(name))
    plan = made_up_plan(lock, uv, python, *parts)
    Plans(store).write(plan)
    return plan


def store_of(project: Project) -> Store:
    """A project's cache."""
    return open_store(project.cache_url, project.settings.cache_options)


def paths(store: Store, *folders: str) -> set[str]:
    """Every file below these folders."""
    return {entry.path for folder in folders for entry in store.entries(folder)}


def packages_in(store: Store) -> set[str]:
    """The names of the packages that are there."""
    return _names(store, "packages")


def kits_in(store: Store) -> set[str]:
    """The names of the files of kits that are there."""
    return _names(store, "kits")


def parts_in(store: Store, *names: str) -> set[str]:
    """Which of these made-up parts are there; all that are there must be among them."""
    there = {made_up_part(name).file.path: name for name in names}
    return {there[path] for path in paths(store, "parts")}


def _names(store: Store, folder: str) -> set[str]:
    return {path.rpartition("/")[2].partition("-")[0] for path in paths(store, folder)}


def age(folder: Path, days: float, *only: str) -> None:
    """Let every file below a folder, or those whose path contains one of `only`, be that old."""
    then = time.time() - days * DAY
    for path in folder.rglob("*"):
        if path.is_file() and (not only or any(each in path.as_posix() for each in only)):
            os.utime(path, (then, then))


class ShiftedStore:
    """A store whose server's clock goes wrong by so many seconds."""

    def __init__(self, store: Store, shift: float) -> None:
        self._store = store
        self._shift = shift

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def entry(self, path: str) -> Entry | None:
        found = self._store.entry(path)
        return found and self._shifted(found)

    def entries(self, folder: str) -> list[Entry]:
        return [self._shifted(each) for each in self._store.entries(folder)]

    def _shifted(self, entry: Entry) -> Entry:
        assert entry.modified is not None
        return Entry(entry.path, entry.size, entry.modified + self._shift)


_SWEEP_THAT_DIES = """
import os, sys
from pathlib import Path
from envlock.cache.folder_store import FolderStore
from envlock.config.read import load_project
from envlock.workflow.cache import collect_garbage, limits_of

delete = FolderStore.delete

def deadly(self, path):
    delete(self, path)
    if not path.startswith("sweeps"):
        os.kill(os.getpid(), 9)

FolderStore.delete = deadly
collect_garbage(load_project(Path(sys.argv[1])), limits_of(), delete=True)
"""


def sweeps_that_are_killed(project: Project, cache: Path) -> Iterator[None]:
    """Sweep until nothing is left to delete, killed after each file; whoever iterates looks at what is there then."""
    kills = 0
    status = -9
    while status and kills < 20:
        status, _, _ = run_python(_SWEEP_THAT_DIES, str(project.path))
        yield
        age(cache, 1, "sweeps")
        kills += status != 0
    assert 2 <= kills < 20
