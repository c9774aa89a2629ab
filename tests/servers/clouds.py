"""The four stand-ins, each started with a bucket in it."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from envlock.config.settings import CacheOptions
from tests.servers.processes import ROOT, free_ports, listens, running, running_module

BUCKET = "envlock-team"
AZURITE = ROOT / ".venv/azurite/node_modules/azurite/dist/src/blob/main.js"
AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # everybody's
_AWS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-aws-key",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@dataclass(frozen=True)
class Cloud:
    """A server, and how envlock reaches it."""

    name: str
    scheme: str
    port: int
    options: CacheOptions
    environment: Mapping[str, str]
    """The variables by which its ecosystem's tools would log in."""
    is_exclusive: bool = True
    """Whether it keeps its word on exclusive creates when many ask at once."""
    secrets: tuple[str, ...] = field(default=())

    def url(self, prefix: str, bucket: str = BUCKET) -> str:
        return f"{self.scheme}://{bucket}/{prefix}".rstrip("/")

    def at(self, port: int) -> Cloud:
        """The same, behind a proxy."""
        endpoint = self.options.endpoint.replace(f":{self.port}", f":{port}")
        return Cloud(
            self.name, self.scheme, port, self.options._replace(endpoint=endpoint), self.environment, self.is_exclusive
        )


@contextmanager
def moto(folder: Path) -> Iterator[Cloud]:
    read_models_once()
    with running_module("tests.servers.moto_server", folder / "moto.log") as port:
        ask("PUT", f"http://127.0.0.1:{port}/{BUCKET}")
        options = CacheOptions(endpoint=f"http://127.0.0.1:{port}")
        yield Cloud("moto", "s3", port, options, _AWS, is_exclusive=False, secrets=(_AWS["AWS_SECRET_ACCESS_KEY"],))


@contextmanager
def seaweedfs(folder: Path, more: Sequence[str] = ()) -> Iterator[Cloud]:
    """SeaweedFS looks at signatures and rights: there are a writer, a reader, and `more` who may do all as well."""
    everything = ["Admin", "Read", "Write", "List"]
    actions = {"writer": everything, "reader": ["Read", "List"], **dict.fromkeys(more, everything)}
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": f"{name}-key", "secretKey": f"s3cr3t-of-{name}"}],
            "actions": allowed,
        }
        for name, allowed in actions.items()
    ]
    read_models_once()
    settings = folder / "s3.json"
    settings.write_text(json.dumps({"identities": identities}))
    data = folder / "weed"
    data.mkdir()
    parts = ("master", "volume", "filer", "s3")
    numbers = free_ports(2 * len(parts))
    ports = dict(zip(parts, numbers, strict=False))
    command = [
        *(
            str(ROOT / ".venv/bin/weed"),
            "-logtostderr",
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={data}",
        ),
        *("-s3", f"-s3.config={settings}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-volume.max=0", "-master.volumeSizeLimitMB=512", "-master.telemetry=false"),
        *(f"-{part}.port={port}" for part, port in ports.items()),
        *(f"-{part}.port.grpc={port}" for part, port in zip(parts, numbers[len(parts) :], strict=True)),
    ]
    writer = {**_AWS, "AWS_ACCESS_KEY_ID": "writer-key", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-writer"}
    options = CacheOptions(endpoint=f"http://127.0.0.1:{ports['s3']}")
    cloud = Cloud("seaweedfs", "s3", ports["s3"], options, writer, secrets=("s3cr3t-of-writer", "s3cr3t-of-reader"))
    with (
        closing(_client(cloud)) as client,
        running(command, folder / "weed.log", is_ready=lambda: listens(cloud.port) and _makes_bucket(client)),
    ):
        yield cloud


def _client(cloud: Cloud) -> Any:
    """The S3 client of botocore itself."""
    from botocore.config import Config
    from botocore.session import Session

    return Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=cloud.options.endpoint,
        aws_access_key_id=cloud.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=cloud.environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
    )


def _makes_bucket(client: Any) -> bool:
    """Whether SeaweedFS is so far that a bucket can be made, and something written into it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="is-ready", Body=b"1")
    except (BotoCoreError, ClientError):
        return False
    return True


@contextmanager
def gcs(folder: Path) -> Iterator[Cloud]:
    with running_module("tests.servers.gcs_server", folder / "gcs.log", BUCKET) as port:
        options = CacheOptions(endpoint=f"http://127.0.0.1:{port}", anonymous=True)
        yield Cloud("gcs", "gs", port, options, {"NO_GCE_CHECK": "true"})


@contextmanager
def azurite(folder: Path) -> Iterator[Cloud]:
    assert AZURITE.is_file(), "Azurite is not installed: run `make setup`"
    (port,) = free_ports(1)
    command = [
        *("node", str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"),
        *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
    ]
    environment = {"AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": _AZURE_KEY}
    options = CacheOptions(endpoint=f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}")
    cloud = Cloud("azurite", "az", port, options, environment, secrets=(_AZURE_KEY,))
    with running(command, folder / "azurite.log", is_ready=lambda: listens(port)):
        _make_container(cloud)
        yield cloud


def _make_container(cloud: Cloud) -> None:
    from azure.storage.blob import BlobServiceClient

    endpoint = f"BlobEndpoint={cloud.options.endpoint};AccountName={AZURE_ACCOUNT};AccountKey={_AZURE_KEY};"
    with BlobServiceClient.from_connection_string(f"DefaultEndpointsProtocol=http;{endpoint}") as client:
        client.create_container(BUCKET)


CLOUDS: dict[str, Callable[[Path], AbstractContextManager[Cloud]]] = {
    "moto": moto,
    "seaweedfs": seaweedfs,
    "gcs": gcs,
    "azurite": azurite,
}


@cache
def read_models_once() -> None:
    """Let botocore keep what its files say: for each client it would parse two megabytes, and look for 400 services."""
    from botocore.loaders import JSONFileLoader, Loader
    from botocore.session import Session

    read, services = (
        cache(JSONFileLoader().load_file),
        cache(Session().get_component("data_loader").list_available_services),
    )
    JSONFileLoader.load_file = lambda _, path: read(path)
    Loader.list_available_services = lambda _, type_name: services(type_name)  # moto says which by name
    Session().create_client(
        "s3", region_name="us-east-1", aws_access_key_id="nobody", aws_secret_access_key="x"
    ).close()


def forget_sessions() -> None:
    """Let no fsspec filesystem live on that was made with other variables of the environment."""
    for name in ("s3fs", "gcsfs", "adlfs"):
        for kind in vars(sys.modules[name]).values() if name in sys.modules else ():
            if hasattr(kind, "clear_instance_cache"):
                kind.clear_instance_cache()


def ask(method: str, url: str, headers: Mapping[str, str] | None = None) -> None:
    """Ask a server for something."""
    with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=dict(headers or {})), timeout=30):
        pass
