"""Processes that can be ended together: after Ctrl-C, nobody waits for an index."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from envlock.reporter import running


class Processes:
    """Runs processes for several threads. `end` ends the running ones, and starts no more."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], *, folder: Path | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a folder with `given` as input. Captures its output, and ignores its exit status.

        A process that was ended, or never started for that reason, has a negative status.
        """
        with self._guard:
            if self._ended:
                return subprocess.CompletedProcess(command, -signal.SIGTERM, "", "")
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
            )
            self._running.add(process)
        told = running(command)
        try:
            output, error = process.communicate(given or None)
        finally:
            with self._guard:
                self._running.discard(process)
            told.ended(f"status {process.returncode}")
        return subprocess.CompletedProcess(command, process.returncode, output, error)

    @contextmanager
    def begin(
        self, command: Sequence[str], environment: Mapping[str, str], *, folder: Path, errors: Path
    ) -> Iterator[subprocess.Popen[str] | None]:
        """Start a command to talk with line by line; None once `end` was called.

        What it says on stderr goes into the file `errors`. It is ended where the block is left before it is through.
        """
        with self._guard, errors.open("w") as file:
            if self._ended:
                process = None
            else:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    cwd=folder,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    encoding="utf-8",
                    errors="replace",
                )
                self._running.add(process)
        if process is None:
            yield None
            return
        with running(command), process:
            try:
                yield process
                process.communicate()
            finally:
                process.terminate()
                with self._guard:
                    self._running.discard(process)

    def end(self) -> None:
        """End the running processes; later calls start none."""
        with self._guard:
            self._ended = True
            for process in self._running:
                process.terminate()
