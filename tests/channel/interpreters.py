"""The CPythons of this machine that a conda package can be made of."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFERRED = ("3.12", "3.11", "3.13", "3.10", "3.14")
"""Series, the best first: numpy and pandas are in the channel for all but the last."""

_QUESTION = """
import json, os, sys, sysconfig
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "plain": sys.implementation.name == "cpython" and not sys.abiflags and sys.version_info[3] == "final",
    "prefix": sys.base_prefix,
    "standard_library": os.path.realpath(os.path.dirname(os.__file__)),
    "shared_library": os.path.join(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")),
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A CPython, and where its parts lie."""

    executable: Path
    version: str
    prefix: Path
    standard_library: Path
    shared_library: Path | None
    """libpython, where the executable needs one."""

    @property
    def series(self) -> str:
        """Such as `3.12`."""
        return self.version.rpartition(".")[0]

    @property
    def state(self) -> tuple[str, ...]:
        """Changes when the interpreter does."""
        files = [self.executable, self.standard_library / "os.py", *filter(None, [self.shared_library])]
        stats = [path.stat() for path in files]
        return (self.version, str(self.prefix), *(f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats))


def folders() -> tuple[Path, ...]:
    """Where interpreters may lie. Depends on the environment: ask before a test has a HOME of its own."""
    user = Path(os.environ.get("HOME", "/"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or user / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or user / ".local" / "share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    several = [
        path / "bin" for root in (pyenv / "versions", managed) if root.is_dir() for path in sorted(root.iterdir())
    ]
    path = [Path(each) for each in os.environ.get("PATH", "").split(os.pathsep) if Path(each).is_absolute()]
    return (Path(sys.base_prefix) / "bin", *several, *path, Path("/usr/local/bin"), Path("/usr/bin"))


def find(places: tuple[Path, ...], count: int = 2) -> tuple[Interpreter, ...]:
    """At most `count` interpreters of different series, the best series first. Runs each one that it considers once."""
    if sys.platform != "linux":
        return ()  # elsewhere a relocated copy would have to be signed again
    found = []
    for series in PREFERRED:
        for interpreter in _of_series(series, places):
            found.append(interpreter)
            break
        if len(found) == count:
            break
    return tuple(found)


def _of_series(series: str, places: tuple[Path, ...]) -> Iterator[Interpreter]:
    seen = set()
    for folder in places:
        path = folder / f"python{series}"
        if not path.is_file() or (folder.parent / "pyvenv.cfg").exists():
            continue
        real = path.resolve()
        if real in seen or real.read_bytes()[:4] != b"\x7fELF":
            continue
        seen.add(real)
        interpreter = _ask(real)
        if interpreter is not None and interpreter.series == series and can_move(interpreter):
            yield interpreter


def _ask(executable: Path) -> Interpreter | None:
    done = subprocess.run([executable, "-I", "-S", "-c", _QUESTION], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    facts = json.loads(done.stdout)
    if not facts["plain"]:
        return None
    # Debian's say that they are built with a shared library, and need none.
    shared = Path(facts["shared_library"])
    needed = os.fsencode(shared.name) in executable.read_bytes()
    library = Path(facts["standard_library"])
    return Interpreter(executable, facts["version"], Path(facts["prefix"]), library, shared if needed else None)


def can_move(interpreter: Interpreter) -> bool:
    """Whether the executable finds its library wherever it lies, or can be made to."""
    if interpreter.shared_library is None:
        return True
    if not interpreter.shared_library.is_file():
        return False
    data = interpreter.executable.read_bytes()
    return b"$ORIGIN/../lib" in data or moved(data, interpreter, 1) != data


def moved(data: bytes, interpreter: Interpreter, depth: int) -> bytes:
    """An ELF file that looks for libraries beside itself where it looked in the interpreter's own folder.

    `depth` is how many folders of the prefix it lies in. The new text takes the place of the old one, which must
    be as long at least; else nothing changes.
    """
    if interpreter.shared_library is None:
        return data
    old = os.fsencode(interpreter.shared_library.parent)
    new = b"$ORIGIN/" + b"../" * depth + b"lib"
    return data.replace(old + b"\0", new.ljust(len(old), b"\0") + b"\0") if len(new) <= len(old) else data


def host_subdir() -> str:
    """The subdir of this machine, such as `linux-64`."""
    machine = {"x86_64": "64", "arm64": "arm64", "aarch64": "aarch64"}.get(platform.machine(), "64")
    return f"{'osx' if sys.platform == 'darwin' else 'linux'}-{machine}"
