"""The real command in a process of its own that is forked from one that has imported everything: all but its start-up.

An interpreter that starts and imports costs more than most commands then do. So each test process keeps a parent of
commands (`python -m tests.forked FD`), which forks a process for each: with the folder, the variables, the mask and the
streams that it is told, it calls what the console script calls, and ends as that does.

`ENVLOCK_TESTS_START=1` starts each command in a new process instead, as does any variable that an interpreter
reads when it starts.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import re
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tests.servers.clouds import read_models_once

ROOT = Path(__file__).resolve().parent.parent
MAY_FORK = sys.platform == "linux" and "ENVLOCK_TESTS_START" not in os.environ
"""Whether commands are forked at all: read before a test has an environment of its own."""

_OF_CLOUDS = {
    "AWS_ACCESS_KEY_ID": "s3fs",
    "AZURE_STORAGE_ACCOUNT_NAME": "adlfs",
    "NO_GCE_CHECK": "gcsfs",
}  # not for those who never need them
_LENGTH = struct.Struct("!I")
_OF_MACHINE: list[str] = []
"""The interpreters of this machine, which no test made."""
_AT_START = ("PYTHON", "LANG", "LC_", "FSSPEC_", "LD_", "MALLOC_")


class Forks:
    """What a test process knows of its parent of commands."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._variables = dict(os.environ)
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno()), *_OF_MACHINE],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def takes(self, variables: Mapping[str, str]) -> bool:
        """Whether an interpreter that starts with these variables would be as the parent is."""
        return _at_start(variables) == _at_start(self._variables)

    def run(
        self, arguments: Sequence[str], cwd: Path, variables: Mapping[str, str], timeout: float, code: str = ""
    ) -> tuple[int, str, str]:
        """The exit status of the command with these arguments (negative: a signal's number), and what it said.

        With `code`, that is run in the command's place, as `python -c` would.
        """
        told = [list(arguments), str(cwd), dict(variables)]
        (out, out_end), (error, error_end), (status, status_end) = (os.pipe() for _ in range(3))
        given = [os.open(os.devnull, os.O_RDONLY), out_end, error_end, status_end]
        try:
            with self._guard:
                mask = os.umask(0)
                os.umask(mask)
                asked = json.dumps([*told, mask, code]).encode("utf-8", "surrogateescape")
                socket.send_fds(self._control, [_LENGTH.pack(len(asked))], given)
                self._control.sendall(asked)
        finally:
            for each in given:
                os.close(each)
        heard = _read_all({out: b"", error: b"", status: b""}, timeout, arguments)
        return int(heard[status]), heard[out].decode(), heard[error].decode()

    def close(self) -> None:
        """End the parent, and see that it is gone."""
        self._control.close()
        self._process.wait()


def run_python(code: str, *arguments: str, cwd: Path = ROOT, timeout: float = 120) -> tuple[int, str, str]:
    """What `python -c CODE ARGUMENTS...` comes to, with envlock imported already."""
    if wanted(os.environ):
        return forks().run(arguments, cwd, os.environ, timeout, code)
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    return done.returncode, done.stdout, done.stderr


def run_module(name: str, *arguments: str) -> str:
    """What `python -m NAME ARGUMENTS...` prints, with envlock imported already. It has to end well."""
    code = "import runpy, sys; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
    status, out, error = run_python(code, name, *arguments)
    assert status == 0, error
    return out


@cache
def forks() -> Forks:
    """The one of this process."""
    return Forks()


def wanted(variables: Mapping[str, str]) -> bool:
    """Whether a command with these variables may be forked."""
    return MAY_FORK and forks().takes(variables)


def _at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(_AT_START)}


def _read_all(heard: dict[int, bytes], timeout: float, arguments: Sequence[str]) -> dict[int, bytes]:
    """Everything that comes out of these pipes, which are closed then."""
    end = time.monotonic() + timeout
    with selectors.DefaultSelector() as ready:
        for each in heard:
            ready.register(each, selectors.EVENT_READ)
        try:
            while ready.get_map():
                if not (events := ready.select(end - time.monotonic())) and time.monotonic() > end:
                    raise subprocess.TimeoutExpired(list(arguments), timeout)
                for key, _ in events:
                    if data := os.read(key.fd, 1 << 16):
                        heard[key.fd] += data
                    else:
                        ready.unregister(key.fd)
        finally:
            for each in heard:
                os.close(each)
    return heard


def never_sync() -> None:
    """Let no file be waited for until it is on the disk, as a loss of power would want it.

    No test loses power, and to sync one file, a disk first writes all that were written before it.
    """
    os.fsync = lambda handle: None  # type: ignore[misc]


def ask_interpreters_once(paths: Sequence[str] = ()) -> None:
    """Let each interpreter of this machine be asked for its version once, not for each home of envlock that a test has.

    One that a test makes is asked as ever. Either takes a process that costs more than what most tests are about. Those
    of this machine are the `paths`, or what is found before a test has an environment of its own.
    """
    interpreters = importlib.import_module("envlock.interpreters")
    # No home is looked into, which may be one that envlock refuses.
    _OF_MACHINE.extend(paths or [each.path for each in interpreters._candidates(Path(os.devnull))])
    ask = interpreters._run
    answers: dict[tuple[str, int, int], tuple[str, str]] = {}

    def ask_once(path: str) -> tuple[str, str]:
        if path not in _OF_MACHINE:
            return ask(path)  # type: ignore[no-any-return]
        status = os.stat(path)  # noqa: PTH116
        key = path, status.st_mtime_ns, status.st_size
        answer = answers.get(key) or ask(path)
        if not answer[1]:
            answers[key] = answer
        return answer

    interpreters._run = ask_once


# The parent.


class Patterns:
    """The regular expressions that commands compiled, which the parent compiles as well: those that follow have them.

    What envlock compiles when it first needs it would else be compiled in each process again: a tenth of what most
    commands do. What was compiled once alone may be about a test's own folder, and is not kept.
    """

    def __init__(self) -> None:
        self._once: set[tuple[str, int]] = set()
        self._noted, self._note = os.pipe()
        os.set_blocking(self._noted, False)
        os.set_blocking(self._note, False)
        vars(re)["_MAXCACHE"] = 4096  # imports alone fill what Python keeps

    def learn(self) -> None:
        """In the parent: compile what was compiled in two of its children."""
        try:
            notes = os.read(self._noted, 1 << 20)
        except BlockingIOError:
            return
        for line in notes.splitlines():
            pattern, flags = json.loads(line)
            if (pattern, flags) in self._once:
                re.compile(pattern, flags)
            self._once.add((pattern, flags))

    def note(self) -> None:
        """In a child: note from here on what it compiles."""
        module: Any = importlib.import_module("re._compiler" if sys.version_info >= (3, 11) else "sre_compile")
        compile_pattern = module.compile

        def noting(pattern: Any, flags: int = 0) -> Any:
            compiled = compile_pattern(pattern, flags)
            line = json.dumps([pattern, int(flags)]).encode() + b"\n" if isinstance(pattern, str) else b""
            if 0 < len(line) <= select.PIPE_BUF:  # which is written whole or not at all
                with suppress(OSError):
                    os.write(self._note, line)
            return compiled

        module.compile = noting


def serve(control: socket.socket, interpreters: Sequence[str]) -> None:
    """Fork a process for each request, and tell how each ended, until nobody is there to ask."""
    never_sync()
    patterns = Patterns()
    _import_everything()
    _ask_interpreters(interpreters)
    gc.collect()
    gc.freeze()
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end, and so does this
    signal.set_wakeup_fd(wake.fileno())
    statuses: dict[int, int] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        ready.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is woken:
                    woken.recv(1 << 16)
                    _tell(statuses)
                    continue
                request = _receive(control)
                if request is None:
                    return
                asked, given = request
                for module in (module for name, module in _OF_CLOUDS.items() if name in asked[2]):
                    if module in sys.modules:  # to look at all would write to what is shared with the children
                        continue
                    importlib.import_module(module)
                    if module == "s3fs":
                        read_models_once()
                patterns.learn()
                gc.freeze()
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    ready.close()
                    for each in (control, wake, woken):
                        each.close()
                    for each in (*statuses.values(), given[3]):
                        os.close(each)
                    patterns.note()
                    _be(asked, given[:3])
                statuses[pid] = given.pop()
                for each in given:
                    os.close(each)


def _import_everything() -> None:
    import envlock

    for module in pkgutil.walk_packages(envlock.__path__, "envlock."):
        if not module.name.endswith(("_process", ".reactivate", "__main__", ".azure", ".gcs", ".s3", ".conda_lock")):
            importlib.import_module(module.name)
    for name in ("envlock.__main__", "httpx", "rich.console", "rich.progress", "tomli", "tomlkit", "typer.testing"):
        importlib.import_module(name)
    importlib.import_module("envlock.certificates").trusted()


def _ask_interpreters(paths: Sequence[str]) -> None:
    """Ask those of this series, which commands that make environments look at."""
    if not paths:
        return
    ask_interpreters_once(paths)
    interpreters = importlib.import_module("envlock.interpreters")
    for path in paths:
        real = os.path.realpath(path)
        series = {interpreters._series(os.path.basename(each)) for each in (path, real)} - {""}  # noqa: PTH119
        if series <= {"{}.{}".format(*sys.version_info)} and not interpreters._refusal(real):
            interpreters._run(path)


def _receive(control: socket.socket) -> tuple[Any, list[int]] | None:
    length, given, _, _ = socket.recv_fds(control, _LENGTH.size, 4)
    if not length:
        return None
    missing = _LENGTH.unpack(length)[0]
    data = b""
    while len(data) < missing:
        data += control.recv(missing - len(data))
    return json.loads(data.decode("utf-8", "surrogateescape")), given


def _tell(statuses: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        pipe = statuses.pop(pid)
        os.write(pipe, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(pipe)


def _be(asked: Any, streams: Sequence[int]) -> None:
    """Be the command: never returns."""
    arguments, cwd, variables, mask, code = asked
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    os.umask(mask)
    time.tzset()
    take_streams(streams)
    sys.argv = ["-c" if code else str(Path(sys.executable).with_name("envlock")), *arguments]
    from envlock.__main__ import main

    def run() -> int:
        if not code:
            return main()
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        return 0

    end_as_python(run)


def take_streams(streams: Sequence[int]) -> None:
    """Let these be what an interpreter that starts would find as its standard streams."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    tempfile.tempdir = None
    said = {"encoding": sys.stdout.encoding, "errors": sys.stdout.errors}
    sys.stdin = open(0, **said, closefd=False)  # noqa: SIM115  as long as the process lives
    sys.stdout = open(1, "w", **said, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding=sys.stderr.encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115


def end_as_python(run: Callable[[], int]) -> NoReturn:
    """Run this, and end the process with its status, as an interpreter does whose program is this."""
    status = 1
    try:
        status = run()
    except SystemExit as ended:
        if not isinstance(ended.code, (int, type(None))):
            print(ended.code, file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  the interpreter itself would print it
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:
                stream.flush()
        os._exit(status & 0xFF)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
