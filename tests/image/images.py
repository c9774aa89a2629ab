"""Small images to push."""

from __future__ import annotations

import json
import random

from envlock.image.manifests import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Blob, Manifest


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
