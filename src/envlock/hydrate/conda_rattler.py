"""Environments whose Python is a conda package: py-rattler links the conda packages, then uv puts the wheels on top."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from envlock.hydrate.errors import (
    BadCondaArchive,
    HomeUnusable,
    LinkFailed,
    PrefixTooLong,
    ReservedPath,
    disk_full,
    is_full,
)
from envlock.hydrate.finishing import compile_bytecode_below, run_link_scripts
from envlock.hydrate.installed import paths_of, records_of_uv
from envlock.hydrate.prefix import RECEIPT, name_of
from envlock.hydrate.pypi_uv import fill, forget_unpacked, settle_wheels
from envlock.hydrate.shebangs import move_scripts
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from envlock.conda.install import NotLinked
    from envlock.errors import HydrateError
    from envlock.model.lock import Lock

_TOO_LONG = "target prefix cannot be longer than the placeholder prefix"
_REFUSED = ("Permission denied", "Operation not permitted", "Read-only file system")
_NOT_WRITABLE = "no eligible writable layers"
"""What py-rattler says where nobody but root may write into the folder of unpacked packages."""
_NO_METADATA = "failed to read '"
"""What py-rattler says of a file below `info/` in an unpacked package; the name of the file follows."""
_GONE = "No such file or directory"
_MOST_CLOBBERS = 5


class CondaInstaller:
    """Makes an environment of a lock's conda packages, with its wheels on top. Uses no network."""

    def __init__(
        self,
        unpacked: Path,
        reporter: Reporter | None = None,
        *,
        link_scripts: Collection[str] = (),
        compile_bytecode: bool = False,
        unpack_anew: bool = False,
    ) -> None:
        """`unpacked` is where unpacked packages are, for all environments; `link_scripts` names packages.

        `unpack_anew` trusts no wheel that uv unpacked before, and has uv forget it. Conda packages that are
        unpacked are proved each time.
        """
        self._unpacked = unpacked
        self._reporter = reporter or Reporter()
        self._link_scripts = link_scripts
        self._compiles = compile_bytecode
        self._unpacks_anew = unpack_anew

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path | None, stage: Path, place: Path) -> None:
        """Make `stage` the environment: a fifth of a second for 20 packages that are unpacked. Raises HydrateError."""
        del python  # it is one of the packages
        self._link(lock, files, stage, place)
        self._refuse_reserved(stage)
        wheels = lock.pypi_packages
        site_packages = stage / _site_packages(lock)
        if not (stage / "bin" / f"python{lock.python.series}").exists():
            raise LinkFailed(name_of(lock), (f"there is no bin/python{lock.python.series} in its packages",))
        if wheels:
            # Python in a conda environment may say that it is externally managed: here envlock is who manages it.
            anew = forget_unpacked(lock, stage, self._reporter) if self._unpacks_anew else ()
            options = ("--break-system-packages", *anew)
            fill(lock, wheels, files, stage, "install", "--no-deps", *options)
            settle_wheels(lock, files, stage, site_packages, self._reporter, *options)
            move_scripts(site_packages, stage, place)
        self._warn_of_clobbers(lock, stage, site_packages)

    def finish(self, lock: Lock, place: Path) -> None:
        """Compile modules where that is wanted, and run the link scripts that may. Raises HydrateError."""
        if self._compiles:
            folder = place / "lib" / f"python{lock.python.series}"
            compile_bytecode_below(folder, place / "bin" / "python", self._reporter)
        run_link_scripts(lock, place, self._link_scripts, self._reporter)

    def _link(self, lock: Lock, files: Mapping[str, Path], stage: Path, place: Path) -> None:
        from envlock.conda.install import LeadsOut

        try:
            self._link_twice(lock, files, stage, place)
        except LeadsOut as error:
            channel = error.package.conda.channel if error.package.conda is not None else ""
            raise BadCondaArchive(error.package.filename, channel, (error.reason,)) from None

    def _link_twice(self, lock: Lock, files: Mapping[str, Path], stage: Path, place: Path) -> None:
        from envlock.conda.install import NotLinked, install

        archives = [(package, files[package.sha256]) for package in lock.conda_packages]
        try:
            install(archives, stage=stage, place=place, unpacked=self._unpacked)
        except NotLinked as error:
            if not any(_GONE in reason for reason in error.reasons):
                raise self._as_hydrate_error(lock, files, place, error) from None
        else:
            return
        # Another process found the same unpacked package changed, and was unpacking it anew at that moment.
        for left in stage.iterdir():  # threads of the failed attempt may still take away what is theirs
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        try:
            install(archives, stage=stage, place=place, unpacked=self._unpacked)
        except NotLinked as error:
            raise self._as_hydrate_error(lock, files, place, error) from None

    def _as_hydrate_error(self, lock: Lock, files: Mapping[str, Path], place: Path, error: NotLinked) -> HydrateError:
        reasons = error.reasons
        said = "\n".join(reasons)
        if is_full(said):
            return disk_full(place.parent, files.values(), details=reasons[-1:])
        refused = next((phrase for phrase in _REFUSED if phrase in said), None)
        if refused is not None:
            named = re.search(r"'(/[^'\n]+)'", said)
            return HomeUnusable(named[1] if named else str(self._unpacked), refused)
        if _NOT_WRITABLE in said:
            return HomeUnusable(str(self._unpacked), _REFUSED[0])
        if _TOO_LONG in said:
            return PrefixTooLong(str(place), len(str(place).encode(errors="surrogateescape")), None, reasons[:2])
        failed = re.match(r"failed to (fetch|link) (\S+)", reasons[0]) if reasons else None
        if failed is not None and (failed[1] == "fetch" or _NO_METADATA in said):
            for package in lock.conda_packages:
                if package.filename == failed[2] and package.conda is not None:
                    return BadCondaArchive(package.filename, package.conda.channel, reasons[1:])
        return LinkFailed(name_of(lock), reasons)

    def _refuse_reserved(self, stage: Path) -> None:
        """Refuse a conda package that says which environment this is, or that it is a virtual one."""
        from envlock.conda.install import owners_of

        found = [name for name in (RECEIPT, "pyvenv.cfg") if os.path.lexists(stage / name)]
        for path, package in owners_of(stage, found).items() if found else ():
            raise ReservedPath(package, path)

    def _warn_of_clobbers(self, lock: Lock, stage: Path, site_packages: Path) -> None:
        """Say which paths two packages want, wheels included: one has it, and the other may not work."""
        from envlock.conda.install import clobbers, owners_of

        found = [
            f"{each.path} is of {each.winner} and of {each.loser}; {each.winner} has it" for each in clobbers(stage)
        ]
        if lock.pypi_packages:
            records = records_of_uv(site_packages)
            wheels = {path: name for name, record in records.items() for path in paths_of(record, stage)}
            owners = owners_of(stage, wheels)
            found += [
                f"{path} is of the conda package {owners[path]} and of the wheel of {wheels[path]}; the wheel has it"
                for path in sorted(owners)
            ]
        for sentence in found[:_MOST_CLOBBERS]:
            self._reporter.warned(sentence)
        if len(found) > _MOST_CLOBBERS:
            self._reporter.warned(f"... and {len(found) - _MOST_CLOBBERS} more files of {name_of(lock)} like that")


def _site_packages(lock: Lock) -> str:
    """Where the environment's Python looks for packages, relative to the prefix."""
    python = next((package for package in lock.conda_packages if package.name == "python"), None)
    said = python.conda.site_packages if python is not None and python.conda is not None else ""
    return said or f"lib/python{lock.python.series}/site-packages"
