"""envlock in a process of its own beside the launcher, which speaks with it in lines of JSON.

envlock may not be importable here: a flow that a locked step starts is launched by that step's interpreter, which has
only the locked packages. `_METAFLOW_ENVLOCK_LAUNCHER` then tells which Python has envlock. The messages are described
in `envlock/workflow/launch.py`.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec

from .envlock_environment import LAUNCHER_VARIABLE, EnvlockException

# Without the working folder on the path: it may contain a folder named `envlock`.
_PROGRAM = "import sys; sys.path[:] = filter(None, sys.path); from envlock.workflow.launch import main; main()"


class EnvlockProcess(object):
    """The process, and a queue of the answers that it gave."""

    def __init__(self):
        self._python, self._python_path = _python_with_envlock()
        variables = dict(os.environ)
        variables.pop("PYTHONHOME", None)
        variables.pop("PYTHONPATH", None)
        if self._python_path:
            variables["PYTHONPATH"] = self._python_path
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self._answers = queue.Queue()
        try:
            self._process = subprocess.Popen(
                [self._python, "-c", _PROGRAM],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                universal_newlines=True,
            )
        except OSError as error:
            text = "cannot start %s, which should have envlock: %s" % (self._python, error)
            raise EnvlockException(text) from None
        threading.Thread(target=self._listen, daemon=True).start()

    def variables(self):
        """The variables by which a flow that a task starts finds envlock again."""
        return {LAUNCHER_VARIABLE: json.dumps([self._python, self._python_path])}

    def ask(self, request):
        """Send a request and wait for the next answer. Raises EnvlockException if the process ends instead."""
        self.tell(request)
        return self.wait()

    def wait(self):
        """Wait for the next answer. Raises EnvlockException if the process ends instead."""
        answer = self._answers.get()
        if answer["event"] == "ended":
            raise EnvlockException(answer["text"])
        return answer

    def tell(self, message):
        """Send a message, and do not wait. False if the process is gone, which its last answer tells too."""
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return False
        return True

    def answer(self, seconds):
        """The next answer, or None if none comes within so many seconds."""
        try:
            return self._answers.get(timeout=seconds) if seconds else self._answers.get_nowait()
        except queue.Empty:
            return None

    def leave(self):
        """Let the process finish what it was told and end, and do not wait."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def stop(self):
        """End the process at once."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    def _listen(self):
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        text = "envlock ended unexpectedly (status %s): %s" % (self._process.returncode, said[-1] if said else "")
        self._answers.put({"event": "ended", "text": text})


def _is_here():
    found = find_spec("envlock")
    return found is not None and found.origin is not None  # a folder of that name beside the flow has no origin


def _python_with_envlock():
    """A Python that has envlock, and the PYTHONPATH that it needs."""
    if _is_here():
        return sys.executable, os.environ.get("PYTHONPATH", "")
    told = os.environ.get(LAUNCHER_VARIABLE)
    if told:
        return tuple(json.loads(told))
    raise EnvlockException(
        "%s has envlock's extension of Metaflow, but not envlock itself\n\nhint: %s -m pip install envlock"
        % (sys.executable, sys.executable)
    )
