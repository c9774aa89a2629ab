"""Errors of command lines, of the environments that they name, and of envlock itself."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from envlock.errors import ConfigError, EnvlockError, HydrateError, Location

_HINTS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check who owns it, and that you may read and write it"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "use another path"),
}
"""What helps where it is not more space."""


class BadUsage(ConfigError):
    """The command line does not parse, or its options do not go together."""

    code = "usage"

    def __init__(self, message: str, command: str, *, details: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, details=details, hint=hint or f"{command} --help")


class MachineRefused(EnvlockError):
    """The operating system refused something: the disk is full, a file is another user's, a path is too long."""

    code = "machine-refused"

    REASONS = frozenset(
        {
            *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
            *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
            *(errno.EACCES, errno.EPERM),
            *(errno.ENAMETOOLONG, errno.ELOOP),
        }
    )

    hint = "free some space (temporary files are in TMPDIR) or raise the limit, then run the command again"

    def __init__(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        super().__init__(
            reason[:1].lower() + reason[1:],
            locations=(Location(str(error.filename)),) if error.filename else (),
            hint=_HINTS.get(error.errno or 0),
        )


class NoWorkingFolder(ConfigError):
    """The folder that the command runs in was deleted."""

    code = "no-working-folder"
    message = "the working folder was deleted"
    hint = "change to a folder that exists, then run the command again"


class Defect(EnvlockError):
    """envlock itself failed. The traceback is in a file, for your report."""

    code = "defect"
    exit_status = 70

    message = "this is a defect in envlock: {reason}"
    hint = "report it, with that file"

    def __init__(self, reason: str, record: str) -> None:
        kept = f"the traceback is in {record}" if record else "the traceback could not be kept"
        super().__init__(details=(kept,), reason=reason)

    @classmethod
    def record(cls, error: Exception, *, command: str) -> Defect:
        """Make a Defect of an unexpected error, and write its traceback to a new file that only this user can read."""
        import os
        import platform
        import tempfile
        import traceback

        from envlock import __version__

        path = ""
        with contextlib.suppress(OSError):  # the defect is reported all the same
            handle, path = tempfile.mkstemp(prefix="envlock-defect-", suffix=".txt")
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"envlock {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
                file.write(f"command: {command}\n\n")
                file.writelines(traceback.format_exception(error))
        reason = str(error).partition("\n")[0]
        return cls(f"{type(error).__name__}: {reason}" if reason else type(error).__name__, path)


class NotHydrated(HydrateError):
    """The environment is not on this machine, and `--no-hydrate` forbids making it."""

    code = "not-hydrated"
    exit_status = 1
    message = "the environment of `{environment}` is not on this machine"
    details = ("it would be {prefix}",)
    hint = "run the command without `--no-hydrate`"

    def __init__(self, environment: str, prefix: Path) -> None:
        super().__init__(environment=environment, prefix=prefix)


class NamedEnvironmentGone(HydrateError):
    """The environment that has this name on this machine can no longer be used."""

    code = "named-environment-gone"
    message = "the environment called `{name}` cannot be used: {reason}"
    hint = "create it again: envlock create --name {name} --force, with what it was created from"

    def __init__(self, name: str, reason: str, repair: str = "") -> None:
        super().__init__(name=name, reason=reason, hint=repair or None)


class NoSuchCommand(ConfigError):
    """The command to run is neither in the environment nor on PATH."""

    code = "no-such-command"
    message = "`{command}` cannot be run: {reason}"
    details = ("the programs of the environment are in {scripts}",)
    hint = "add the package that has it to envlock.toml, then run `envlock lock`"

    def __init__(self, command: str, reason: str, scripts: str) -> None:
        super().__init__(command=command, reason=reason, scripts=scripts)


class AlreadyInShell(ConfigError):
    """The shell around this one is in the same environment already."""

    code = "already-in-shell"
    message = "this shell is in the environment of `{name}` already"
    hint = "leave it with `exit`; if this is not a shell of envlock, `unset ENVLOCK_SHELL`"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class NoShell(ConfigError):
    """The user's shell cannot be started."""

    code = "no-shell"
    message = "`{shell}` cannot be started: {reason}"
    details = ("it is the value of SHELL",)
    hint = "SHELL=/bin/sh envlock shell"

    def __init__(self, shell: str, reason: str) -> None:
        super().__init__(shell=shell, reason=reason)
