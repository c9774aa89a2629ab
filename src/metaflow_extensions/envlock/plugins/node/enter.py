"""Entering a prefix on a node: `enter.sh` for the shell that starts a task, variables for a process that becomes it.

Both say the same as `envlock.activation` does on a workstation, except that what leads to the code package stays in
PYTHONPATH.
"""

from __future__ import annotations

import os
import sys

from .errors import NodeError
from .home import VARIABLES
from .manifest import PATHSPEC_VARIABLE, ROOT_VARIABLE
from .values import parse_json, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Mapping, Sequence

    from .prepare import Entered

IDENTITY_VARIABLE = "_METAFLOW_ENVLOCK_ENV"
TASK_VARIABLE = "_METAFLOW_ENVLOCK_TASK"
PYTHON_VARIABLE = "ENVLOCK_PYTHON"
SCRIPT = "enter.sh"

_STEERS_PYTHON = ("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
_OF_VENV = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT")
_OF_CONDA = ("CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL", "CONDA_PROMPT_MODIFIER")
_UNSET = "***unset***"  # how conda marks a variable of an environment that was removed
_OF_THE_SHELL = ("_", "SHLVL", "PWD", "OLDPWD")

_UNQUOTED = dict.fromkeys(map(ord, "@%+=:,./-_"), "0")
"""Beside letters and digits, what needs no quotes in a shell."""
_DESCRIPTOR = 9
"""Where the shell, and by it the task, holds the prefix open. Not every shell knows descriptors of two digits."""

# A lock belongs to what was opened, not to who took it: the shell keeps what this program locks.
_LOCK = """
import fcntl, os, sys
try:
    fcntl.flock({0}, fcntl.LOCK_SH)
except OSError:
    pass
try:
    sys.exit(not os.path.samestat(os.fstat({0}), os.stat(sys.argv[1])))
except OSError:
    sys.exit(1)
""".format(_DESCRIPTOR).strip()


def task_of(flow: str, step: str, environ: Mapping[str, str]) -> str:
    """`flow/run/step` of this task: what the identity of its environment is valid for.

    >>> task_of("TrainFlow", "fit", {"MF_PATHSPEC": "TrainFlow/argo-x/fit/t-1"}), task_of("TrainFlow", "fit", {})
    ('TrainFlow/argo-x/fit', 'TrainFlow//fit')
    """
    parts = environ.get(PATHSPEC_VARIABLE, "").split("/")
    run = parts[1] if len(parts) >= 3 and (parts[0], parts[2]) == (flow, step) else ""
    return "%s/%s/%s" % (flow, run, step)


def identity(entered: Entered) -> str:
    """What `_METAFLOW_ENVLOCK_ENV` is in an environment: pathspecs are read in this spelling."""
    target = entered.target
    return "[%s]" % ", ".join(map(quoted, (target.req_id, target.full_id, target.arch)))


def script(entered: Entered | None, flow: str, step: str, environ: Mapping[str, str], own: Sequence[str] = ()) -> str:
    """The text of `enter.sh`, for bash and sh; for a disabled step if nothing is entered.

    `own` are the variables of the step itself, which an environment does not change.

    The shell that reads it holds the prefix. If that was removed a moment ago, it has it made once more.
    """
    lines = ["# Written by envlock. A shell that reads this is in the environment of %s/%s." % (flow, step)]
    if entered is None:
        lines += _exports({PYTHON_VARIABLE: sys.executable, IDENTITY_VARIABLE: ""})
        lines += _exports({TASK_VARIABLE: task_of(flow, step, environ)})
        return "\n".join(lines) + "\n"
    prefix = in_shell(entered.prefix)
    if entered.lock is not None:
        # `exec` with a folder that is gone would end some shells.
        again = "%s -m %s %s %s && . ./.envlock/%s" % (
            in_shell(sys.executable), __package__, in_shell(flow), in_shell(step), SCRIPT,
        )  # fmt: skip
        # A Python does the same where there is no such program, and knows more.
        quick = "{ flock -s %d && [ %s -ef /dev/fd/%d ]; } 2>/dev/null" % (_DESCRIPTOR, prefix, _DESCRIPTOR)
        lock = "exec %d<%s && { %s || %s -I -S -c %s %s; }" % (
            _DESCRIPTOR, prefix, quick, in_shell(sys.executable), in_shell(_LOCK), prefix,
        )  # fmt: skip
        lines.append("{ [ -d %s ] && %s; } || { %s; return; }" % (prefix, lock, again))
    lines += _leaving(entered, environ)
    variables = _set(entered, flow, step, environ, own)
    lines += ["unset %s" % name for name in _absent(entered)]
    lines += _exports(variables)
    for path in _scripts(entered.prefix, "activate.d"):
        lines.append(". %s >&2 || echo %s >&2" % (in_shell(path), in_shell("envlock: %s failed" % path)))
    return "\n".join([*lines, ":"]) + "\n"


def variables(
    entered: Entered, flow: str, step: str, environ: Mapping[str, str], own: Sequence[str] = ()
) -> dict[str, str]:
    """All variables of a process that becomes the task. Starts a shell if packages have activation scripts.

    Raises NodeError.
    """
    import subprocess

    scripts = _scripts(entered.prefix, "activate.d")
    if not (scripts or list(_leaving(entered, environ))):
        found = {name: value for name, value in environ.items() if name not in _absent(entered)}
        found.update(_set(entered, flow, step, environ, own))
        return found
    program = "%s\nexec %s -I -S -c %s" % (
        script(entered._replace(lock=None), flow, step, environ, own),
        in_shell(sys.executable),
        in_shell("import json, os; print(json.dumps(dict(os.environ)))"),
    )
    shell = next((each for each in ("/bin/bash", "/usr/bin/bash") if os.access(each, os.X_OK)), "/bin/sh")
    ran = subprocess.run(
        [shell, "-c", program], env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
    )
    try:
        found = parse_json(ran.stdout.decode("utf-8"))
    except ValueError:
        raise NodeError(
            "an activation script of a conda package ended the shell that sourced it: require another version of it"
        ) from None
    return {name: value for name, value in found.items() if name not in _OF_THE_SHELL or name in environ}


def _set(entered: Entered, flow: str, step: str, environ: Mapping[str, str], own: Sequence[str]) -> dict[str, str]:
    """The variables that are set in an environment, but for what activation scripts set."""
    prefix = entered.prefix
    programs = os.path.join(prefix, "bin")
    outer = os.path.join(environ.get("CONDA_PREFIX") or os.devnull, "bin") if _is_conda(prefix) else programs
    others = [each for each in environ.get("PATH", os.defpath).split(":") if each not in (programs, outer)]
    found = {
        PYTHON_VARIABLE: entered.python,
        IDENTITY_VARIABLE: identity(entered),
        TASK_VARIABLE: task_of(flow, step, environ),
        "PATH": ":".join([programs, *others]),
        "PYTHONNOUSERSITE": "1",
    }
    if _is_conda(prefix):
        found.update({"CONDA_PREFIX": prefix, "CONDA_DEFAULT_ENV": prefix, "CONDA_SHLVL": "1"})
        more = _of_packages(prefix)
    else:
        found["VIRTUAL_ENV"] = prefix
        more = _of_environment(os.path.join(prefix, VARIABLES))
    found.update({name: value for name, value in more.items() if not (name in own and name in environ)})
    if "PYTHONPATH" in environ:
        found["PYTHONPATH"] = ":".join([*_of_the_code(environ), *filter(None, [found.get("PYTHONPATH")])])
    return found


def _of_the_code(environ: Mapping[str, str]) -> list[str]:
    """What leads to the code package in PYTHONPATH: the rest is the image's, and was not locked."""
    root = os.path.realpath(environ.get(ROOT_VARIABLE) or os.getcwd())
    return [
        each
        for each in environ["PYTHONPATH"].split(":")
        if os.path.realpath(each) == root or os.path.realpath(each).startswith(os.path.join(root, ""))
    ]


def _absent(entered: Entered) -> list[str]:
    """The variables that an environment does not have."""
    return [*_STEERS_PYTHON, *(_OF_VENV if _is_conda(entered.prefix) else ())]


def _leaving(entered: Entered, environ: Mapping[str, str]) -> Iterator[str]:
    """The lines by which a shell leaves an environment of the image, before it enters one of conda packages."""
    outer = environ.get("CONDA_PREFIX", "")
    if not outer or not _is_conda(entered.prefix):
        return
    for path in reversed(_scripts(outer, "deactivate.d")):
        yield ". %s >&2 || :" % in_shell(path)
    yield "unset %s" % " ".join(_OF_CONDA)


def _is_conda(prefix: str) -> bool:
    return os.path.isdir(os.path.join(prefix, "conda-meta"))


def _of_packages(prefix: str) -> dict[str, str]:
    """The variables that packages (`etc/conda/env_vars.d`) and the environment itself set; the latter win."""
    found: dict[str, object] = {}
    folder = os.path.join(prefix, "etc", "conda", "env_vars.d")
    for path in _entries(folder, ".json"):
        found.update(_object(path))
    found.update(_of_environment(os.path.join(prefix, "conda-meta", "state")))
    # A shell that is not bash ends where it is to export any other name.
    are_names = (name for name in found if name.isascii() and name.isidentifier())
    return {name: str(found[name]) for name in are_names if found[name] != _UNSET}


def _of_environment(path: str) -> dict[str, str]:
    """The variables in the file of an environment, if there is one."""
    found = _object(path).get("env_vars", {}) if os.path.exists(path) else {}
    given = found.items() if isinstance(found, dict) else ()
    return {name: str(value) for name, value in given if _can_be_set(name, value)}


def _can_be_set(name: str, value: object) -> bool:
    try:
        return bool(name) and "=" not in name and b"\0" not in os.fsencode("%s=%s" % (name, value))
    except UnicodeEncodeError:  # half a character
        return False


def _object(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            found = parse_json(file.read())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(_can_be_set(*item) for item in found.items()):
        raise NodeError(
            "cannot enter the environment: %s is not a JSON object of variables; lock another version of its package"
            % path
        )
    return found


def _scripts(prefix: str, kind: str) -> list[str]:
    return _entries(os.path.join(prefix, "etc", "conda", kind), ".sh")


def _entries(folder: str, ending: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.endswith(ending) and not name.startswith(".")]


def in_shell(text: str) -> str:
    r"""A text as one word of a shell, as `shlex.quote` writes it.

    >>> print(in_shell("it's"), in_shell("/opt/a-1.0"), in_shell(""))
    'it'"'"'s' /opt/a-1.0 ''
    """
    if text and text.isascii() and text.translate(_UNQUOTED).isalnum():
        return text
    return "'%s'" % text.replace("'", "'\"'\"'")


def _exports(found: Mapping[str, str]) -> list[str]:
    return ["export %s=%s" % (name, in_shell(value)) for name, value in found.items()]
