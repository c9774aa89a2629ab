"""Projects that are locked without resolving: the locks name what the test says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.lockfile.folder import lock_files, read_lock, write_lock
from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import normalized
from tests.index import Index
from tests.support import ProjectFolder

MACHINE = LockedPython(source="machine", version="3.12.0")


def locked_package(index: Index, filename: str, *, with_size: bool = True) -> LockedPackage:
    """A file of the index, as a lock names it."""
    artifact = index.artifact(filename)
    return LockedPackage(
        name=artifact.release.normalized,
        version=artifact.release.version,
        filename=filename,
        url=index.file_url(filename),
        sha256=artifact.sha256,
        size=len(artifact.data) if with_size else None,
    )


def locked_project(
    folder: Path,
    index: Index,
    environments: Mapping[str, Sequence[str]],
    *,
    archs: Sequence[str] = ("linux-64",),
    settings: str = 'cache = "../cache"',
    index_url: str = "",
    python: LockedPython = MACHINE,
    with_size: bool = True,
) -> Project:
    """A project with an `[env.*]` table and a lock for each environment and arch.

    `environments` gives each the files of the index that it is locked to; `{platform}` in a name is replaced by what
    the arch needs.
    """
    project = ProjectFolder.make(folder, index_url or index.url)
    tables = "\n".join(
        f"[env.{name}.pypi]\n{asking(name, map(_name_of, files))}" for name, files in environments.items()
    )
    if python.source == "uv":
        settings += '\npython-from = "uv"'
    project.write(tables, settings=settings, archs=list(archs))
    loaded = load_project(project.config)
    for environment in loaded.environments():
        for arch in loaded.settings.archs:
            names = [name.format(platform=PLATFORM[arch]) for name in environments[environment.name]]
            packages = [locked_package(index, name, with_size=with_size) for name in sorted(names)]
            write_lock(
                loaded.lock_folder,
                Lock(
                    arch=arch,
                    requirements=environment.requirements,
                    python=python,
                    packages=tuple(packages),
                    asked_by=(environment.name,),
                    resolved_by="tester",
                    resolved_at="2026-11-01T00:00:00Z",
                ),
            )
    return loaded


def lock_of(project: Project, name: str) -> Lock:
    """The lock of one environment that is locked for one arch."""
    (lock,) = (lock for lock in map(read_lock, lock_files(project.lock_folder)) if lock.asked_by == (name,))
    return lock


def asking(name: str, locked: Iterable[str] = ()) -> str:
    """The lines that ask for what is locked, and for the environment's own package, which gives it a req_id of its own.

    If that is not locked, no arch needs it.
    """
    names = set(locked)
    own = "1" if name in names else "1 ; os_name == 'nt'"
    others = "".join(f'\npackages.{each} = "*"' for each in sorted(names - {name}))
    return f'packages.{name} = "{own}"{others}'


def _name_of(filename: str) -> str:
    return normalized(filename.partition("-")[0])


PLATFORM: Mapping[Arch, str] = {
    Arch("linux-64"): "manylinux_2_17_x86_64.manylinux2014_x86_64",
    Arch("linux-aarch64"): "manylinux_2_28_aarch64",
    Arch("osx-64"): "macosx_13_0_x86_64",
    Arch("osx-arm64"): "macosx_11_0_arm64",
}
