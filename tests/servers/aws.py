"""AWS as a launcher sees it: `tests.servers.aws_server` in a process of its own, and how Metaflow is told of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.pods.pod import CREDENTIALS, S3_WORKERS, Pods
from tests.servers.clouds import ask
from tests.servers.processes import running_module

BUCKET = "team-bucket"


@dataclass(frozen=True)
class Aws:
    """A region with a bucket, a queue of Batch and Step Functions."""

    endpoint: str
    settings: Mapping[str, str]
    """Metaflow's settings for it."""

    @property
    def variables(self) -> dict[str, str]:
        """What whoever uses it has in the environment."""
        return {
            **CREDENTIALS,
            **S3_WORKERS,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self.endpoint,
            "METAFLOW_S3_ENDPOINT_URL": self.endpoint,
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{BUCKET}/metaflow",
            "METAFLOW_DATATOOLS_S3ROOT": f"s3://{BUCKET}/data",
            **self.settings,
        }


@contextmanager
def aws(pods: Pods, folder: Path) -> Iterator[Aws]:
    """A region whose jobs are these pods."""
    said = folder / "aws.log"
    with running_module("tests.servers.aws_server", said, pods.kind, str(pods.home.parent)) as port:
        endpoint = f"http://127.0.0.1:{port}"
        ask("PUT", f"{endpoint}/{BUCKET}")
        yield Aws(endpoint, json.loads(said.read_text().splitlines()[1]))
