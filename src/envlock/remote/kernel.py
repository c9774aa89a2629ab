"""The kernel: one file with all of envlock that makes an environment of conda packages on a node.

It is a zip that a CPython from 3.10 on runs as it is, with py-rattler beside it: `on_node.py` is its entry. The modules
are copies of envlock's own, and of the pure Python that these import, so a node needs no installation. The bytes
depend only on the modules: not on times, on the machine, or on how a zlib compresses.
"""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

KERNEL_NAME = "envlock-kernel.zip"
OUTSIDE = ("packaging", "tomli")
"""The packages of others that envlock's modules import, all of their Python."""
MODULES = {
    "": (
        "__init__ activation addresses credentials errors files interpreters places redaction reporter revisions "
        "settings_files stage trust uv_command values words"
    ),
    "cache": "__init__ errors layout plan",
    "conda": "__init__ channels client errors event_loop install match_specs records solve_request",
    "hydration": (
        "__init__ collisions conda_rattler errors finishing installed machine_checks port prefix pypi_uv shebangs "
        "wheels"
    ),
    "lockfile": (
        "__init__ allowed_values built_packages canonical_text conda_packages consistency document errors summary"
    ),
    "model": "__init__ arch artifact conda_requirement identity lock marker requirement requirements url",
    "named": "__init__ alias errors",
    "remote": "__init__ on_node",
}
"""envlock's modules, by folder: what the entry imports, directly or not, whenever it does."""

SHIM = "metaflow_extensions.envlock.plugins.node"
"""The part of the shim of which hydrating uses modules."""
OF_SHIM = "__init__ errors home machine stage values"

_MAIN = f"""import sys

# What the image has installed may be imported already, by a `.pth` file or a `sitecustomize`.
for name in list(sys.modules):
    if name.partition(".")[0] in {("envlock", SHIM.partition(".")[0], "rattler", *OUTSIDE)}:
        del sys.modules[name]

from envlock.remote.on_node import run

raise SystemExit(run())
"""
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644 << 16
_UNIX = 3


@lru_cache(maxsize=1)
def kernel() -> bytes:
    """The kernel's bytes: about 0.9 MB, made in 20 ms the first time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(_files().items()):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.create_system = _UNIX
            entry.external_attr = _FILE_MODE
            archive.writestr(entry, data)
    return buffer.getvalue()


def _files() -> dict[str, bytes]:
    """The content of each file, by its path in the zip."""
    envlock = Path(__file__).parent.parent
    paths = {
        f"envlock/{folder}/{name}.py".replace("//", "/"): envlock / folder / f"{name}.py"
        for folder, names in MODULES.items()
        for name in names.split()
    }
    for package in OUTSIDE:
        paths |= {f"{package}/{path.name}": path for path in sorted(_folder_of(package).glob("*.py"))}
    *parents, node = SHIM.split(".")
    place = "/".join([*parents, node])
    paths |= {f"{place}/{name}.py": _folder_of(SHIM) / f"{name}.py" for name in OF_SHIM.split()}
    # On the node's own path there may be a code package with the same namespace: what is in the zip is whole.
    made = {"/".join([*parents[: depth + 1], "__init__.py"]): b"" for depth in range(len(parents))}
    return {"__main__.py": _MAIN.encode(), **made, **{name: path.read_bytes() for name, path in paths.items()}}


def _folder_of(package: str) -> Path:
    found = find_spec(package)
    assert found is not None, f"{package} is installed with envlock"
    assert found.submodule_search_locations, f"{package} is a folder"
    return Path(found.submodule_search_locations[0])
