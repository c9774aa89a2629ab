"""From a task that ran to the environment that it ran in, as Metaflow recorded it.

Metaflow is imported here, when a pathspec is asked for and at no other time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envlock.errors import ConfigError
from envlock.model.arch import Arch, parse_arch

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*\Z")
_IDENTITY = re.compile(r'\["([0-9a-f]{40})", "([0-9a-f]{40})", "([a-z0-9-]+)"\]\Z')


class BadPathspec(ConfigError):
    """A pathspec that does not name a step or a task."""

    code = "bad-pathspec"

    def __init__(self, found: str) -> None:
        super().__init__(
            f"`{found}` is not the pathspec of a step or a task",
            details=("a pathspec is `Flow/run/step`, or `Flow/run/step/task`",),
            hint="envlock show --pathspec TrainFlow/142/train",
        )


class PathspecNotFound(ConfigError):
    """Metaflow knows no step or task of that pathspec."""

    code = "pathspec-not-found"

    def __init__(self, pathspec: str, reason: str) -> None:
        super().__init__(
            f"Metaflow does not find `{pathspec}`",
            details=(reason,) if reason else (),
            hint="run this in the folder where the flow was run, with the same METAFLOW_ settings",
        )


class NothingRecorded(ConfigError):
    """A task that did not run in a locked environment."""

    code = "nothing-recorded"

    def __init__(self, pathspec: str) -> None:
        super().__init__(
            f"no environment is recorded for `{pathspec}`",
            details=("its step was disabled, or the flow was not run with --environment=envlock",),
            hint="name a step that is not disabled, of a run with --environment=envlock",
        )


class MetaflowMissing(ConfigError):
    """Metaflow is needed, and is not in the Python that envlock is in."""

    code = "metaflow-missing"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "Metaflow cannot be imported by envlock's Python",
            details=(reason,),
            hint='pip install "envlock[metaflow]"',
        )


@dataclass(frozen=True)
class Recorded:
    """The environment that a task ran in."""

    pathspec: str
    """Of the task."""
    req_id: str
    full_id: str
    arch: Arch


def recorded(pathspec: str) -> Recorded:
    """What Metaflow's metadata says of a task, or of the newest task of a step.

    Uses Metaflow's own settings. Costs Metaflow's import, half a second. Raises BadPathspec, PathspecNotFound,
    NothingRecorded, MetaflowMissing.
    """
    parts = pathspec.split("/")
    if len(parts) not in {3, 4} or not all(map(_PART.match, parts)):
        raise BadPathspec(pathspec)
    try:
        from metaflow.client.core import Step, Task
        from metaflow.exception import MetaflowException
    except ImportError as error:
        raise MetaflowMissing(str(error)) from None
    try:
        whole = len(parts) == 4
        task = Task(pathspec, _namespace_check=False) if whole else Step(pathspec, _namespace_check=False).task
    except MetaflowException as error:
        raise PathspecNotFound(pathspec, str(error)) from None
    if task is None:
        raise PathspecNotFound(pathspec, "the step has no task yet")
    identity = _IDENTITY.match(task.metadata_dict.get("envlock_env_id", ""))
    if identity is None:
        raise NothingRecorded(pathspec)
    return Recorded(task.pathspec, identity[1], identity[2], parse_arch(identity[3]))
