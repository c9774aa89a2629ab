"""Small images to push."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence

from envlock.image.image import ARCHITECTURES
from envlock.image.manifests import (
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Blob,
    Manifest,
)
from envlock.image.registry import Registry
from envlock.model.arch import LINUX_64, LINUX_AARCH64, Arch


def image(*layers: bytes, author: str = "") -> tuple[list[Blob], Manifest]:
    """The blobs and the manifest of an image that has these layers. They need not be archives to a registry."""
    config = {"architecture": "amd64", "os": "linux", "author": author, "rootfs": {"type": "layers", "diff_ids": []}}
    blobs = [Blob.of_bytes(json.dumps(config).encode(), OCI_CONFIG)]
    blobs += [Blob.of_bytes(each, OCI_LAYER_GZIP) for each in layers]
    first, *others = (blob.descriptor.document() for blob in blobs)
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": first, "layers": others}
    return blobs, Manifest.of(document)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no two tests share, if their seeds differ."""
    return random.Random(seed).randbytes(size)


def push_base(
    registry: Registry, *, archs: Sequence[Arch] = (LINUX_64, LINUX_AARCH64), content: bytes = b"base", **config: object
) -> None:
    """Push a base image under the tag of the registry's reference, with a user, an entrypoint and variables."""
    entries = []
    for arch in archs:
        data = gzip.compress(content + arch.encode(), mtime=0)
        document = {
            "architecture": ARCHITECTURES[arch],
            "os": "linux",
            "config": {
                "User": "1000",
                "Entrypoint": ["tini"],
                "Env": ["PATH=/usr/bin", "ENVLOCK_PREBUILT=/old"],
                **config,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]},
            "history": [{"created_by": "FROM scratch"}],
        }
        blobs = [Blob.of_bytes(json.dumps(document).encode(), OCI_CONFIG), Blob.of_bytes(data, DOCKER_LAYER_GZIP)]
        manifest = Manifest.of(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": blobs[0].descriptor.document(),
                "layers": [blobs[1].descriptor.document()],
            }
        )
        registry.push(blobs, manifest)
        platform = {"os": "linux", "architecture": ARCHITECTURES[arch]}
        entries.append(manifest.descriptor._replace(platform=platform).document())
    index = Manifest.of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    registry.push_manifest(index, registry.reference.tag)
