"""Images: what of an update is sent, and what two of them share.

The registry is Debian's, on loopback. What was sent is what it has more afterwards: layers, and every document.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.projects import real
from benchmarks.timing import ENVLOCK, Row
from envlock.image.docker_login import DockerLogin
from envlock.image.references import ImageReference
from envlock.image.registry import Registry
from envlock.model.arch import host_arch
from tests.image.images import push_base
from tests.servers.registry import RegistryServer, registry

SERIES = ".".join(map(str, sys.version_info[:2]))
_UPDATED = "networkx"


def rows(folder: Path) -> list[Row]:
    """The claims about images."""
    folder.mkdir(parents=True)
    with registry(folder) as server:
        base = f"{server.host}/team/base:1"
        with Registry(ImageReference.parse(base), DockerLogin({"HOME": str(folder)})) as opened:
            push_base(opened)
        project = real(folder / "project", archs=(host_arch(),), python=SERIES)
        return _rows(project, server, base)


def _rows(project: Path, server: RegistryServer, base: str) -> list[Row]:
    config = project / "envlock.toml"
    subprocess.run([ENVLOCK, "-q", "lock"], cwd=project, check=True)
    first, _ = _pushed(project, server, base, "1")
    config.write_text(config.read_text().replace(f'"{_UPDATED}" = ""', f'"{_UPDATED}" = "<3.3"'))
    subprocess.run([ENVLOCK, "-q", "lock"], cwd=project, check=True)
    second, update = _pushed(project, server, base, "2")
    (layer,) = [each["size"] for each in second["layers"] if _UPDATED in each["name"].split(", ")]
    known = {each["digest"] for each in first["layers"]}
    common = sum(each["size"] for each in second["layers"] if each["digest"] in known)
    whole = sum(each["size"] for each in second["layers"])
    claim = f"an image of {len(second['layers'])} layers, {whole / 1e6:.0f} MB, after an update of one package"
    sent, shared = f"{claim}: all bytes sent, against its layer", "the same: bytes of layers that both have, of all"
    return [
        Row(sent, update, layer, "at most 1.2 x", update <= 1.2 * layer, unit="bytes"),
        Row(shared, common, whole, "at least 0.9", common >= 0.9 * whole, unit="bytes"),
    ]


def _pushed(project: Path, server: RegistryServer, base: str, tag: str) -> tuple[Mapping[str, Any], int]:
    """What `envlock image` said, and how many bytes the registry has more."""
    before = _kept(server)
    command = [ENVLOCK, "-q", "image", f"{server.host}/team/image:{tag}", "--base", base, "--json"]
    done = subprocess.run([*command, "--python", sys.executable], cwd=project, check=True, capture_output=True)
    return json.loads(done.stdout), _kept(server) - before


def _kept(server: RegistryServer) -> int:
    return sum(path.stat().st_size for path in (server.folder / "docker/registry/v2/blobs").rglob("data"))
