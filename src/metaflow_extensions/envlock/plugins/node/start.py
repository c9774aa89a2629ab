"""The command that a scheduler's shell runs before a task: it prepares the environment and writes `enter.sh`."""

from __future__ import annotations

import os

from . import enter
from . import home as homes
from .errors import Misconfigured, NodeError, described
from .manifest import manifest_path, read
from .prepare import prepare
from .report import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

_DEFECT, _INTERRUPTED = 70, 130


def start(arguments: Sequence[str]) -> int:
    """Bring the shell's task into the environment of its step. The exit status: 0, or envlock's for what went wrong.

    Says what went wrong in one line on stderr, and never with a traceback.
    """
    reporter = Reporter()
    try:
        if len(arguments) != 2 or not all(map(str.isidentifier, arguments)):
            raise Misconfigured("usage: python -m %s FLOW STEP, as a scheduler's command has it" % __package__)
        flow, step = arguments
        manifest = read(manifest_path(), flow)
        entered = prepare(manifest, step, os.environ, reporter)
        if entered is None:
            from .libraries import install

            install(os.environ)
        write_script(enter.script(entered, flow, step, os.environ, manifest.own.get(step, ())))
        if entered is not None and entered.lock is not None:
            os.close(entered.lock)  # the shell takes one; what was used a moment ago is not removed
    except NodeError as error:
        reporter.said(str(error))
        return error.status
    except KeyboardInterrupt:
        reporter.said("interrupted")
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001  the one place where a failure of ours ends
        reporter.said("this is a defect in envlock, please report it: %s" % described(error))
        return _DEFECT
    return 0


def write_script(text: str) -> None:
    """Write `enter.sh` into the task's folder. Raises Misconfigured."""
    folder = os.path.join(os.getcwd(), homes.OWN_FOLDER)
    try:
        os.makedirs(folder, exist_ok=True)
        homes.write_atomically(os.path.join(folder, enter.SCRIPT), text, lasts=False)
    except OSError as error:
        raise Misconfigured(
            "cannot write %s (%s): let the task start in a folder that it may write to" % (folder, error.strerror)
        ) from None
