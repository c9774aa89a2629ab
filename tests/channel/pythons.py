"""Python itself as a conda package: a real one of an interpreter of this machine, and stubs for the other archs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.channel.interpreters import Interpreter, moved
from tests.channel.recipe import STUB, File, Package

_LEFT_OUT = re.compile(
    r"^(test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|site-packages|dist-packages|__pycache__|config-3.*)$"
)
_LEFT_OUT_FILES = re.compile(r"^(_test|_xxtest|xxlimited|xxsubtype|_tkinter|sitecustomize|EXTERNALLY-MANAGED)|\.a$")
# `site` itself is frozen into the executable, so that no other site.py would be read.
_CUSTOM_SITE = """import os, site, sys
if sys.prefix == sys.base_prefix:
    site.addsitedir(os.path.join(os.path.dirname(os.__file__), "site-packages"))
"""
_UPLOADED = "2020-01-01T00:00:00Z"
_NEEDS = {"linux": "__glibc >=2.17", "osx": "__osx >=11.0"}


def python_of(interpreter: Interpreter, subdir: str) -> Package:
    """A package of an interpreter of this machine, that runs at any prefix."""
    series = interpreter.series
    executable = File(moved(interpreter.executable.read_bytes(), interpreter, 1), executable=True)
    files = {
        f"bin/python{series}": executable,
        "bin/python3": File(target=f"python{series}"),
        "bin/python": File(target=f"python{series}"),
        **dict(_standard_library(interpreter)),
    }
    if interpreter.shared_library is not None:
        data = interpreter.shared_library.read_bytes()
        files[f"lib/{interpreter.shared_library.name}"] = File(moved(data, interpreter, 1), executable=True)
    return _package(interpreter.version, subdir, _stripped(files))


def stub_python(version: str, subdir: str, *, avoided: bool = False) -> Package:
    """A package with the same record but for the arch, whose Python runs nowhere.

    `avoided`: no arch has a Python of this series that runs, so none takes it that is not told to.
    """
    series = version.rpartition(".")[0]
    files = {
        f"bin/python{series}": File(b"#!/bin/sh\nexit 1\n", executable=True),
        "bin/python": File(target=f"python{series}"),
        f"lib/python{series}/os.py": File(b"# a stub\n"),
    }
    package = _package(version, subdir, files)
    return replace(package, extra={**package.extra, **STUB}) if avoided else package


def python_abi(series: str) -> Package:
    """What packages for one series of Python depend on."""
    tag = f"cp{series.replace('.', '')}"
    return Package(
        "python_abi", series, f"8_{tag}", constrains=(f"python {series}.* *_{tag}",), number=8, uploaded=_UPLOADED
    )


def _package(version: str, subdir: str, files: dict[str, File]) -> Package:
    series = version.rpartition(".")[0]
    tag = f"cp{series.replace('.', '')}"
    return Package(
        "python",
        version,
        f"0_{tag}",
        subdir,
        depends=(_NEEDS[subdir.partition("-")[0]],),
        constrains=(f"python_abi {series}.* *_{tag}",),
        files=files,
        uploaded=_UPLOADED,
        license="PSF-2.0",
        extra={"python_site_packages_path": f"lib/python{series}/site-packages"},
    )


def _standard_library(interpreter: Interpreter) -> Iterator[tuple[str, File]]:
    # A prefix as short as /usr stands in texts that do not mean it.
    prefix = os.fsencode(interpreter.prefix) if len(interpreter.prefix.parts) > 3 else b""
    if _is_debians(interpreter.standard_library):
        yield f"lib/python{interpreter.series}/sitecustomize.py", File(_CUSTOM_SITE.encode())
    for path in _files(interpreter.standard_library):
        below = path.relative_to(interpreter.standard_library)
        name = f"lib/python{interpreter.series}/{below.as_posix()}"
        data = path.read_bytes()
        if data[:4] == b"\x7fELF":
            yield name, File(moved(data, interpreter, len(below.parts) + 1), executable=True)
        elif prefix and prefix in data:
            yield name, File(data, placeholder=prefix.decode())
        else:
            yield name, File(_as_upstream(below.as_posix(), data))


def _files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not _LEFT_OUT.match(name))
        yield from (Path(folder, name) for name in sorted(names) if not _LEFT_OUT_FILES.search(name))


def _as_upstream(name: str, data: bytes) -> bytes:
    """Debian's Python installs into folders of its own; a copy of it in a prefix must not."""
    if name in {"sysconfig.py", "sysconfig/__init__.py"}:  # a module before 3.13, and a package since
        return data.replace(b"prefix_scheme = 'posix_local'", b"prefix_scheme = 'posix_prefix'")
    return data


def _is_debians(library: Path) -> bool:
    return b"dist-packages" in (library / "site.py").read_bytes()


def _stripped(files: dict[str, File]) -> dict[str, File]:
    """The files without debug information, which is most of them, where the machine can take it away."""
    strip = shutil.which("strip")
    binaries = [name for name, file in files.items() if file.data[:4] == b"\x7fELF"]
    if strip is None or not binaries:
        return files
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch, str(number)) for number in range(len(binaries))]
        for name, path in zip(binaries, paths, strict=True):
            path.write_bytes(files[name].data)
        subprocess.run([strip, "--strip-debug", *paths], check=True, capture_output=True)
        stripped = {name: File(path.read_bytes(), True) for name, path in zip(binaries, paths, strict=True)}
    return {**files, **stripped}
