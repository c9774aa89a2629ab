"""`hello`: a C library that names its own prefix, and a program that reads its data by that name."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.channel.archive import SUBDIRS
from tests.channel.interpreters import host_subdir
from tests.channel.recipe import PLACEHOLDER, STUB, File, Package

VERSIONS = ("1.0", "1.1")

_LIBRARY = """
#include <stdio.h>
static const char path[] = "@PREFIX@/share/hello/greeting.txt";
int hello(void) {
    char line[80];
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof line, file)) { perror(path); return 1; }
    fputs(line, stdout);
    return 0;
}
"""
_PROGRAM = "int hello(void);\nint main(void) { return hello(); }\n"


def compiler() -> str | None:
    """The machine's C compiler, if it has one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def hello_packages() -> tuple[Package, ...]:
    """`hello` for every arch. On this machine's it runs; without a C compiler that one is a stub too."""
    host, found = host_subdir(), compiler()
    binaries = {subdir: _stubs(subdir) for subdir in SUBDIRS if subdir != "noarch"}
    runs = found is not None and host.startswith("linux")
    if found is not None and runs:
        binaries[host] = _compiled(found)
    made = [_package(version, subdir, files) for subdir, files in binaries.items() for version in VERSIONS]
    return tuple(replace(each, extra=STUB) if each.subdir == host and not runs else each for each in made)


def _package(version: str, subdir: str, binaries: dict[str, File]) -> Package:
    texts = {
        "share/hello/greeting.txt": File(f"hello {version}\n".encode()),
        "share/hello/prefix.txt": File(f"{PLACEHOLDER}\n".encode(), placeholder=PLACEHOLDER),
    }
    needs = "__osx >=11.0" if subdir.startswith("osx") else "__glibc >=2.17"
    return Package("hello", version, "h0a1b2c3_0", subdir, depends=(needs,), files={**binaries, **texts})


def _compiled(found: str) -> dict[str, File]:
    plain = ("-O0", "-s", "-Wl,--build-id=none")
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "library.c").write_text(_LIBRARY.replace("@PREFIX@", PLACEHOLDER))
        Path(scratch, "program.c").write_text(_PROGRAM)
        for command in (
            (found, *plain, "-shared", "-fPIC", "-o", "libhello.so", "library.c"),
            (found, *plain, "-o", "hello", "program.c", "-L.", "-lhello", "-Wl,-rpath,$ORIGIN/../lib"),
        ):
            subprocess.run(command, cwd=scratch, check=True, capture_output=True)
        library, program = Path(scratch, "libhello.so").read_bytes(), Path(scratch, "hello").read_bytes()
    return _binaries("so", library, program)


def _stubs(subdir: str) -> dict[str, File]:
    data = f"\x7fSTUB\0{PLACEHOLDER}/share/hello/greeting.txt\0\x01\x02\x03".encode()
    return _binaries("dylib" if subdir.startswith("osx") else "so", data, b"\x7fSTUB\0program\0")


def _binaries(suffix: str, library: bytes, program: bytes) -> dict[str, File]:
    return {
        f"lib/libhello.{suffix}": File(library, executable=True, placeholder=PLACEHOLDER, mode="binary"),
        "bin/hello": File(program, executable=True),
    }
