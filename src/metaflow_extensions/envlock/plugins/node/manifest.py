"""The manifest: the file in a code package that says which plan each step has."""

from __future__ import annotations

import os

from .errors import Damaged, Misconfigured, Missing
from .values import NamedTuple, parse_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Optional, Tuple, Union

FORMAT = 1
NAME = "envlock.json"
ROOT_VARIABLE = "METAFLOW_EXTRACTED_ROOT"
PATHSPEC_VARIABLE = "MF_PATHSPEC"
"""The task: flow/run/step/task. The one variable of a task that all schedulers set alike."""
KEEP = 20000000000
"""How many bytes a node keeps of environments that no task uses, if the manifest does not say."""

_HEXADECIMAL = "0123456789abcdef"
_OF_ARCHS = "abcdefghijklmnopqrstuvwxyz0123456789-"


class Target(NamedTuple):
    """The environment of a step on an arch, and the plan by which it is made."""

    arch: str
    req_id: str
    full_id: str
    plan: str
    """The SHA-256 of the plan's bytes."""


class Reference(NamedTuple):
    """The environment of a step, if it is looked up when its task starts. Its text may have `@{VARIABLE}`s."""

    kind: str
    """`name` (an alias, or ids) or `pathspec`."""
    text: str


if TYPE_CHECKING:
    Entry = Union[Target, Reference, None]


class Manifest(NamedTuple):
    """What a code package says of one flow."""

    flow: str
    cache: str
    """The URL of the cache; empty if no step has an environment."""
    options: Mapping[str, Any]
    keep: int
    python: str
    """`image` or `kit`."""
    compile_bytecode: bool
    link_scripts: Tuple[str, ...]
    node: Mapping[str, Any]
    """All that the manifest says of nodes, as it is written."""
    parameters: Mapping[str, str]
    """The variable of each parameter, by its name in `@{METAFLOW_INIT_...}`."""
    environments: Tuple[Target, ...]
    own: Mapping[str, Tuple[str, ...]]
    """The variables that Metaflow's @environment sets for a step."""
    steps: Mapping[str, Optional[Union[int, str]]]
    """None for a disabled step, the number of an environment, or a reference; that of a pathspec begins with `/`."""

    def entry(self, step: str) -> Entry:
        """The environment of a step; None if it is disabled. Raises Missing."""
        if step not in self.steps:
            raise Missing("the code package has no environment of %s/%s: deploy the flow again" % (self.flow, step))
        entry = self.steps[step]
        if entry is None:
            return None
        if isinstance(entry, int):
            return self.environments[entry]
        return Reference("pathspec", entry[1:]) if entry.startswith("/") else Reference("name", entry)


def manifest_path(environ: Mapping[str, str] = os.environ) -> str:
    """The place of the manifest in the code package of this task. Raises Misconfigured outside of one."""
    root = environ.get(ROOT_VARIABLE)
    if not root:
        raise Misconfigured(
            "%s is not set: this is no task of a code package of Metaflow 2.16 or later" % ROOT_VARIABLE
        )
    return os.path.join(root, ".mf_meta", NAME)


def read(path: str, flow: str) -> Manifest:
    """The manifest of a flow. Raises Missing, Misconfigured, Damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        raise Missing(
            "the code package has no %s, so the environments of %s are unknown: deploy it again with "
            "--environment=envlock" % (NAME, flow)
        ) from None
    manifest = parse(data)
    if manifest.flow != flow:
        raise Missing("the code package is of %s, not of %s: start %s by itself" % (manifest.flow, flow, flow))
    return manifest


def parse(data: bytes) -> Manifest:
    """The manifest in some bytes. Raises Misconfigured for a newer format, Damaged for anything else that is none."""
    try:
        fields = parse_json(data.decode("utf-8"))
        found = fields["format"]
        if type(found) is not int or found < 1:
            raise ValueError
        if found == FORMAT:
            return _manifest(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged("%s in the code package is damaged: deploy the flow again" % NAME) from None
    raise Misconfigured(
        "%s in the code package has format %d, and envlock's extension there knows format %d: deploy the flow again"
        % (NAME, found, FORMAT)
    )


def _manifest(fields: dict) -> Manifest:
    node = _a(dict, fields.get("node", {}))
    environments = tuple(map(_target, fields["environments"]))
    steps = _a(dict, fields["steps"])
    for entry in steps.values():
        if type(entry) is int:
            if not 0 <= entry < len(environments):
                raise ValueError
        elif entry is not None:
            _a(str, entry)
    parameters = _a(dict, fields.get("parameters", {}))
    for variable in parameters.values():
        _a(str, variable)
    own = _a(dict, fields.get("own", {}))
    python = node.get("python", "image")
    if python not in ("image", "kit"):
        raise ValueError
    return Manifest(
        flow=_a(str, fields["flow"]),
        cache=_a(str, fields.get("cache", "")),
        options=_a(dict, fields.get("options", {})),
        keep=_a(int, node.get("keep", KEEP)),
        python=python,
        compile_bytecode=_a(bool, node.get("compile-bytecode", False)),
        link_scripts=tuple(_a(str, each) for each in node.get("link-scripts", ())),
        node=node,
        parameters=parameters,
        environments=environments,
        own={step: tuple(_a(str, name) for name in _a(list, names)) for step, names in own.items()},
        steps=steps,
    )


def _target(values: list) -> Target:
    target = Target(*values)
    hashes = (target.req_id, 40), (target.full_id, 40), (target.plan, 64)
    if any(len(text) != length or text.strip(_HEXADECIMAL) for text, length in hashes):
        raise ValueError
    if not target.arch or target.arch.strip(_OF_ARCHS):
        raise ValueError
    return target


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError
    return value
