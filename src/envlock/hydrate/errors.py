"""Why an environment cannot be made on this machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.errors import DamageError, HydrateError, Location
from envlock.files import RECORD_BYTES, json_of, read_file
from envlock.model.url import host
from envlock.words import byte_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envlock.hydrate.machine_checks import Unmet
    from envlock.model.lock import LockedPackage

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = tuple(map(os.strerror, _FULL))


class ForeignArch(HydrateError):
    """The lock is for another arch than this machine's."""

    code = "foreign-arch"

    def __init__(self, environment: str, arch: str, host: str) -> None:
        super().__init__(
            f"`{environment}` for {arch} cannot be made here: this machine is {host}",
            details=("an environment is only ever made on the arch that it is locked for",),
            hint=f"take its lock for {host} (`envlock lock --arch {host}` makes it)",
        )


class DiskFull(HydrateError):
    """There is no room for the environment."""

    code = "disk-full"

    def __init__(self, path: Path, *, needed: int | None, available: int | None, details: tuple[str, ...] = ()) -> None:
        facts = []
        if needed:
            facts.append(f"the environment takes up to {byte_size(needed)}")
        if available is not None:
            facts.append(f"free there now: {byte_size(available)}")
        super().__init__(
            "no space is left for the environment",
            locations=(Location(str(path)),),
            details=(*facts, *details),
            hint="make room there, or set ENVLOCK_HOME to a folder on a larger disk",
        )


class HomeUnusable(HydrateError):
    """envlock's folder on this machine cannot be written."""

    code = "home-unusable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"envlock cannot write where it keeps environments: {reason}",
            locations=(Location(path),),
            hint="set ENVLOCK_HOME to a folder that you may write",
        )


class ChangedArtifact(DamageError):
    """A file on this machine is not what the lock says of it."""

    code = "changed-artifact"

    def __init__(self, name: str, version: str, path: Path, *, expected: str, found: str) -> None:
        super().__init__(
            f"the file of `{name}` {version} is not the one that was locked",
            locations=(Location(str(path)),),
            details=(f"locked: sha256 {expected}", f"found:  {found}"),
            hint=f"delete that file and run the command again, it is fetched anew: rm '{path}'",
        )


class InstallFailed(HydrateError):
    """uv could not make the environment."""

    code = "install-failed"

    def __init__(self, environment: str, reasons: tuple[str, ...]) -> None:
        super().__init__(
            f"uv could not make the environment of `{environment}`",
            details=reasons or ("it gave no reason",),
            hint="if the lock fits this machine, this is a defect: report it with this text",
        )


class ReservedPath(HydrateError):
    """A package has a file where the environment has its own: its interpreter, or what says what it is."""

    code = "reserved-path"

    def __init__(self, package: str, path: str) -> None:
        super().__init__(
            f"`{package}` brings `{path}`, which is the environment's own",
            details=("a package with such a file could pass for another environment or another Python",),
            hint=f"lock a release of `{package}` without that file, or leave the package out",
        )


class MisdescribedWheel(DamageError):
    """A wheel says other things of itself than its index said when it was locked."""

    code = "misdescribed-wheel"

    def __init__(self, package: LockedPackage, differences: tuple[str, ...]) -> None:
        super().__init__(
            f"`{package.name}` {package.version} is not what its index said of it when it was locked",
            details=(
                f"index: {package.index or host(package.url) or 'unknown'}",
                f"wheel: {package.filename}",
                *differences,
            ),
            hint=f'lock another release (`{package.name} = "!={package.version}"`), and tell whoever keeps the index '
            "that its metadata is not that of the file (PEP 658)",
        )
        self.differences = differences


class FileAndFolder(HydrateError):
    """One package brings a file where another brings a folder: they cannot be in one environment."""

    code = "file-and-folder"

    def __init__(self, environment: str, path: str, of_file: str, of_folder: str) -> None:
        super().__init__(
            f"`{of_file}` and `{of_folder}` cannot be in one environment, `{environment}`",
            details=(f"`{path}` is a file of `{of_file}` and a folder of `{of_folder}`",),
            hint=f"leave `{of_file}` or `{of_folder}` out, or lock other releases of them",
        )


class UnfitForMachine(HydrateError):
    """A locked wheel does not run on this machine, though its arch is right: the system is older than it asks for."""

    code = "unfit-for-machine"

    def __init__(self, environment: str, arch: str, filenames: tuple[str, ...], system: tuple[str, str]) -> None:
        name, version = system
        super().__init__(
            f"`{environment}` is locked for a newer system than this machine's",
            details=(*(f"{filename} does not run here" for filename in filenames), f"this machine: {name} {version}"),
            hint=f'set `{name} = "{version}"` in `[envlock.system-requirements.{arch}]` of envlock.toml, '
            "then `envlock lock`",
        )


class SystemNotMet(HydrateError):
    """This machine lacks what the lock asks for, such as a newer glibc or a GPU driver."""

    code = "system-not-met"

    def __init__(self, environment: str, arch: str, lacking: tuple[Unmet, ...]) -> None:
        super().__init__(
            f"`{environment}` asks for more than this machine has",
            details=tuple(
                f"{package}: {asked} is asked for, {here} is here"
                if here
                else f"{package}: {asked} is asked for, none is here"
                for package, asked, here in lacking
            ),
            hint=f"ask for less in `sys_packages` or `[envlock.system-requirements.{arch}]` and run `envlock lock`, "
            "or make it all the same with `--force`",
        )


class PrefixTooLong(HydrateError):
    """The environment would lie at a longer path than the packages have room for."""

    code = "prefix-too-long"

    def __init__(self, path: str, length: int, limit: int | None, details: tuple[str, ...] = ()) -> None:
        room = f"at most {limit} bytes" if limit else "less"
        super().__init__(
            f"the environment's path has {length} bytes, and its packages have room for {room}",
            locations=(Location(path),),
            details=details or ("binaries of conda packages name their own prefix, in a space of fixed length",),
            hint="export ENVLOCK_HOME=/short",
        )


class BadCondaArchive(HydrateError):
    """A verified archive of a conda package cannot be unpacked."""

    code = "bad-conda-archive"

    def __init__(self, filename: str, channel: str, reasons: tuple[str, ...]) -> None:
        super().__init__(
            f"`{filename}` cannot be unpacked, though it is the file that was locked",
            details=(f"channel: {channel}", *reasons),
            hint="the channel's own file is broken: lock another version or build of it, "
            "such as with `!=` in envlock.toml, then `envlock lock`",
        )


class LinkFailed(HydrateError):
    """The conda packages of an environment could not be linked."""

    code = "link-failed"

    def __init__(self, environment: str, reasons: tuple[str, ...]) -> None:
        super().__init__(
            f"the conda packages of `{environment}` could not be linked",
            details=reasons or ("no reason was given",),
            hint="if the lock fits this machine, this is a defect: report it with this text",
        )


class LinkScriptFailed(HydrateError):
    """A link script that was allowed to run failed."""

    code = "link-script-failed"

    def __init__(self, name: str, status: int, script: str, output: tuple[str, ...]) -> None:
        super().__init__(
            f"the link script of `{name}` failed with exit status {status}",
            locations=(Location(script),),
            details=output or ("it said nothing",),
            hint=f"take `{name}` out of `link-scripts` in envlock.toml if the package is of use without it",
        )


class UnfitPrefix(HydrateError):
    """The environment's path contains a character that breaks `PATH`, or the scripts of its packages."""

    code = "unfit-prefix"

    def __init__(self, path: str, characters: str) -> None:
        shown = (each if each.isprintable() else repr(each)[1:-1] for each in characters)
        super().__init__(
            f"the environment's path contains {' and '.join(f'`{each}`' for each in shown)}",
            locations=(Location(path),),
            details=(
                "PATH separates folders with `:`, so the environment's programs would not be found"
                if ":" in characters
                else "packages write the path into their scripts and programs, and this would break them",
            ),
            hint="export ENVLOCK_HOME=/short",
        )


class ActivationFailed(HydrateError):
    """What a package does when its environment is entered went wrong."""

    code = "activation-failed"

    def __init__(self, prefix: str, path: str, reason: str) -> None:
        self.path = path
        relative = str(Path(path).relative_to(prefix))
        package = owner_of(Path(prefix), relative)
        of_package = f" of {package}" if package else ""
        super().__init__(
            f"the environment cannot be entered: {relative}{of_package} failed, {reason}",
            locations=(Location(path),),
            hint="`envlock verify` tells whether the file is as it was installed; if it is, ask for another version of "
            f"{package.partition(' ')[0] or 'the package that brings it'} in envlock.toml, then `envlock lock`",
        )


class BadPythonArchive(DamageError):
    """A verified archive of a Python build is not laid out as one."""

    code = "bad-python-archive"

    def __init__(self, filename: str, reason: str) -> None:
        super().__init__(
            f"`{filename}` is not an archive of a Python build: {reason}",
            hint='lock again (`envlock lock --upgrade`), or set `python-from = "machine"` in envlock.toml',
        )


def storage_error(error: OSError, place: Path, wheels: Iterable[Path] = ()) -> HydrateError:
    """What an OSError met while writing below `place` means to the user."""
    path = str(error.filename or place)
    if error.errno in _FULL:
        return disk_full(place, wheels)
    return HomeUnusable(path, error.strerror or str(error))


def is_full(output: str) -> bool:
    """Whether the output of a program says that the disk, or a quota, is full."""
    return any(text in output for text in _FULL_TEXTS)


def disk_full(place: Path, wheels: Iterable[Path] = (), details: tuple[str, ...] = ()) -> DiskFull:
    """The error that there is no room at `place`, with what is free there and what the wheels take unpacked."""
    from envlock.hydrate.wheels import unpacked_size

    needed = sum(map(unpacked_size, wheels))
    try:
        status = os.statvfs(next(folder for folder in (place, *place.parents) if folder.exists()))
    except OSError:
        return DiskFull(place, needed=needed, available=None, details=details)
    return DiskFull(place, needed=needed, available=status.f_bavail * status.f_frsize, details=details)


def owner_of(prefix: Path, relative: str) -> str:
    """The conda package that brought a file, as `name version`; empty where none says so."""
    for record in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            found = json_of(read_file(record, RECORD_BYTES))
            if relative in found.get("files", ()):
                return f"{found['name']} {found['version']}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # noqa: PERF203  another one may say it
            continue
    return ""
