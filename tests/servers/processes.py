"""A server in a process of its own: started, waited for, and ended with what used it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE = 180.0  # a busy machine is no failure


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, each another one."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def running(command: Sequence[str], said: Path, *, is_ready: Callable[[], bool]) -> Iterator[None]:
    """The command, as long as the context lasts. What it says is in the file `said`, and in the error if it ends."""
    with said.open("wb") as output:
        process = subprocess.Popen(
            list(command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not is_ready():
            assert process.poll() is None, f"{command[0]} ended: {said.read_text(errors='replace')[-2000:]}"
            assert time.monotonic() < deadline, f"{command[0]} is not ready: {said.read_text(errors='replace')[-2000:]}"
            time.sleep(0.05)
        yield
    finally:
        process.kill()  # nothing of it is to be kept, and some take ten seconds to say goodbye
        process.wait()


@contextmanager
def running_module(name: str, said: Path, *arguments: str) -> Iterator[int]:
    """A server that is a module of ours, whose first line is the port that it chose. The value is that port."""
    with running(
        [sys.executable, "-W", "ignore", "-m", name, *arguments], said, is_ready=lambda: b"\n" in said.read_bytes()
    ):
        yield int(said.read_text().partition("\n")[0])


def listens(port: int) -> bool:
    """Whether somebody does at that port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
