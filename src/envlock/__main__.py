"""The console script: find the command, run it, and render its error.

A command reads its own command line if that is plainly spelt. Everything else, `--help` included, goes through the
typer app, which takes longer to import than most commands take to run. Only `sys` is imported before that choice.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` alone would cost more than some commands take
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.errors import EnvlockError

_BROKEN_PIPE = 141
_ENDING = {"check", "export", "list", "lock", "path", "show", "tree", "why"}
"""The commands that leave nothing behind which Python would have to take down."""
_ENDED = {129: "hung up", 130: "interrupted", 143: "terminated"}
"""The message for each exit status, which is 128 and the number of the signal."""
_CODE_HOSTS = ("github", "gitlab", "sarif", "junit")
"""The formats of `check` in which an error is an entry too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (`sys.argv` without the program's name) and return its exit status.

    0 ok, 1 stale or missing, 2 configuration or usage, 3 damage, 4 resolve, 5 hydrate, 70 a defect in envlock,
    129 the terminal went away, 130 interrupted, 141 the reader of the output went away, 143 terminated.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    _prepare_streams()
    signals = _Signals()
    try:
        arguments = _named_first(arguments)
        if argv is None:
            signals.listen()
            _collect_rarely()
        status = _run(arguments)
        sys.stdout.flush()
        if argv is None and arguments[:1] and arguments[0] in _ENDING:
            _leave(status)
    except KeyboardInterrupt:
        return _ended(signals.status)
    except BrokenPipeError:
        _discard_output()
        return _BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  the one place where every failure ends: rendered, never a traceback
        if signals.came or _is_of_interrupt(error):
            return _ended(signals.status)
        return _report(_as_envlock_error(error, arguments), arguments)
    finally:
        if "envlock.cli.console" in sys.modules:
            sys.modules["envlock.cli.console"].print_as()
    return status


def _named_first(arguments: list[str]) -> list[str]:
    """The arguments, with the name of the command in front of the global options."""
    if not arguments or not arguments[0].startswith("-"):
        return arguments
    from envlock.cli.command import global_first

    first = global_first(arguments)
    return [*arguments[first : first + 1], *arguments[:first], *arguments[first + 1 :]]


class _Signals:
    """Whether a signal came that ends the command, and the exit status for it.

    SIGTERM (which CI sends to a cancelled job) and SIGHUP (the terminal went away) end a command like Ctrl-C: what it
    started ends too, and its temporary folders are deleted. A signal that the parent ignores, as `nohup` does, stays
    ignored.
    """

    def __init__(self) -> None:
        self.status = 130
        self.came = False

    def listen(self) -> None:
        """Raise KeyboardInterrupt at the first signal; a second one does not disturb the clean-up."""
        import _signal  # type: ignore[import-not-found]  # `signal` would bring `enum`

        def end(number: int, _: object) -> None:
            is_again, self.came = self.came, True
            if number != _signal.SIGINT and is_again:
                return
            self.status = 128 + number
            raise KeyboardInterrupt

        for each in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
            if _signal.getsignal(each) not in {_signal.SIG_IGN, None}:
                _signal.signal(each, end)


def _is_of_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C caused an error: a module that is being imported may raise another one from it."""
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


def _collect_rarely() -> None:
    """Collect garbage once in a hundred thousand new objects, not in seven hundred.

    Imports make tens of thousands of objects that all stay. Looking through them again and again is a tenth of what
    `check` costs.
    """
    import gc

    gc.set_threshold(100_000)


def _leave(status: int) -> None:
    """End the process at once: taking the interpreter down costs as much as verifying a dozen locks."""
    import os

    sys.stderr.flush()
    os._exit(status)


def _prepare_streams() -> None:
    """Make sure that all three streams are open, and that stdout and stderr can write any text."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        import os

        # A file that is opened later would get the number of a closed stream, and receive what is written there.
        while os.open(os.devnull, os.O_RDWR) <= 2:
            pass
        sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  for the life of the process
        sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Keep what the user chose if it cannot fail, such as `PYTHONIOENCODING=ascii:replace`.
        if hasattr(stream, "reconfigure") and stream.errors in {"strict", "surrogateescape", "surrogatepass"}:
            is_utf8 = stream.encoding.lower().replace("_", "-") in {"utf-8", "utf8"}
            stream.reconfigure(errors=_bytes_given_back() if is_utf8 else "backslashreplace")


def _bytes_given_back() -> str:
    """Register an error handler and return its name. It writes a path that is not UTF-8 as its bytes."""
    import codecs

    def spelt(error: UnicodeError) -> tuple[str | bytes, int]:
        assert isinstance(error, UnicodeEncodeError)
        first = error.object[error.start]
        is_byte = "\udc80" <= first <= "\udcff"
        return (bytes([ord(first) - 0xDC00]) if is_byte else f"\\u{ord(first):04x}"), error.start + 1

    codecs.register_error("envlock", spelt)
    return "envlock"


def _run(arguments: list[str]) -> int:
    from envlock.cli import PANELS, declared

    name, *words = arguments or [""]
    found = declared(name) if any(name in names for names in PANELS.values()) else None
    if found is not None:
        line = found.read(words)
        if line is not None:
            return line.run()
    elif name in {"--version", "-V"}:
        from envlock import __version__

        sys.stdout.write(f"envlock {__version__}\n")
        return 0
    if not (arguments == [] and _is_completion()):
        from envlock.cli.help_ import print_help, words_of_help

        wanted = words_of_help(arguments)
        if wanted is not None:
            print_help(wanted)
            return 0 if {"-h", "--help"}.intersection(arguments) else 2
    from envlock.cli.app import run

    return run(arguments)


def _is_completion() -> bool:
    """Whether a shell asks what could come next."""
    import os

    return "_ENVLOCK_COMPLETE" in os.environ


def _as_envlock_error(error: Exception, arguments: list[str]) -> EnvlockError:
    from envlock.errors import EnvlockError

    if isinstance(error, EnvlockError):
        return error
    from envlock.cli.errors import Defect, MachineRefused, NoWorkingFolder
    from envlock.files import NotPlain

    if isinstance(error, NotPlain):
        from envlock.config.errors import UnsafeFile

        return UnsafeFile(str(error.filename), error.reason)

    if isinstance(error, FileNotFoundError) and _is_working_folder_gone():
        return NoWorkingFolder()
    if isinstance(error, OSError) and error.errno in MachineRefused.REASONS:
        return MachineRefused(error)
    return Defect.record(error, command=arguments[0] if arguments else "")


def _is_working_folder_gone() -> bool:
    import os

    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return True
    return False


def _report(error: EnvlockError, arguments: list[str]) -> int:
    try:
        if _wants(arguments, "--json", "--format=json"):
            from envlock.cli.console import write_json

            write_json({"error": error.as_dict()})
        elif style := next((each for each in _CODE_HOSTS if _wants(arguments, f"--format={each}")), ""):
            from envlock.cli.check_formats import write_error

            sys.stdout.write(write_error(style, error, arguments))
        else:
            from envlock.cli.console import print_as, show_error

            for color in ("always", "never"):  # also where the command line could not be read
                if _wants(arguments, f"--color={color}"):
                    print_as(color=color)
            show_error(error)
        sys.stdout.flush()
    except OSError:  # the output is full or gone: only the status is left
        _discard_output()
    return error.exit_status


def _wants(arguments: list[str], *spellings: str) -> bool:
    """Whether an option is given, also where a wrong one kept the command line from being read: errors heed it."""
    if arguments[:1] == ["run"]:  # what it starts may have such an option
        return False
    if "--" in arguments:  # what follows is no option
        arguments = arguments[: arguments.index("--")]
    pairs = (f"{option}={value}" for option, value in zip(arguments, arguments[1:], strict=False))  # noqa: RUF007  itertools would be one import more
    return not {*arguments, *pairs}.isdisjoint(spellings)


def _discard_output() -> None:
    """Give the interpreter's flush at exit a place to write to."""
    import os

    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
