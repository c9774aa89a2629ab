"""Locks of format 2, made by hand: one of conda packages alone, one with a wheel on top."""

from __future__ import annotations

from dataclasses import replace

from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.model.lock import CondaFacts, Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from tests.lockfile.test_formats import SYSTEM
from tests.support import conda_requirements

CHANNEL = "https://conda.example/conda-forge"


def conda_package(
    name: str,
    version: str,
    build: str,
    *,
    subdir: str = "linux-64",
    channel: str = CHANNEL,
    ending: str = ".conda",
    dependencies: tuple[str, ...] = (),
    size: int | None = 1000,
    upload_time: str = "2026-01-02T03:04:05.678Z",
    sha256: str = "",
    **facts: object,
) -> LockedPackage:
    """A conda package as channels have them; `dependencies` are those of `depends` that are locked too."""
    filename = f"{name}-{version}-{build}{ending}"
    return LockedPackage(
        kind="conda",
        name=name,
        version=version,
        build=build,
        filename=filename,
        url=f"{channel}/{subdir}/{filename}",
        sha256=sha256 or f"{sum(filename.encode()):064x}",
        size=size,
        upload_time=upload_time,
        dependencies=dependencies,
        conda=CondaFacts(channel=channel, subdir=subdir, **facts),  # type: ignore[arg-type]
    )


ZLIB = conda_package("libzlib", "1.3.1", "h68df207_2", build_number=2, md5="ab" * 16, license="Zlib")
PYTHON = conda_package(
    "python",
    "3.13.9",
    "h2b335a9_101_cp313",
    build_number=101,
    license="Python-2.0",
    depends=("__glibc >=2.17,<3.0.a0", "libzlib >=1.3.1,<2.0a0", "tzdata"),
    constrains=("python_abi 3.13.* *_cp313",),
    dependencies=("libzlib", "tzdata"),
    site_packages="lib/python3.13/site-packages",
)
TZDATA = conda_package(
    "tzdata", "2026a", "h8a4bc1_0", subdir="noarch", noarch="generic", upload_time="2026-01-02T03:04:05Z", size=None
)
NUMPY = conda_package(
    "numpy",
    "1.26.4",
    "py313h64a7726_0",
    depends=("libzlib", 'python >=3.13,<3.14.0a0[build="*_cp313"]'),
    dependencies=("libzlib", "python"),
    provides=(("numpy", "1.26.4"),),
    license='BSD-3-Clause AND "other"',
)
MUTEX = conda_package(
    "_openmp_mutex", "4.5", "2_gnu", ending=".tar.bz2", upload_time="", channel="s3://team-channel/main"
)
MOVED = LockedPackage(
    kind="conda",
    name="tool",
    version="1!2.0+local",
    build="0",
    filename="tool-1!2.0+local-0.conda",
    url="https://files.example/archives/tool-1!2.0%2Blocal-0.conda",
    sha256="ef" * 32,
    conda=CondaFacts(channel="file:///srv/channel", subdir="linux-64", noarch="python"),
)
WHEEL = LockedPackage(
    name="demo",
    version="1.2.3",
    filename="demo-1.2.3-py3-none-any.whl",
    url="https://files.example/ab/demo-1.2.3-py3-none-any.whl",
    sha256="ab" * 32,
    size=12345,
    index="https://index.example/simple",
)
MIXED = Lock(
    arch=LINUX_64,
    requirements=Requirements(
        python="==3.13.*",
        python_from="conda",
        pypi=(parse_requirement("demo>=1"),),
        metaflow=(parse_requirement("requests>=2.21.0"),),
        conda=conda_requirements("conda-forge::numpy =1.26", "tool"),
        channels=("conda-forge", "https://conda.example/team"),
        system=SYSTEM,
        channel_priority="disabled",
    ),
    python=LockedPython(source="conda", version="3.13.9"),
    packages=(MUTEX, ZLIB, NUMPY, PYTHON, MOVED, TZDATA, WHEEL),
    asked_by=("Train/start", "Train/end"),
    resolved_by="somebody",
    resolved_at="2026-02-08T00:00:00Z",
)
WHOLE = replace(MIXED, packages=tuple(each for each in MIXED.packages if each is not MUTEX))
"""The same without a package that nothing needs, which stands in the files of each format."""
_ARM_PYTHON = conda_package(
    "python", "3.12.12", "h1", subdir="osx-arm64", depends=("__osx >=11.0", "libzlib"), dependencies=("libzlib",)
)
CONDA = Lock(
    arch=OSX_ARM64,
    requirements=Requirements(
        python_from="conda",
        conda=conda_requirements("ffmpeg"),
        channels=("conda-forge",),
        system=SYSTEM,
        exclude_newer="2026-02-02T00:00:00Z",
    ),
    python=LockedPython(source="conda", version="3.12.12"),
    packages=(
        conda_package("libzlib", "1.3.1", "h8359307_2", subdir="osx-arm64", build_number=2),
        _ARM_PYTHON,
    ),
    exclude_newer="2026-02-02T00:00:00Z",
    asked_by=("media",),
    resolved_by="somebody",
    resolved_at="2026-02-08T00:00:00Z",
)
