"""What Jupyter starts as a kernel: it enters the kernel's prefix, and becomes ipykernel there.

`envlock kernel install` copies this file into `<home>/kernels/<name>/`. So it imports nothing but the standard library,
and it works, for environments of wheels, when the envlock is gone that installed it. The interpreter is the one from
which envlock's own environment was made, because that may be temporary. Messages are on stderr, which Jupyter shows in
its log.
"""

from __future__ import annotations

import json
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MADE_FROM = "made-from.json"
PREFIX = "prefix"
_RECEIPT = ".envlock.json"
STATUS = 5
"""Of every command whose environment cannot be entered on this machine."""


def main() -> NoReturn:
    """Replace this process by the kernel's own. Ends with status 5 and a sentence where that is not possible."""
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        with open(os.path.join(folder, MADE_FROM), encoding="utf-8") as file:
            kernel = json.load(file)
        prefix = os.readlink(os.path.join(folder, PREFIX))
        name, command, variables = kernel["name"], kernel["command"], kernel["variables"]
        folders = kernel["envlock"].split(os.pathsep)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        end(f"envlock: the kernel in {folder} is incomplete. Install it again with `envlock kernel install`.")
    python = os.path.join(prefix, "bin", "python")
    if not (os.path.isfile(os.path.join(prefix, _RECEIPT)) and os.access(python, os.X_OK)):
        end(gone(name, prefix, command))
    variables = {**_variables(folder, folders, prefix, command), **variables}
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which this interpreter ignores, and a new program would inherit
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(python, [python, "-m", "ipykernel_launcher", *sys.argv[1:]], variables)  # noqa: S606  no shell
    except OSError as error:
        end(f"envlock: {python} does not start ({error.strerror}). Create it again: {command}")


def end(message: str, status: int = STATUS) -> NoReturn:
    """End this process with a sentence on stderr."""
    sys.stderr.write(f"{message}\n")
    sys.exit(status)


def gone(name: str, prefix: str, command: str) -> str:
    """What is said of a kernel whose prefix was removed."""
    return (
        f"envlock: the environment of the kernel `{name}` is no longer on this machine ({prefix}). "
        f"Create it again: {command}"
    )


def _variables(folder: str, folders: list[str], prefix: str, command: str) -> dict[str, str]:
    """The variables of a process in the prefix, by the envlock that installed the kernel if it is still there."""
    sys.path += folders
    try:
        from envlock.workflow.machine.kernels import enter
    except Exception:  # noqa: BLE001  it is gone, or of another Python: whatever that raises, the kernel starts
        return _plainly_entered(prefix, command)
    return enter(folder)


def _plainly_entered(prefix: str, command: str) -> dict[str, str]:
    """As envlock enters an environment of wheels. No script of a conda package runs."""
    if os.path.isdir(os.path.join(prefix, "conda-meta")):
        sys.stderr.write(
            f"warning: the envlock that installed this kernel is gone, so the activation scripts of conda packages do "
            f"not run. Install the kernel again: {command}\n"
        )
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"}
    }
    variables["PATH"] = os.pathsep.join([os.path.join(prefix, "bin"), variables.get("PATH", os.defpath)])
    variables["VIRTUAL_ENV"] = prefix
    variables["PYTHONNOUSERSITE"] = "1"
    return variables


if __name__ == "__main__":
    main()
