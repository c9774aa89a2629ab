"""What conda packages provide, as wheels that hold nothing but their metadata: the form in which pip takes it.

As a constraint by URL, such a wheel is the only release of its name that pip considers. None is installed or locked.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from envlock.resolve.port import Provided

_WHEEL = "Wheel-Version: 1.0\nGenerator: envlock\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_stub_wheels(folder: Path, provided: Iterable[Provided]) -> tuple[str, ...]:
    """The constraints (PEP 508, by URL) that stand for what is provided; their wheels are written into `folder`."""
    folder.mkdir()
    return tuple(f"{each.name} @ {_write(folder, each).as_uri()}" for each in provided)


def _write(folder: Path, provided: Provided) -> Path:
    name = f"{provided.name.replace('-', '_')}-{provided.version}"
    lines = ["Metadata-Version: 2.1", f"Name: {provided.name}", f"Version: {provided.version}"]
    if provided.extras is not None:
        lines += [f"Provides-Extra: {extra}" for extra in provided.extras.names]
        lines += [f"Requires-Dist: {requirement}" for requirement in provided.extras.requires]
    files = {"METADATA": "".join(f"{line}\n" for line in lines), "WHEEL": _WHEEL, "RECORD": ""}
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{name}.dist-info/{file}", text)
    return path
