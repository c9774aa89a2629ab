"""What can go wrong with the command line itself."""

from __future__ import annotations

import contextlib
import errno

from envlock.errors import ConfigError, EnvlockError, Location


class BadUsage(ConfigError):
    """envlock was called in a way that it does not know."""

    code = "usage"

    def __init__(self, message: str, command: str, *, details: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, details=details, hint=hint or f"{command} --help")


class MachineRefused(EnvlockError):
    """The machine could not do what any program may ask of it: its disk is full, it has no more files to open."""

    code = "machine-refused"

    REASONS = frozenset(
        {
            *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
            *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
        }
    )

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"this machine refused: {error.strerror}",
            locations=(Location(str(error.filename)),) if error.filename else (),
            hint="make room where it says so (TMPDIR is where temporary files are made), or raise the limit; "
            "then run the command again",
        )


class Defect(EnvlockError):
    """envlock itself failed. The traceback is in a file, for whoever mends it."""

    code = "defect"
    exit_status = 70

    def __init__(self, reason: str, record: str) -> None:
        super().__init__(
            f"this is a defect in envlock: {reason}",
            details=(f"the traceback is in {record}" if record else "the traceback could not be kept",),
            hint="report it, with that file",
        )

    @classmethod
    def record(cls, error: Exception, *, command: str) -> Defect:
        """The defect that `error` is, its traceback written to a new file that only this user can read."""
        import os
        import platform
        import tempfile
        import traceback

        from envlock import __version__

        path = ""
        with contextlib.suppress(OSError):  # what went wrong is told nevertheless
            handle, path = tempfile.mkstemp(prefix="envlock-defect-", suffix=".txt")
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"envlock {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
                file.write(f"command: {command}\n\n")
                file.writelines(traceback.format_exception(error))
        reason = str(error).partition("\n")[0]
        return cls(f"{type(error).__name__}: {reason}" if reason else type(error).__name__, path)
