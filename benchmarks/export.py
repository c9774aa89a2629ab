"""`envlock export` of 150 packages, in every format, against `uv export` of a uv.lock of as many."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from benchmarks.projects import locked_wheel
from benchmarks.timing import ENVLOCK, PYTHON, UV, Command, Row, at_most
from envlock.config.read import load_project
from envlock.interchange.exported import FORMATS
from envlock.lockfile.folder import write_lock
from envlock.model.arch import host_arch
from envlock.model.lock import CondaFacts, Lock, LockedPackage, LockedPython

PACKAGES, ROOTS = 150, 18
SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
NAMES = [f"package-{number:03}" for number in range(PACKAGES)]
_FILES = "https://files.index.example/packages"
_CHANNEL = "https://conda.example/main"
_PLATFORMS = (
    *("macosx_10_9_x86_64", "macosx_11_0_arm64", "win_amd64", "win_arm64", "win32", "manylinux_2_17_i686"),
    *("manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux_2_17_aarch64.manylinux2014_aarch64"),
    *("musllinux_1_2_x86_64", "musllinux_1_2_aarch64"),
)


def rows(folder: Path) -> list[Row]:
    """The claim, for each format."""
    uv = Command([UV, "export", "--offline", "--quiet", "--python", PYTHON], uv_project(folder / "uv"))
    wheels, conda = wheel_project(folder / "wheels"), conda_project(folder / "conda")
    home = {"ENVLOCK_HOME": str(folder / "home")}
    found = []
    for name, each in FORMATS.items():
        project = wheels if "pypi" in each.kinds and not each.needs_python else conda
        ours = Command([ENVLOCK, "export", "--format", name], project, environment=home)
        found.append(at_most(f"export of {PACKAGES} packages as {name}, against `uv export`", 3, ours, uv, 21))
    return found


def needed_by(number: int) -> tuple[str, ...]:
    """What the package of a number needs: later ones, so that the roots need all others together."""
    return tuple(NAMES[each] for each in (number + ROOTS, 2 * number + ROOTS + 1) if each < PACKAGES)


def wheel_project(folder: Path) -> Path:
    """A project that is locked to 150 wheels for this machine; nothing of it exists."""
    packages = ", ".join(f'{name} = ">=1"' for name in NAMES[:ROOTS])
    table = f'pypi = {{ python = "{SERIES}", packages = {{ {packages} }} }}'
    return _locked(
        folder,
        table,
        LockedPython("machine", f"{SERIES}.0"),
        [locked_wheel(name, "any", needed_by(n)) for n, name in enumerate(NAMES)],
    )


def conda_project(folder: Path) -> Path:
    """The same with conda packages, one of them Python."""
    libraries = ", ".join(f'{name} = ">=1"' for name in NAMES[:ROOTS])
    table = f'conda = {{ python = "{SERIES}", libraries = {{ {libraries} }}, channels = ["{_CHANNEL}"] }}'
    python = _conda("python", f"{SERIES}.9", ())
    packages = [_conda(name, "1.0", needed_by(number)) for number, name in enumerate(NAMES[:-1])]
    return _locked(folder, table, LockedPython("conda", f"{SERIES}.9"), [*packages, python], channels=True)


def _locked(
    folder: Path, table: str, python: LockedPython, packages: list[LockedPackage], *, channels: bool = False
) -> Path:
    folder.mkdir(parents=True)
    arch = host_arch()
    settings = f'[envlock]\narchs = ["{arch}"]\nmetaflow-requirements = false\n' + (
        "channels = []\n" if channels else ""
    )
    (folder / "envlock.toml").write_text(f"{settings}[env.big]\n{table}\n")
    project = load_project(folder / "envlock.toml")
    (environment,) = project.environments()
    lock = Lock(
        arch=arch,
        requirements=environment.requirements,
        python=python,
        packages=tuple(packages),
        asked_by=(environment.name,),
        resolved_by="benchmark",
        resolved_at="2026-11-01T00:00:00Z",
    )
    write_lock(project.lock_folder, lock)
    return folder


def _conda(name: str, version: str, needs: tuple[str, ...]) -> LockedPackage:
    digest = hashlib.sha256(name.encode()).hexdigest()
    filename = f"{name}-{version}-h{digest[:7]}_0.conda"
    needs = tuple(each for each in needs if each != NAMES[-1])
    return LockedPackage(
        kind="conda",
        name=name,
        version=version,
        build=f"h{digest[:7]}_0",
        filename=filename,
        url=f"{_CHANNEL}/noarch/{filename}",
        sha256=digest,
        upload_time="2026-01-02T03:04:05.678Z",
        size=123456,
        dependencies=needs,
        conda=CondaFacts(
            channel=_CHANNEL,
            subdir="noarch",
            noarch="generic",
            md5=digest[:32],
            license="BSD-3-Clause",
            depends=tuple(f"{each} >=1.0,<2.0a0" for each in needs),
        ),
    )


def uv_project(folder: Path) -> Path:
    """A project of uv with as many packages: a third of them have a wheel for each platform, as real ones do."""
    folder.mkdir(parents=True)
    dependencies = ", ".join(f'"{name}>=1"' for name in NAMES[:ROOTS])
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "big"\nversion = "0"\nrequires-python = "=={SERIES}.*"\ndependencies = [{dependencies}]\n'
    )
    roots = "".join(f'    {{ name = "{name}" }},\n' for name in NAMES[:ROOTS])
    asked = "".join(f'    {{ name = "{name}", specifier = ">=1" }},\n' for name in NAMES[:ROOTS])
    lines = [f'version = 1\nrevision = 3\nrequires-python = "=={SERIES}.*"\n\n[[package]]\nname = "big"\nversion = "0"']
    lines.append(
        f'source = {{ virtual = "." }}\ndependencies = [\n{roots}]\n\n[package.metadata]\nrequires-dist = [\n{asked}]\n'
    )
    tag = SERIES.replace(".", "")
    for number, name in enumerate(NAMES):
        tags = ["py3-none-any"] if number % 3 else [f"cp{tag}-cp{tag}-{platform}" for platform in _PLATFORMS]
        needs = "".join(f'    {{ name = "{each}" }},\n' for each in needed_by(number))
        lines += ["[[package]]", f'name = "{name}"', 'version = "1.0"']
        lines.append('source = { registry = "https://index.example/simple" }')
        lines += [f"dependencies = [\n{needs}]"] if needs else []
        stem = f"{name.replace('-', '_')}-1.0"
        lines += [f"sdist = {_uv_file(name, f'{stem}.tar.gz')}", "wheels = ["]
        lines += [*(f"    {_uv_file(name, f'{stem}-{each}.whl')}," for each in tags), "]\n"]
    (folder / "uv.lock").write_text("\n".join(lines))
    return folder


def _uv_file(name: str, filename: str) -> str:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    url = f'url = "{_FILES}/{sha256[:2]}/{sha256}/{filename}", hash = "sha256:{sha256}"'
    return f'{{ {url}, size = 123456, upload-time = "2026-01-01T00:00:00Z" }}'
