"""What Jupyter reads of kernels: where it looks for them, how they may be called, and their kernel.json.

The rules are those of jupyter_core (https://jupyter-core.readthedocs.io, `jupyter --paths`) and of jupyter_client.
Neither has to be installed here.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.workflow.machine.errors import BadKernelName, JupyterFolderUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = "kernels"
_OF_ALL_USERS = ("/usr/local/share/jupyter", "/usr/share/jupyter")
_RESERVED = ("python", "python2", "python3")
"""Names of the kernels that Jupyter and ipykernel install themselves: one of that name would hide theirs."""


def jupyter_folder(environ: Mapping[str, str], prefix: Path | None = None, *, platform: str = sys.platform) -> Path:
    """The folder of Jupyter's data: the user's own, or that of a prefix.

    >>> jupyter_folder({"HOME": "/home/ada"}, platform="linux").as_posix()
    '/home/ada/.local/share/jupyter'
    >>> jupyter_folder({"HOME": "/Users/ada"}, platform="darwin").as_posix()
    '/Users/ada/Library/Jupyter'
    >>> jupyter_folder({"JUPYTER_DATA_DIR": "/data"}, Path("/opt/venv")).as_posix()
    '/opt/venv/share/jupyter'
    """
    if prefix is not None:
        return prefix / "share" / "jupyter"
    if environ.get("JUPYTER_DATA_DIR"):
        return Path(environ["JUPYTER_DATA_DIR"]).absolute()
    own = Path(environ.get("HOME") or os.path.expanduser("~"))
    if platform == "darwin":
        is_as_platform = environ.get("JUPYTER_PLATFORM_DIRS", "").lower() not in {"", "0", "n", "no", "false", "off"}
        return own / "Library" / ("Application Support/jupyter" if is_as_platform else "Jupyter")
    return Path(environ.get("XDG_DATA_HOME") or own / ".local" / "share") / "jupyter"


def search_path(environ: Mapping[str, str], *, platform: str = sys.platform) -> list[Path]:
    """Where every Jupyter of this user looks for kernels, beside its own prefix; the first that has a name counts.

    >>> [path.as_posix() for path in search_path({"HOME": "/home/ada", "JUPYTER_PATH": "/team"}, platform="linux")]
    ['/team', '/home/ada/.local/share/jupyter', '/usr/local/share/jupyter', '/usr/share/jupyter']
    """
    more = [Path(each).absolute() for each in environ.get("JUPYTER_PATH", "").split(os.pathsep) if each]
    return [*more, jupyter_folder(environ, platform=platform), *map(Path, _OF_ALL_USERS)]


def kernel_name(subject: str) -> str:
    """The name of a kernel for an environment, as Jupyter allows it.

    >>> kernel_name("TrainFlow/train"), kernel_name("team/base:v1"), kernel_name("python3")
    ('trainflow-train', 'team-base-v1', 'envlock-python3')
    """
    kept = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in subject.lower())
    name = kept.strip("-._") or "envlock"
    return f"envlock-{name}" if name in _RESERVED else name


def check_kernel_name(name: str) -> str:
    """The name in lower case, which Jupyter makes of it. Raises BadKernelName."""
    if not name or name.lower() != kernel_name(name):
        raise BadKernelName(name, kernel_name(name))
    return name.lower()


def owner_of(spec: Path) -> str | None:
    """The folder of the kernel that a folder of Jupyter belongs to; empty for one that is not envlock's.

    None if there is none.
    """
    if not os.path.lexists(spec):
        return None
    try:
        said = json_of(read_file(spec / "kernel.json", MEMO_BYTES))
        return str(said["metadata"]["envlock"]["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def refuse_unwritable(spec: Path) -> None:
    """Raise JupyterFolderUnusable, before anything is resolved, where a kernel cannot be written."""
    there = next(folder for folder in (spec, *spec.parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise JupyterFolderUnusable(str(spec.parent), f"{there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise JupyterFolderUnusable(str(spec.parent), f"you may not write into {there}")


def write_spec(spec: Path, start: Path, display_name: str, environment: str) -> None:
    """Write what Jupyter reads."""
    document = {
        "argv": [_lasting_interpreter(), "-I", "-S", str(start), "-f", "{connection_file}"],
        "display_name": display_name,
        "language": "python",
        "metadata": {"debugger": True, "envlock": {"folder": str(start.parent), "environment": environment}},
    }
    try:
        spec.mkdir(parents=True, exist_ok=True)
        write_atomically(spec / "kernel.json", (json.dumps(document, indent=1) + "\n").encode())
    except OSError as error:
        raise JupyterFolderUnusable(str(spec), error.strerror or str(error)) from None


def remove_spec(spec: Path) -> None:
    """Remove what Jupyter reads. Raises JupyterFolderUnusable."""
    try:
        shutil.rmtree(spec)
    except OSError as error:
        raise JupyterFolderUnusable(str(spec), error.strerror or str(error)) from None


def _lasting_interpreter() -> str:
    """The interpreter that envlock's own environment was made from: uv and pipx may make that one for a single use."""
    base = getattr(sys, "_base_executable", "")
    return base if base and os.access(base, os.X_OK) else sys.executable
