"""A virtual environment that a node makes for a pack is the one that uv makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import uv

from metaflow_extensions.envlock.plugins.node import pythons
from metaflow_extensions.envlock.plugins.node.plan import Python
from metaflow_extensions.envlock.plugins.node.venv import make_venv
from tests.hydration.making import SERIES

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")
SHELLS = (".gitignore", "CACHEDIR.TAG")


def test_it_is_what_uv_makes_but_for_what_shells_read(tmp_path: Path) -> None:
    found = pythons.of_image(Python(SERIES, ((0, None),), None), {"PATH": "/usr/bin:/bin"})
    assert found is not None
    python, version = found
    program = uv.find_uv_bin()
    release = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    command = [program, "venv", "--quiet", "--no-config", "--no-project", "--relocatable", "--python", python]
    subprocess.run([*command, tmp_path / "uvs"], check=True)
    own, uvs = tmp_path / "own", tmp_path / "uvs"
    own.mkdir()
    make_venv(str(own), python, version, SERIES, release)
    assert (own / "pyvenv.cfg").read_bytes() == (uvs / "pyvenv.cfg").read_bytes()
    links = [path.relative_to(uvs) for path in uvs.rglob("*") if path.is_symlink() and path.name != "lib64"]
    assert {each: os.readlink(own / each) for each in links} == {each: os.readlink(uvs / each) for each in links}  # noqa: PTH115
    assert {path.relative_to(own) for path in own.rglob("*")} <= {path.relative_to(uvs) for path in uvs.rglob("*")}
    ran = subprocess.run(
        [own / "bin" / "python", "-c", "import sys; print(sys.prefix, sys.base_prefix != sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"{own} True\n"
