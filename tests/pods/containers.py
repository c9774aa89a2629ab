"""Pods that are docker's containers, from images as `python:3.x-slim` is: Debian with a Python in /usr/local."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.pods.docker import client
from tests.pods.pod import Pod, folders_of, named


@dataclass(frozen=True)
class Container:
    """A pod that is a container."""

    name: str
    place: Path

    @property
    def _container(self) -> Any:
        return client().containers.get((self.place / "id").read_text())

    @property
    def status(self) -> int | None:
        state = self._container.attrs["State"]
        return int(state["ExitCode"]) if state["Status"] in ("exited", "dead") else None

    @property
    def said(self) -> str:
        return str(self._container.logs().decode(errors="replace"))

    def output(self, name: str) -> str:
        return (self.place / "out" / name).read_text()

    def kill(self) -> None:
        from docker.errors import APIError

        with suppress(APIError):  # it is over
            self._container.kill()
        self._container.wait()


@dataclass(frozen=True)
class Containers:
    """Pods that are containers."""

    home: Path
    node: Path
    kind: str = "container"

    @classmethod
    def at(cls, home: str) -> Containers:
        return cls(*folders_of(home))

    def start(self, name: str, image: str, command: Sequence[str], variables: Mapping[str, str]) -> Container:
        place = self.home / name
        (place / "out").mkdir(parents=True)
        (place / "spec.json").write_text(
            json.dumps({"image": image, "command": list(command), "variables": dict(variables)})
        )
        started = client().containers.run(
            image,
            list(command),
            name=re.sub(r"[^a-zA-Z0-9_.-]", "-", f"{name}-{os.urandom(4).hex()}"),
            environment=dict(variables),
            network_mode="host",
            volumes={
                str(self.node): {"bind": "/var/tmp", "mode": "rw"},
                str(place / "out"): {"bind": "/mnt/out", "mode": "rw"},
                f"{place / 'out'}/": {"bind": "/airflow/xcom", "mode": "rw"},  # where Airflow collects it
            },
            detach=True,
        )
        (place / "id.new").write_text(started.id)
        (place / "id.new").rename(place / "id")
        return Container(name, place)

    def all(self) -> list[Pod]:
        return [Container(name, self.home / name) for name in named(self.home) if (self.home / name / "id").exists()]

    def close(self) -> None:
        for pod in self.all():
            pod.kill()
            assert isinstance(pod, Container)
            pod._container.remove()
