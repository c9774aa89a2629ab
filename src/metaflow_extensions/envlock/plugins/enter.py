"""A task that was not started by envlock's launcher enters its environment by itself.

Schedulers and their extensions run `python flow.py --environment=envlock step ...` with the interpreter that they have.
This process then asks envlock for what a launcher would have asked for, or prepares what a node would have, and becomes
the task: the same process, with the same arguments, on the locked interpreter.
"""

import json
import os
import subprocess
import sys

from metaflow.package import MetaflowPackage

from .envlock_environment import (
    ABSENT_VARIABLE,
    IDENTITY_VARIABLE,
    TASK_VARIABLE,
    EnvlockException,
    pathspec,
    unpacked_code,
)
from .name_values import runtime_values
from .node.home import hold

# The process that entered, and the prefix. A process that finds its own number here has entered without effect.
_ENTERED_VARIABLE = "_METAFLOW_ENVLOCK_ENTERED"

# Modules of the standard library that run the script named after them.
_RUNNERS = ("cProfile", "pdb", "profile", "trace")

# Removes a folder once the task has ended, however it ended: the task alone holds the other end of this shell's stdin.
# `exec 3<&0` keeps that for the background process, whose own stdin the shell replaces. It is a grandchild, so a task
# that waits for its children does not wait for it.
_REMOVE_AT_THE_END = 'exec 3<&0; (cat <&3; rm -rf -- "$1") >/dev/null 2>&1 &'


def enter(step, options, state):
    """Become the task in the environment of its step; returns only if the step is disabled.

    `options` are those of Metaflow's command for a task, `state` is Metaflow's object for this process. Raises
    EnvlockException.
    """
    flow, environment, run = state.flow, state.environment, options["run_id"]
    launcher = environment.launch([step], {}, "")
    entrypoint, variables = [sys.executable], {}
    try:
        if launcher.is_disabled(step):
            launcher.prepare(step, None, run)
            launcher.enter(step, entrypoint, variables)
            launcher.finish()
            os.environ.pop(ABSENT_VARIABLE, None)
            os.environ.update(variables)
            return
        variables.update(_of_the_flow(flow, step))
        launcher.prepare(step, MetaflowPackage(flow, environment, state.echo, suffixes=state.package_suffixes), run)
        name = launcher.fetched_name(step)
        if name is None:
            launcher.enter(step, entrypoint, variables)
        else:
            values = runtime_values(name, step, *_as_the_launcher_knows(options, state))
            launcher.fetch_and_enter(step, entrypoint, variables, values)
        _become(entrypoint[0], variables, launcher, state)
    except BaseException:
        launcher.finish()
        raise


def enter_on_node(step, options, state):
    """As `enter`, where there is a code package and no envlock, and the commands before a remote task did not run.

    Raises EnvlockException.
    """
    from .node.enter import variables
    from .node.errors import NodeError
    from .node.manifest import PATHSPEC_VARIABLE, manifest_path, read
    from .node.prepare import prepare
    from .node.report import Reporter

    flow, run = state.flow.name, options["run_id"]
    environ, own = dict(os.environ), _of_the_flow(state.flow, step)
    environ.update(own)
    environ.update(_of_the_code(environ))
    environ[PATHSPEC_VARIABLE] = "%s/%s" % (pathspec(flow, run, step), options["task_id"])
    try:
        entered = prepare(read(manifest_path(environ), flow), step, environ, Reporter())
        if entered is None:
            os.environ.update({IDENTITY_VARIABLE: "", TASK_VARIABLE: pathspec(flow, run, step)})
            return
        wanted = variables(entered, flow, step, environ, sorted(own))
    except NodeError as error:
        raise EnvlockException(str(error)) from None
    if entered.lock is not None:  # the task holds its environment, as the shell of a scheduler's command does
        os.set_inheritable(entered.lock, True)
    _replace(entered.python, entered.prefix, wanted, state)


def _of_the_code(environ):
    """What Metaflow's own commands set where they unpack a code package, if a worker has unpacked it without them."""
    if environ.get("METAFLOW_EXTRACTED_ROOT"):
        return {}
    root = unpacked_code()
    return {"METAFLOW_EXTRACTED_ROOT": root, "PYTHONPATH": os.pathsep.join([os.path.join(root, ".mf_code"), root])}


def _of_the_flow(flow, step):
    """What @environment sets for a step. It does so in the launcher, if there is one."""
    found = {}
    for decorator in getattr(flow, step).decorators:
        if decorator.name == "environment":
            found.update(decorator.attributes["vars"])
    return found


def _as_the_launcher_knows(options, state):
    """The options of a task's command as on its command line, the flow, and the datastore of the task's parents."""
    paths = options.get("input_paths")
    if not paths and options.get("input_paths_filename"):
        with open(options["input_paths_filename"], encoding="utf-8") as file:
            paths = file.read().strip(" \n\"'")
    written = {name.replace("_", "-"): value for name, value in options.items()}
    written["input-paths"] = paths
    return written, state.flow, state.flow_datastore


def _become(python, variables, launcher, state):
    """Replace this process. Raises EnvlockException."""
    wanted = dict(os.environ)
    wanted.update(variables)
    for name in json.loads(wanted.pop(ABSENT_VARIABLE)):
        if not wanted[name]:
            del wanted[name]
    handle = hold(os.path.dirname(os.path.dirname(python)))
    if handle is not None:  # the task holds its environment, which the launcher's process held until now
        os.set_inheritable(handle, True)
    _replace(python, os.path.dirname(os.path.dirname(python)), wanted, state, launcher)


def _replace(python, prefix, wanted, state, launcher=None):
    """Replace this process by the task, with these variables. Raises EnvlockException."""
    entered = "%d:%s" % (os.getpid(), prefix)
    if os.environ.get(_ENTERED_VARIABLE) == entered:
        raise EnvlockException(
            "%s does not start in its environment: its prefix is %s\n\nhint: envlock create --rebuild"
            % (python, sys.prefix)
        )
    wanted.pop("PYTHONHOME", None)
    wanted[_ENTERED_VARIABLE] = entered
    for each in (state.monitor, state.event_logger):
        each.terminate()
    if launcher is not None:
        _remove_at_the_end(launcher.hand_over())
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(python, [python] + own_arguments(), wanted)  # noqa: S606  no shell is wanted
    except OSError as error:
        raise EnvlockException("cannot start %s: %s" % (python, error.strerror)) from None


def _remove_at_the_end(folder):
    reading, writing = os.pipe()
    try:
        # In a session of its own, so that what interrupts the task does not end it too.
        command = ["/bin/sh", "-c", _REMOVE_AT_THE_END, "sh", folder]
        subprocess.check_call(command, stdin=reading, start_new_session=True)
    finally:
        os.close(reading)
    os.set_inheritable(writing, True)


def own_arguments():
    """The arguments of this process, for another interpreter: without options that would hide Metaflow from it."""
    told = getattr(sys, "orig_argv", None) or _told_by_the_system()
    rest = len(sys.argv) - 1
    if told[len(told) - rest :] != sys.argv[1:]:
        return list(sys.argv)  # the script has changed its arguments
    options, program = _split(told[1 : len(told) - rest])
    is_script = program[:1] not in (["-m"], ["-c"])
    if (is_script and len(program) > 1) or (program[:1] == ["-m"] and program[2:] and program[1] not in _RUNNERS):
        runner = program[0] if is_script else program[1]
        sys.stderr.write("envlock: the task runs without %s, which is not in its environment\n" % runner)
        program = sys.argv[:1]
    return options + program + sys.argv[1:]


def _told_by_the_system():  # before Python 3.10
    try:
        with open("/proc/self/cmdline", "rb") as file:
            return [os.fsdecode(each) for each in file.read().split(b"\0")[:-1]]
    except OSError:
        return [sys.executable] + sys.argv


def _split(words):
    """The options of Python, without those that ignore PYTHONPATH or the flow's folder; and the program."""
    options = []
    while words and words[0].startswith("-") and words[0] != "-":
        word, words = words[0], words[1:]
        if word.startswith("--"):
            options += [word] + words[:1]
            words = words[1:]
            continue
        kept = ""
        for place in range(1, len(word)):
            if word[place] in "cm":
                options += ["-" + kept] if kept else []
                return options, ["-" + word[place]] + ([word[place + 1 :]] if word[place + 1 :] else []) + words
            if word[place] in "WX":
                kept += word[place:]
                if word[place + 1 :] == "":
                    kept, words = kept + words[0], words[1:]
                break
            kept += word[place] if word[place] not in "EIP" else ""
        options += ["-" + kept] if kept else []
    return options, words
