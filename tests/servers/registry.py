"""A registry of images on loopback: Debian's docker-registry, which `make setup` unpacks below .venv."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import ROOT, free_ports, listens, running

PROGRAM = ROOT / ".venv/registry/usr/bin/docker-registry"


@dataclass(frozen=True)
class RegistryServer:
    """A registry that runs, and where it keeps what is pushed."""

    port: int
    folder: Path

    @property
    def host(self) -> str:
        """As references name it."""
        return f"127.0.0.1:{self.port}"

    def lose(self, digest: str) -> None:
        """Forget the bytes of a blob, as a disk that fails does."""
        digits = digest.partition(":")[2]
        shutil.rmtree(self.folder / f"docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}")


def is_set_up() -> bool:
    """Whether the program is there."""
    return PROGRAM.exists()


@contextmanager
def registry(folder: Path, auth: Mapping[str, object] | None = None, **settings: object) -> Iterator[RegistryServer]:
    """A registry that keeps its files in a folder. `auth` is how its own configuration asks who somebody is."""
    (port,) = free_ports(1)
    configuration = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of the tests"},
        **({"auth": auth} if auth else {}),
        **settings,
    }
    written = folder / "registry.yml"
    written.write_text(json.dumps(configuration))  # which is YAML, too
    command = [str(PROGRAM), "serve", str(written)]
    with running(command, folder / "registry.log", is_ready=lambda: listens(port)):
        yield RegistryServer(port, folder / "data")
