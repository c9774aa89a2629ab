"""What can go wrong with the command line itself."""

from __future__ import annotations

from envlock.errors import ConfigError, EnvlockError


class BadUsage(ConfigError):
    """envlock was called in a way that it does not know."""

    code = "usage"

    def __init__(self, message: str, command: str) -> None:
        super().__init__(message, hint=f"{command} --help")


class Defect(EnvlockError):
    """envlock itself failed. The traceback is in a file, for whoever mends it."""

    code = "defect"
    exit_status = 70

    def __init__(self, reason: str, record: str) -> None:
        super().__init__(
            f"this is a defect in envlock: {reason}",
            details=(f"the traceback is in {record}",),
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

        handle, path = tempfile.mkstemp(prefix="envlock-defect-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"envlock {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
            file.write(f"command: {command}\n\n")
            file.writelines(traceback.format_exception(error))
        reason = str(error).partition("\n")[0]
        return cls(f"{type(error).__name__}: {reason}" if reason else type(error).__name__, path)
