"""What all kinds of pods have in common."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.servers.processes import ROOT

INSTALLED = ROOT / ".venv" / "pods"
"""What pods stand on, made once: interpreters, docker, and its images."""

SERIES_ASKED = ("3.8", "3.12")
"""The series of Python that images have, where this machine has them."""

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAPODPODPODPOD", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-pods"}

S3_WORKERS = {"METAFLOW_S3_WORKER_COUNT": "1"}
"""By default, Metaflow starts a process with a client of its own for each of up to 64 small objects that it reads."""

IMAGE_VARIABLES = {
    **CREDENTIALS,
    **S3_WORKERS,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # What Batch tells each job, and moto does not.
    "AWS_BATCH_JOB_ATTEMPT": "1",
    "AWS_BATCH_CE_NAME": "comp-env",
    "AWS_BATCH_JQ_NAME": "queue",
    "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
    # boto3 and requests are in the image, so that no task asks a package index.
    "METAFLOW_SKIP_INSTALL_DEPENDENCIES": "1",
    "LANG": "C.UTF-8",
    "WITHIN_A_POD": "yes",
}
"""What every image says in its environment."""

BARE = "-bare"
"""How the series ends of an image that has none of what Metaflow installs."""

_PATIENCE = 300.0


class Pod(Protocol):
    """A command that runs, or ran, in an image of its own."""

    name: str

    @property
    def status(self) -> int | None:
        """What it ended with; None while it runs."""

    @property
    def said(self) -> str:
        """Its stdout and stderr."""

    def output(self, name: str) -> str:
        """A file that it wrote into /mnt/out."""

    def kill(self) -> None:
        """End all its processes with SIGKILL."""


class Pods(Protocol):
    """Pods of one node: they share /var/tmp, and nothing else."""

    kind: str
    home: Path
    node: Path
    """What pods see as /var/tmp."""

    def start(self, name: str, image: str, command: Sequence[str], variables: Mapping[str, str]) -> Pod:
        """Start a pod. What its image says in its environment, `variables` override."""

    def all(self) -> list[Pod]:
        """Every pod that was started here, the oldest first, by whichever process."""

    def close(self) -> None:
        """Kill what still runs."""


def image_of(series: str) -> str:
    """The name of the image with a series of Python, in all kinds."""
    return f"envlock-pod:{series}"


def series_of(image: str) -> str:
    """The series of Python of an image."""
    name, _, series = image.partition(":")
    assert name == "envlock-pod", f"{image} is no image of the tests' pods"
    return series


def wait_for(pod: Pod, seconds: float = _PATIENCE) -> int:
    """What a pod ends with."""
    end = time.monotonic() + seconds
    while (status := pod.status) is None:
        assert time.monotonic() < end, f"{pod.name} did not end: {pod.said[-2000:]}"
        time.sleep(0.05)
    return status


def folders_of(home: str) -> tuple[Path, Path]:
    """Where pods are, and what they share on their node: both made below `home`."""
    found = Path(home) / "pods", Path(home) / "node"
    for each in found:
        each.mkdir(parents=True, exist_ok=True)
    return found


def named(home: Path) -> list[str]:
    """The names of the pods whose folders are in `home`, the oldest first."""
    if not home.is_dir():
        return []
    with os.scandir(home) as found:
        return [each.name for each in sorted(found, key=lambda each: each.stat().st_ctime_ns) if each.is_dir()]
