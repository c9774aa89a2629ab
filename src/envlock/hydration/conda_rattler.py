"""Environments whose Python is a conda package: py-rattler links the conda packages, then uv adds the wheels."""

from __future__ import annotations

import os
import re
import shutil

from envlock.activation import RECEIPT
from envlock.hydration.errors import (
    BadCondaArchive,
    FileAndFolder,
    HomeUnusable,
    LinkFailed,
    PrefixTooLong,
    ReservedPath,
    disk_full,
    is_full,
)
from envlock.hydration.port import DEFAULT_OPTIONS, InstallOptions
from envlock.hydration.prefix import name_of
from envlock.reporter import Reporter
from envlock.words import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from envlock.conda.install import NotLinked
    from envlock.errors import HydrateError
    from envlock.model.lock import Lock

_TOO_LONG = "target prefix cannot be longer than the placeholder prefix"
_REFUSED = ("Permission denied", "Operation not permitted", "Read-only file system")
_NOT_WRITABLE = "no eligible writable layers"
"""py-rattler's text if only root may write into the folder of unpacked packages."""
_NO_METADATA = "failed to read '"
"""The start of py-rattler's text about a file below `info/` in an unpacked package; the file's name follows."""
_GONE = "No such file or directory"
_MOST_CLOBBERS = 5


class CondaInstaller:
    """Makes an environment of a lock's conda packages and its wheels. Uses no network."""

    def __init__(
        self, unpacked: Path, reporter: Reporter | None = None, options: InstallOptions = DEFAULT_OPTIONS
    ) -> None:
        """`unpacked` is the folder of unpacked conda packages, for all environments. They are verified each time."""
        self._unpacked = unpacked
        self._reporter = reporter or Reporter()
        self._options = options

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path | None, stage: Path, place: Path) -> None:
        """Make `stage` the environment: 0.2 s for 20 packages that are unpacked already. Raises HydrateError."""
        del python  # it is one of the packages
        self._link(lock, files, stage, place)
        _refuse_reserved(stage)
        _refuse_file_and_folder(lock, stage)
        site_packages = stage / _site_packages(lock)
        if not (stage / "bin" / f"python{lock.python.series}").exists():
            raise LinkFailed(name_of(lock), (f"its packages contain no bin/python{lock.python.series}",))
        records: Mapping[str, Path] = {}
        if lock.pypi_packages:
            from envlock.hydration.pypi_uv import WheelsByUv

            wheels = WheelsByUv(lock, files, stage, self._reporter, self._options)
            if self._options.unpack_again:
                wheels.unpack_again()
            wheels.add(lock.pypi_packages)
            records = wheels.settle(site_packages)
            from envlock.hydration.shebangs import move_scripts

            move_scripts(records.values(), site_packages, stage, place)
        self._warn_of_clobbers(lock, stage, records)

    def finish(self, lock: Lock, place: Path) -> None:
        """Compile modules if that is wanted, and run the link scripts that are allowed. Raises HydrateError."""
        from envlock.hydration.finishing import compile_bytecode_below, run_link_scripts

        if self._options.compile_bytecode:
            folder = place / "lib" / f"python{lock.python.series}"
            compile_bytecode_below(folder, place / "bin" / "python", self._reporter)
        run_link_scripts(lock, place, self._options, self._reporter)

    def _link(self, lock: Lock, files: Mapping[str, Path], stage: Path, place: Path) -> None:
        from envlock.conda.install import LeadsOut, NotLinked, install

        archives = [(package, files[package.sha256]) for package in lock.conda_packages]
        # A second attempt helps if another process found the same unpacked package changed, and was unpacking it again.
        for attempt in (1, 2):
            try:
                install(archives, lock.arch, stage=stage, place=place, unpacked=self._unpacked)
            except LeadsOut as error:  # noqa: PERF203  two attempts
                channel = error.package.conda.channel if error.package.conda is not None else ""
                raise BadCondaArchive(error.package.filename, channel, (error.reason,)) from None
            except NotLinked as error:
                if attempt == 2 or not any(_GONE in reason for reason in error.reasons):
                    raise self._as_hydrate_error(lock, files, place, error) from None
                _empty(stage)
            else:
                return

    def _as_hydrate_error(self, lock: Lock, files: Mapping[str, Path], place: Path, error: NotLinked) -> HydrateError:
        reasons = error.reasons
        text = "\n".join(reasons)
        if is_full(text):
            return disk_full(place.parent, files.values(), details=reasons[-1:])
        refused = next((phrase for phrase in _REFUSED if phrase in text), None)
        if refused is not None:
            named = re.search(r"'(/[^'\n]+)'", text)
            return HomeUnusable(named[1] if named else str(self._unpacked), refused)
        if _NOT_WRITABLE in text:
            return HomeUnusable(str(self._unpacked), _REFUSED[0])
        if _TOO_LONG in text:
            return PrefixTooLong(str(place), len(str(place).encode(errors="surrogateescape")), None, reasons[:2])
        failed = re.match(r"failed to (fetch|link) (\S+)", reasons[0]) if reasons else None
        if failed is not None and (failed[1] == "fetch" or _NO_METADATA in text):
            for package in lock.conda_packages:
                if package.filename == failed[2] and package.conda is not None:
                    return BadCondaArchive(package.filename, package.conda.channel, reasons[1:])
        return LinkFailed(name_of(lock), reasons)

    def _warn_of_clobbers(self, lock: Lock, stage: Path, records: Mapping[str, Path]) -> None:
        """Warn of paths that two packages contain, wheels, by their RECORDs, included: one of the two may not work."""
        from envlock.conda.install import clobbers, owners_of

        found = [
            f"{each.winner} and {each.loser} both contain {each.path}: the one of {each.winner} is used"
            for each in clobbers(stage)
        ]
        if records:
            from envlock.hydration.installed import paths_of

            wheels = {path: name for name, record in records.items() for path in paths_of(record, stage)}
            owners = owners_of(stage, wheels)
            found += [
                f"the conda package {owners[path]} and the wheel of {wheels[path]} both contain {path}: "
                "the wheel's is used"
                for path in sorted(owners)
            ]
        for sentence in found[:_MOST_CLOBBERS]:
            self._reporter.warned(sentence)
        if len(found) > _MOST_CLOBBERS:
            self._reporter.warned(f"... and {count(len(found) - _MOST_CLOBBERS, 'more file')} of {name_of(lock)}")


def _refuse_reserved(stage: Path) -> None:
    """Raise ReservedPath for a conda package that claims to be another environment, or a virtual one."""
    from envlock.conda.install import owners_of

    found = [name for name in (RECEIPT, "pyvenv.cfg") if os.path.lexists(stage / name)]
    for path, package in owners_of(stage, found).items() if found else ():
        raise ReservedPath(package=package, path=path)


def _refuse_file_and_folder(lock: Lock, stage: Path) -> None:
    """Raise FileAndFolder for conda packages of which py-rattler makes this or that, as its threads come."""
    from envlock.conda.install import contested

    paths = contested(stage)
    if not paths:
        return
    from envlock.hydration.collisions import file_and_folder

    clash = file_and_folder(paths)
    if clash is not None:
        path, of_file, of_folder = clash
        raise FileAndFolder(environment=name_of(lock), path=path, of_file=of_file, of_folder=of_folder)


def _empty(stage: Path) -> None:
    for left in stage.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)  # threads of the failed attempt may still be removing their files


def _site_packages(lock: Lock) -> str:
    """Where the environment's Python looks for packages, relative to the prefix."""
    python = next((package for package in lock.conda_packages if package.name == "python"), None)
    named = python.conda.site_packages if python is not None and python.conda is not None else ""
    return named or f"lib/python{lock.python.series}/site-packages"
