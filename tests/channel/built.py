"""The channels on disk: built once for one state of this folder and of the machine, then only looked at."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

from tests.channel import catalogue
from tests.channel.archive import Record, write_package, write_repodata, zstd
from tests.channel.interpreters import Interpreter, find, host_subdir
from tests.channel.native import compiler, hello_packages
from tests.channel.places import CACHE, INTERPRETER_FOLDERS, locked
from tests.channel.pythons import python_abi, python_of, stub_python
from tests.channel.recipe import Package
from tests.channel.repack import package_of
from tests.channel.wheels import Unreachable, Wheel, wheels

_SOURCES = ("archive", "built", "catalogue", "interpreters", "native", "pythons", "recipe", "repack", "wheels")
_ALWAYS = {"3.12": "3.12.1", "3.11": "3.11.7"}
"""What can be solved for on every machine: a stub, as other archs' are, where the machine has none of the series."""
_KEPT_SECONDS = 7200.0


@cache
def built_channels() -> Path:
    """The folder that holds the channels `main`, `other` and `private`. It is shared: nothing in it may be changed."""
    with locked("channel"):
        interpreters = find(INTERPRETER_FOLDERS)
        series = tuple(dict.fromkeys([*(each.series for each in interpreters), *_ALWAYS]))
        real, why_none = _real_wheels(series)
        folder = CACHE / "channels" / _key(interpreters, real)
        if not folder.exists():
            _sweep(folder.parent)
            build(folder, interpreters, series, real)
        if why_none:
            (folder / "without-wheels.txt").write_text(why_none)
        os.utime(folder)
    return folder


def build(folder: Path, interpreters: tuple[Interpreter, ...], series: tuple[str, ...], real: Iterable[Wheel]) -> None:
    """Build every channel into a new folder. It appears when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(dir=folder.parent, prefix="part-"))
    try:
        write_channel(scratch / "main", small_packages(interpreters, series), large_packages(interpreters, real))
        write_channel(scratch / "other", catalogue.other())
        write_channel(scratch / "private", catalogue.private())
        scratch.chmod(0o755)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def large_packages(interpreters: Iterable[Interpreter], real: Iterable[Wheel]) -> Iterator[Callable[[], Package]]:
    """What `main` holds that is real, to be made one at a time: together they would fill the memory."""
    for interpreter in interpreters:
        yield partial(python_of, interpreter, host_subdir())
    for wheel in sorted(real, key=lambda each: -each.path.stat().st_size):
        yield partial(package_of, wheel)


def small_packages(interpreters: Iterable[Interpreter], series: tuple[str, ...]) -> Iterator[Package]:
    """Everything else that `main` holds."""
    versions = {each.series: each.version for each in interpreters}
    for each in series:
        yield python_abi(each)
        for subdir in catalogue.ARCHS:
            if subdir != host_subdir() or each not in versions:
                yield stub_python(
                    versions.get(each) or _ALWAYS.get(each, f"{each}.0"), subdir, avoided=each not in versions
                )
    yield from hello_packages()
    yield from catalogue.main(series)


def write_channel(folder: Path, packages: Iterable[Package], large: Iterable[Callable[[], Package]] = ()) -> None:
    """Write the archives of these packages and their repodata."""
    records: dict[str, dict[str, Record]] = {}

    def write(package: Package) -> None:
        records.setdefault(package.subdir, {})[package.filename] = write_package(package, folder)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda make: write(make()), large))
    for package in packages:
        write(package)
    write_repodata(folder, records)


def copy_channels(source: Path, folder: Path, names: Iterable[str]) -> None:
    """Put the same archives and repodata into another folder, by hard links where the filesystem allows."""
    for name in names:
        for path in sorted((source / name).rglob("*")):
            target = folder / path.relative_to(source)
            if path.is_dir():
                target.mkdir(parents=True)
                continue
            try:
                target.hardlink_to(path)
            except OSError:
                target.symlink_to(path)


def _real_wheels(series: tuple[str, ...]) -> tuple[tuple[Wheel, ...], str]:
    """The wheels, and why there are none."""
    try:
        return wheels(CACHE / "wheels", series), ""
    except Unreachable as error:
        return (), str(error)


def _key(interpreters: Iterable[Interpreter], real: Iterable[Wheel]) -> str:
    sources = [Path(__file__).with_name(f"{name}.py").read_bytes().decode() for name in _SOURCES]
    inputs = [
        sources,
        [interpreter.state for interpreter in interpreters],
        [(wheel.path.name, wheel.sha256) for wheel in real],
        [zstd.zstd_version, host_subdir(), bool(compiler()), bool(shutil.which("strip"))],
    ]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]


def _sweep(folder: Path) -> None:
    """Remove channels that no session has begun with for two hours."""
    for old in folder.glob("*"):
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
