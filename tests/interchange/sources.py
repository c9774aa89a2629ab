"""Locks of other tools, written by the tools themselves where they can be had, of what the tests' servers have."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from envlock.conda.records import record_of
from envlock.model.lock import LockedPackage
from envlock.uv_command import uv_environment, uv_executable
from tests.channel import Channel
from tests.locked import locked

ARCHS = ("linux-64", "osx-arm64")
HASH = "0" * 64


def packages_of(channel: Channel, *more: str, archs: Sequence[str] = ARCHS) -> dict[str, tuple[LockedPackage, ...]]:
    """Python, `upper` with `lower`, and `speak`, for each arch; `more` are patterns of `tests.locked`."""
    (series,) = channel.series[:1]
    tag = f"python_abi-{series}-*_cp{series.replace('.', '')}*"
    md5 = {(record["subdir"], path.rpartition("/")[2]): record["md5"] for path, record in channel.records().items()}
    found = {}
    for arch in archs:
        packages = locked(
            channel,
            f"{arch}/python-{series}.*",
            f"noarch/{tag}",
            "noarch/upper-2.0-*",
            "noarch/lower-1.2-*",
            "noarch/speak-1.1-*",
            *(pattern.format(arch=arch) for pattern in more),
        )
        found[arch] = tuple(
            replace(each, conda=replace(each.conda, md5=md5[each.conda.subdir, each.filename]))
            for each in packages
            if each.conda is not None
        )
    return found


def write_conda_lock(
    path: Path, packages: Mapping[str, Sequence[LockedPackage]], *, wheels: Sequence[LockedPackage] = ()
) -> Path:
    """conda-lock.yml, by conda-lock's own writer."""
    with warnings.catch_warnings():  # of what it contains
        warnings.simplefilter("ignore")
        from conda_lock.lockfile import write_conda_lock_file
        from conda_lock.lockfile.v1.models import HashModel
        from conda_lock.lockfile.v2prelim.models import LockedDependency, Lockfile, LockMeta
        from conda_lock.models.channel import Channel as CondaChannel

    rows = [
        LockedDependency(
            name=package.name,
            version=package.version,
            manager="conda" if package.conda else "pip",
            platform=arch,
            dependencies=dict(_needed(package)),
            url=package.url,
            hash=HashModel(md5=_md5(package), sha256=package.sha256),
            categories={"main"},
        )
        for arch, each in packages.items()
        for package in (*each, *wheels)
    ]
    meta = LockMeta(
        content_hash=dict.fromkeys(packages, HASH),
        channels=[CondaChannel.from_string("conda-forge")],
        platforms=list(packages),
        sources=["environment.yml"],
    )
    write_conda_lock_file(Lockfile(package=rows, metadata=meta), path, metadata_choices=None, include_help_text=False)
    return path


def _needed(package: LockedPackage) -> list[tuple[str, str]]:
    if package.conda is None:
        return [(name, "*") for name in package.dependencies]
    return [(name, version or "*") for name, _, version in (text.partition(" ") for text in package.conda.depends)]


def _md5(package: LockedPackage) -> str | None:
    return package.conda.md5 or None if package.conda else None


def write_pixi_lock(
    path: Path,
    packages: Mapping[str, Sequence[LockedPackage]],
    *,
    environment: str = "default",
    virtual_packages: Sequence[str] = (),
) -> Path:
    """pixi.lock, by py-rattler's writer."""
    from rattler.lock import LockChannel, LockFile, LockPlatform

    from envlock.conda.channels import channel_base

    platforms = {arch: LockPlatform(arch, virtual_packages=list(virtual_packages)) for arch in packages}
    lock = LockFile(list(platforms.values()))
    lock.set_channels(environment, [LockChannel(channel_base("conda-forge"))])
    for arch, each in packages.items():
        for package in each:
            lock.add_conda_package(environment, platforms[arch], record_of(package))
    lock.to_path(path)
    return path


PROJECT = """
[project]
name = "proj"
version = "0.1"
requires-python = ">=3.10,<3.14"
dependencies = ["eta", "zeta[fast]>=1 ; sys_platform == 'linux'", "alpha<2"]

[project.optional-dependencies]
gpu = ["beta>=1.5 ; python_version < '3.13'"]

[dependency-groups]
dev = ["rho"]
train = ["iota"]
"""
"""A project whose locks have markers, extras, groups, and two versions of `iota`."""


def write_uv_project(folder: Path, index: str, *, project: str = PROJECT, settings: str = "") -> Path:
    """The pyproject.toml of a project that uv locks from an index, and its uv.lock, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    of_uv = f'[tool.uv]\npackage = false\n{settings}\n[[tool.uv.index]]\nurl = "{index}"\ndefault = true\n'
    tables = f"{project}\n{of_uv}"
    (folder / "pyproject.toml").write_text(tables)
    done = subprocess.run(
        [str(uv_executable()), "lock", "--directory", str(folder), "--quiet"],
        env=uv_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "uv.lock"


def exported(uv_lock: Path, format: str, *arguments: str) -> Path:  # noqa: A002
    """What uv exports of its lock: `pylock.toml` or `requirements.txt`."""
    target = uv_lock.with_name({"pylock.toml": "pylock.toml"}.get(format, "requirements.txt"))
    done = subprocess.run(
        [
            *(str(uv_executable()), "export", "--frozen", "--format", format, "--quiet"),
            *("--directory", str(uv_lock.parent), "--output-file", str(target), *arguments),
        ],
        env=uv_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target
