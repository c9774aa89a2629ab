"""What of an image belongs to one environment alone: the last layer, with all that depends on its ids.

An environment is in a folder that says nothing of its ids, so that layers are the same for all that have the same
package. A link at the place where tasks look, `environments/metaflow_<req_id>_<full_id>`, leads there. Tasks use the
path of the link, so a process can tell by `sys.prefix` what it runs in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from envlock.image.image import ROOT
from envlock.image.layers import MTIME, Layer, LayerFile, own_files
from metaflow_extensions.envlock.plugins.node.home import ENVIRONMENTS, PYTHONS, RECEIPT, VARIABLES
from metaflow_extensions.envlock.plugins.node.members import Placeholder
from metaflow_extensions.envlock.plugins.node.venv import venv_files

if TYPE_CHECKING:
    from envlock.model.lock import Lock
    from envlock.pack.tree import Tree

_FOLDER = "environment"
_STATE = "conda-meta/state"


class ImagePython(NamedTuple):
    """The interpreter of an environment in an image."""

    path: str
    """Absolute, in the image."""
    version: str
    """Its release; only its series where nothing tells which release the base image has."""
    size: int | None = None
    """Of its file, in bytes; None if that is unknown, so that tasks start it to ask for its version."""


def folder_of(number: int) -> str:
    """The folder of an environment in an image: the first has number 1.

    >>> folder_of(1), folder_of(2)
    ('/opt/envlock/environment', '/opt/envlock/environment-2')
    """
    return f"{ROOT}/{_FOLDER}" + ("" if number == 1 else f"-{number}")


def python_folder(sha256: str) -> str:
    """Where the build of Python with an archive of this SHA-256 is unpacked in an image."""
    return f"{ROOT}/{PYTHONS}/{sha256}"


def own_layer(lock: Lock, tree: Tree, python: ImagePython, folder: str) -> Layer:
    """The last layer of an environment: what its packages do not bring, its receipt, and the link that leads to it."""
    inside, place = folder.lstrip("/"), ROOT.lstrip("/")
    own = [] if lock.conda_packages else venv_files(python.path, python.version, tree.python)
    if lock.requirements.variables:
        text = json.dumps({"version": 1, "env_vars": dict(lock.requirements.variables)}, indent=1)
        own.append((_STATE if lock.conda_packages else VARIABLES, f"{text}\n", ""))
    own.append((RECEIPT, _receipt(lock, python), ""))
    files = [LayerFile(f"{inside}/{path}", data=data.encode(), link=link) for path, data, link in own]
    link = LayerFile(f"{place}/{ENVIRONMENTS}/{lock.prefix_name}", link=f"../{folder.rpartition('/')[2]}")
    others = own_files(tree.files, folder)
    in_files = Placeholder(tree.placeholder, folder) if tree.placeholder else None
    return Layer("the environment", (*others, *files, link), in_files)


def _receipt(lock: Lock, python: ImagePython) -> str:
    """The receipt that tasks read. The interpreter's inode is the container's, and in no receipt of an image."""
    signature = [] if python.size is None else [MTIME * 10**9, python.size]
    fields = {
        "req_id": lock.req_id,
        "full_id": lock.full_id,
        "arch": lock.arch,
        "python": python.path,
        "python_version": python.version,
        "python_file": signature,
        "envlock": "image",
    }
    return json.dumps(fields, indent=1) + "\n"
