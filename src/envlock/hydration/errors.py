"""Why an environment cannot be made, or entered, on this machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from envlock.errors import DamageError, HydrateError, Location
from envlock.files import RECORD_BYTES, json_of, read_file
from envlock.model.url import host
from envlock.words import byte_size, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from envlock.hydration.machine_checks import Unmet
    from envlock.model.lock import LockedPackage

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = tuple(map(os.strerror, _FULL))


# The machine.


class ForeignArch(HydrateError):
    """The lock is for another arch than this machine's."""

    code = "foreign-arch"
    message = "`{environment}` is locked for {arch}, and this machine is {host}"
    details = ("an environment can be made only on the arch that it is locked for",)
    hint = "use its lock for {host}, which `envlock lock --arch {host}` makes"


class SystemNotMet(HydrateError):
    """This machine lacks what the lock requires, such as a newer glibc or a GPU driver."""

    code = "system-not-met"
    message = "this machine lacks what `{environment}` requires"
    hint = (
        "require less in `sys_packages` or `[envlock.system-requirements.{arch}]` and run `envlock lock`, "
        "or make it anyway with `--force`"
    )

    def __init__(self, environment: str, arch: str, lacking: tuple[Unmet, ...]) -> None:
        details = tuple(f"{name}: {required} is required, {here or 'none'} is here" for name, required, here in lacking)
        super().__init__(environment=environment, arch=arch, details=details)


class UnfitForMachine(HydrateError):
    """A locked wheel does not run on this machine, though its arch is right: the system is too old for it."""

    code = "unfit-for-machine"
    message = "`{environment}` is locked for a newer system than this machine's"
    hint = 'set `{name} = "{version}"` in `[envlock.system-requirements.{arch}]` of envlock.toml, then `envlock lock`'

    def __init__(self, environment: str, arch: str, filenames: tuple[str, ...], system: tuple[str, str]) -> None:
        name, version = system
        details = (*(f"{filename} does not run here" for filename in filenames), f"this machine: {name} {version}")
        super().__init__(environment=environment, arch=arch, name=name, version=version, details=details)


class DiskFull(HydrateError):
    """There is no room for the environment."""

    code = "disk-full"
    message = "no space is left for the environment"
    hint = "make room with `envlock env gc --packages --delete`, or set ENVLOCK_HOME to a folder on a larger disk"

    def __init__(self, path: Path, *, needed: int | None, available: int | None, details: tuple[str, ...] = ()) -> None:
        facts = []
        if needed:
            facts.append(f"the environment takes up to {byte_size(needed)}")
        if available is not None:
            facts.append(f"free there now: {byte_size(available)}")
        super().__init__(locations=(Location(str(path)),), details=(*facts, *details))


class HomeUnusable(HydrateError):
    """envlock cannot write to its folder on this machine."""

    code = "home-unusable"
    message = "envlock cannot write where it keeps environments: {reason}"
    hint = "set ENVLOCK_HOME to a folder that you may write"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason=reason, locations=(Location(path),))


# The place of the prefix.


class PrefixTooLong(HydrateError):
    """The environment's path is longer than its packages have room for."""

    code = "prefix-too-long"
    message = "the environment's path has {length} bytes, and its packages have room for {room}"
    hint = "export ENVLOCK_HOME=/short"

    def __init__(self, path: str, length: int, limit: int | None, details: tuple[str, ...] = ()) -> None:
        super().__init__(
            length=length,
            room=f"at most {limit} bytes" if limit else "less",
            locations=(Location(path),),
            details=details or ("binaries of conda packages contain their own prefix, in a field of fixed length",),
        )


class UnfitPrefix(HydrateError):
    """The environment's path contains a character that breaks `PATH`, or the scripts of its packages."""

    code = "unfit-prefix"
    message = "the environment's path contains {shown}"
    hint = "export ENVLOCK_HOME=/short"

    def __init__(self, path: str, characters: str) -> None:
        shown = (each if each.isprintable() else repr(each)[1:-1] for each in characters)
        reason = (
            "PATH separates folders with `:`, so the environment's programs would not be found"
            if ":" in characters
            else "packages write the path into their scripts and programs, and this would break them"
        )
        super().__init__(shown=listed(f"`{each}`" for each in shown), locations=(Location(path),), details=(reason,))


# Files that are not what they should be.


class ChangedArtifact(DamageError):
    """A file on this machine is not the one that was locked."""

    code = "changed-artifact"
    message = "the file of `{name}` {version} is not the one that was locked"
    details = ("locked: sha256 {expected}", "found:  {found}")
    hint = "delete the file and run the command again to download a new copy: rm '{path}'"

    def __init__(self, name: str, version: str, path: Path, *, expected: str, found: str) -> None:
        super().__init__(
            name=name, version=version, path=path, expected=expected, found=found, locations=(Location(str(path)),)
        )


class MisdescribedWheel(DamageError):
    """A wheel's own metadata differs from what its index said when it was locked."""

    code = "misdescribed-wheel"
    message = "`{package.name}` {package.version} is not what its index said when it was locked"
    hint = (
        'lock another release (`{package.name} = "!={package.version}"`), and tell the maintainers of the index '
        "that its metadata differs from the file's (PEP 658)"
    )

    def __init__(self, package: LockedPackage, differences: tuple[str, ...]) -> None:
        self.differences = differences
        where = f"index: {package.index or host(package.url) or 'unknown'}"
        super().__init__(package=package, details=(where, f"wheel: {package.filename}", *differences))


class BadCondaArchive(HydrateError):
    """A conda package is the locked file, but cannot be unpacked."""

    code = "bad-conda-archive"
    message = "`{filename}` cannot be unpacked, though it is the file that was locked"
    hint = (
        "the file is broken in its channel: lock another version or build, such as with `!=` in envlock.toml, "
        "then `envlock lock`"
    )

    def __init__(self, filename: str, channel: str, reasons: tuple[str, ...]) -> None:
        super().__init__(filename=filename, details=(f"channel: {channel}", *reasons))


class BadPythonArchive(DamageError):
    """The archive of a Python build contains no interpreter that runs here."""

    code = "bad-python-archive"
    message = "`{filename}` is not an archive of a Python build: {reason}"
    hint = 'lock again (`envlock lock --upgrade`), or set `python-from = "machine"` in envlock.toml'


class ReservedPath(HydrateError):
    """A package contains a file that belongs to the environment: its interpreter, its receipt, its records."""

    code = "reserved-path"
    message = "`{package}` contains `{path}`, which belongs to the environment itself"
    details = ("a package with such a file could pass for another environment or another Python",)
    hint = "lock a release of `{package}` without that file, or remove the package"


class FileAndFolder(HydrateError):
    """A path is a file in one package and a folder in another: they cannot be in one environment."""

    code = "file-and-folder"
    message = "`{of_file}` and `{of_folder}` cannot be in one environment, `{environment}`"
    details = ("`{path}` is a file in `{of_file}` and a folder in `{of_folder}`",)
    hint = "remove `{of_file}` or `{of_folder}`, or lock other releases of them"


# Installing, and entering.


class InstallFailed(HydrateError):
    """uv could not make the environment."""

    code = "install-failed"
    message = "uv could not make the environment of `{environment}`"
    hint = "if the lock fits this machine, this is a defect: report it with this text"

    def __init__(self, environment: str, reasons: tuple[str, ...]) -> None:
        super().__init__(environment=environment, details=reasons or ("it gave no reason",))


class LinkFailed(HydrateError):
    """The conda packages of an environment could not be linked."""

    code = "link-failed"
    message = "the conda packages of `{environment}` could not be linked"
    hint = "if the lock fits this machine, this is a defect: report it with this text"

    def __init__(self, environment: str, reasons: tuple[str, ...]) -> None:
        super().__init__(environment=environment, details=reasons or ("no reason was given",))


class LinkScriptFailed(HydrateError):
    """A link script that was allowed to run failed."""

    code = "link-script-failed"
    message = "the link script of `{name}` failed with exit status {status}"
    hint = "remove `{name}` from `link-scripts` in envlock.toml if the package is of use without it"

    def __init__(self, name: str, status: int, script: str, output: tuple[str, ...]) -> None:
        super().__init__(
            name=name, status=status, locations=(Location(script),), details=output or ("it printed nothing",)
        )


class ActivationFailed(HydrateError):
    """An activation script, or a file of variables, of a package in the environment failed."""

    code = "activation-failed"
    message = "cannot enter the environment: {relative}{of_package} failed, {reason}"
    hint = (
        "`envlock verify` says whether the file is as it was installed; if it is, require another version of "
        "{culprit} in envlock.toml, then `envlock lock`"
    )

    def __init__(self, prefix: str, path: str, reason: str) -> None:
        self.path = path
        relative = str(Path(path).relative_to(prefix))
        package = owner_of(Path(prefix), relative)
        super().__init__(
            relative=relative,
            of_package=f" of {package}" if package else "",
            reason=reason,
            culprit=package.partition(" ")[0] or "the package that brings it",
            locations=(Location(path),),
        )


def storage_error(error: OSError, place: Path, wheels: Iterable[Path] = ()) -> HydrateError:
    """The error for an OSError met while writing below `place`."""
    path = str(error.filename or place)
    if error.errno in _FULL:
        return disk_full(place, wheels)
    return HomeUnusable(path, error.strerror or str(error))


def is_full(output: str) -> bool:
    """Whether the output of a program says that the disk, or a quota, is full."""
    return any(text in output for text in _FULL_TEXTS)


def disk_full(place: Path, wheels: Iterable[Path] = (), details: tuple[str, ...] = ()) -> DiskFull:
    """The error for a full disk at `place`: with what is free there, and what the wheels take unpacked."""
    from envlock.hydration.wheels import unpacked_size

    needed = sum(map(unpacked_size, wheels))
    try:
        status = os.statvfs(next(folder for folder in (place, *place.parents) if folder.exists()))
    except OSError:
        return DiskFull(place, needed=needed, available=None, details=details)
    return DiskFull(place, needed=needed, available=status.f_bavail * status.f_frsize, details=details)


def owner_of(prefix: Path, relative: str) -> str:
    """The conda package that a file belongs to, as `name version`; empty if none lists it."""
    for record in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            found = json_of(read_file(record, RECORD_BYTES))
            if relative in found.get("files", ()):
                return f"{found['name']} {found['version']}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # noqa: PERF203  another one may say it
            continue
    return ""
