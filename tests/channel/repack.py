"""A wheel as a conda package: the same files, where conda puts them."""

from __future__ import annotations

import email
import hashlib
import re
import zipfile
from configparser import RawConfigParser
from email.message import Message

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.channel.interpreters import host_subdir
from tests.channel.recipe import PLACEHOLDER, File, Package, installed_by_conda, needs_series
from tests.channel.wheels import Wheel

CONDA_NAMES = {"tzdata": "python-tzdata"}
"""Conda packages that are called otherwise than what they hold is on PyPI."""

_LEFT_OUT = re.compile(r"/tests?/|\.pyi$|/RECORD$|/$")
_THIN = 100_000
_GLIBC = re.compile(r"manylinux_(\d+)_(\d+)_")
_MACOS = re.compile(r"macosx_(\d+)_(\d+)_")


def package_of(wheel: Wheel) -> Package:
    """A package of a wheel. For another arch than this machine's large files are left out: nothing there runs here."""
    thin = wheel.subdir not in {"noarch", host_subdir()}
    name, version, _, tags = parse_wheel_filename(wheel.path.name)
    with zipfile.ZipFile(wheel.path) as archive:
        members = [each for each in archive.infolist() if not _LEFT_OUT.search(f"/{each.filename}")]
        contents = {each.filename: archive.read(each) for each in members if not thin or _is_kept(each)}
    info = next(path.partition("/")[0] for path in contents if path.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(contents[f"{info}/METADATA"])
    scripts = _scripts(contents.get(f"{info}/entry_points.txt", b"").decode())
    site_packages = f"lib/python{wheel.series}/site-packages" if wheel.series else "site-packages"
    files = {f"{site_packages}/{path}": File(data) for path, data in contents.items()}
    if wheel.series:
        files |= {f"bin/{command}": _launcher(target) for command, target in scripts.items()}
    digest = hashlib.sha256(wheel.path.name.encode()).hexdigest()[:7]
    return Package(
        CONDA_NAMES.get(name, name),
        str(version),
        f"py{wheel.series.replace('.', '')}h{digest}_0" if wheel.series else f"pyh{digest}_0",
        wheel.subdir,
        depends=tuple(_depends(metadata, wheel, {tag.platform for tag in tags})),
        files=files | installed_by_conda(files, f"{site_packages}/{info}", site_packages),
        noarch=None if wheel.series else "python",
        entry_points=() if wheel.series else tuple(f"{each} = {target}" for each, target in scripts.items()),
        uploaded=wheel.uploaded,
        license=str(metadata["License-Expression"] or metadata["License"] or "unknown").splitlines()[0],
    )


def _is_kept(member: zipfile.ZipInfo) -> bool:
    return member.file_size < _THIN or ".dist-info/" in member.filename


def _depends(metadata: Message, wheel: Wheel, platforms: set[str]) -> list[str]:
    if wheel.series:
        depends = [*needs_series(wheel.series)]
    else:
        depends = [f"python {metadata['Requires-Python'] or '>=3.8'}".replace(", ", ",")]
    system = "Darwin" if wheel.subdir.startswith("osx") else "Linux"
    series = wheel.series or "3.11"
    environment = default_environment() | {
        "extra": "",
        "python_version": series,
        "python_full_version": f"{series}.0",
        "sys_platform": system.lower(),
        "platform_system": system,
    }
    for requirement in map(Requirement, metadata.get_all("Requires-Dist") or ()):
        if requirement.marker is None or requirement.marker.evaluate({**environment}):
            name = canonicalize_name(requirement.name)
            specifier = ",".join(sorted(map(str, requirement.specifier)))
            depends.append(f"{CONDA_NAMES.get(name, name)} {specifier}".strip())
    return depends + _system_needs(platforms)


def _system_needs(platforms: set[str]) -> list[str]:
    for platform in sorted(platforms):
        if match := _GLIBC.match(platform):
            return [f"__glibc >={match[1]}.{match[2]}"]
        if match := _MACOS.match(platform):
            return [f"__osx >={match[1]}.{match[2]}"]
    return []


def _scripts(entry_points: str) -> dict[str, str]:
    parser = RawConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(entry_points)
    return dict(parser["console_scripts"]) if parser.has_section("console_scripts") else {}


def _launcher(target: str) -> File:
    module, _, function = target.partition(":")
    lines = (
        f"#!{PLACEHOLDER}/bin/python",
        "import sys",
        f"from {module} import {function.partition('.')[0]}",
        "if __name__ == '__main__':",
        f"    sys.exit({function}())",
    )
    return File(("\n".join(lines) + "\n").encode(), executable=True, placeholder=PLACEHOLDER)
