"""`--environment=envlock`: every step in its own locked environment, without a decorator in the flow.

Standard library and Metaflow only: this is imported by each `import metaflow`, in the launcher and in every step.
"""

import functools
import json
import os
import sys
from collections import namedtuple

from metaflow.exception import MetaflowException
from metaflow.metaflow_environment import MetaflowEnvironment

# The environment of a task: '["req_id", "full_id", "arch"]'; empty if the step is disabled.
IDENTITY_VARIABLE = "_METAFLOW_ENVLOCK_ENV"

# The task that the variable above was set for, `flow/run/step`; without the run if it is valid for all runs. What a
# process inherits may be another task's.
TASK_VARIABLE = "_METAFLOW_ENVLOCK_TASK"

# A JSON list of the variables that a task must not have. The launcher can only set them to nothing.
ABSENT_VARIABLE = "_METAFLOW_ENVLOCK_ABSENT"

Identity = namedtuple("Identity", ["req_id", "full_id", "arch"])

_COMMANDS_OF_TASKS = ("step", "spin-step")
_COMMANDS_THAT_RUN_HERE = ("run", "resume", "spin", "package")
_DECORATORS_THAT_RUN_ELSEWHERE = ("batch", "kubernetes", "nvidia", "snowpark", "slurm", "nvct", "skypilot_step")


class EnvlockException(MetaflowException):
    """An error of envlock, shown by Metaflow without a traceback."""

    headline = "envlock"

    def __init__(self, text):
        # Metaflow takes asterisks for bold type and removes them; `==3.11.*` has to keep its own.
        super(EnvlockException, self).__init__(text.replace("*", "\u2217"))


class EnvlockEnvironment(MetaflowEnvironment):
    """Asks envlock for each step's lock before anything runs; its decorator puts the tasks into the environments."""

    TYPE = "envlock"

    def __init__(self, flow):
        super(EnvlockEnvironment, self).__init__(flow)
        self._flow = flow
        self._logger = None
        self._datastore_type = "local"
        self._launcher = None
        self._settled_step = None

    def validate_environment(self, logger, datastore_type):
        # Metaflow calls this in every process, so every task pays for what it costs.
        self._logger = logger
        self._datastore_type = datastore_type
        _ask_before_tasks()

    def decospecs(self):
        return ("envlock_internal",)

    def init_environment(self, echo):
        """Refuse the flow unless every step has a fresh lock.

        Metaflow calls this when it packages the flow's code: in launchers, and in a task that enters its environment by
        itself, which has a plan already.
        """
        if self._launcher is None:
            steps = [step.name for step in self._flow]
            self.plan(steps, _remote_steps(self._flow), _deploying_command())

    def plan(self, steps, remote, command):
        """A launcher with the locks of these steps. Raises EnvlockException."""
        from .launcher import Launcher

        self._launcher = Launcher(
            {
                "flow": self._flow.name,
                "file": os.path.abspath(sys.argv[0]),
                "steps": steps,
                "datastore": self._datastore_type,
                "remote": remote,
                "command": command,
            },
            self._logger,
        )
        return self._launcher

    @property
    def launcher(self):
        """The run that this process launches; None in a task."""
        return self._launcher

    def bootstrap_commands(self, step_name, datastore_type):
        """The commands that another machine runs before a task. Only disabled steps run there; the task learns that.

        Raises EnvlockException for any other step, whatever process sends it there.
        """
        if self._launcher is None:
            run = getattr(_context(), "params", {}).get("run_id")
            if os.environ.get(IDENTITY_VARIABLE) or not is_settled(self._flow.name, run, step_name):
                backend = _deploying_command().partition(" ")[0] or "another machine"
                self.plan([step_name], {step_name: backend}, "").finish()
        told = pathspec(self._flow.name, "", step_name)
        commands = super(EnvlockEnvironment, self).bootstrap_commands(step_name, datastore_type)
        return commands + ["export %s=" % IDENTITY_VARIABLE, "export %s='%s'" % (TASK_VARIABLE, told)]

    def settle(self, options, state):
        """Enter the environment of the task that this process is about to run, if it is not there yet.

        `options` are those of Metaflow's command for a task, `state` is Metaflow's object for this process. Returns
        inside the environment, or for a disabled step. Raises EnvlockException.
        """
        step, run = options["step_name"], options["run_id"]
        if not options.get("clone_only") and not is_settled(self._flow.name, run, step):
            from .enter import enter

            enter(step, options, state)
        _arrive()
        self._settled_step = step

    def refuse_strays(self, step):
        """Raise EnvlockException if this process runs a task without having entered its environment."""
        if self._settled_step != step:
            raise EnvlockException(
                "the task of `%s` runs outside of its environment: envlock does not know the way it was started\n\n"
                "hint: python %s --environment=envlock step %s ..." % (step, os.path.basename(sys.argv[0]), step)
            )

    def pylint_config(self):
        # What a step imports is in its own environment, not in this one.
        return super(EnvlockEnvironment, self).pylint_config() + ["--disable=F0401"]

    @classmethod
    def get_client_info(cls, flow_name, metadata):  # noqa: ARG003
        """`Task.environment_info` of Metaflow's client: the ids of the environment that the task ran in."""
        identity = metadata.get("envlock_env_id")
        if not identity:
            return {"type": cls.TYPE, "disabled": True}
        req_id, full_id, arch = json.loads(identity)
        return {"type": cls.TYPE, "req_id": req_id, "full_id": full_id, "arch": arch}


def is_settled(flow, run, step):
    """Whether this process is already where the task belongs: in its environment, or in none if the step is disabled.

    A variable alone does not prove that: it has to be of this task, and this interpreter that of the environment which
    it names. What `bootstrap_commands` sets for a disabled step is valid for every run, and whatever the task starts
    inherits it: it counts only if envlock cannot be asked.
    """
    identity = os.environ.get(IDENTITY_VARIABLE)
    told = os.environ.get(TASK_VARIABLE)
    if identity is None or told not in (pathspec(flow, run, step), pathspec(flow, "", step)):
        return False
    if identity:
        return is_inside(identity)
    return told != pathspec(flow, "", step) or not _can_ask()


def _can_ask():
    """Whether this machine has envlock, and an envlock.toml for the flow's file."""
    from .envlock_process import has_envlock

    file = os.path.abspath(sys.argv[0])
    folders = {os.path.dirname(file), os.path.dirname(os.path.realpath(file))}
    return any(map(_has_config, folders)) and has_envlock()


def _has_config(folder):
    """Whether an envlock.toml is in a folder or above it, as envlock itself searches."""
    while not os.path.exists(os.path.join(folder, "envlock.toml")):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return False
    return True


def is_inside(identity):
    """Whether this interpreter is that of an environment, given as in IDENTITY_VARIABLE."""
    try:
        req_id, full_id, _ = json.loads(identity)
    except ValueError:
        return False
    return os.path.basename(sys.prefix) == "metaflow_%s_%s" % (req_id, full_id)


def pathspec(flow, run, step):
    """The value of TASK_VARIABLE for a task."""
    return "%s/%s/%s" % (flow, run, step)


def _arrive():
    """Finish entering, in the task itself: its variables, its PATH, and `current`."""
    if not os.environ.get(IDENTITY_VARIABLE):
        return
    for name in json.loads(os.environ.pop(ABSENT_VARIABLE, "[]")):
        if not os.environ.get(name):
            os.environ.pop(name, None)
    # The environment's programs come first: @parallel starts its workers by PATH. Not by the real path, as the `python`
    # of an environment may be a link to the interpreter that it was made from.
    programs = os.path.dirname(sys.executable)
    path = os.environ.get("PATH")
    if not path or path.split(os.pathsep)[0] != programs:
        os.environ["PATH"] = os.pathsep.join(filter(None, [programs, path]))
    from metaflow import current

    identity = Identity(*json.loads(os.environ[IDENTITY_VARIABLE]))
    current._update_env({"envlock": identity})  # noqa: SLF001  as Metaflow's own decorators do


def _ask_before_tasks():
    """If the command of this process runs a task, make it enter the task's environment first.

    It does so after Metaflow has set everything up, and before it writes anything of the task.
    """
    context = _context()
    name = (getattr(context, "saved_args", None) or [""])[0]
    if name not in _COMMANDS_OF_TASKS:
        return
    command = context.command.get_command(context, name)
    if not getattr(command.callback, "asks_envlock", False):
        command.callback = _after_entering(command.callback)


def _after_entering(run_task):
    @functools.wraps(run_task)
    def enter_and_run(*arguments, **options):
        context = _context()
        if context.obj.environment.TYPE == EnvlockEnvironment.TYPE:
            context.obj.environment.settle(context.params, context.obj)
        return run_task(*arguments, **options)

    enter_and_run.asks_envlock = True
    return enter_and_run


def _context():
    from metaflow._vendor import click

    return click.get_current_context(silent=True)


def _remote_steps(flow):
    """The name of the decorator that sends a step to another machine, by step."""
    remote = {}
    for step in flow:
        for decorator in step.decorators:
            elsewhere = decorator.name in _DECORATORS_THAT_RUN_ELSEWHERE
            if elsewhere or getattr(decorator, "supports_conda_environment", False):
                remote[step.name] = decorator.name
    return remote


def _deploying_command():
    """The Metaflow command that is running, if its steps run on other machines; else empty."""
    names = []
    context = _context()
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return "" if not names or names[0] in _COMMANDS_THAT_RUN_HERE else " ".join(names)
