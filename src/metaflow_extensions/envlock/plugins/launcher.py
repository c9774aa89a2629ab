"""The launcher's side of a run: asks envlock, in a process of its own, for the plan and for the environments.

envlock need not be importable here: a flow that a locked step starts is launched by that step's interpreter, which has
only what was locked for it. `_METAFLOW_ENVLOCK_LAUNCHER` then says which Python has envlock.
"""

import hashlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec

from metaflow.packaging_sys import ContentType

from .envlock_environment import IDENTITY_VARIABLE, EnvlockException

LAUNCHER_VARIABLE = "_METAFLOW_ENVLOCK_LAUNCHER"

# The working folder is not on the path: it may hold a folder that is called `envlock`.
_SERVICE = "import sys; sys.path[:] = [p for p in sys.path if p]; from envlock.workflow.launch_service import main; main()"
_QUIET_SECONDS = 1.0


class Launcher(object):
    """One run of one flow, from the plan to the last task. Raises EnvlockException where envlock refuses.

    Everything here is called by Metaflow's scheduler, in its one thread; so nothing here prints from another.
    """

    def __init__(self, start, logger):
        self._logger = logger
        self._python, self._python_path = _python_with_envlock()
        self._service = _Service(self._python, self._python_path)
        planned = self._service.ask(start)
        if planned["event"] == "refused":
            self._service.stop()
            raise EnvlockException(planned["text"])
        self._home = planned["home"]
        self._identities = planned["steps"]
        self._environments = {}
        self._code = None
        self._announced = False

    def prepare(self, step, package):
        """Begin what a step will need, and do not wait for it."""
        identity = self._identities[step]
        if identity is None:
            return
        if self._code is None:
            self._code = _Code(package, self._home)
        name = _name(identity)
        if name not in self._environments:
            steps = [each for each, other in self._identities.items() if other == identity]
            self._environments[name] = _Environment(", ".join(steps))
            self._service.tell({"hydrate": name})

    def enter(self, step, entrypoint, variables):
        """Make a task's command line and variables those of its step's environment; waits until that is there."""
        identity = self._identities[step]
        if identity is None:
            # A task that starts a flow has an environment of its own, which must not be taken for this step's.
            variables[IDENTITY_VARIABLE] = ""
            return
        prefix = self._wait_for(self._environments[_name(identity)])
        # Not its real path: pyvenv.cfg, which makes it the environment's Python, is looked up beside the link.
        entrypoint[0] = os.path.join(prefix, "bin", "python")
        variables.update(self._code.variables())
        variables[IDENTITY_VARIABLE] = json.dumps(identity)
        variables[LAUNCHER_VARIABLE] = json.dumps([self._python, self._python_path])
        variables["PYTHONNOUSERSITE"] = "1"
        variables["VIRTUAL_ENV"] = prefix
        if "PYTHONHOME" in os.environ:
            variables["PYTHONHOME"] = ""

    def finish(self):
        """Stop what is still being made, and remove what was only for this run. May be called more than once."""
        self._service.stop()
        if self._code is not None:
            self._code.remove()
            self._code = None

    def _wait_for(self, environment):
        while True:
            answer = self._service.answer(0 if environment.is_done else _QUIET_SECONDS)
            if answer is not None:
                self._take(answer)
            elif environment.is_done:
                break
            elif not self._announced:
                self._announced = True
                making = [each.steps for each in self._environments.values() if not each.is_done]
                self._say("making %s: %s" % (_count(len(making), "environment"), "; ".join(making)))
        if environment.failure is not None:
            raise EnvlockException(environment.failure)
        return environment.prefix

    def _take(self, answer):
        if answer["event"] == "said":
            self._say(answer["text"])
        elif answer["event"] == "ended":
            for environment in self._environments.values():
                if not environment.is_done:
                    environment.failure = answer["text"]
        else:
            environment = self._environments[answer["identity"]]
            environment.prefix, environment.failure = answer.get("prefix"), answer.get("text")
            if environment.failure is not None:
                self._say("no environment for %s; the run will stop there" % environment.steps, bad=True)
            elif environment.age > _QUIET_SECONDS:
                self._say("the environment of %s is there (%.1f s)" % (environment.steps, environment.age))

    def _say(self, text, bad=False):
        self._logger("envlock: " + text, system_msg=True, bad=bad)


class _Environment(object):
    """One environment that is being made, or is there."""

    def __init__(self, steps):
        self.steps = steps
        self.prefix = None
        self.failure = None
        self._began = time.time()

    @property
    def is_done(self):
        return self.prefix is not None or self.failure is not None

    @property
    def age(self):
        return time.time() - self._began


class _Code(object):
    """Metaflow, its extensions and the flow's code, where interpreters that have no Metaflow can import them."""

    def __init__(self, package, home):
        self._folder = tempfile.mkdtemp(prefix="envlock-metaflow-")
        self._package = package
        self._home = home
        self._variables = None
        self._failure = None
        self._thread = threading.Thread(target=self._extract, daemon=True)
        self._thread.start()

    def variables(self):
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._variables

    def remove(self):
        import shutil

        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _extract(self):
        try:
            self._package.extract_into(self._folder, ContentType.ALL_CONTENT.value)
            given = self._package.get_post_extract_env_vars(self._package.package_metadata, self._folder)
            variables = {}
            for name, value in given.items():
                # A name that ends with a colon is Metaflow's way to say: set it, whatever it was.
                variables[name.rstrip(":")] = value
            variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], self._folder])
            self._variables = variables
        except Exception as failure:  # raised again where it is waited for
            self._failure = failure
        else:
            _share_bytecode(self._folder, self._home)


def _share_bytecode(folder, home):
    """Let the interpreters of all runs share the bytecode of what `folder` links to.

    The folder is another one for each run, so each run's first task would compile all of Metaflow again (a second).
    Python itself checks that bytecode is of the source that it is next to.
    """
    for current, _, files in os.walk(folder):
        origins = {os.path.dirname(os.path.realpath(os.path.join(current, name))) for name in files if name.endswith(".py")}
        if len(origins) != 1:
            continue
        origin = origins.pop()
        if origin == os.path.realpath(current):
            continue  # made for this run alone
        shared = os.path.join(home, "bytecode", hashlib.sha256(origin.encode()).hexdigest()[:20])
        try:
            os.makedirs(shared, exist_ok=True)
            os.symlink(shared, os.path.join(current, "__pycache__"))
        except OSError:
            return  # tasks are slower then, and that is all


class _Service(object):
    """The process of envlock: one line of JSON for each thing that is said."""

    def __init__(self, python, python_path):
        variables = dict(os.environ)
        variables.pop("PYTHONHOME", None)
        variables.pop("PYTHONPATH", None)
        if python_path:
            variables["PYTHONPATH"] = python_path
        self._errors = tempfile.TemporaryFile()
        self._answers = queue.Queue()
        try:
            self._process = subprocess.Popen(
                [python, "-c", _SERVICE],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                universal_newlines=True,
            )
        except OSError as error:
            raise EnvlockException("%s, which should have envlock, cannot be started: %s" % (python, error))
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, question):
        """Say something and wait for the next answer."""
        self.tell(question)
        answer = self._answers.get()
        if answer["event"] == "ended":
            raise EnvlockException(answer["text"])
        return answer

    def tell(self, message):
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it is gone, and has said so in its answers

    def answer(self, seconds):
        """The next thing that it said, or None where it says nothing for so long."""
        try:
            return self._answers.get(timeout=seconds) if seconds else self._answers.get_nowait()
        except queue.Empty:
            return None

    def stop(self):
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


def _python_with_envlock():
    """A Python that has envlock, and the PYTHONPATH under which it has it."""
    if find_spec("envlock") is not None:
        return sys.executable, os.environ.get("PYTHONPATH", "")
    told = os.environ.get(LAUNCHER_VARIABLE)
    if told:
        return tuple(json.loads(told))
    raise EnvlockException(
        "%s has the Metaflow extension of envlock, but not envlock itself\n\nhint: %s -m pip install envlock"
        % (sys.executable, sys.executable)
    )


def _name(identity):
    return ":".join(identity[:2])


def _count(number, noun):
    return "%d %s%s" % (number, noun, "" if number == 1 else "s")
