"""The decorator that the environment adds to every step: Metaflow's only hook to give a local task its interpreter.

Standard library and Metaflow only: this is imported by each `import metaflow`, in the launcher and in every step.
"""

import json
import os
import sys

from metaflow.decorators import StepDecorator
from metaflow.metadata_provider import MetaDatum
from metaflow.metaflow_environment import InvalidEnvironmentException

from .envlock_environment import COMMANDS_OF_TASKS, IDENTITY_VARIABLE, is_on_node


class EnvlockInternalDecorator(StepDecorator):
    """Added to each step by `--environment=envlock`; never written by hand."""

    name = "envlock_internal"
    defaults = {}

    _environment = None  # schedulers call `runtime_step_cli` of decorators that nobody has begun

    def step_init(self, flow, graph, step_name, decorators, environment, flow_datastore, logger):
        if environment.TYPE != "envlock":
            raise InvalidEnvironmentException("@%s works only with --environment=envlock" % self.name)
        self._step = step_name
        self._environment = environment
        self._flow = flow
        self._datastore = flow_datastore

    # In the launcher.

    def runtime_init(self, flow, graph, package, run_id):
        self._environment.launcher.prepare(self._step, package, run_id)

    def runtime_step_cli(self, cli_args, retry_count, max_user_code_retries, ubf_context):
        launcher = self._environment and self._environment.launcher
        if launcher is None or not launcher.runs:
            return  # a scheduler writes the command down: its task enters by itself
        is_remote = launcher.is_remote(self._step)
        if cli_args.commands[0] not in COMMANDS_OF_TASKS or (is_remote and retry_count <= max_user_code_retries):
            # What sends a task to a node is no task: it stays on this interpreter.
            launcher.send(self._step, cli_args.env)
            return
        name = launcher.fetched_name(self._step)
        if name is not None:
            from .name_values import runtime_values

            values = runtime_values(name, self._step, cli_args.command_options, self._flow, self._datastore)
            launcher.fetch_and_enter_or_fail(self._step, cli_args.entrypoint, cli_args.env, values)
        elif is_remote:  # all attempts failed there: @catch runs its own one here
            launcher.enter_here_or_fail(self._step, cli_args.entrypoint, cli_args.env)
        else:
            launcher.enter(self._step, cli_args.entrypoint, cli_args.env)

    def runtime_finished(self, exception):
        self._environment.launcher.finish()

    # In the task.

    def task_pre_step(
        self,
        step_name,
        task_datastore,
        metadata,
        run_id,
        task_id,
        flow,
        graph,
        retry_count,
        max_user_code_retries,
        ubf_context,
        inputs,
    ):
        self._environment.refuse_strays(step_name)
        identity = os.environ.get(IDENTITY_VARIABLE)
        if not identity:
            return
        metadata.register_metadata(
            run_id,
            step_name,
            task_id,
            [
                MetaDatum(
                    field="envlock_env_id",
                    value=identity,
                    type="envlock_env_id",
                    tags=["attempt_id:{0}".format(retry_count)],
                )
            ],
        )
        if not is_on_node():
            self._hold_environment()
        else:
            from .node.record import write_from_task

            task = "%s/%s/%s/%s" % (flow.name, run_id, step_name, task_id)
            write_from_task(task, json.loads(identity), sys.prefix)

    def _hold_environment(self):
        # The launcher's process holds it too, and may be killed: what a task runs in is not removed.
        from .node.home import RECEIPT, hold

        if os.path.exists(os.path.join(sys.prefix, RECEIPT)):
            self._held = hold(sys.prefix)
