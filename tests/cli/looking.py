"""A project whose locks are made by hand: three environments on two archs, conda packages and wheels, with cycles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envlock.config.read import load_project
from envlock.lockfile.folder import write_lock
from envlock.model.arch import LINUX_64, OSX_ARM64, Arch
from envlock.model.lock import CondaFacts, Lock, LockedPackage, LockedPython, Source
from tests.lockfile.conda_locks import conda_package

CONFIG = """\
[envlock]
archs = ["linux-64", "osx-arm64"]
channels = []

[flow.Train]
file = "train.py"
requirements = "team.txt"
pypi = { python = "3.12", packages = { frame = ">=2" } }

[flow.Train.step.end]
pypi = { packages = { local = { path = "libs/local" } } }

[env.vision]
conda = { python = "3.12", libraries = { py-opencv = "=4" }, channels = ["https://conda.example/conda-forge"] }
pypi = { packages = { photos = "" } }
"""
FLOW = """\
from metaflow import FlowSpec, step

class Train(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def wheel(name: str, version: str, *needs: str, source: Source | None = None) -> LockedPackage:
    """A wheel of an index, or one that was built."""
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return LockedPackage(
        name,
        version,
        filename,
        "" if source else f"https://index.example/files/{filename}",
        f"{sum(filename.encode()):064x}",
        index="" if source else "https://index.example/simple",
        size=1000,
        dependencies=needs,
        source=source,
    )


CONTENT = "8d411d277113845a01b3c80f2bdbeead9932799b54f7d8799065790022bd6574"
"""The hash of `libs/local`."""
LOCAL = Source("folder", sha256=CONTENT, path="libs/local", requires=("setuptools==80.9.0",))
START = (
    wheel("dates", "1.0", "six"),
    wheel("frame", "2.1", "dates", "numbers-lib"),
    wheel("numbers-lib", "1.0"),
    wheel("requests", "2.32.3"),
    wheel("six", "1.16.0"),
    wheel("tool", "3.0", "six"),
)
ON_MAC = (replace(START[0], dependencies=()), *START[1:2], wheel("numbers-lib", "1.1"), *START[3:])


def vision(subdir: str) -> tuple[LockedPackage, ...]:
    """The packages of `[env.vision]`: what one provides, and wheels that need each other."""
    cv = conda_package(
        "py-opencv", "4.9", "0", subdir=subdir, depends=("libcv", "python"), dependencies=("libcv", "python")
    )
    assert isinstance(cv.conda, CondaFacts)
    return (
        conda_package("libcv", "4.9", "0", subdir=subdir),
        replace(cv, conda=replace(cv.conda, provides=(("opencv-python", "4.9.0"),))),
        conda_package("python", "3.12.12", "0", subdir=subdir),
        wheel("exif", "1.0", "photos"),
        wheel("photos", "2.0", "exif"),
    )


def make_project(folder: Path) -> Path:
    """The project, in a folder that is there."""
    (folder / "envlock.toml").write_text(CONFIG)
    (folder / "team.txt").write_text("# the team's\ntool>=1\n")
    (folder / "train.py").write_text(FLOW)
    (folder / "libs/local").mkdir(parents=True)
    (folder / "libs/local/pyproject.toml").write_text('[project]\nname = "local"\nversion = "0.1"\n')
    lock(folder, "Train/start", START, ON_MAC)
    built = wheel("local", "0.1", "six", source=LOCAL)
    lock(folder, "Train/end", *(tuple(sorted((*each, built), key=lambda one: one.name)) for each in (START, ON_MAC)))
    lock(folder, "vision", vision("linux-64"), vision("osx-arm64"))
    return folder


def lock(folder: Path, name: str, *packages: tuple[LockedPackage, ...], archs: tuple[Arch, ...] = ()) -> None:
    """Lock an environment of a project for some archs, by default for both."""
    project = load_project(folder / "envlock.toml")
    (environment,) = [each for each in project.environments() if each.name == name]
    source = "conda" if environment.requirements.has_conda else "machine"
    for arch, each in zip(archs or (LINUX_64, OSX_ARM64), packages, strict=True):
        python = LockedPython(source, "3.12.12" if source == "conda" else "3.12.0")
        write_lock(
            project.lock_folder,
            Lock(arch, environment.requirements, python, each, asked_by=(name,), resolved_at="2026-11-01T00:00:00Z"),
        )
