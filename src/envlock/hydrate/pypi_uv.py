"""Wheels into a prefix, by uv: offline, from local files, each with its hash, linked out of uv's own cache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import tomli_w

from envlock.files import METADATA_BYTES, read_file
from envlock.hydrate.collisions import clash, sentences, settle
from envlock.hydrate.errors import FileAndFolder, InstallFailed, ReservedPath, UnfitForMachine, disk_full, is_full
from envlock.hydrate.finishing import compile_bytecode_below
from envlock.hydrate.installed import records_of_uv
from envlock.hydrate.prefix import name_of
from envlock.hydrate.wheels import check_metadata, paths_in
from envlock.reporter import Reporter
from envlock.uv_command import run_uv, uv_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from envlock.model.lock import Lock, LockedPackage

PATIENCE = "30"
"""How many seconds other runs of uv are waited for before its cache is cleaned."""
_PYLOCK = "pylock.toml"
_RESERVED = re.compile(r"Failed to install: (?P<wheel>\S+).*\n.*must not use the reserved name `(?P<name>[^`]+)`")


class UvInstaller:
    """Makes a virtual environment that can be moved, and fills it with exactly the wheels of a lock."""

    def __init__(
        self, reporter: Reporter | None = None, *, compile_bytecode: bool = False, unpack_anew: bool = False
    ) -> None:
        """`unpack_anew` trusts no wheel that uv unpacked before, and has uv forget it: environments share its files."""
        self._reporter = reporter or Reporter()
        self._compiles = compile_bytecode
        self._unpacks_anew = unpack_anew

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path | None, stage: Path, place: Path) -> None:
        """Make `stage` the environment. Two runs of uv: 20 ms, and linking the files. Raises HydrateError."""
        del place  # a relocatable environment names itself nowhere
        create = ["venv", "--relocatable", "--allow-existing", "--no-project", "--offline", "--python", str(python)]
        run(lock, files, stage, *create, str(stage))
        if lock.packages:
            options = forget_unpacked(lock, stage, self._reporter) if self._unpacks_anew else ()
            fill(lock, lock.packages, files, stage, "sync", *options)
            settle_wheels(lock, files, stage, _site_packages(lock, stage), self._reporter, *options)

    def finish(self, lock: Lock, place: Path) -> None:
        """Compile the wheels' modules where that is wanted. Raises DiskFull."""
        if self._compiles:
            compile_bytecode_below(_site_packages(lock, place), place / "bin" / "python", self._reporter)


def forget_unpacked(lock: Lock, stage: Path, reporter: Reporter) -> tuple[str, ...]:
    """Take a lock's wheels out of uv's cache, and return the options with which they are unpacked anew then.

    uv has no option that replaces what it unpacked of a wheel on this machine: `--refresh` and `--reinstall` link the
    same files. Where other runs of uv do not end in time, says that the cache has them still.
    """
    names = [wheel.name for wheel in lock.pypi_packages]
    extra = {"UV_LOCK_TIMEOUT": PATIENCE, "TMPDIR": str(stage.parent)}
    if run_uv(["cache", "clean", *names, "--quiet"], extra=extra).returncode == 0:
        return ()
    reporter.warned(
        f"{name_of(lock)}: uv's cache could not be cleaned, so environments that are made later may have what was "
        "changed in this one: run `uv cache clean`"
    )
    return ("--no-cache",)


def fill(
    lock: Lock, packages: Sequence[LockedPackage], files: Mapping[str, Path], stage: Path, command: str, *options: str
) -> None:
    """Put exactly these wheels of a lock into the environment `stage`, by `uv pip <command>`.

    uv proves each wheel's SHA-256, asks no network, and builds nothing. Raises HydrateError.
    """
    pylock = stage / _PYLOCK
    pylock.write_text(_pylock(lock, packages, files), encoding="utf-8")
    arguments = ["--preview-features", "pylock", "--offline", "--no-index", "--no-build", *options]
    requirements = [str(pylock)] if command == "sync" else ["--requirements", str(pylock)]
    run(lock, files, stage, "pip", command, *arguments, "--python", str(stage / "bin" / "python"), *requirements)
    pylock.unlink()


def settle_wheels(
    lock: Lock, files: Mapping[str, Path], stage: Path, site_packages: Path, reporter: Reporter, *options: str
) -> None:
    """Give each path that several wheels of `stage` bring to the last of them in the lock, and say which those are.

    Raises MisdescribedWheel where one is not what it was locked as, and HydrateError, such as ReservedPath.
    """

    def install(wheel: LockedPackage) -> None:
        fill(lock, [wheel], files, stage, "install", "--no-deps", *options)

    try:
        found = settle(lock.pypi_packages, site_packages, stage, install)
    except ValueError as error:
        raise InstallFailed(name_of(lock), (str(error),)) from error
    records = records_of_uv(site_packages)
    check_metadata(lock, {name: _text(record.with_name("METADATA")) for name, record in records.items()})
    for sentence in sentences(found):
        reporter.warned(f"{name_of(lock)}: {sentence}")


def _text(file: Path) -> str:
    try:
        return read_file(file, METADATA_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _site_packages(lock: Lock, prefix: Path) -> Path:
    return prefix / "lib" / f"python{lock.python.series}" / "site-packages"


def run(lock: Lock, files: Mapping[str, Path], stage: Path, *arguments: str) -> None:
    """Run uv on a lock's environment. Raises DiskFull, UnfitForMachine, InstallFailed."""
    # uv leaves a lock file in the folder of temporary files, one for each environment: it goes with the stage.
    extra = {"UV_PYTHON_DOWNLOADS": "never", "TMPDIR": str(stage.parent)}
    completed = run_uv([*arguments, "--quiet"], extra=extra)
    if completed.returncode == 0:
        return
    reasons = uv_reason(completed.stderr)
    if is_full(completed.stderr):
        raise disk_full(stage.parent.parent.parent, files.values(), details=reasons)
    if "has no binary distribution" in completed.stderr:
        unfit = tuple(each.filename for each in lock.pypi_packages if f"`{each.name}`" in completed.stderr)
        raise UnfitForMachine(name_of(lock), lock.arch, unfit, _system())
    reserved = _RESERVED.search(completed.stderr)
    if reserved is not None:
        raise ReservedPath(reserved["wheel"].partition("-")[0], f"bin/{reserved['name']}")
    clashing = clash({each.name: paths_in(files[each.sha256]) for each in lock.pypi_packages if each.sha256 in files})
    if clashing is not None:
        raise FileAndFolder(name_of(lock), *clashing)
    raise InstallFailed(name_of(lock), reasons)


def _system() -> tuple[str, str]:
    """What a wheel's tag may ask of this machine: the virtual package, and its version here."""
    import platform

    if platform.system() == "Darwin":
        return "__osx", ".".join(platform.mac_ver()[0].split(".")[:2])
    name, version = platform.libc_ver()
    return "__glibc", version if name == "glibc" else "0"


def _pylock(lock: Lock, packages: Sequence[LockedPackage], files: Mapping[str, Path]) -> str:
    """A PEP 751 document in which each package is one file on this machine."""
    return tomli_w.dumps(
        {
            "lock-version": "1.0",
            "created-by": "envlock",
            "requires-python": f"=={lock.python.series}.*",
            "packages": [
                {
                    "name": package.name,
                    "version": package.version,
                    "wheels": [{"path": str(files[package.sha256]), "hashes": {"sha256": package.sha256}}],
                }
                for package in packages
            ],
        }
    )
