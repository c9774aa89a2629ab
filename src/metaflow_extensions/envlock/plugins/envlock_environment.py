"""`--environment=envlock`: every step in its own locked environment, without a decorator in the flow.

Standard library and Metaflow only: this is imported by each `import metaflow`, in the launcher and in every step.
"""

import json
import os
import sys

from metaflow.exception import MetaflowException
from metaflow.metaflow_environment import MetaflowEnvironment

# What a task knows of its environment: '["req_id", "full_id", "arch"]'; empty where the step is disabled.
IDENTITY_VARIABLE = "_METAFLOW_ENVLOCK_ENV"

# The names, as JSON, that are set for a task to nothing and that it must not have at all.
ABSENT_VARIABLE = "_METAFLOW_ENVLOCK_ABSENT"

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

    def validate_environment(self, logger, datastore_type):
        # Called in every process, tasks included: what it costs, every task pays.
        self._logger = logger
        self._datastore_type = datastore_type

    def decospecs(self):
        return ("envlock_internal",)

    def init_environment(self, echo):
        """Refuse the flow, unless every step has a fresh lock. Metaflow calls this in launchers only."""
        from .launcher import Launcher

        self._launcher = Launcher(
            {
                "flow": self._flow.name,
                "file": os.path.abspath(sys.argv[0]),
                "steps": [step.name for step in self._flow],
                "datastore": self._datastore_type,
                "remote": _remote_steps(self._flow),
                "command": _deploying_command(),
            },
            self._logger,
        )

    @property
    def launcher(self):
        """What this process knows of the run that it launches; None in a task."""
        return self._launcher

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
    from metaflow._vendor import click

    names = []
    context = click.get_current_context(silent=True)
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return "" if not names or names[0] in _COMMANDS_THAT_RUN_HERE else " ".join(names)
