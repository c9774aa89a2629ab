"""What kits are made of: an index with wheels of uv and py-rattler, and a mirror of Python builds.

The wheels have the names, versions and tags of those that are installed here, for both archs of nodes; the builds have
the names that uv's list gives them. What is in them is small, and nothing of it runs, except in `Installed` wheels and
in builds that a test gives.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from envlock.cache.layout import environment_place, kit_path, package_path
from envlock.cache.plan import (
    CondaTools,
    Plan,
    PlanFile,
    PlanPackage,
    PlanPython,
    PlanTools,
    PythonBuild,
)
from envlock.lockfile.document import render
from envlock.model.arch import LINUX_64, LINUX_AARCH64, host_arch
from envlock.model.lock import Lock
from envlock.resolve import python_builds
from envlock.resolve.python_builds import Build
from tests.channel.interpreters import Interpreter, find, host_subdir
from tests.channel.places import INTERPRETER_FOLDERS
from tests.channel.pythons import python_of
from tests.hydration.builds import Host, served, sums
from tests.index import Artifact, Release


def _version_of(name: str) -> str:
    """The version that is installed here; any where Python brings it itself."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "1.0.0"


UV = Release(
    "uv",
    metadata.version("uv"),
    tags=("py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64", "py3-none-manylinux_2_28_aarch64"),
)
RATTLER = Release(
    "py-rattler",
    metadata.version("py-rattler"),
    tags=("cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64", "cp310-abi3-manylinux_2_28_aarch64"),
)
ZSTD = Release(
    "backports-zstd",
    _version_of("backports-zstd"),
    tags=(
        "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp312-cp312-manylinux_2_17_aarch64.manylinux2014_aarch64",
    ),
)
KIT_RELEASES = (UV, RATTLER, ZSTD)


def conda_plan(lock: Lock) -> Plan:
    """The plan of a lock of conda packages, with a kit that is nowhere."""
    part = PlanFile(kit_path("0" * 64, "part"), 1, "0" * 64)
    build = PythonBuild(part, "3.12.4", "python/bin/python3.12")
    packages = tuple(
        PlanPackage(
            "conda" if each.kind == "conda" else "wheel",
            each.name,
            each.version,
            PlanFile(package_path(each.sha256, each.filename), 1, each.sha256),
        )
        for each in lock.packages
    )
    text = render(replace(lock, asked_by=(), resolved_by="", resolved_at="", exclude_newer=""))
    tools = PlanTools(part, CondaTools((part,), part, build))
    return Plan(environment_place(lock), PlanPython(lock.python.series), (), tools, packages, text)


@cache
def builds_of(series: str) -> tuple[Build, ...]:
    """The newest builds of a series, or those of one version, for the archs of nodes."""
    builds = [each for each in python_builds._builds() if f"{each.version}.".startswith(f"{series}.")]
    return tuple(
        max((each for each in builds if each.arch == arch), key=lambda each: each.version)
        for arch in (LINUX_64, LINUX_AARCH64)
    )


@dataclass(frozen=True)
class Installed(Release):
    """A package that is installed here, as a wheel that works as well as the one that it was installed from.

    `Index(*CATALOGUE, installed("uv"), installed("py-rattler"))` serves what runs on a node of this machine's arch.
    """

    def artifacts(self) -> Iterator[Artifact]:
        """The one wheel for this machine."""
        (tag,) = self.tags
        yield Artifact(self, f"{self.module}-{self.version}-{tag}.whl", _installed_wheel(self.name))


def installed(name: str) -> Installed:
    """The release of an installed package, with the tags that its wheel had."""
    found = metadata.distribution(name)
    tags = re.findall(r"(?m)^Tag: (.+)$", found.read_text("WHEEL") or "")
    heads = {tag.rpartition("-")[0] for tag in tags}
    (head,) = heads
    return Installed(name, found.version, tags=(f"{head}-{'.'.join(tag.rpartition('-')[2] for tag in tags)}",))


@cache
def _installed_wheel(name: str) -> bytes:
    found = metadata.distribution(name)
    info = f"{name.replace('-', '_')}-{found.version}"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as wheel:
        record = []
        for file in found.files or ():
            if file.suffix == ".pyc" or file.name in {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}:
                continue
            inside = f"{info}.data/scripts/{file.name}" if file.parts[0] == ".." else file.as_posix()
            data = Path(str(file.locate())).read_bytes()
            entry = zipfile.ZipInfo(inside, (2020, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100755 if file.parts[0] == ".." else 0o100644) << 16
            wheel.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{inside},sha256={digest},{len(data)}\n")
        record.append(f"{info}.dist-info/RECORD,,\n")
        wheel.writestr(zipfile.ZipInfo(f"{info}.dist-info/RECORD", (2020, 1, 1, 0, 0, 0)), "".join(record))
    return out.getvalue()


def build_of(interpreter: Interpreter) -> bytes:
    """An interpreter of this machine as an archive that runs at any place, as a kit has it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for name, file in python_of(interpreter, host_subdir()).files.items():
            member = tarfile.TarInfo(f"python/{name}")
            if file.target:
                member.type, member.linkname = tarfile.SYMTYPE, file.target
            member.mode = 0o755 if file.executable else 0o644
            member.size = len(file.data)
            archive.addfile(member, io.BytesIO(file.data))
    return out.getvalue()


def builds_of_this_machine() -> dict[str, bytes]:
    """What `python_mirror` can have of the movable interpreters of this machine: archives by version and by series.

    A node takes a build only if it is of the version that its name says, so steps ask for exactly that.
    """
    found = {}
    for each in find(INTERPRETER_FOLDERS):
        if is_built(each.version):
            found[each.version] = found[each.series] = build_of(each)
    return found


def is_built(version: str) -> bool:
    """Whether uv has builds of a version, or of a series, for the archs of nodes."""
    try:
        return bool(builds_of(version))
    except ValueError:
        return False


@contextmanager
def python_mirror(folder: Path, *series: str, real: Mapping[str, bytes] | None = None) -> Iterator[Host]:
    """A mirror that has the newest builds of these series; those in `real`, by series, are the archives given.

    Such an archive serves for this machine's arch, as `tests.hydration.builds.archive_of_this_python` makes one.
    """
    for name, build in [(each, build) for each in series for build in builds_of(each)]:
        release = folder / build.folder.rsplit("/", 1)[1]
        release.mkdir(parents=True, exist_ok=True)
        data = (real or {}).get(name) if build.arch == host_arch() else None
        (release / build.filename).write_bytes(data or f"{build.filename}\n".encode() * 50)
    for release in folder.iterdir():
        files = {path.name: path.read_bytes() for path in release.iterdir()}
        (release / "SHA256SUMS").write_bytes(sums(files))
    with served(folder) as host:
        yield host
