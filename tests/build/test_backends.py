"""The backends that real projects have, from the package index: each makes one wheel on every machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from envlock.build.port import Recipe
from envlock.build.wheels import build
from envlock.places import folder_in_home
from envlock.source_tree import EPOCH
from envlock.uv_command import uv_executable
from tests.build.sources import PYTHON, of_archive, tar_gz

pytestmark = pytest.mark.index

_SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
_PROJECT = '[project]\nname = "small"\nversion = "1.0"\n'
BACKENDS: Mapping[str, Mapping[str, str]] = {
    "setup.py alone": {
        "setup.py": "from setuptools import setup\nsetup(name='small', version='1.0', py_modules=['small'])\n",
        "small.py": "X = 1\n",
    },
    "setuptools": {
        "pyproject.toml": f"{_SETUPTOOLS}{_PROJECT}",
        "src/small/__init__.py": "X = 1\n",
        "src/small/sub/module.py": "Y = 2\n",
    },
    "hatchling": {
        "pyproject.toml": f'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n{_PROJECT}',
        "src/small/__init__.py": "X = 1\n",
    },
    "flit": {
        "pyproject.toml": '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n'
        f'{_PROJECT}description = "small"\n',
        "small.py": '"""Small."""\nX = 1\n',
    },
    "poetry": {
        "pyproject.toml": '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'
        f"{_PROJECT}",
        "src/small/__init__.py": "X = 1\n",
    },
}

RARER = ("flit", "poetry")
"""Run by `make test-slow`: what they prove more is that these backends fetch, run and end as the others do."""


def built(recipe: Recipe, name: str) -> tuple[str, str]:
    wheel = build(recipe, folder_in_home("builds", "wheels") / name)
    return wheel.filename, wheel.sha256


@pytest.mark.parametrize(
    "backend", [pytest.param(each, marks=pytest.mark.slow if each in RARER else ()) for each in BACKENDS]
)
def test_a_wheel_has_the_bytes_that_uv_builds_and_no_umask_counts(tmp_path: Path, backend: str) -> None:
    files = {f"small-1.0/{name}": text for name, text in BACKENDS[backend].items()}
    sdist = tar_gz(tmp_path / "small-1.0.tar.gz", files)
    before = os.umask(0o077)
    try:
        filename, _ = built(of_archive(sdist, name="small", version="1.0"), "one")
    finally:
        os.umask(before)
    uv = [uv_executable(), "build", "--quiet", "--wheel", "--python", PYTHON, "--out-dir", tmp_path / "uv", sdist]
    subprocess.run(uv, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)})
    (wheel,) = (tmp_path / "uv").glob("*.whl")
    assert wheel.read_bytes() == (folder_in_home("builds", "wheels") / "one" / filename).read_bytes()


@pytest.mark.skipif(
    not (shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").is_file()),
    reason="this machine has no C compiler, or not the headers of Python",
)
def test_a_package_with_compiled_parts_is_built_alike_twice(tmp_path: Path) -> None:
    files = {
        "small-1.0/setup.py": "from setuptools import Extension, setup\n"
        "setup(name='small', version='1.0', ext_modules=[Extension('small', ['small.c'])])\n",
        "small-1.0/small.c": "#include <Python.h>\n"
        'static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "small", NULL, -1, NULL};\n'
        "PyMODINIT_FUNC PyInit_small(void) { return PyModule_Create(&module); }\n",
    }
    recipe = of_archive(tar_gz(tmp_path / "small-1.0.tar.gz", files), name="small")
    wheel = build(recipe, folder_in_home("builds", "wheels") / "one")
    assert not wheel.is_pure
    assert sysconfig.get_platform().replace("-", "_").replace(".", "_") in wheel.tags[0]
    assert built(recipe, "two") == (wheel.filename, wheel.sha256)
