"""A release of a package as a recipe, and the bytes of its files: the same recipe makes the same bytes everywhere.

The wheels are real: they install with any installer, and import. They are built in memory, in well under a millisecond
each, so nothing of them is kept between sessions or shared between processes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_ZIP_TIME = (2020, 1, 1, 0, 0, 0)
_TAR_TIME = 1577836800


@dataclass(frozen=True)
class Release:
    """One version of a package, as an index publishes it.

    Every wheel holds a module named after the package, with `__version__`, and `PLATFORM`: the wheel's own tag, so that
    the files of one release differ from each other.
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    requires_python: str = ""
    tags: tuple[str, ...] = ("py3-none-any",)
    """`python-abi-platform` of each wheel; none for a release that has only an sdist."""
    sdist: bool = False
    uploaded: str = "2021-01-01T00:00:00Z"
    yanked: str | None = None
    """Why it was yanked; None where it was not."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Further files of each wheel, by path, as text."""
    license: str = ""
    """The SPDX expression that its METADATA declares."""
    built_as: str = "py3-none-any"
    """The tag of the wheel that building its source makes."""
    said: Release | None = None
    """Whose metadata the index serves in place of the wheels' own (PEP 658); None for an honest one."""

    @property
    def normalized(self) -> str:
        """The normalised name (PEP 503)."""
        return re.sub(r"[-_.]+", "-", self.name).lower()

    @property
    def module(self) -> str:
        """What to import."""
        return self.normalized.replace("-", "_")

    def metadata(self) -> bytes:
        """METADATA, and PKG-INFO: nothing in it is dynamic, so an sdist need not be built to be understood."""
        lines = ["Metadata-Version: 2.2", f"Name: {self.name}", f"Version: {self.version}"]
        if self.requires_python:
            lines.append(f"Requires-Python: {self.requires_python}")
        lines += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        for extra, requirements in self.extras.items():
            lines.append(f"Provides-Extra: {extra}")
            lines += [f"Requires-Dist: {_under_extra(requirement, extra)}" for requirement in requirements]
        if self.license:
            lines.append(f"License-Expression: {self.license}")
        return ("\n".join(lines) + "\n").encode()

    @property
    def served_metadata(self) -> bytes:
        """What the index says of the wheels."""
        return (self.said or self).metadata()

    def artifacts(self) -> Iterator[Artifact]:
        """Every file of the release: its wheels, then its sdist."""
        for tag in self.tags:
            filename = f"{self.module}-{self.version}-{tag}.whl"
            yield Artifact(self, filename, _wheel(_Key(self), tag))
        if self.sdist:
            yield Artifact(self, f"{self.module}-{self.version}.tar.gz", _sdist(_Key(self)))

    def source_files(self) -> dict[str, bytes]:
        """The files of its source, by path: those of its sdist, or of a folder. Its backend is among them."""
        return {
            "PKG-INFO": self.metadata(),
            "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": _BACKEND.encode(),
            "tag.txt": self.built_as.encode(),
            f"{self.module}/__init__.py": _module(self, "sdist"),
        }

    def write_source(self, folder: Path) -> Path:
        """The folder, with the files of its source."""
        for path, data in self.source_files().items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder


_BACKEND = """
import os, re, time, zipfile

def build_wheel(wheels, config_settings=None, metadata_directory=None):
    text = open("PKG-INFO").read()
    name, version = (re.search(f"^{key}: (.*)$", text, re.M)[1] for key in ("Name", "Version"))
    stem, tag = f"{re.sub('[-_.]+', '_', name).lower()}-{version}", open("tag.txt").read()
    pure = str(tag.endswith("-any")).lower()
    date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    files = {f"{stem}.dist-info/METADATA": text.encode(), f"{stem}.dist-info/RECORD": b""}
    files[f"{stem}.dist-info/WHEEL"] = f"Wheel-Version: 1.0\\nRoot-Is-Purelib: {pure}\\nTag: {tag}\\n".encode()
    module = stem.partition("-")[0]
    for each in sorted(os.listdir(module)):
        if each.endswith(".py"):
            files[f"{module}/{each}"] = open(os.path.join(module, each), "rb").read()
    with zipfile.ZipFile(os.path.join(wheels, f"{stem}-{tag}.whl"), "w") as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, date), data)
    return f"{stem}-{tag}.whl"
"""
"""A build backend (PEP 517) that needs nothing, so that a build needs no index."""


@dataclass(frozen=True)
class Artifact:
    """A file of a release."""

    release: Release
    filename: str
    data: bytes

    @property
    def sha256(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(self.data).hexdigest()


class _Key:
    """A recipe as a key of a cache: recipes hold mappings, so they have no hash of their own."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self._text = repr(release)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._text == other._text


def _under_extra(requirement: str, extra: str) -> str:
    requirement, _, marker = requirement.partition(";")
    condition = f"extra == '{extra}'"
    return f"{requirement.strip()} ; ({marker.strip()}) and {condition}" if marker else f"{requirement} ; {condition}"


def _module(release: Release, platform: str) -> bytes:
    text = f'"""A package that exists to be locked."""\n\n__version__ = "{release.version}"\nPLATFORM = "{platform}"\n'
    if release.scripts:
        text += f'\n\ndef main():\n    print("{release.name} {release.version}")\n'
    return text.encode()


@cache
def _wheel(key: _Key, tag: str) -> bytes:
    release = key.release
    python, abi, platform = tag.split("-")[-3:]
    info = f"{release.module}-{release.version}.dist-info"
    tags = [f"{p}-{a}-{f}" for p in python.split(".") for a in abi.split(".") for f in platform.split(".")]
    purelib = "true" if platform == "any" else "false"
    lines = ["Wheel-Version: 1.0", "Generator: tests", f"Root-Is-Purelib: {purelib}", *(f"Tag: {t}" for t in tags)]
    members = {
        f"{release.module}/__init__.py": _module(release, tag),
        **{path: text.encode() for path, text in release.files.items()},
        f"{info}/METADATA": release.metadata(),
        f"{info}/WHEEL": ("\n".join(lines) + "\n").encode(),
    }
    if release.scripts:
        entries = "".join(f"{script} = {target}\n" for script, target in release.scripts.items())
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{entries}".encode()
    rows = [f"{path},sha256={_record_hash(data)},{len(data)}" for path, data in members.items()]
    members[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            member = zipfile.ZipInfo(path, date_time=_ZIP_TIME)
            member.external_attr = 0o100644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    return out.getvalue()


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@cache
def _sdist(key: _Key) -> bytes:
    release = key.release
    members = {f"{release.module}-{release.version}/{path}": data for path, data in release.source_files().items()}
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path, data in members.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), _TAR_TIME
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()
