"""A terminal, as a person has one: what is typed, and what is shown."""

from __future__ import annotations

import fcntl
import os
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_SECONDS = 30.0
_STEERING = re.compile(r"\x1b(\[[0-9;?=>]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[=>()][0-9A-B]?)|[\x07\r\x0f]")


class Terminal:
    """A program on a terminal of its own; a context manager, at whose end the program is gone."""

    def __init__(self, command: Sequence[str | Path], *, cwd: Path, variables: Mapping[str, str]) -> None:
        self._ours, theirs = os.openpty()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "TERM": "dumb", **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._shown = ""
        self._read = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._ours, f"{line}\n".encode())

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def until(self, text: str) -> str:
        """Wait until a text is shown; what was shown since the last such text, that one included."""
        end = time.monotonic() + _SECONDS
        while (found := self.shown.find(text, self._read)) < 0:
            assert time.monotonic() < end, f"never shown: {text!r}\n{self.shown}"
            if not self._take():
                raise AssertionError(f"it ended, and {text!r} was not shown:\n{self.shown}")
        start, self._read = self._read, found + len(text)
        return self.shown[start : self._read]

    def asks(self, command: str) -> str:
        """What a command prints, which is typed so that its echo is not mistaken for it."""
        self.type(f"{command} | sed 's/^/<''</; s/$/>''>/'")
        self.until("<<")
        return self.until(">>").removesuffix(">>")

    def ended(self) -> int:
        """Wait for the end; its status."""
        while self._take():
            pass
        return self._process.wait(_SECONDS)

    @property
    def shown(self) -> str:
        """Everything that was shown, without what steers a terminal."""
        return _STEERING.sub("", self._shown)

    def _take(self) -> bool:
        """Take what is there; False where nothing more will come."""
        ready, _, _ = select.select([self._ours], [], [], 0.1)
        if not ready:
            return True
        try:
            data = os.read(self._ours, 1 << 16)
        except OSError:  # Linux's way to say that nobody has the other end any more
            return False
        self._shown += data.decode(errors="replace")
        return bool(data)
