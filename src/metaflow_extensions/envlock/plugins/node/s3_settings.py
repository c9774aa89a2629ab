"""What Metaflow makes its S3 client with, as far as that can be told without importing Metaflow.

Importing it takes a quarter of a second, as much as the client itself; where that is done already, its own settings are
read. Whatever is not plain is left to Metaflow: files of settings, other extensions, and settings that are not known
here.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

_ENDPOINT, _CERTIFICATE, _PARAMS = "S3_ENDPOINT_URL", "S3_VERIFY_CERTIFICATE", "DATATOOLS_CLIENT_PARAMS"
_OF_NO_CLIENT = (
    *("S3_RETRY_COUNT", "S3_TRANSIENT_RETRY_COUNT", "S3_LOG_TRANSIENT_RETRIES", "S3_CLIENT_RETRY_CONFIG"),
    *("S3_WORKER_COUNT", "S3_SERVER_SIDE_ENCRYPTION"),
    *("DATATOOLS_SUFFIX", "DATATOOLS_SESSION_VARS"),
    *("DATATOOLS_S3ROOT", "DATATOOLS_LOCALROOT", "DATATOOLS_AZUREROOT", "DATATOOLS_GSROOT"),
    *("AWS_SECRETS_MANAGER_DEFAULT_ROLE", "AWS_SECRETS_MANAGER_DEFAULT_REGION"),
)
"""Settings that change nothing of a client which assumes no role, and whose attempts are the transport's."""
_MAY_MATTER = ("S3_", "DATATOOLS_", "AWS_", "DEFAULT_AWS_", "EXTENSIONS_", "PROFILE")
_OWN = ("envlock", "__pycache__", "__init__.py")


def client_params(environ: Mapping[str, str], folder: str) -> dict[str, Any] | None:
    """The parameters of Metaflow's S3 client, for a task that starts in a folder; None if only Metaflow can tell.

    >>> client_params({"METAFLOW_S3_ENDPOINT_URL": "https://s3.example", "METAFLOW_HOME": "/none"}, "/none")
    {'endpoint_url': 'https://s3.example'}
    >>> client_params({"METAFLOW_S3_SOMETHING_NEW": "1", "METAFLOW_HOME": "/none"}, "/none") is None
    True
    """
    if _is_extended():
        return None
    loaded = sys.modules.get("metaflow.metaflow_config")
    if loaded is not None:
        return _loaded(loaded)
    found = {name[len("METAFLOW_") :]: value for name, value in environ.items() if name.startswith("METAFLOW_")}
    found = {name: value for name, value in found.items() if name.startswith(_MAY_MATTER) and name not in _OF_NO_CLIENT}
    if found.get("DEFAULT_AWS_CLIENT_PROVIDER") == "boto3":
        del found["DEFAULT_AWS_CLIENT_PROVIDER"]
    endpoint, certificate = found.pop(_ENDPOINT, ""), found.pop(_CERTIFICATE, "")
    try:
        params = json.loads(found.pop(_PARAMS, "{}"))
    except ValueError:
        return None
    # Which of two endpoints counts depends on Metaflow's version.
    is_plain = isinstance(params, dict) and not (endpoint and "endpoint_url" in params)
    if found or not is_plain or _has_settings_file(environ, folder):
        return None
    if endpoint:
        params["endpoint_url"] = endpoint
    if certificate:
        params["verify"] = certificate
    return dict(params)


def _has_settings_file(environ: Mapping[str, str], folder: str) -> bool:
    """Whether Metaflow may read a file of settings: the user's, or one of a folder above the task's."""
    if os.path.exists(
        os.path.expanduser(os.path.join(environ.get("METAFLOW_HOME", "~/.metaflowconfig"), "config.json"))
    ):
        return True
    folder = os.path.realpath(folder)
    while True:
        if os.path.exists(os.path.join(folder, ".metaflow", "config.json")):
            return True
        above = os.path.dirname(folder)
        if above == folder:
            return False
        folder = above


def _loaded(settings: Any) -> dict[str, Any] | None:
    """The parameters among the settings that Metaflow has read in this process."""
    is_plain = getattr(settings, "DEFAULT_AWS_CLIENT_PROVIDER", "") == "boto3"
    if not is_plain or getattr(settings, "AWS_SANDBOX_ENABLED", True):
        return None
    return dict(settings.DATATOOLS_CLIENT_PARAMS)


def _is_extended() -> bool:
    """Whether an extension other than this one may change Metaflow's settings."""
    folders = sys.modules[__name__.partition(".")[0]].__path__
    return any(set(os.listdir(each)).difference(_OWN) for each in folders if os.path.isdir(each))
