"""What Metaflow itself needs in an image, requests and the client of its datastore, where an image has neither.

A task that has an environment finds both there, and so never asks a package index. What runs in the image's own Python
before and after it needs little: Metaflow imports requests, and asks nothing of it; and logs are sent, for which this
extension has a datastore of its own (`plain_datastore`). Only a disabled step needs the libraries, as Metaflow does.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from .manifest import ROOT_VARIABLE, manifest_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

_OF_DATASTORES = {"s3": "boto3", "azure": "azure.storage.blob", "gs": "google.cloud.storage"}


def has_manifest(environ: Mapping[str, str]) -> bool:
    """Whether this process is of a task that was sent to another machine with its environment in the manifest."""
    return bool(environ.get(ROOT_VARIABLE)) and os.path.exists(manifest_path(environ))


def lacks(name: str) -> bool:
    """Whether this Python has no module of a name."""
    try:
        return find_spec(name) is None
    except (ImportError, ValueError):
        return True


def stand_in_for_requests() -> None:
    """On a node whose image has no requests, let `import requests` succeed, and only its use fail.

    Metaflow imports it for a metadata service; what is started in the image's own Python asks that nothing.
    """
    if "requests" in sys.modules or not has_manifest(os.environ) or not lacks("requests"):
        return
    import types

    class Session:
        """What Metaflow makes of requests while it is imported."""

        def mount(self, *_: object) -> None:
            """Do nothing: there is no connection."""

        def __getattr__(self, name: str) -> Any:
            raise ImportError("this image has no `requests`: install it there to call %s" % name)

    requests = types.ModuleType("requests")
    adapters = types.ModuleType("requests.adapters")
    exceptions = types.ModuleType("requests.exceptions")
    for name in ("RequestException", "ConnectionError", "HTTPError", "Timeout"):
        setattr(exceptions, name, type(name, (IOError,), {}))
        setattr(requests, name, getattr(exceptions, name))
    adapters.HTTPAdapter = lambda *_, **__: None  # type: ignore[attr-defined]
    requests.Session = Session  # type: ignore[attr-defined]
    requests.adapters, requests.exceptions = adapters, exceptions  # type: ignore[attr-defined]
    requests.__getattr__ = Session().__getattr__  # type: ignore[method-assign]
    sys.modules.update({"requests": requests, "requests.adapters": adapters, "requests.exceptions": exceptions})


def install(environ: Mapping[str, str]) -> None:
    """Install, as Metaflow does, what this image lacks of that; nothing if METAFLOW_SKIP_INSTALL_DEPENDENCIES is set.

    If that fails, whatever needs the libraries will say so.
    """
    datastore = environ.get("MF_DATASTORE") or "s3"
    wanted = ("requests", _OF_DATASTORES.get(datastore, "requests"))
    if environ.get("METAFLOW_SKIP_INSTALL_DEPENDENCIES") or not any(map(lacks, wanted)):
        return
    import subprocess

    # Metaflow knows what that is; and this process goes on without having imported it.
    asks = (
        "from metaflow.metaflow_environment import MetaflowEnvironment as E; "
        "print(E(None)._get_install_dependencies_cmd(%r))" % datastore
    )
    script = subprocess.run([sys.executable, "-c", asks], stdout=subprocess.PIPE, check=False).stdout.decode()
    subprocess.run(["bash", "-c", script or "exit 1"], stdout=sys.stderr, check=False)
    import importlib

    importlib.invalidate_caches()
