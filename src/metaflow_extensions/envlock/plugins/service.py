"""envlock, in a process of its own beside the launcher: one line of JSON for each thing that is said.

envlock need not be importable here: a flow that a locked step starts is launched by that step's interpreter, which has
only what was locked for it. `_METAFLOW_ENVLOCK_LAUNCHER` then says which Python has envlock.
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

from .envlock_environment import EnvlockException

LAUNCHER_VARIABLE = "_METAFLOW_ENVLOCK_LAUNCHER"

# The working folder is not on the path: it may hold a folder that is called `envlock`.
_PROGRAM = "import sys; sys.path[:] = filter(None, sys.path); from envlock.workflow.launch import main; main()"


class Service(object):
    """The process, and the answers that it gave and nobody has taken yet."""

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
            text = "%s, which should have envlock, cannot be started: %s" % (self._python, error)
            raise EnvlockException(text) from None
        threading.Thread(target=self._listen, daemon=True).start()

    def variables(self):
        """What lets a flow that a task starts find envlock again."""
        return {LAUNCHER_VARIABLE: json.dumps([self._python, self._python_path])}

    def ask(self, question):
        """Say something and wait for the next answer. Raises EnvlockException where there is none."""
        self.tell(question)
        answer = self._answers.get()
        if answer["event"] == "ended":
            raise EnvlockException(answer["text"])
        return answer

    def tell(self, message):
        """Say something, and do not wait. False where it is gone, which its last answer says too."""
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return False
        return True

    def answer(self, seconds):
        """The next answer, or None where there is none for so long."""
        try:
            return self._answers.get(timeout=seconds) if seconds else self._answers.get_nowait()
        except queue.Empty:
            return None

    def leave(self):
        """Let the process end when it has done what it was told, and do not wait."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def stop(self):
        """End the process, whatever it is doing."""
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


def has_envlock():
    """Whether there is an envlock to ask: here, or where the launcher of an outer flow had it."""
    return _is_here() or bool(os.environ.get(LAUNCHER_VARIABLE))


def _is_here():
    found = find_spec("envlock")
    return found is not None and found.origin is not None  # a folder of that name beside the flow has no origin


def _python_with_envlock():
    """A Python that has envlock, and the PYTHONPATH under which it has it."""
    if _is_here():
        return sys.executable, os.environ.get("PYTHONPATH", "")
    told = os.environ.get(LAUNCHER_VARIABLE)
    if told:
        return tuple(json.loads(told))
    raise EnvlockException(
        "%s has envlock's extension of Metaflow, but not envlock itself\n\nhint: %s -m pip install envlock"
        % (sys.executable, sys.executable)
    )
