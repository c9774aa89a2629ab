"""The console script: finds the command, runs it, and renders what went wrong, once.

A command reads its own options where they are plainly spelt. Everything else, each `--help` included, goes through
the typer app, which takes longer to import than most commands take to run. Nothing but `sys` is imported before that
choice is made.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` alone would cost more than some commands take
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.cli.command import Command, Group
    from envlock.errors import EnvlockError

_BROKEN_PIPE = 141
_ENDED = {129: "hung up", 130: "interrupted", 143: "terminated"}
"""What is said, by exit status: 128 and the number of the signal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (`sys.argv` without the program's name) and return its exit status.

    0 all is well, 1 stale or missing, 2 configuration or usage, 3 damage, 4 resolve, 5 hydrate, 70 a defect in envlock,
    129 the terminal went away, 130 interrupted, 141 the reader of our output went away, 143 terminated.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    _prepare_streams()
    told = _Told()
    try:
        if argv is None:
            told.listen()
        status = _run(arguments)
        sys.stdout.flush()
        if argv is None and arguments[0:1] in (["check"], ["lock"], ["path"], ["show"]):
            _leave(status)
    except KeyboardInterrupt:
        return _ended(told.status)
    except BrokenPipeError:
        _discard_output()
        return _BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  the one place where every failure ends: rendered, never a traceback
        if told.is_told or _is_of_interrupt(error):
            return _ended(told.status)
        return _report(_as_envlock_error(error, arguments), arguments)
    return status


class _Told:
    """Whether a signal came that ends a command, and what the exit status is then.

    SIGTERM (as CI sends it to a job that is cancelled) and SIGHUP (the terminal went away) end a command as Ctrl-C
    does: what it started ends too, and the folders that it made go. One that the parent ignores, as `nohup` does, stays
    ignored.
    """

    def __init__(self) -> None:
        self.status = 130
        self.is_told = False

    def listen(self) -> None:
        """From now on a signal raises KeyboardInterrupt, once: a second one does not disturb the end."""
        import _signal  # type: ignore[import-not-found]  # `signal` would bring `enum`

        def end(number: int, _: object) -> None:
            is_again, self.is_told = self.is_told, True
            if number != _signal.SIGINT and is_again:
                return
            self.status = 128 + number
            raise KeyboardInterrupt

        for each in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
            if _signal.getsignal(each) not in {_signal.SIG_IGN, None}:
                _signal.signal(each, end)


def _is_of_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C lies behind an error: modules that are being imported make another one of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _ended(status: int) -> int:
    try:
        sys.stderr.write(f"{_ENDED[status]}\n")
        sys.stderr.flush()
        sys.stdout.flush()
    except OSError:  # the terminal is gone
        _discard_output()
    return status


def _leave(status: int) -> None:
    """End the process as it is: to take an interpreter down costs as much as a dozen locks to prove."""
    import os

    sys.stderr.flush()
    os._exit(status)


def _prepare_streams() -> None:
    """Give the program all three streams, and an output that takes every text, whatever it was started with."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        import os

        # Files would get the numbers of closed streams, and whatever writes there would write into them.
        while os.open(os.devnull, os.O_RDWR) <= 2:
            pass
        sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  as long as we live
        sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # What a user chose that cannot fail, such as `PYTHONIOENCODING=ascii:replace`, stays.
        if hasattr(stream, "reconfigure") and stream.errors in {"strict", "surrogateescape", "surrogatepass"}:
            is_utf8 = stream.encoding.lower().replace("_", "-") in {"utf-8", "utf8"}
            stream.reconfigure(errors=_bytes_given_back() if is_utf8 else "backslashreplace")


def _bytes_given_back() -> str:
    """The name of an error handler: a path that is not UTF-8 is given back as its bytes, what has none is spelt out."""
    import codecs

    def spelt(error: UnicodeError) -> tuple[str | bytes, int]:
        assert isinstance(error, UnicodeEncodeError)
        first = error.object[error.start]
        is_byte = "\udc80" <= first <= "\udcff"
        return (bytes([ord(first) - 0xDC00]) if is_byte else f"\\u{ord(first):04x}"), error.start + 1

    codecs.register_error("envlock", spelt)
    return "envlock"


def _run(arguments: list[str]) -> int:
    from envlock.cli import PANELS

    name = arguments[0] if arguments else ""
    if any(name in names for names in PANELS.values()):
        declared: Command | Group = getattr(__import__(f"envlock.cli.{name}", fromlist=[name]), name)
        line = declared.read(arguments[1:])
        if line is not None:
            return line.command.run(line)
    from envlock.cli.app import run

    return run(arguments)


def _own(arguments: list[str]) -> list[str]:
    """Without what stands after `--`, which belongs to the command that `run` starts."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _as_envlock_error(error: Exception, arguments: list[str]) -> EnvlockError:
    from envlock.errors import EnvlockError

    if isinstance(error, EnvlockError):
        return error
    from envlock.cli.errors import Defect, MachineRefused
    from envlock.files import NotPlain

    if isinstance(error, NotPlain):
        from envlock.config.errors import UnsafeFile

        return UnsafeFile(str(error.filename), error.reason)

    if isinstance(error, OSError) and error.errno in MachineRefused.REASONS:
        return MachineRefused(error)
    return Defect.record(error, command=arguments[0] if arguments else "")


def _report(error: EnvlockError, arguments: list[str]) -> int:
    try:
        if _wants(_own(arguments), "json"):
            from envlock.cli.console import write_json

            write_json({"error": error.as_dict()})
        elif _wants(_own(arguments), "github"):
            from envlock.cli.check import error_as_github

            sys.stdout.write(error_as_github(error, arguments))
        else:
            from envlock.cli.console import show_error

            show_error(error)
        sys.stdout.flush()
    except OSError:  # of the output, full as it may be: the status is all that can still be told
        _discard_output()
    return error.exit_status


def _wants(own: list[str], style: str) -> bool:
    return any(
        each in {f"--{style}", f"--format={style}"} or own[place : place + 2] == ["--format", style]
        for place, each in enumerate(own)
    )


def _discard_output() -> None:
    """Let the interpreter's own flush at exit find a place to write to."""
    import os

    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
