"""The launcher's view of a run: its locks, the environments that are being made, and the tasks that enter them."""

import atexit
import json
import os
import shutil
import subprocess
import sys

from .code_package import CodePackage, folder_of_this_run
from .envlock_environment import (
    ABSENT_VARIABLE,
    IDENTITY_VARIABLE,
    MANIFEST,
    TASK_VARIABLE,
    EnvlockException,
    pathspec,
)
from .envlock_process import EnvlockProcess
from .node import ON_THE_WAY

_QUIET_SECONDS = 1.0

# A program for a task to run in place of its step: it prints why, and fails this task alone.
_FAIL = "import sys; sys.stderr.write(sys.argv[1] + '\\n'); sys.exit(1)"


class Launcher(object):
    """One run of one flow, from its locks to the last task. Raises EnvlockException if envlock refuses the flow.

    Metaflow's scheduler calls all of this in its one thread, so that is the only one that prints.
    """

    def __init__(self, start, logger):
        self._logger = logger
        self._flow = start["flow"]
        self._process = EnvlockProcess()
        ready = self._process.ask(start)
        while ready["event"] == "said":
            self._say(ready["text"])
            ready = self._process.wait()
        if ready["event"] == "refused":
            self._process.stop()
            raise EnvlockException(ready["text"])
        self._home = ready["home"]
        self._identities = ready["steps"]
        self._fetched = ready["fetched"]
        self._remote = frozenset(ready["remote"])
        self.images = ready["images"]
        self._manifest = _Manifest(ready["manifest"]) if ready["manifest"] else None
        self._sharing = {}
        for step, identity in self._identities.items():
            if identity is not None and step not in self._remote:
                self._sharing.setdefault(_name(identity), []).append(step)
        self._environments = {}
        self._package = None
        self._code = None
        self._announced = False
        self._run_id = None
        self._started = set()

    @property
    def manifest(self):
        """The path of the manifest, if steps start on nodes; else None. The file lives as long as this process."""
        return self._manifest and self._manifest.path

    @property
    def bytecode(self):
        """Files with the bytecode of what nodes import, and the name of each in the code package."""
        return self._manifest.bytecode if self._manifest else []

    @property
    def runs(self):
        """Whether Metaflow's own scheduler runs here, and has called `prepare`."""
        return self._run_id is not None

    def is_remote(self, step):
        """Whether the tasks of a step start on nodes."""
        return step in self._remote

    def prepare(self, step, package, run_id):
        """Start to make what a step needs here, and do not wait for it."""
        self._run_id, self._package = run_id, package
        identity = self._identities.get(step)
        if step in self._remote or (identity is None and step not in self._fetched):
            return
        self._link_code()
        if identity is None:
            return
        name = _name(identity)
        if name not in self._environments:
            self._environments[name] = _Environment(", ".join(self._sharing[name]))
            self._process.tell({"hydrate": name})

    def _link_code(self):
        if self._code is None:
            self._code = CodePackage(self._package, self._home)

    def enter(self, step, entrypoint, variables):
        """Change a task's command line and variables to those of its step's environment. Waits until that is there."""
        identity = self._identities[step]
        if identity is None:
            self._leave_outside(step, variables)
            return
        self._enter(_name(identity), step, entrypoint, variables)

    def send(self, step, variables):
        """Let a task of a step start on a node, which hydrates by itself."""
        if self.is_disabled(step):
            self._leave_outside(step, variables)
        elif step not in self._fetched:
            self._tell_start(step, _name(self._identities[step]))

    def enter_here_or_fail(self, step, entrypoint, variables):
        """As `enter`, for a task of a remote step that has to run here. A failure fails this task alone."""
        if self.is_disabled(step):
            self._leave_outside(step, variables)
            return
        token = "%s#here" % step
        if token not in self._environments:
            self._link_code()
            self._environments[token] = _Environment(step, fails="its task fails")
            self._process.tell({"here": step, "as": token})
        try:
            self._enter(token, step, entrypoint, variables)
        except EnvlockException as failure:
            text = "envlock: the task of `%s` has to run here, not on a node: %s" % (step, failure)
            self._fail(text, step, entrypoint, variables)

    def is_disabled(self, step):
        """Whether a step has no environment: its tasks run on the interpreter that launches them."""
        return step not in self._fetched and self._identities[step] is None

    def fetched_name(self, step):
        """The name of the environment, if it is looked up when the step starts; None if it is locked."""
        return self._fetched.get(step)

    def fetch_and_enter(self, step, entrypoint, variables, values):
        """As `enter`, for a step whose environment is looked up now. `values` are those of the name's variables."""
        token = "%s#%d" % (step, len(self._environments))
        self._link_code()
        self._environments[token] = _Environment(step, fails="its task fails")
        self._process.tell({"fetch": step, "as": token, "variables": values})
        self._announced = False
        self._enter(token, step, entrypoint, variables)

    def fetch_and_enter_or_fail(self, step, entrypoint, variables, values):
        """As `fetch_and_enter`, but a failure fails this task alone."""
        try:
            self.fetch_and_enter(step, entrypoint, variables, values)
        except EnvlockException as failure:
            self._fail("envlock: " + str(failure), step, entrypoint, variables)

    def _fail(self, text, step, entrypoint, variables):
        entrypoint[:] = [sys.executable, "-c", _FAIL, text]
        self._leave_outside(step, variables)

    def _leave_outside(self, step, variables):
        # This launcher may be a task with an environment of its own, which must not be taken for this step's.
        variables[IDENTITY_VARIABLE] = ""
        variables[TASK_VARIABLE] = pathspec(self._flow, self._run_id, step)

    def _enter(self, name, step, entrypoint, variables):
        environment = self._wait_for(self._environments[name])
        # Not the real path: Python looks for pyvenv.cfg, which makes it the environment's, beside the link.
        entrypoint[0] = os.path.join(environment.prefix, "bin", "python")
        for variable, value in environment.variables.items():
            # A launcher cannot remove variables: it empties them, and the task removes them. What @environment sets
            # comes first.
            variables.setdefault(variable, value or "")
        variables[ABSENT_VARIABLE] = json.dumps(environment.absent)
        variables.update(self._code.variables())
        if environment.python_path:
            variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], environment.python_path])
        variables.update(self._process.variables())
        variables[IDENTITY_VARIABLE] = json.dumps(environment.identity)
        variables[TASK_VARIABLE] = pathspec(self._flow, self._run_id, step)
        if "PYTHONHOME" in os.environ:
            variables["PYTHONHOME"] = ""
        self._tell_start(step, name)

    def _tell_start(self, step, name):
        # Of a step that is looked up, the first task counts; one that runs here is on another arch than those on nodes.
        where = (step, name.endswith("#here"))
        if where not in self._started:
            self._started.add(where)
            self._process.tell({"started": step, "as": name, "run": str(self._run_id)})

    def finish(self):
        """Remove what this run alone used, and stop what is still being made. May be called more than once."""
        if not all(environment.is_done for environment in self._environments.values()):
            self._process.stop()
        code, self._code = self._code, None
        if code is not None:
            code.settle()
            if not self._process.tell({"remove": code.folder}):
                shutil.rmtree(code.folder, ignore_errors=True)
        self._process.leave()

    def hand_over(self):
        """Release everything, and return the folder of the code: whoever becomes the task removes it."""
        code, self._code = self._code, None
        self._process.leave()
        return code.folder

    def _wait_for(self, environment):
        while True:
            answer = self._process.answer(0 if environment.is_done else _QUIET_SECONDS)
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
        return environment

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
            environment.identity = answer.get("ids")
            environment.take(answer.get("variables", {}))
            if environment.failure is not None:
                self._say("could not make the environment of %s; %s" % (environment.steps, environment.fails), bad=True)
            elif answer["seconds"] > _QUIET_SECONDS:
                self._say("the environment of %s is ready (%.1f s)" % (environment.steps, answer["seconds"]))

    def _say(self, text, bad=False):
        self._logger("envlock: " + text, system_msg=True, bad=bad)


class _Environment(object):
    """One environment that is being made, or is ready."""

    def __init__(self, steps, fails="the run will stop there"):
        self.steps = steps
        self.fails = fails
        self.prefix = None
        self.identity = None
        self.failure = None
        self.variables = {}
        self.python_path = ""

    def take(self, variables):
        """Keep the variables of a task. Metaflow's PYTHONPATH goes before the environment's; PYTHONHOME is not used."""
        self.python_path = variables.get("PYTHONPATH") or ""
        self.variables = {name: value for name, value in variables.items() if name not in ("PYTHONPATH", "PYTHONHOME")}

    @property
    def absent(self):
        return sorted(name for name, value in self.variables.items() if value is None)

    @property
    def is_done(self):
        return self.prefix is not None or self.failure is not None


class _Manifest(object):
    """The manifest in a file of its own, which Metaflow packages."""

    def __init__(self, text):
        folder, self._handle = folder_of_this_run()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.path = os.path.join(folder, MANIFEST)
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path, 0o644)  # it is part of what Metaflow hashes
        self.bytecode = _bytecode_of_nodes(folder)


# With each interpreter and each source, it has the same bytes: Metaflow names a code package by its hash.
_COMPILE = """
import importlib.util, os, py_compile, sys
source, folder, name_of, *modules = sys.argv[1:]
for module in modules:
    name = module + ".py"
    place = os.path.join(folder, os.path.basename(importlib.util.cache_from_source(name)))
    checked = py_compile.PycInvalidationMode.CHECKED_HASH
    py_compile.compile(os.path.join(source, name), place, name_of + "/" + name, True, invalidation_mode=checked)
    os.chmod(place, 0o644)
    print(os.path.basename(place))
"""


def _bytecode_of_nodes(folder):
    """Compile what nodes import on the way into an environment: files, and their names in the code package.

    Each container has unpacked its own, and would compile it for half of the time that a task takes to find its
    environment. Python looks at the hash of the source, and at its own release. Nothing, if that fails: tasks then
    start slower.
    """
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node")
    name = "metaflow_extensions/envlock/plugins/node"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        compiled = subprocess.run(
            [sys.executable, "-s", "-S", "-c", _COMPILE, source, folder, name, *ON_THE_WAY],
            env=dict(kept, PYTHONHASHSEED="0"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    names = compiled.stdout.decode("utf-8").split()
    return [(os.path.join(folder, each), "%s/__pycache__/%s" % (name, each)) for each in names]


def _name(identity):
    return ":".join(identity[:2])


def _count(number, noun):
    return "%d %s%s" % (number, noun, "" if number == 1 else "s")
