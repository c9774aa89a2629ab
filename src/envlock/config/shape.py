"""Whether a parsed envlock.toml has the keys and types that the light reader knows.

A yes or no, without a reason: for the reason the file is handed to the full reader (`validate`), which knows the same
shape as pydantic models. A property test holds both to the same verdict.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Shape: TypeAlias = str | dict[str, "Shape"] | tuple["Shape"]
"""A type's name, a table of known keys, or (in a 1-tuple) a table of free keys."""

_PACKAGE: Shape = {"version": "string", "extras": "strings", "marker": "string", "index": "string"}
_PYPI: Shape = {
    "packages": ("package",),
    "extra_indices": "strings",
    "extras": "strings",
    "python": "string",
    "conda_only": ("string",),
    "disabled": "bool",
}
_CONDA: Shape = {"libraries": ("string",), "channels": "strings", "python": "string", "disabled": "bool"}
_NAMED: Shape = {"name": "string", "pathspec": "string", "fetch_at_exec": "bool", "disabled": "bool"}
_SYSTEM: Shape = {"packages": ("string",), "disabled": "bool"}
_LEVEL: dict[str, Shape] = {
    "pypi": _PYPI,
    "conda": _CONDA,
    "named_env": _NAMED,
    "sys_packages": _SYSTEM,
    "disabled": "bool",
}
_SETTINGS: Shape = {
    "archs": "strings",
    "cache": "string",
    "cache-options": {
        "endpoint": "string",
        "region": "string",
        "profile": "string",
        "account": "string",
        "anonymous": "bool",
    },
    "exclude-newer": "instant",
    "python-from": "string",
    "index-url": "string",
    "extra-indices": "strings",
    "indexes": ("string",),
    "hosts": "strings",
    "allow-older": "strings",
    "datastore": "string or strings",
    "metaflow-requirements": "bool",
    "system-requirements": (("string",),),
    "python-mirror": "string",
    "channels": "strings",
    "channel-priority": "string",
    "channel-mirrors": ("string",),
    "link-scripts": "strings",
    "compile-bytecode": "bool",
    "resolver": {"conda": "string", "pypi": "string"},
    "use-remote-latest": "string or strings",
}
DOCUMENT: Shape = {
    "envlock": _SETTINGS,
    "flow": ({**_LEVEL, "file": "string", "steps": "strings", "step": (dict(_LEVEL),)},),
    "env": (
        {
            "requirements": "string",
            "environment-yml": "string",
            "aliases": "strings",
            "pypi": _PYPI,
            "conda": _CONDA,
            "named_env": _NAMED,
            "sys_packages": _SYSTEM,
        },
    ),
}


def fits(value: Any, shape: Shape = DOCUMENT) -> bool:
    """Whether `value` has `shape`: every key known, every type right.

    >>> fits({"envlock": {"archs": ["linux-64"]}}), fits({"envlock": {"arch": "linux-64"}})
    (True, False)
    """
    if isinstance(shape, str):
        return _fits_type(value, shape)
    if type(value) is not dict:
        return False
    if isinstance(shape, tuple):
        return all(fits(item, shape[0]) for item in value.values())
    return all(key in shape and fits(item, shape[key]) for key, item in value.items())


def _fits_type(value: Any, name: str) -> bool:
    if name == "string":
        return type(value) is str
    if name == "bool":
        return type(value) is bool
    if name == "strings":
        return type(value) is list and all(type(item) is str for item in value)
    if name == "package":
        items = value if type(value) is list and value else [value]
        return all(type(item) is str or fits(item, _PACKAGE) for item in items)
    if name == "string or strings":
        return _fits_type(value, "string") or _fits_type(value, "strings")
    return type(value) is str or hasattr(value, "isoformat")
