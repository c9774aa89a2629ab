"""The datastore of Metaflow's profile, for `cache = "metaflow"`: read as Metaflow reads it, without importing it.

Metaflow takes each value from its variable, else from `.metaflow/config.json` of the project, else from the profile:
`config_<METAFLOW_PROFILE>.json` in METAFLOW_HOME (`~/.metaflowconfig`), `config.json` without one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from envlock.errors import ConfigError
from envlock.files import CONFIG_BYTES, json_of, read_file
from envlock.places import expanded
from envlock.redaction import shown
from envlock.values import NamedTuple

FOLDER = "envlock"
"""The cache's folder in the datastore."""
_LOCAL = ".metaflow"
_SYSROOT = "METAFLOW_DATASTORE_SYSROOT_{}"
_AZURE_HOST = ".blob.core.windows.net"


class NoMetaflowDatastore(ConfigError):
    """`cache = "metaflow"`, and Metaflow's settings do not say where its datastore is."""

    code = "no-metaflow-datastore"
    message = '`cache = "metaflow"` needs Metaflow\'s datastore, but {reason}'
    hint = "{advice}"

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason=reason, advice=advice)


class Datastore(NamedTuple):
    """A datastore of Metaflow, and how to reach it."""

    root: str
    """A URL, or an absolute folder."""
    said_by: str
    """The file or the variable that says so."""
    endpoint: str = ""
    region: str = ""
    account: str = ""

    @property
    def cache(self) -> str:
        """The cache in it."""
        return f"{self.root.rstrip('/')}/{FOLDER}"


def datastore(folder: str, environment: Mapping[str, str] | None = None) -> Datastore:
    """The datastore that flows of a project in `folder` use by default. Raises NoMetaflowDatastore."""
    said = _Said(folder, os.environ if environment is None else environment)
    kind, by = said.value("METAFLOW_DEFAULT_DATASTORE")
    kind = kind or "local"
    if kind == "local":
        return _local(folder, said)
    name = _SYSROOT.format(kind.upper())
    root, by = said.value(name)
    if kind not in {"s3", "gs", "azure"}:
        raise NoMetaflowDatastore(f"its type is `{shown(kind)}`", "write a folder or the URL of a bucket as `cache`")
    if not root:
        raise NoMetaflowDatastore(f"`{name}` is not set", f"export {name}=..., or `metaflow configure`")
    if kind == "s3":
        endpoint, region = said.s3()
        return Datastore(root, by, endpoint, region)
    if kind == "gs":
        return Datastore(root, by)
    root = root if "://" in root else f"az://{root.strip('/')}"
    return Datastore(root, by, *_azure(said.value("METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT")[0]))


def _local(folder: str, said: _Said) -> Datastore:
    root, by = said.value(_SYSROOT.format("LOCAL"))
    if root:
        return Datastore(os.path.join(folder, expanded(root), _LOCAL), by)
    return Datastore(_nearest(folder) or os.path.join(folder, _LOCAL), "the default of Metaflow")


def _nearest(folder: str) -> str:
    """The `.metaflow` of a folder, or of the nearest one above that has one; empty if none has."""
    found = os.path.join(os.path.realpath(folder), _LOCAL)
    while not os.path.isdir(found):
        above = os.path.dirname(os.path.dirname(found))
        if os.path.join(above, _LOCAL) == found:
            return ""
        found = os.path.join(above, _LOCAL)
    return os.path.realpath(found)


def _azure(service: str) -> tuple[str, str, str]:
    """The endpoint, no region, and the storage account, of the URL of a blob service.

    >>> _azure("https://team.blob.core.windows.net/"), _azure("http://127.0.0.1:10000/devstoreaccount1")
    (('', '', 'team'), ('http://127.0.0.1:10000/devstoreaccount1', '', 'devstoreaccount1'))
    """
    service = service.rstrip("/")
    host, _, path = service.partition("://")[2].partition("/")
    if host.endswith(_AZURE_HOST):
        return "", "", host.removesuffix(_AZURE_HOST)
    return service, "", path.rpartition("/")[2]


class _Said:
    """What Metaflow's variables and files say."""

    def __init__(self, folder: str, environment: Mapping[str, str]) -> None:
        self._environment = environment
        top = str(expanded(environment.get("METAFLOW_HOME") or "~/.metaflowconfig"))
        profile = environment.get("METAFLOW_PROFILE", "")
        path = os.path.join(top, f"config_{profile}.json" if profile else "config.json")
        local = os.path.join(_nearest(folder), "config.json")
        self._files = [(each, _read(each)) for each in (local, path) if os.path.isabs(each)]
        if profile and not os.path.exists(path):
            raise NoMetaflowDatastore(
                f"the profile `{shown(profile)}` has no file {path}", f"metaflow configure --profile {shown(profile)}"
            )

    def value(self, name: str) -> tuple[str, str]:
        """What is said of one variable, and the file or the variable that says it; empty if nothing is."""
        if name in self._environment:
            return self._environment[name], name
        for path, values in self._files:
            if name in values:
                found = values[name]
                return (found if isinstance(found, str) else ""), path
        return "", ""

    def s3(self) -> tuple[str, str]:
        """The endpoint and the region of S3."""
        endpoint, _ = self.value("METAFLOW_S3_ENDPOINT_URL")
        try:
            params = json_of(self.value("METAFLOW_S3_CLIENT_PARAMS")[0] or "{}")
        except ValueError:
            params = {}
        if not isinstance(params, dict):
            params = {}
        return endpoint or str(params.get("endpoint_url", "")), str(params.get("region_name", ""))


def _read(path: str) -> Mapping[str, object]:
    try:
        found = json_of(read_file(path, CONFIG_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise NoMetaflowDatastore(f"{path} cannot be read: {error.strerror or error}", "metaflow configure") from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoMetaflowDatastore(f"{path} is not a JSON object", "metaflow configure")
    return found
