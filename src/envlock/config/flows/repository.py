"""The flows of many Python files: those of a folder, or of a whole repository. No file is run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from envlock.config.flows.decorator_tables import DecoratedFlow
from envlock.config.flows.decorators import read_decorators
from envlock.errors import EnvlockError
from envlock.files import FLOW_BYTES, read_file

_WORDS = (b"FlowSpec", b"metaflow", b"@step")
"""A file with none of them has a flow only if it inherits all of one from another file."""


def flows_in(project: Path, paths: Iterable[Path]) -> tuple[tuple[DecoratedFlow, ...], tuple[EnvlockError, ...]]:
    """The flows of these files, in their order, and why files that may have flows cannot be read.

    A class that only serves other flows as their base is not a flow of its own, whatever files they are in. `project`
    is the folder whose modules are read for base classes. Reads each file once, and parses those that speak of flows.
    """
    left: dict[Path, bytes] = {}
    for path in dict.fromkeys(paths):
        with suppress(OSError):  # a folder of that name, a link out of the project, what this user may not read
            left[path] = read_file(path, FLOW_BYTES, within=project)
    order = {path: number for number, path in enumerate(left)}
    found: list[tuple[int, DecoratedFlow]] = []
    failed: list[EnvlockError] = []
    words: Sequence[bytes] = _WORDS
    while candidates := [path for path, data in left.items() if any(word in data for word in words)]:
        new: list[DecoratedFlow] = []
        for path in candidates:
            del left[path]
            try:
                new += (flow := read_decorators(path, project))
            except EnvlockError as error:
                failed.append(error)
            else:
                found += [(order[path], each) for each in flow]
        words = [f"({flow.name}".encode() for flow in new]
    flows = [flow for _, flow in sorted(found, key=lambda each: each[0])]
    return without_bases(flows), tuple(failed)


def without_bases(flows: Sequence[DecoratedFlow]) -> tuple[DecoratedFlow, ...]:
    """The flows but for those that others inherit and whose own file does not start them."""
    bases = {base for flow in flows for base in flow.bases}
    return tuple(flow for flow in flows if flow.is_started or (flow.path, flow.name) not in bases)


def named_from(flow: DecoratedFlow, folder: Path) -> DecoratedFlow:
    """The flow with its files named as an envlock.toml in `folder` names them."""

    def name(path: str) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    notes = tuple(replace(note, file=name(note.path)) if note.path else note for note in flow.notes)
    return replace(flow, file=name(flow.path), notes=notes)
