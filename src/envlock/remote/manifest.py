"""The manifest: the file in a flow's code package that says what each of its steps needs on a node.

Nodes read it (`metaflow_extensions/envlock/plugins/node/manifest.py`). It is part of what Metaflow hashes, so the same
flow, locks and plans give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from metaflow_extensions.envlock.plugins.node.manifest import FORMAT, Target

StepOnNode: TypeAlias = "Target | str | None"
"""What a step needs: an environment with the plan by which a node makes it; what names its environment, if that is
looked up when the step starts (an alias, ids, or a pathspec after a `/`); None if it is disabled."""


def render_manifest(
    flow: str,
    steps: Mapping[str, StepOnNode],
    *,
    cache: str = "",
    options: Mapping[str, object] | None = None,
    node: Mapping[str, object] | None = None,
    parameters: Mapping[str, str] | None = None,
    own: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The manifest of a flow: canonical JSON with a newline at the end.

    `options` and `node` have what differs from the defaults, and no secret. `parameters` has the variable of each
    parameter, by its name in `@{METAFLOW_INIT_...}`, and `own` the names of the variables that @environment sets for a
    step. Environments are listed once, however many steps share them. Takes less than 1 KB, and 200 bytes for each
    step.

    >>> print(render_manifest("TrainFlow", {"start": None}), end="")
    {"environments":[],"flow":"TrainFlow","format":1,"steps":{"start":null}}
    """
    numbers: dict[Target, int] = {}
    for step in sorted(steps):
        needed = steps[step]
        if isinstance(needed, Target):
            numbers.setdefault(needed, len(numbers))
    document: dict[str, object] = {
        "format": FORMAT,
        "flow": flow,
        "environments": [list(each) for each in numbers],
        "steps": {step: numbers[needed] if isinstance(needed, Target) else needed for step, needed in steps.items()},
    }
    if cache:
        document["cache"] = cache
    if parameters and any(isinstance(needed, str) for needed in steps.values()):
        document["parameters"] = dict(parameters)
    own = {step: list(names) for step, names in (own or {}).items() if steps.get(step) is not None}
    for name, values in (("options", options), ("node", node), ("own", own)):
        if values:
            document[name] = dict(values)
    return json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"
