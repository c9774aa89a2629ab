"""`--environment=envlock`: every step in its own locked environment, without a decorator in the flow.

Standard library and Metaflow only: this is imported by each `import metaflow`, in the launcher and in every step.
"""

import functools
import json
import os
import sys
from collections import namedtuple

from metaflow.exception import MetaflowException
from metaflow.metaflow_config import DEFAULT_ENVIRONMENT
from metaflow.metaflow_environment import MetaflowEnvironment
from metaflow.packaging_sys import ContentType

# The environment of a task: '["req_id", "full_id", "arch"]'; empty if the step is disabled.
IDENTITY_VARIABLE = "_METAFLOW_ENVLOCK_ENV"

# The task that the variable above was set for, `flow/run/step`. What a process inherits may be another task's.
TASK_VARIABLE = "_METAFLOW_ENVLOCK_TASK"

# A JSON list of the variables that a task must not have. The launcher can only set them to nothing.
ABSENT_VARIABLE = "_METAFLOW_ENVLOCK_ABSENT"

# The Python that has envlock, and its PYTHONPATH, as JSON: where a launcher has started the task.
LAUNCHER_VARIABLE = "_METAFLOW_ENVLOCK_LAUNCHER"

Identity = namedtuple("Identity", ["req_id", "full_id", "arch"])

# The name of the manifest in the code package.
MANIFEST = "envlock.json"

COMMANDS_OF_TASKS = ("step", "spin-step")
_COMMANDS_THAT_RUN_HERE = ("run", "resume", "spin", "package")

# Schedulers that start containers with the commands of the environment.
_SCHEDULERS_OF_NODES = ("argo-workflows", "step-functions", "airflow", "kubeflow-pipelines")

# Schedulers whose workers have the flow's file and envlock, and run Metaflow's own command for a task: it enters its
# environment by itself.
_SCHEDULERS_WITH_ENVLOCK = ("prefect", "dagster", "temporal", "kestra", "flyte", "mage")

_DECORATORS_WITH_IMAGES = ("batch", "kubernetes")
_DECORATORS_THAT_RUN_ELSEWHERE = ("batch", "kubernetes", "nvidia", "snowpark", "slurm", "nvct", "skypilot_step", "gha")

# A scheduler and a decorator whose workers start tasks without `--environment`: Metaflow's default counts there.
_LEAVES_THE_DEFAULT = ("mage", "gha")

# What asks for an environment of another kind, by itself and with `_base` behind it.
_OLD_DECORATORS = ("conda", "pypi", "named_env", "sys_packages", "pip", "uv")


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
        # @parallel asks this for the interpreter of its local workers: `python`, which is the environment's by PATH.
        self.base_env = MetaflowEnvironment(flow)
        self._flow = flow
        self._logger = None
        self._datastore_type = "local"
        self._launcher = None
        self._settled_step = None

    def validate_environment(self, logger, datastore_type):
        # Metaflow calls this in every process, so every task pays for what it costs.
        self._logger = logger
        self._datastore_type = datastore_type
        self._refuse_old_decorators()
        _refuse_to_be_left_out(self._flow)
        _ask_before_tasks()

    def _refuse_old_decorators(self):
        steps = {}
        for step in self._flow:
            for decorator in step.decorators:
                if decorator.name in _OLD_DECORATORS:
                    steps.setdefault(step.name, []).append(decorator.name)
        of_flow = [name for name in self._flow._flow_decorators if name[: -len("_base")] in _OLD_DECORATORS]  # noqa: SLF001
        if steps or of_flow:
            from .old_decorators import refusal

            raise refusal(self._flow, steps, of_flow)

    def decospecs(self):
        return ("envlock_internal",)

    def init_environment(self, echo):
        """Refuse the flow unless every step has a fresh lock, and each step on another machine has a plan.

        Metaflow calls this when it packages the flow's code: in launchers, and in a task that enters its environment by
        itself, which has a launcher already.
        """
        _refuse_to_be_left_out(self._flow)  # `--with` has added decorators since
        if self._launcher is None:
            steps = [step.name for step in self._flow]
            self.launch(steps, _remote_steps(self._flow), _deploying_command(self._datastore_type))

    def launch(self, steps, remote, command):
        """A launcher with the locks of these steps. Raises EnvlockException."""
        from .launcher import Launcher
        from .name_values import parameter_variables

        self._launcher = Launcher(
            {
                "flow": self._flow.name,
                "file": os.path.abspath(sys.argv[0]),
                "steps": steps,
                "datastore": self._datastore_type,
                "remote": remote,
                "command": command,
                "parameters": parameter_variables(self._flow),
                "own": _own_variables(self._flow),
                "imageless": sorted(_without_image(self._flow)) if remote or command else [],
            },
            self._logger,
        )
        for step, image in self._launcher.images.items():
            for decorator in _without_image(self._flow).get(step, ()):
                decorator.attributes["image"] = image
        return self._launcher

    @property
    def launcher(self):
        """The run that this process launches; None in a task."""
        return self._launcher

    def add_to_package(self):
        """The manifest and bytecode, if steps start on other machines: nodes have nothing else to go by."""
        manifest = self._launcher.manifest if self._launcher is not None else None
        if not manifest:
            return []
        bytecode = [(path, name, ContentType.CODE_CONTENT) for path, name in self._launcher.bytecode]
        return [(manifest, MANIFEST, ContentType.OTHER_CONTENT)] + bytecode

    def bootstrap_commands(self, step_name, datastore_type):
        """The commands that a node runs before a task: the same for every step, as the manifest says what it needs.

        So the processes that send tasks to nodes need no plan. Raises EnvlockException for a name that cannot stand
        between quotes.
        """
        for name in (self._flow.name, step_name):
            if not name.isidentifier():
                raise EnvlockException("`%s` cannot run on other machines: a name has letters, digits and `_`" % name)
        enter = "%s -m metaflow_extensions.envlock.plugins.node '%s' '%s'"
        return [enter % (self._python(), self._flow.name, step_name), ". ./.envlock/enter.sh"]

    def get_package_commands(self, code_package_url, datastore_type, *more, **others):
        """Metaflow's commands before those above, but for the package index that they ask: see `package_commands`."""
        commands = super(EnvlockEnvironment, self).get_package_commands(
            code_package_url, datastore_type, *more, **others
        )
        if datastore_type != "s3":
            return commands
        from .package_commands import without_index

        return without_index(
            commands,
            self._get_install_dependencies_cmd(datastore_type),
            self._get_download_code_package_cmd(code_package_url, datastore_type),
            code_package_url,
            self._python(),
        )

    def executable(self, step_name, default=None):
        """The interpreter of a task on a node, as the commands above have set it: the image's if the step is disabled.

        `default` is what the decorator of a step names, which counts for disabled steps alone.
        """
        if not getattr(getattr(self._flow, step_name, None), "is_step", False):  # a daemon of Argo
            return super(EnvlockEnvironment, self).executable(step_name, default)
        run = getattr(_context(), "params", {}).get("run_id")
        if (
            default is not None
            and not os.environ.get(IDENTITY_VARIABLE)
            and is_settled(self._flow.name, run, step_name)
        ):
            return default
        return "$ENVLOCK_PYTHON"

    def settle(self, options, state):
        """Enter the environment of the task that this process is about to run, if it is not there yet.

        `options` are those of Metaflow's command for a task, `state` is Metaflow's object for this process. Returns
        inside the environment, or for a disabled step. Raises EnvlockException.
        """
        step, run = options["step_name"], options["run_id"]
        if not options.get("clone_only") and not is_settled(self._flow.name, run, step):
            from .enter import enter, enter_on_node

            (enter_on_node if is_on_node() else enter)(step, options, state)
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
    it names.
    """
    identity = os.environ.get(IDENTITY_VARIABLE)
    if identity is None or os.environ.get(TASK_VARIABLE) != pathspec(flow, run, step):
        return False
    return not identity or is_inside(identity)


def is_inside(identity):
    """Whether this interpreter is that of an environment, given as in IDENTITY_VARIABLE.

    The prefix is named after it; that of an image may have another name, and says so in its receipt.
    """
    try:
        req_id, full_id, _ = json.loads(identity)
        if os.path.basename(sys.prefix) == "metaflow_%s_%s" % (req_id, full_id):
            return True
        from .node.home import RECEIPT

        with open(os.path.join(sys.prefix, RECEIPT), encoding="utf-8") as file:
            receipt = json.load(file)
        return (receipt["req_id"], receipt["full_id"]) == (req_id, full_id)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_on_node():
    """Whether this process has a code package with a manifest, and no launcher of envlock has started it."""
    return not os.environ.get(LAUNCHER_VARIABLE) and unpacked_code() is not None


def unpacked_code():
    """The folder into which the code package of this task was unpacked, if that has a manifest; else None.

    Some workers do not set the variable that names it, and start the flow in there.
    """
    root = os.environ.get("METAFLOW_EXTRACTED_ROOT") or os.path.dirname(os.path.abspath(sys.argv[0]))
    return root if os.path.exists(os.path.join(root, ".mf_meta", MANIFEST)) else None


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


def _refuse_to_be_left_out(flow):
    """Raise EnvlockException if tasks would start outside of their environments, with nobody to say so."""
    used = {decorator.name for step in flow for decorator in step.decorators} | {_command_line()[0]}
    left_out = sorted(used & set(_LEAVES_THE_DEFAULT))
    if left_out and DEFAULT_ENVIRONMENT != EnvlockEnvironment.TYPE:
        raise EnvlockException(
            "%s starts tasks without --environment: they would run outside of their environments\n\n"
            "hint: export METAFLOW_DEFAULT_ENVIRONMENT=envlock, here and where its workers run" % left_out[0]
        )


def _ask_before_tasks():
    """If the command of this process runs a task, make it enter the task's environment first.

    It does so after Metaflow has set everything up, and before it writes anything of the task.
    """
    name = _command_line()[0]
    if name not in COMMANDS_OF_TASKS:
        return
    context = _context()
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


def _command_line():
    """The command that Metaflow is about to run, and its arguments."""
    return getattr(_context(), "saved_args", None) or [""]


def _context():
    from metaflow._vendor import click

    return click.get_current_context(silent=True)


def _remote_steps(flow):
    """The decorator that sends a step to another machine, and the arch there as far as it says, by step."""
    if _commands()[:1] == ["spin"]:  # which runs every step here
        return {}
    remote = {}
    for step in flow:
        for decorator in step.decorators:
            elsewhere = decorator.name in _DECORATORS_THAT_RUN_ELSEWHERE
            if elsewhere or getattr(decorator, "supports_conda_environment", False):
                remote[step.name] = [decorator.name, getattr(decorator, "target_platform", None)]
    return remote


def _own_variables(flow):
    """The names of the variables that @environment sets, by step: they come before those of its environment."""
    own = {}
    for step in flow:
        names = set()
        for decorator in step.decorators:
            if decorator.name == "environment" and isinstance(decorator.attributes.get("vars"), dict):
                names.update(decorator.attributes["vars"])
        if names:
            own[step.name] = sorted(map(str, names))
    return own


def _without_image(flow):
    """The decorators of each step that take an image for containers, and were given none."""
    found = {}
    for step in flow:
        for decorator in step.decorators:
            takes_one = decorator.name in _DECORATORS_WITH_IMAGES
            if takes_one and "image" not in decorator._user_defined_attributes:  # noqa: SLF001  as Metaflow asks
                found.setdefault(step.name, []).append(decorator)
    return found


def _deploying_command(datastore):
    """The Metaflow command that is running, if its steps start on nodes; else empty. Unknown ones are taken for such.

    With a local datastore they cannot be: a node could not get the code package.
    """
    names = _commands()
    if not names or names[0] in _COMMANDS_THAT_RUN_HERE + _SCHEDULERS_WITH_ENVLOCK:
        return ""
    return "" if datastore == "local" and names[0] not in _SCHEDULERS_OF_NODES else " ".join(names)


def _commands():
    """The Metaflow command that is running, and its subcommands."""
    names = []
    context = _context()
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return names
