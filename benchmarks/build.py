"""Building a wheel from a small pure sdist, against `uv build`. `python -m benchmarks.build SDIST` builds one."""

from __future__ import annotations

import io
import platform
import shutil
import sys
import tarfile
from pathlib import Path

from benchmarks.timing import PYTHON, UV, Command, Row, at_most

_FILES = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
    '[project]\nname = "small"\nversion = "1.0"\n',
    "PKG-INFO": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
    **{f"src/small/module_{number}.py": f"X = {number}\n" for number in range(10)},
    "src/small/__init__.py": "",
}


def rows(folder: Path) -> list[Row]:
    """The claims about builds."""
    folder.mkdir(parents=True)
    sdist = folder / "small-1.0.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for name, text in _FILES.items():
            member = tarfile.TarInfo(f"small-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    home, wheels = folder / "home", folder / "wheels"

    def build(*forgotten: str) -> Command:
        def forget() -> None:
            for name in forgotten:
                shutil.rmtree(home / "builds" / name, ignore_errors=True)

        return Command([PYTHON, "-m", "benchmarks.build", str(sdist)], Path.cwd(), forget, {"ENVLOCK_HOME": str(home)})

    def remove() -> None:
        shutil.rmtree(wheels, ignore_errors=True)

    uv = Command([UV, "build", "--wheel", str(sdist), "--out-dir", str(wheels), "--python", PYTHON], folder, remove)
    nothing = Command([PYTHON, "-c", "pass"], folder)
    return [
        at_most("a small pure sdist, setuptools, against `uv build`", 1.3, build("wheels"), uv, 7),
        at_most("the same, with a new build environment", 1.3, build("wheels", "environments"), uv, 7),
        at_most("the same, built before, against `python -c pass`", 12, build(), nothing, 7),
    ]


def _build(sdist: Path) -> None:
    from envlock.build.port import Recipe
    from envlock.build.wheels import build
    from envlock.files import sha256_of
    from envlock.model.lock import Source
    from envlock.places import folder_in_home

    source = Source("sdist", sha256=sha256_of(sdist), filename=sdist.name)
    recipe = Recipe(source, Path(sys.executable), platform.python_version(), sdist, name="small", version="1.0")
    build(recipe, folder_in_home("builds", "wheels") / recipe.key[:32])


if __name__ == "__main__":
    _build(Path(sys.argv[1]))
