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

# What a task knows of its environment: '["req_id", "full_id", "arch"]'; empty where the step is disabled.
IDENTITY_VARIABLE = "_METAFLOW_ENVLOCK_ENV"

# The task that the variable above was set for, `flow/run/step`; without a run where it holds for all of them. What a
# process inherits may be another task's.
TASK_VARIABLE = "_METAFLOW_ENVLOCK_TASK"

# The names, as JSON, that are set for a task to nothing and that it must not have at all.
ABSENT_VARIABLE = "_METAFLOW_ENVLOCK_ABSENT"

Identity = namedtuple("Identity", ["req_id", "full_id", "arch"])

_COMMANDS_OF_TASKS = ("step", "spin-step")
_COMMANDS_THAT_RUN_HERE = ("run", "resume", "spin", "package")
_DECORATORS_THAT_RUN_ELSEWHERE = ("batch", "kubernetes", "nvidia", "snowpark", "slurm", "nvct", "skypilot_step")


class EnvlockException(MetaflowException):
    """An error of envlock, shown by Metaflow without a traceback."""

    headline = "envlock"

    def __init__(self, text):
        # Metaflow takes the asterisks out of a message, for bold type; `==3.11.*` must keep its own.
        super(EnvlockException, self).__init__(text.replace("*", "\u2217"))


class EnvlockEnvironment(MetaflowEnvironment):
    """Asks envlock for each step's lock before anything runs; its decorator then brings the steps into them."""

    TYPE = "envlock"

    def __init__(self, flow):
        super(EnvlockEnvironment, self).__init__(flow)
        self._flow = flow
        self._logger = None
        self._datastore_type = "local"
        self._launcher = None
        self._settled_step = None

    def validate_environment(self, logger, datastore_type):
        # Called in every process, tasks included: what it costs, every task pays.
        self._logger = logger
        self._datastore_type = datastore_type
        _ask_before_tasks()

    def decospecs(self):
        return ("envlock_internal",)

    def init_environment(self, echo):
        """Refuse the flow, unless every step has a fresh lock.

        Metaflow calls this where it packages the flow's code: in launchers, and in a task that enters its environment
        by itself, which has planned before.
        """
        if self._launcher is None:
            steps = [step.name for step in self._flow]
            self.plan(steps, _remote_steps(self._flow), _deploying_command())

    def plan(self, steps, remote, command):
        """The launcher, which has asked envlock for the locks of these steps. Raises EnvlockException."""
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
        """What this process knows of the run that it launches; None in a task."""
        return self._launcher

    def bootstrap_commands(self, step_name, datastore_type):
        """What another machine runs before a task. Only disabled steps run there: the task is told that it is one.

        Raises EnvlockException for any other step, however the process was started that sends it there.
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
        """Bring this process into the environment of the task that it is about to run, if it is not there.

        `options` are those of Metaflow's command for a task, `state` is what Metaflow knows of this process. Returns
        in the environment, and for a disabled step. Raises EnvlockException.
        """
        step, run = options["step_name"], options["run_id"]
        if not options.get("clone_only") and not is_settled(self._flow.name, run, step):
            from .entering import enter

            enter(step, options, state)
        _arrive()
        self._settled_step = step

    def refuse_strays(self, step):
        """Raise EnvlockException where this process did not ask for the environment of the task that it runs."""
        if self._settled_step != step:
            raise EnvlockException(
                "the task of `%s` was started in a way that envlock does not know, outside of its environment\n\n"
                "hint: python %s --environment=envlock step %s ..." % (step, os.path.basename(sys.argv[0]), step)
            )

    def pylint_config(self):
        # What a step imports is in its own environment, not in this one.
        return super(EnvlockEnvironment, self).pylint_config() + ["--disable=F0401"]

    @classmethod
    def get_client_info(cls, flow_name, metadata):  # noqa: ARG003
        """What the client shows as `Task.environment_info`: the ids of the environment that the task ran in."""
        identity = metadata.get("envlock_env_id")
        if not identity:
            return {"type": cls.TYPE, "disabled": True}
        req_id, full_id, arch = json.loads(identity)
        return {"type": cls.TYPE, "req_id": req_id, "full_id": full_id, "arch": arch}


def is_settled(flow, run, step):
    """Whether this process is where a task belongs: in the environment that was told, or outside of all, as was told.

    No variable alone says so: it has to be of this task, and this interpreter that of the environment which it names.
    What another machine is told of a disabled step holds for no one run, and whatever its task starts inherits it: it
    is believed only where envlock cannot be asked.
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
    from .service import has_envlock

    file = os.path.abspath(sys.argv[0])
    folders = {os.path.dirname(file), os.path.dirname(os.path.realpath(file))}
    return any(map(_has_config, folders)) and has_envlock()


def _has_config(folder):
    """Whether an envlock.toml is in a folder or above it, where envlock itself would look."""
    while not os.path.exists(os.path.join(folder, "envlock.toml")):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return False
    return True


def is_inside(identity):
    """Whether this interpreter is that of the environment with this identity, as a task knows it."""
    try:
        req_id, full_id, _ = json.loads(identity)
    except ValueError:
        return False
    return os.path.basename(sys.prefix) == "metaflow_%s_%s" % (req_id, full_id)


def pathspec(flow, run, step):
    """What TASK_VARIABLE says of a task."""
    return "%s/%s/%s" % (flow, run, step)


def _arrive():
    """What is left to be done in the task itself, so that it and what it starts are in its environment."""
    if not os.environ.get(IDENTITY_VARIABLE):
        return
    for name in json.loads(os.environ.pop(ABSENT_VARIABLE, "[]")):
        if not os.environ.get(name):
            os.environ.pop(name, None)
    # Programs of the environment come first; @parallel starts its workers by this path. Not the real path: the
    # `python` of an environment may be a link to its base.
    programs = os.path.dirname(sys.executable)
    path = os.environ.get("PATH")
    if not path or path.split(os.pathsep)[0] != programs:
        os.environ["PATH"] = os.pathsep.join(filter(None, [programs, path]))
    from metaflow import current

    identity = Identity(*json.loads(os.environ[IDENTITY_VARIABLE]))
    current._update_env({"envlock": identity})  # noqa: SLF001  as every decorator does


def _ask_before_tasks():
    """Let the command that runs a task, if it is the one, first bring this process into the task's environment.

    That is after Metaflow has set everything up, and before anything of the task is written.
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
    """Each step that a decorator sends to another machine, with the decorator's name."""
    remote = {}
    for step in flow:
        for decorator in step.decorators:
            elsewhere = decorator.name in _DECORATORS_THAT_RUN_ELSEWHERE
            if elsewhere or getattr(decorator, "supports_conda_environment", False):
                remote[step.name] = decorator.name
    return remote


def _deploying_command():
    """The command of Metaflow that is running, if its steps will run on other machines; else empty."""
    names = []
    context = _context()
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return "" if not names or names[0] in _COMMANDS_THAT_RUN_HERE else " ".join(names)
