"""Small projects to build: their backend is in the source, so that a build needs no index."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from envlock.build.port import Recipe
from envlock.files import sha256_of
from envlock.model.lock import Source
from envlock.source_tree import content_hash

PYTHON = Path(sys._base_executable)  # type: ignore[attr-defined]
PYTHON_VERSION = "{}.{}.{}".format(*sys.version_info)

BACKEND = """
import base64, hashlib, os, stat, sys, time, zipfile

NAME, VERSION, TAG = "demo", "1.0", "py3-none-any"

def build_wheel(wheels, config_settings=None, metadata_directory=None):
    exec(open("during.py").read(), globals()) if os.path.exists("during.py") else None
    stem = f"{NAME}-{VERSION}"
    filename = f"{stem}-{TAG}.whl"
    date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    files = [("demo.py", "demo.py")]
    with zipfile.ZipFile(os.path.join(wheels, filename), "w") as archive:
        def write(name, data, mode=0o100644):
            info = zipfile.ZipInfo(name, date)
            info.external_attr = mode << 16
            archive.writestr(info, data)
        for path, name in files:
            write(name, open(path, "rb").read(), os.stat(path).st_mode)
        info = f"{stem}.dist-info"
        write(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n")
        write(f"{info}/WHEEL", f"Wheel-Version: 1.0\\nGenerator: demo\\nRoot-Is-Purelib: true\\nTag: {TAG}\\n")
        write(f"{info}/RECORD", "")
    return filename
"""

PROJECT: Mapping[str, str] = {
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "backend.py": BACKEND,
    "demo.py": "X = 1\n",
}


def write_project(folder: Path, during: str = "", **files: str) -> Path:
    """A project whose backend runs `during` while it builds; further files by their path, with `__` for a dot."""
    named = {name.replace("__", "."): text for name, text in files.items()}
    every = {**PROJECT, **({"during.py": during} if during else {}), **named}
    for path, text in every.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def of_folder(folder: Path, **facts: object) -> Recipe:
    """The recipe of a folder as it is."""
    source = Source("folder", sha256=content_hash(folder), path=folder.name)
    return Recipe(source, PYTHON, PYTHON_VERSION, folder)._replace(**facts)


def of_archive(archive: Path, **facts: object) -> Recipe:
    """The recipe of an sdist as it is."""
    source = Source("sdist", sha256=sha256_of(archive), filename=archive.name)
    return Recipe(source, PYTHON, PYTHON_VERSION, archive)._replace(**facts)


def tar_gz(path: Path, files: Mapping[str, str], *members: tarfile.TarInfo) -> Path:
    """An sdist with these files, and these members as they are."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
        for member in members:
            archive.addfile(member)
    return path


def zipped(path: Path, files: Mapping[str, str], change: Callable[[zipfile.ZipInfo], None] = lambda _: None) -> Path:
    """A zip with these files, each described by `change`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            change(info)
            archive.writestr(info, text)
    return path
