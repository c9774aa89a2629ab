"""Plans and manifests as envlock writes them, for tests of the node."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from metaflow_extensions.envlock.plugins.node.manifest import Target

ARCH, REQ_ID, FULL_ID = "linux-64", "1" * 40, "2" * 40


def canonical(fields: object) -> bytes:
    return (json.dumps(fields, sort_keys=True, separators=(",", ":")) + "\n").encode()


def stored(data: bytes, filename: str, folder: str = "packages", **more: Any) -> dict[str, Any]:
    """How a plan names an object with these bytes."""
    sha256 = hashlib.sha256(data).hexdigest()
    return {"path": f"{folder}/{sha256[:2]}/{sha256}/{filename}", "size": len(data), "sha256": sha256, **more}


def tool(name: str) -> dict[str, Any]:
    return stored(name.encode(), name, "kits/objects")


def python_build() -> dict[str, Any]:
    return stored(b"python", "python-3.12.tar.gz", "kits/objects", version="3.12.4", executable="python/bin/python3.12")


def wheels_plan(*packages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A plan that uv installs; `more` replaces its values."""
    return {
        "format": 1,
        "arch": ARCH,
        "req_id": REQ_ID,
        "full_id": FULL_ID,
        "install": "wheels",
        "python": {"series": "3.12", "image": [[4, None]], "build": python_build()},
        "system": [["__glibc", "2.17"]],
        "tools": {"uv": tool("uv-0.13.9-py3-none-any.whl")},
        "packages": list(packages),
        **more,
    }


def conda_plan(*packages: dict[str, Any]) -> dict[str, Any]:
    tools = {
        "uv": tool("uv-0.13.9-py3-none-any.whl"),
        "rattler": [tool("py_rattler-0.28.0-cp310-abi3-any.whl")],
        "kernel": tool("kernel.zip"),
        "python": python_build(),
    }
    python = {"series": "3.12", "image": None, "build": None}
    return wheels_plan(*packages, install="conda", python=python, tools=tools, lock='lock-version = "1.0"\n')


def packed_plan(pack: dict[str, Any], *packages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A plan of wheels that are in a pack; `more` replaces its values."""
    tools = {"uv": tool("uv-0.13.9-py3-none-any.whl"), "zstd": tool("backports_zstd-1.8.0-cp312-cp312-any.whl")}
    return wheels_plan(*packages, **{"format": 3, "tools": tools, "pack": pack, **more})


def target_of(plan: bytes) -> Target:
    """The environment of this plan."""
    return Target(ARCH, REQ_ID, FULL_ID, hashlib.sha256(plan).hexdigest())


def manifest(**more: Any) -> dict[str, Any]:
    """A manifest of a flow with a step of each kind; `more` replaces its values."""
    return {
        "format": 1,
        "flow": "TrainFlow",
        "cache": "s3://team/envlock",
        "parameters": {"METAFLOW_INIT_ENV_TAG": "env_tag"},
        "environments": [[ARCH, REQ_ID, FULL_ID, "a" * 64]],
        "steps": {
            "start": 0,
            "join": None,
            "late": "team/env:@{METAFLOW_INIT_ENV_TAG}",
            "ran": "/TrainFlow/142/start",
        },
        **more,
    }
