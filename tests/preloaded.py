"""Modules that take long to import, run in processes that are forked from one that has imported them.

conda-lock and pip-tools take a second or two to import, and their adapters start a process for each answer. Where a
test is about the answer, `preloaded_popen` starts them: there is a process as ever, with the streams, the folder and
the variables that it is given, and it ends when it is told to.

Three processes take part: the test's, the parent that has imported the module (`serve`), and for each start a small one
(`client`) that has the parent fork, hands its own streams on, and ends as what was forked does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

TYPE_CHECKING = False  # `typing` takes longer to import than a client takes
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

_SIZE = 8


# The test's process.


class Parent:
    """The parent of one module's processes, started when the first is wanted; `close` ends it."""

    def __init__(self, module: str, folder: Path, *also: str) -> None:
        self.module = module
        self._imported = (module, *also)
        self._address = folder / f"{module}.socket"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        """What to start in the place of `python -m MODULE ARGUMENTS`."""
        import subprocess

        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.preloaded", "--serve", str(self._address), *self._imported],
                cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),  # noqa: PTH100, PTH120
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"ready\n"
        return [sys.executable, "-I", "-S", __file__, str(self._address), *arguments]

    def close(self) -> None:
        """End the parent, and see that it is gone."""
        if self._process is not None:
            self._process.communicate()


def preloaded_popen(parents: Mapping[tuple[str, ...], Parent]) -> type[subprocess.Popen[Any]]:
    """A `Popen` that has a parent fork each command that begins with these words."""
    import subprocess

    class PreloadedPopen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: Any, *rest: Any, **options: Any) -> None:
            for words, parent in parents.items():
                if tuple(command[: len(words)]) == words:
                    command = parent.command(*command[len(words) :])
                    break
            super().__init__(command, *rest, **options)

    return PreloadedPopen


def of_module(parent: Parent) -> tuple[str, str, str]:
    """How the commands begin that start the parent's module."""
    return sys.executable, "-m", parent.module


# The process that is started.


def client(address: str, arguments: list[str]) -> int:
    """Have the parent at this address fork, and wait for the end; returns a status as `os.waitpid` does."""
    variables = [f"{name}={value}" for name, value in os.environ.items()]
    asked = "\0".join([os.getcwd(), str(len(arguments)), *arguments, *variables])  # noqa: PTH109
    data = asked.encode("utf-8", "surrogateescape")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [len(data).to_bytes(_SIZE, "big")], [0, 1, 2])
        connection.sendall(data)
        pid = int.from_bytes(_read(connection, _SIZE), "big")
        signal.signal(signal.SIGTERM, lambda number, _: os.kill(pid, number))  # the end comes from there
        return int.from_bytes(_read(connection, _SIZE), "big")


def _end_as(status: int) -> None:
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the parent is gone")
        data += more
    return data


# The parent.


def serve(address: str, module: str, *also: str) -> None:
    """Fork a process for each client, until the test's process is gone."""
    import gc
    import importlib
    import select

    for each in ("tests.forked", module, *also):
        importlib.import_module(each)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    listening.close()
                    _fork_for(connection, module)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _fork_for(connection: socket.socket, module: str) -> None:
    """Fork what a client wants, tell it the number and, in the end, the status; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    size, streams, _, _ = socket.recv_fds(connection, _SIZE, 3)
    data = _read(connection, int.from_bytes(size, "big"))
    folder, count, *words = data.decode("utf-8", "surrogateescape").split("\0")
    arguments, variables = words[: int(count)], words[int(count) :]
    pid = os.fork()
    if pid == 0:
        connection.close()
        os.environ.clear()
        os.environ.update(each.split("=", 1) for each in variables)
        os.chdir(folder)
        _be(module, arguments, streams)
    for each in (0, 1, 2, *streams):
        os.close(each)
    connection.sendall(pid.to_bytes(_SIZE, "big"))
    connection.sendall(os.waitpid(pid, 0)[1].to_bytes(_SIZE, "big"))
    os._exit(0)


def _be(module: str, arguments: list[str], streams: list[int]) -> None:
    """Be `python -m MODULE ARGUMENTS`; never returns."""
    import runpy

    from tests.forked import end_as_python, take_streams

    take_streams(streams)
    sys.argv = [module, *arguments]
    del sys.modules[module]

    def run() -> int:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return 0

    end_as_python(run)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(*sys.argv[2:])
    else:
        _end_as(client(sys.argv[1], sys.argv[2:]))
