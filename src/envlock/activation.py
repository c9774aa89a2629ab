"""Entering a prefix: the variables of a process in it, and conda's activation.

For a prefix of wheels, that is `PATH` and some variables of Python. A prefix of conda packages is activated as conda
does it: its own variables, those that packages and the environment set, and the scripts in `etc/conda/activate.d`, all
sourced in one shell. What an environment that is already active has set is removed first.

`run`, `shell` and the shim depend on this, so it imports only what an interpreter has loaded anyway, and starts a
process only if there is a script.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SCRIPT_SECONDS = 30.0
"""How long all scripts of a prefix may take together, in seconds."""

_VARIABLES = ".envlock-variables.json"  # nodes have these names in `node/home.py`: this imports nothing of theirs
RECEIPT = ".envlock.json"
"""The name of the file that says what a prefix was made from, in the prefix. What reads it is `hydration/prefix.py`."""
_SHELLS = ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash", "/opt/homebrew/bin/bash")
_SAVED = "__ENVLOCK_SAVED_"  # before the name of a variable that an environment of wheels has set to another value
_UNSET = "***unset***"  # how conda marks a variable of an environment that was removed
STEERS_PYTHON = ("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
"""Variables that make Python look for its modules outside of its prefix. (`PYTHONPATH` adds folders to it.)"""

_OF_VENV = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT")
_OF_CONDA = ("CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL", "CONDA_PROMPT_MODIFIER")
_OF_CONDA_STACK = ("CONDA_PREFIX_", "CONDA_STACKED_", "__CONDA_SHLVL_")
_OF_THE_SHELL = ("_", "SHLVL", "PWD", "OLDPWD", "__envlock_script")
_STEERS_THE_SHELL = ("BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "POSIXLY_CORRECT")

# Scripts write to stderr, because stdout belongs to the command that follows. No script gets the pipe by which the
# variables come back, so what it leaves running in the background does not delay this process.
_PROGRAM = r"""
exec 3>&1 >&2
for __envlock_script do
    printf '%s\0' "$__envlock_script" >&3
    . "$__envlock_script" 3>&-
    printf '%s\0' "$?" >&3
done
printf 'environment\0' >&3
/usr/bin/env -0 >&3 2>/dev/null || awk 'BEGIN { for (n in ENVIRON) printf "%s=%s%c", n, ENVIRON[n], 0 }' >&3
"""


def _pass_over(message: str) -> None:
    """Ignore a warning."""


def activated(
    prefix: str,
    environ: Mapping[str, str],
    *,
    warn: Callable[[str], None] = _pass_over,
    seconds: float = SCRIPT_SECONDS,
    keep_pythonpath: bool = False,
) -> dict[str, str]:
    """The variables of a process in `prefix`, from those of its parent. Activating twice changes nothing.

    Drops `PYTHONPATH` unless `keep_pythonpath`: it leads to what was not locked. Calls `warn` for a script with another
    exit status than 0, which conda ignores. Costs a few `stat`s, and one shell if there are scripts. Raises UnfitPrefix
    for a path that PATH cannot contain; ActivationFailed for a script that ends its shell or does not end in time, and
    for a file of variables that cannot be read.
    """
    if ":" in prefix:
        from envlock.hydration.errors import UnfitPrefix

        raise UnfitPrefix(prefix, ":")
    is_conda = os.path.isdir(os.path.join(prefix, "conda-meta"))
    outer = environ.get("CONDA_PREFIX", "")
    if is_conda or (outer and os.path.exists(os.path.join(outer, RECEIPT))):
        variables = _deactivated(environ, warn, seconds)
    else:
        variables = dict(environ)
    _leave_prefix_of_wheels(variables, warn)
    variables["PYTHONNOUSERSITE"] = "1"
    for name in STEERS_PYTHON if keep_pythonpath else (*STEERS_PYTHON, "PYTHONPATH"):
        variables.pop(name, None)
    if not is_conda:
        variables["PATH"] = with_programs(prefix, variables)
        variables["VIRTUAL_ENV"] = prefix
        for name, value in _of_environment(prefix, os.path.join(prefix, _VARIABLES)).items():
            if name in variables:
                variables[f"{_SAVED}{name}"] = variables[name]
            variables[name] = value
        return variables
    for name in _OF_VENV:
        variables.pop(name, None)
    variables["PATH"] = with_programs(prefix, variables)
    variables.update(_of_conda(prefix))
    for name, value in _variables_of(prefix).items():
        if name in variables:
            variables[f"__CONDA_SHLVL_0_{name}"] = variables[name]
        variables[name] = value
    return _sourced(scripts_of(prefix), prefix, variables, warn, seconds)


def _of_conda(prefix: str) -> dict[str, str]:
    return {"CONDA_PREFIX": prefix, "CONDA_DEFAULT_ENV": _default_name(prefix), "CONDA_SHLVL": "1"}


def variables_set_in(prefix: str) -> dict[str, str]:
    """The variables that entering a prefix sets, but for PATH and what its scripts set. Raises ActivationFailed."""
    if os.path.isdir(os.path.join(prefix, "conda-meta")):
        return {"PYTHONNOUSERSITE": "1", **_of_conda(prefix), **_variables_of(prefix)}
    own = _of_environment(prefix, os.path.join(prefix, _VARIABLES))
    return {"PYTHONNOUSERSITE": "1", "VIRTUAL_ENV": prefix, **own}


def scripts_of(prefix: str) -> list[str]:
    """The scripts that entering a prefix sources, in order. Raises ActivationFailed."""
    return _scripts(prefix, "activate.d")


def without_python(environ: Mapping[str, str], *more: str) -> dict[str, str]:
    """The variables for a process that runs a certain Python: without any that steer Python, or begin with `more`.

    >>> without_python({"PATH": "/bin", "PYTHONPATH": "/mine", "CONDA_PREFIX": "/env"}, "CONDA_")
    {'PATH': '/bin'}
    """
    return {name: value for name, value in environ.items() if not name.startswith(("PYTHON", "__PYVENV", *more))}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """The difference between two environments: each variable that changed, None for one that was removed.

    >>> changes({"A": "1", "B": "2"}, {"A": "1", "C": "3"})
    {'C': '3', 'B': None}
    """
    found: dict[str, str | None] = {name: value for name, value in after.items() if before.get(name) != value}
    found.update(dict.fromkeys(name for name in before if name not in after))
    return found


def _deactivated(environ: Mapping[str, str], warn: Callable[[str], None], seconds: float) -> dict[str, str]:
    """The variables without what an active environment has set: deactivated as in conda, or by name.

    The folder of envlock's own executable stays on PATH, so that a shell in an environment has envlock too.
    """
    outer = environ.get("CONDA_PREFIX", "")
    variables = dict(environ)
    if outer and os.path.isdir(outer):
        try:
            variables = _sourced(_scripts(outer, "deactivate.d")[::-1], outer, variables, warn, seconds)
            of_outer = _variables_of(outer)
        except _failure() as error:  # leaving must not fail: what the scripts cannot undo stays
            warn(error.message)
            of_outer = {}
        level = _level(environ.get("CONDA_SHLVL", "")) - 1
        for name in of_outer:
            saved = variables.pop(f"__CONDA_SHLVL_{level}_{name}", None)
            if saved is None:
                variables.pop(name, None)
            else:
                variables[name] = saved
    prefixes = [environ.get(name, "") for name in (*_OF_CONDA[:1], *_OF_VENV[:1])]
    prefixes += [value for name, value in environ.items() if name.startswith(_OF_CONDA_STACK[0])]
    own = os.path.dirname(sys.executable)
    folders = {os.path.join(each, "bin") for each in prefixes if each} - {own}
    if "PATH" in variables and folders:
        variables["PATH"] = ":".join(each for each in variables["PATH"].split(":") if each not in folders)
    return {
        name: value
        for name, value in variables.items()
        if name not in _OF_CONDA and not name.startswith(_OF_CONDA_STACK)
    }


def _leave_prefix_of_wheels(variables: dict[str, str], warn: Callable[[str], None]) -> None:
    """Take back the variables that an active environment without conda packages has set."""
    outer = variables.get("VIRTUAL_ENV", "")
    path = os.path.join(outer, _VARIABLES)
    if not outer or not os.path.exists(path):
        return
    try:
        of_outer = _of_environment(outer, path)
    except _failure() as error:
        warn(error.message)
        return
    for name, value in of_outer.items():
        saved = variables.pop(f"{_SAVED}{name}", None)
        if variables.get(name) != value:
            continue  # somebody has set it since
        del variables[name]
        if saved is not None:
            variables[name] = saved


def _level(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def with_programs(prefix: str, variables: Mapping[str, str]) -> str:
    """PATH with the prefix's programs first, and only there.

    >>> with_programs("/env", {"PATH": "/usr/bin"}), with_programs("/env", {"PATH": "/mine:/env/bin:/bin"})
    ('/env/bin:/usr/bin', '/env/bin:/mine:/bin')
    """
    programs = os.path.join(prefix, "bin")
    others = (each for each in variables.get("PATH", os.defpath).split(":") if each != programs)
    return ":".join([programs, *others])


def _default_name(prefix: str) -> str:
    """The name of an environment in conda: that of its folder if that is in a folder `envs`, else its path.

    >>> _default_name("/opt/conda/envs/train"), _default_name("/srv/train")
    ('train', '/srv/train')
    """
    folder, name = os.path.split(prefix)
    return name if os.path.basename(folder) == "envs" else prefix


def _variables_of(prefix: str) -> dict[str, str]:
    """The variables that packages (`etc/conda/env_vars.d`) and the environment itself set; the latter win.

    Raises ActivationFailed.
    """
    folder = os.path.join(prefix, "etc", "conda", "env_vars.d")
    found: dict[str, object] = {}
    for name in _entries(prefix, folder, ".json"):
        found.update(_read_object(prefix, os.path.join(folder, name)))
    found.update(_of_environment(prefix, os.path.join(prefix, "conda-meta", "state")))
    return {name: str(value) for name, value in found.items() if value != _UNSET}


def _of_environment(prefix: str, path: str) -> dict[str, str]:
    """The variables that an environment itself sets, from its file, if there is one. Raises ActivationFailed."""
    found = _read_object(prefix, path).get("env_vars", {}) if os.path.exists(path) else {}
    if not isinstance(found, dict):
        return {}
    return {name: str(value) for name, value in found.items() if _can_be_set(name, value)}


def _read_object(prefix: str, path: str) -> dict[str, object]:
    from envlock.files import MEMO_BYTES, json_of, read_file

    try:
        found = json_of(read_file(path, MEMO_BYTES))
        if isinstance(found, dict) and all(_can_be_set(*item) for item in found.items()):
            return found
        reason = "it is not a JSON object of variables"
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
    except ValueError:
        reason = "it is not JSON"
    raise _failure()(prefix, path, reason)


def _can_be_set(name: str, value: object) -> bool:
    try:
        return bool(name) and "=" not in name and b"\0" not in os.fsencode(f"{name}={value}")
    except UnicodeEncodeError:  # half a character
        return False


def _scripts(prefix: str, kind: str) -> list[str]:
    folder = os.path.join(prefix, "etc", "conda", kind)
    return [os.path.join(folder, name) for name in _entries(prefix, folder, ".sh")]


def _entries(prefix: str, folder: str, ending: str) -> list[str]:
    """The files of a folder with that ending, by name. Raises ActivationFailed."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(ending) and not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _failure()(prefix, folder, f"it cannot be read ({error.strerror})") from None


def _sourced(
    scripts: Sequence[str], prefix: str, variables: dict[str, str], warn: Callable[[str], None], seconds: float
) -> dict[str, str]:
    """The variables after sourcing these scripts in one shell. Raises ActivationFailed."""
    if not scripts:
        return variables
    output = iter(_shell_output(scripts, prefix, variables, seconds))
    last = ""
    for script in output:
        if script == "environment":
            break
        last, status = script, next(output, "")
        if not status:
            raise _failure()(prefix, last, "it ended the shell that sourced it")
        if status != "0":
            warn(f"{last} ended with status {status}")
    else:
        raise _failure()(prefix, last or scripts[0], "no shell could source it")
    found = dict(line.split("=", 1) for line in output if "=" in line)
    for name in _OF_THE_SHELL:
        found.pop(name, None)
    # A shell passes on only variables with names that it can use.
    kept = {*_OF_THE_SHELL, *_STEERS_THE_SHELL, *(name for name in variables if not _is_identifier(name))}
    for name in kept & variables.keys():
        found.setdefault(name, variables[name])
    return found


def _shell_output(scripts: Sequence[str], prefix: str, variables: Mapping[str, str], seconds: float) -> list[str]:
    """The output of the shell: each script and its status, then `environment`, and each variable as `name=value`."""
    import subprocess

    given = {name: value for name, value in variables.items() if name not in _STEERS_THE_SHELL}
    shell = shell_for_scripts(variables.get("PATH", os.defpath))
    try:
        process = subprocess.Popen(
            [shell, "-c", _PROGRAM, shell, *scripts],
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise _failure()(prefix, scripts[0], f"{shell} cannot be started ({error.strerror})") from None
    from envlock.reporter import running

    told = running([shell, *scripts])
    in_time = True
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        in_time = False
        _kill(process.pid)
        output, _ = process.communicate()
    except BaseException:
        _kill(process.pid)
        process.wait()
        raise
    told.ended(f"status {process.returncode}")
    parts = os.fsdecode(output).split("\0")[:-1]
    if not in_time:
        started = [each for each in parts if each in scripts]
        raise _failure()(prefix, (started or scripts)[-1 if started else 0], f"it did not end within {seconds:g} s")
    return parts


def _kill(group: int) -> None:
    import signal

    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def shell_for_scripts(path: str) -> str:
    """bash, which activation scripts need in practice; else the system's sh."""
    candidates: Iterable[str] = (*_SHELLS, *(os.path.join(folder, "bash") for folder in path.split(":") if folder))
    return next((each for each in candidates if os.access(each, os.X_OK)), "/bin/sh")


def _is_identifier(name: str) -> bool:
    return name.isascii() and name.isidentifier()


def _failure() -> type[ActivationFailed]:
    from envlock.hydration.errors import ActivationFailed

    return ActivationFailed


if TYPE_CHECKING:
    from envlock.hydration.errors import ActivationFailed
